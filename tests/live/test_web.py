# SPDX-License-Identifier: Apache-2.0
"""A snapshot sent to a URL, its JSON, and what a killed run leaves there; of one that somebody has
signed also what its journal says of it."""
import http.server
import json
import threading
import unittest

import tool
from lab import MIB, Disk, LabTest

SECRET = "sig=hush-hush"


class Handler(http.server.BaseHTTPRequestHandler):
    """Takes a PUT into a dict, also a part of one; refuses what isn't signed. The answer to a JSON
    waits for the server's `go`."""

    def answer(self, status, length=0):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def is_signed(self):
        path, _, query = self.path.partition("?")
        self.server.seen.append((self.command, path))
        return query == self.server.secret

    def do_HEAD(self):
        data = self.server.files.get(self.path)
        if not self.is_signed():
            self.answer(403)
        elif data is None:
            self.answer(404)
        else:
            self.answer(200, len(data))

    def do_GET(self):
        self.do_HEAD()
        self.wfile.write(self.server.files.get(self.path, b"") if self.is_signed() else b"")

    def do_PUT(self):
        if not self.is_signed():
            self.answer(403)
            return
        left = int(self.headers["Content-Length"])
        self.server.files[self.path] = b""
        while left > 0:
            data = self.rfile.read1(min(left, 65536))
            if not data:
                return
            left -= len(data)
            self.server.files[self.path] += data
        if self.path.endswith(".json"):
            self.server.json_came.set()
            self.server.go.wait(60)
        self.answer(201)

    def do_DELETE(self):
        signed = self.is_signed()
        if signed:
            self.server.files.pop(self.path, None)
        self.answer(204 if signed else 403)

    def log_message(self, format, *args):
        pass


class WebTest(LabTest):
    secret = ""

    def setUp(self):
        super().setUp()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.files, self.server.seen, self.server.daemon_threads = {}, [], True
        self.server.secret, self.server.json_came = self.secret, threading.Event()
        self.server.go = threading.Event()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.addCleanup(self.server.go.set)
        self.place = f"http://127.0.0.1:{self.server.server_port}/web.qcow2"


class PlainUrl(WebTest):
    def begin(self):
        """Up to the JSON, which the server has and doesn't answer."""
        guest = self.guest(Disk(16 * MIB))
        guest.write(guest.disks[0], 0, 8 * MIB, 0x21)
        started = guest.snapshot("--property", "os_distro=debian", store=self.place)
        self.assertTrue(self.server.json_came.wait(60), started.describe())
        self.assertEqual(set(self.server.files), {"/web.qcow2", "/web.qcow2.json"})
        return guest, started

    def test_json_is_a_directorys(self):
        guest, started = self.begin()
        self.server.go.set()
        self.assert_done(started)
        self.assertEqual([line for line in self.server.seen if line[0] == "PUT"],
                         [("PUT", "/web.qcow2"), ("PUT", "/web.qcow2.json")])
        self.assert_done(guest.snapshot("--property", "os_distro=debian"))
        mine = json.loads(self.server.files["/web.qcow2.json"])
        other = json.loads(next(guest.store.glob("*.json")).read_text())
        self.assertEqual(list(mine), list(other))
        apart = {key for key in mine if mine[key] != other[key]}
        self.assertEqual(apart, {"id", "qmpsnap_image", "name", "qmpsnap_run", "qmpsnap_set",
                                 "qmpsnap_instant", "created_at"})

    def test_cancelled(self):
        _, started = self.begin()
        started.signal()
        self.assertEqual(started.wait(), 143, started.describe())
        self.assertEqual(self.server.files, {})

    def test_guard_deletes_both(self):
        guest, started = self.begin()
        started.kill()
        self.assertEqual(self.server.files, {})
        self.assertEqual(guest.journals(), [])

    def test_recover_leaves_anothers(self):
        guest, started = self.begin()
        tool.kill_at_once(started.pid, tool.guard_of(started.pid))
        started.wait()
        self.server.files["/web.qcow2.json"] = b'{"id": "another"}'
        code, _, stderr = tool.run("recover", "--all", env=guest.tool_env())
        self.assertEqual(code, 0, stderr)
        self.assertIn(f"what is at {self.place} is left alone", stderr)
        self.assertIn(f"what is at {self.place}.json is left alone", stderr)
        self.assertEqual(len(self.server.files), 2)
        self.assertEqual(guest.journals(), [])

    def test_recover_deletes_both(self):
        guest, started = self.begin()
        tool.kill_at_once(started.pid, tool.guard_of(started.pid))
        started.wait()
        self.assertEqual(len(self.server.files), 2)
        code, _, stderr = tool.run("recover", "--all", env=guest.tool_env())
        self.assertEqual(code, 0, stderr)
        self.assertEqual(self.server.files, {})
        self.assertEqual(guest.journals(), [])


class SignedUrl(WebTest):
    secret = SECRET

    def begin(self):
        guest = self.guest(Disk(16 * MIB))
        guest.write(guest.disks[0], 0, 8 * MIB, 0x21)
        started = guest.snapshot("--speed", "1M", store=f"{self.place}?{SECRET}")
        self.assertIsNotNone(started.wait_for(lambda e: e["event"] == "progress" and
                                              e["done_bytes"] > 0), started.describe())
        journal, = guest.journals()
        self.assertNotIn("hush", journal.read_text())
        self.assertIn(self.place, journal.read_text())
        return guest, started

    def test_guard_knows_the_whole(self):
        guest, started = self.begin()
        started.kill()
        self.assertEqual(self.server.files, {})
        self.assertEqual(guest.journals(), [])
        self.assertNotIn("hush", started.describe())

    def test_no_json(self):
        guest = self.guest(Disk(16 * MIB))
        started = guest.snapshot("-v", store=f"{self.place}?{SECRET}")
        self.assert_done(started)
        self.assertEqual(list(self.server.files), [f"/web.qcow2?{SECRET}"])
        self.assertIn("no JSON goes beside", started.describe())

    def test_recover_says_what_it_leaves(self):
        guest, started = self.begin()
        tool.kill_at_once(started.pid, tool.guard_of(started.pid))
        started.wait()
        self.server.seen.clear()
        code, _, stderr = tool.run("recover", "--all", env=guest.tool_env())
        self.assertEqual(code, 0, stderr)
        self.assertIn(f"what is at {self.place} is left alone", stderr)
        self.assertEqual(self.server.seen, [])
        self.assertEqual(len(self.server.files), 1)
        self.assertEqual(guest.journals(), [])


del WebTest  # no test of its own


if __name__ == "__main__":
    unittest.main()

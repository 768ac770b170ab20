# SPDX-License-Identifier: Apache-2.0
"""A snapshot sent to a URL that somebody has signed: what a killed run leaves there, and what its
journal says of it."""
import http.server
import threading
import unittest

import tool
from lab import MIB, Disk, LabTest

SECRET = "sig=hush-hush"


class Handler(http.server.BaseHTTPRequestHandler):
    """Takes a PUT into a dict, also a part of one; refuses what isn't signed."""

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def is_signed(self):
        path, _, query = self.path.partition("?")
        self.server.seen.append((self.command, path))
        return query == SECRET

    def do_HEAD(self):
        known = self.path in self.server.files
        self.answer((200 if known else 404) if self.is_signed() else 403)

    def do_PUT(self):
        if not self.is_signed():
            self.answer(403)
            return
        left = int(self.headers["Content-Length"])
        self.server.files[self.path] = 0
        while left > 0:
            data = self.rfile.read1(min(left, 65536))
            if not data:
                return
            left -= len(data)
            self.server.files[self.path] += len(data)
        self.answer(201)

    def do_DELETE(self):
        signed = self.is_signed()
        if signed:
            self.server.files.pop(self.path, None)
        self.answer(204 if signed else 403)

    def log_message(self, format, *args):
        pass


class SignedUrl(LabTest):
    def setUp(self):
        super().setUp()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.files, self.server.seen, self.server.daemon_threads = {}, [], True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.place = f"http://127.0.0.1:{self.server.server_port}/web.qcow2"

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


if __name__ == "__main__":
    unittest.main()

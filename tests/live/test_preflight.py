# SPDX-License-Identifier: Apache-2.0
"""What can be known beforehand refuses a snapshot before QEMU is asked for anything but answers."""
import http.server
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

import tool
from lab import MIB, Disk
from test_failures import REFUSED, STORE, USAGE, FailureTest

ONLY_LOOKS = re.compile(
    r"(query-|x-debug-query-|device-list-properties|qom-list|qom-get|qmp_capabilities)")


class Closed(http.server.BaseHTTPRequestHandler):
    """A Keystone that knows nobody."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        text = b'{"error": {"code": 401, "message": "no such user"}}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


class Preflight(FailureTest):
    def setUp(self):
        super().setUp()
        self.traced = self.guest(Disk(32 * MIB), options=("-trace", "handle_qmp_command"))
        self.traced.write(self.traced.disks[0], 0, 4 * MIB, 0x55)

    def refused(self, code, *args, store=None, env=None, scratch=None):
        """Runs it; QEMU was asked for nothing but answers."""
        guest = self.traced
        before = guest.state()
        said = len(guest.log())
        started = tool.Tool("snapshot", "--json", "--qmp", guest.address, "--to",
                            store or f"dir:{guest.store}",
                            *(scratch or ("--scratch", guest.scratch)), *args,
                            env={**guest.tool_env(), **(env or {})})
        self.addCleanup(started.kill)
        error = self.assert_failed(started, code)
        commands = re.findall(r'"execute": "([^"]+)"', guest.log()[said:])
        self.assertIn("query-status", commands)
        self.assertEqual([name for name in commands if not ONLY_LOOKS.match(name)], [])
        steps = {event["step"] for event in started.events if event["event"] == "step"}
        self.assertNotIn("guard", steps)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)
        return error

    def full_folder(self):
        if os.geteuid() != 0:
            self.skipTest("mounting needs root")
        folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-mount-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700,size=1M", "qmpsnap",
                               folder], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.skipTest(f"no tmpfs: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", folder], check=True)
        (folder / "filler").write_bytes(bytes(MIB))
        return folder

    def test_unreachable_service(self):
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        for method in ("auto", "backup"):
            error = self.refused(STORE, "--method", method, store=f"glance:http://127.0.0.1:{port}")
            self.assertIn(f"127.0.0.1:{port}", error)
        self.refused(STORE, "--dry-run", store=f"glance:http://127.0.0.1:{port}")

    def test_wrong_password(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Closed)
        threading.Thread(target=server.serve_forever).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        error = self.refused(STORE, store="glance:", env={
            "OS_AUTH_URL": f"http://127.0.0.1:{server.server_port}/v3", "OS_USERNAME": "me",
            "OS_PASSWORD": "geheim", "OS_PROJECT_NAME": "p", "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default", "HOME": "/nonexistent"})
        self.assertIn("401", error)
        self.assertNotIn("geheim", error)

    def test_no_scratch_folder(self):
        none = self.traced.folder / "none"
        for method in ("auto", "backup", "mirror", "cold"):
            error = self.refused(REFUSED, "--method", method, scratch=("--quiet",),
                                 env={"TMPDIR": str(none)})
            self.assertIn(str(none), error)
            self.assertIn("--scratch", error)

    def test_full_scratch_folder(self):
        folder = self.full_folder()
        for method in ("auto", "backup", "mirror", "cold"):
            error = self.refused(REFUSED, "--method", method, scratch=("--scratch", folder))
            self.assertIn(str(folder), error)

    def test_full_store(self):
        folder = self.full_folder()
        error = self.refused(STORE, store=f"dir:{folder}/images")
        self.assertIn(str(folder), error)

    def test_name_too_long_for_a_record(self):
        trace = ("-trace", "handle_qmp_command")
        name = "n" * 240
        self.traced = self.guest(Disk(MIB), name=name, options=trace)
        for more in ((), ("--dry-run",)):
            self.assertIn("longer than 255 bytes", self.refused(USAGE, *more))
        self.traced = self.guest(Disk(MIB), Disk(MIB), options=trace)
        self.assertIn("longer than 255 bytes", self.refused(USAGE, "--name", "n" * 254))

    def test_too_large(self):
        self.traced = self.guest(options=(
            "-trace", "handle_qmp_command", "-blockdev",
            f"driver=null-co,node-name=huge,size={17 << 40}",
            "-device", "virtio-blk-pci,id=vd0,drive=huge"))
        for args in ((), ("--method", "stream", "--format", "raw"), ("--flavour", "job"),
                     ("--method", "backup"), ("--method", "mirror"), ("--dry-run",)):
            with self.subTest(args=args):
                self.assertIn("16 TiB", self.refused(REFUSED, *args))

    def test_dry_run_says_what_it_found(self):
        started = self.traced.snapshot("--dry-run")
        self.assert_done(started)
        found = [event["step"] for event in started.events if event["event"] == "step"]
        self.assertIn(f"found: dir:{self.traced.store} takes images", found)
        self.assertTrue(any("may be taken in" in line for line in found), found)
        self.assertFalse(self.traced.store.exists())


if __name__ == "__main__":
    unittest.main()

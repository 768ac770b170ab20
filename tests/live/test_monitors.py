# SPDX-License-Identifier: Apache-2.0
"""Monitors: over TCP, and as an inherited descriptor."""
import os
import pathlib
import socket
import subprocess
import threading
import unittest

import tool
from lab import MIB, Disk, LabTest

REFUSED = 3
USAGE = 2
QEMU_GONE = 4


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


class MonitorTest(LabTest):
    def two_disks(self, **options):
        guest = self.guest(Disk(16 * MIB), Disk(8 * MIB, fmt="raw", style="drive"), **options)
        for disk in guest.disks:
            guest.write(disk, 0, 6 * MIB, 0x5a)
        return guest

    def check(self, guest, *args):
        before = guest.state()
        started = guest.snapshot(*args)
        self.assert_done(started)
        for number in range(len(guest.disks)):
            self.assert_image_is_reference(guest, number)
        self.assert_nothing_left(guest, before)
        for path in guest.store.iterdir():
            path.unlink()
        return started

    def assert_no_image(self, guest):
        self.assertEqual(list(guest.store.iterdir()) if guest.store.exists() else [], [])

    def check_another(self, guest, started):
        """QEMU is started anew on the same socket; what stands in it stays."""
        guest.restart()
        guest.monitor.command("stop")
        theirs = {"type": "unix", "data": {"path": str(guest.folder / "theirs.sock")}}
        guest.monitor.command("nbd-server-start", addr=theirs)
        before = guest.state()
        self.assertIn(started.wait(), (QEMU_GONE, 6), started.describe())
        self.assertTrue(guest.nbd_server_stands())
        self.assertEqual(guest.state(), before)
        self.assertEqual(list(guest.scratch.iterdir()), [])
        self.assert_no_image(guest)


class Tcp(MonitorTest):
    def tcp_guest(self, host="127.0.0.1", **options):
        port = free_port()
        bound = f"[{host}]" if ":" in host else host
        guest = self.two_disks(
            options=["-chardev", f"socket,id=tcp,host={host},port={port},server=on,wait=off",
                     "-mon", "chardev=tcp,mode=control"], **options)
        if not pathlib.Path(f"/proc/{guest.pid}/comm").read_text().startswith("qemu"):
            self.skipTest("QEMU is known by its process's name, and this one has its loader's")
        guest.address = f"tcp:{bound}:{port}"
        return guest, port

    def test_snapshot(self):
        """QEMU is on this host, so it gets paths in place of descriptors."""
        guest, port = self.tcp_guest()
        self.check(guest)
        guest.address = f"tcp:localhost:{port}"
        self.check(guest)

    def test_paused(self):
        guest, _ = self.tcp_guest(paused=True)
        self.check(guest)

    @unittest.skipUnless(has_ipv6(), "no IPv6 on the loopback interface")
    def test_ipv6(self):
        guest, _ = self.tcp_guest(host="::1")
        self.check(guest)

    def test_inspect_and_recover(self):
        guest, _ = self.tcp_guest()
        before = guest.state()
        code, out, err = tool.run("inspect", "--json", "--qmp", guest.address)
        self.assertEqual(code, 0, err)
        self.assertIn('"vd0"', out)
        started = guest.snapshot("--speed", "512K", "--no-guard")
        started.wait_instant()
        started.kill()
        self.assertNotEqual(guest.state(), before)
        code, out, err = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 0, err)
        self.assertEqual(guest.state(), before)

    def test_known_before_it_is_accepted(self):
        """QEMU serves one client at a time; the next one must know all the same whose guest it
        is, for the lock."""
        guest, port = self.tcp_guest()
        with socket.create_connection(("127.0.0.1", port)) as first:
            self.assertIn(b"QMP", first.recv(4096))
            started = guest.snapshot("--verbose")
            self.assertEqual(started.wait(), REFUSED, started.describe())
        self.assertIn("another client", started.describe())
        self.assertNotIn("nobody can tell", started.describe())

    def test_killed(self):
        """The guard has a duplicate of the connection."""
        guest, _ = self.tcp_guest()
        before = guest.state()
        started = guest.snapshot("--speed", "512K")
        started.wait_instant()
        started.kill()
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def forwarder(self, port):
        """The address of a forwarder to that port."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def forward():
            while True:
                try:
                    near, _ = listener.accept()
                except OSError:
                    return
                far = socket.create_connection(("127.0.0.1", port))
                for a, b in ((near, far), (far, near)):
                    threading.Thread(target=pipe, args=(a, b), daemon=True).start()

        def pipe(source, sink):
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
            except OSError:
                pass
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        threading.Thread(target=forward, daemon=True).start()
        return f"tcp:127.0.0.1:{listener.getsockname()[1]}"

    def test_through_a_forwarder(self):
        """What is behind a forwarder may be anywhere: no snapshot, but inspect works."""
        guest, port = self.tcp_guest()
        before = guest.state()
        guest.address = self.forwarder(port)
        code, _, err = tool.run("inspect", "--qmp", guest.address)
        self.assertEqual(code, 0, err)
        started = guest.snapshot()
        self.assertEqual(started.wait(), REFUSED, started.describe())
        self.assertIn("which is no QEMU", started.result["error"]["message"])
        self.assert_nothing_left(guest, before)

    def test_recover_through_a_forwarder(self):
        """Whose guest it is can't be told, and so not whether a run is at work on it."""
        guest, port = self.tcp_guest()
        before = guest.state()
        far = self.forwarder(port)
        code, out, err = tool.run("recover", "--qmp", far, env=guest.tool_env())
        self.assertEqual((code, out), (0, "nothing of ours found\n"), err)
        guest.address = f"unix:{guest.folder}/tool.sock"
        started = guest.snapshot("--speed", "4M")
        started.wait_for(lambda event: event["event"] == "progress")
        code, out, err = tool.run("recover", "--qmp", far, env=guest.tool_env())
        self.assertEqual(code, 9, err)
        self.assertIn("nobody can tell", err)
        run = guest.journals()[0].name
        for number in range(2):
            self.assertIn(f"export qmpsnap-{run}-e{number} (block-export-del)\n", out)
        self.assertIn(" (blockdev-del)\n", out)
        self.assert_done(started)
        for number in range(2):
            self.assert_image_is_reference(guest, number)
        self.assert_nothing_left(guest, before)

    def test_nobody_listens(self):
        code, _, err = tool.run("inspect", "--qmp", f"tcp:127.0.0.1:{free_port()}")
        self.assertEqual(code, REFUSED, err)
        self.assertIn("Connection refused", err)


class Descriptor(MonitorTest):
    """fd:N: a connected socket, as whoever starts qmpsnap for a guest would pass it."""

    def run_with_fd(self, guest, *args, wait=True):
        connected = socket.socket(socket.AF_UNIX)
        self.addCleanup(connected.close)
        connected.connect(str(guest.folder / "tool.sock"))
        number = connected.fileno()
        started = subprocess.Popen(
            [tool.BINARY, args[0], "--qmp", f"fd:{number}", *map(str, args[1:])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            pass_fds=(number,), env={**os.environ, **guest.tool_env()})
        connected.close()
        if not wait:
            return started
        out, err = started.communicate(timeout=120)
        return started.returncode, out, err

    def snapshot(self, guest, *args, **options):
        return self.run_with_fd(guest, "snapshot", "--to", f"dir:{guest.store}", "--scratch",
                                guest.scratch, *args, **options)

    def test_snapshot(self):
        guest = self.two_disks()
        before = guest.state()
        code, _, err = self.snapshot(guest)
        self.assertEqual(code, 0, err)
        for number in range(2):
            self.assert_image_is_reference(guest, number)
        self.assert_nothing_left(guest, before)

    def test_killed(self):
        guest = self.two_disks()
        before = guest.state()
        started = self.snapshot(guest, "--speed", "512K", "--json", wait=False)
        for line in started.stdout:
            if '"image_uploading"' in line:
                break
        started.kill()
        _, err = started.communicate(timeout=60)  # until the guard has ended
        self.assertIn("all of it has been undone", err)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_recover(self):
        guest = self.two_disks()
        before = guest.state()
        started = guest.snapshot("--speed", "512K", "--no-guard")
        started.wait_for(lambda event: event["event"] == "progress")
        started.kill()
        code, out, err = self.run_with_fd(guest, "recover")
        self.assertEqual(code, 0, err)
        self.assertIn("is undone", out)
        self.assert_nothing_left(guest, before)

    def test_not_released(self):
        guest = self.two_disks()
        code, _, err = self.snapshot(guest, "--release-monitor")
        self.assertEqual(code, USAGE, err)
        self.assertIn("can't be released", err)


if __name__ == "__main__":
    unittest.main()

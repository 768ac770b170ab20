# SPDX-License-Identifier: Apache-2.0
"""Monitors: over TCP, as an inherited descriptor, and a single one that is left to others during
the upload (--release-monitor)."""
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import unittest

import builds
import tool
from lab import MIB, Disk, LabTest
from monitor import Monitor

REFUSED = 3
USAGE = 2
QEMU_GONE = 4
UNDO = 9
TERMINATED = 143
INTERRUPTED = 130


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

    def test_through_a_forwarder(self):
        """What is behind a forwarder may be anywhere: no snapshot, but inspect works."""
        guest, port = self.tcp_guest()
        before = guest.state()
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
        guest.address = f"tcp:127.0.0.1:{listener.getsockname()[1]}"
        code, _, err = tool.run("inspect", "--qmp", guest.address)
        self.assertEqual(code, 0, err)
        started = guest.snapshot()
        self.assertEqual(started.wait(), REFUSED, started.describe())
        self.assertIn("which is no QEMU", started.result["error"]["message"])
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


class Held(MonitorTest):
    """The whole run long; who connects meanwhile waits to be greeted."""

    def upload(self, guest, *args):
        started = guest.snapshot("--speed", "1M", *args)
        event = started.wait_for(lambda event: event["event"] == "progress")
        self.assertIsNotNone(event, started.describe())
        return started

    def queue(self, guest):
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(str(guest.folder / "tool.sock"))
        client.settimeout(1)
        with self.assertRaises(TimeoutError):
            client.recv(1)
        client.settimeout(20)
        return client

    def assert_greeted(self, client):
        self.assertIn(b'"QMP"', client.recv(4096))

    def test_a_client_queued_behind_it(self):
        guest = self.two_disks()
        before = guest.state()
        started = guest.snapshot("--speed", "4M")
        started.wait_for(lambda event: event["event"] == "progress")
        client = self.queue(guest)
        self.assert_done(started)
        self.assert_greeted(client)
        for number in range(2):
            self.assert_image_is_reference(guest, number)
        self.assert_nothing_left(guest, before)

    def test_killed_with_a_client_queued(self):
        """The guard has the connection: the client doesn't get in between."""
        guest = self.two_disks()
        before = guest.state()
        started = self.upload(guest)
        client = self.queue(guest)
        started.signal(signal.SIGKILL)
        started.wait()
        self.assertIn("all of it has been undone", started.stderr)
        self.assert_greeted(client)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_killed_with_its_guard_and_a_client_queued(self):
        """The client gets the monitor: `recover` says so, and undoes all when it is gone."""
        guest = self.two_disks()
        before = guest.state()
        started = self.upload(guest)
        client = self.queue(guest)
        tool.kill_at_once(started.pid, tool.guard_of(started.pid))
        started.wait()
        self.assert_greeted(client)
        code, _, err = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, UNDO, err)
        self.assertIn("in use by another client", err)
        self.assertEqual(len(guest.journals()), 1)
        client.close()
        code, _, err = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 0, err)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_another_guest_at_the_same_address(self):
        for method in ("stream", "backup", "mirror"):
            with self.subTest(method=method):
                guest = self.two_disks()
                self.check_another(guest, self.upload(guest, "--method", method))


class Released(MonitorTest):
    """The tool's monitor counts as the guest's only one here; the test's own watches."""

    def upload(self, guest, *args):
        """A run whose monitor is released, some seconds before its end."""
        self.needs_filter()  # else it is a backup, which needs the monitor while it copies
        started = guest.snapshot("--release-monitor", "--speed", "1M", *args)
        event = started.wait_for(lambda event: event["event"] == "progress")
        self.assertIsNotNone(event, started.describe())
        return started

    def other_client(self, guest, timeout_s=2):
        """Greeted only while nobody else has the monitor."""
        return Monitor(guest.folder / "tool.sock", timeout_s)

    def test_held_without_it(self):
        guest = self.two_disks()
        started = guest.snapshot("--speed", "1M")
        started.wait_for(lambda event: event["event"] == "progress")
        with self.assertRaises(TimeoutError):
            self.other_client(guest)
        started.signal(signal.SIGINT)
        self.assertEqual(started.wait(), INTERRUPTED)

    def test_others_are_served(self):
        guest = self.two_disks()
        before = guest.state()
        started = self.upload(guest)
        client = self.other_client(guest)
        self.assertEqual(client.status(), "running")
        client.close()
        self.assert_done(started)
        warned = [event["message"] for event in started.events if event["event"] == "log"]
        self.assertEqual(warned, [])
        for number in range(2):
            self.assert_image_is_reference(guest, number)
        self.assert_nothing_left(guest, before)

    def test_each_method(self):
        """While its upload goes on, others are greeted; then nothing of it is left."""
        for method in ("stream", "backup", "mirror", "cold")[not builds.has_filter():]:
            with self.subTest(method=method):
                guest = self.two_disks()
                before = guest.state()
                started = guest.snapshot("--release-monitor", "--speed", "4M", "--method", method)
                event = started.wait_for(lambda event: event["event"] == "step" and
                                         event["step"] == "upload")
                self.assertIsNotNone(event, started.describe())
                client = self.other_client(guest)
                self.assertEqual(client.status(), "running")
                client.close()
                self.assert_done(started)
                for number in range(2):
                    self.assert_image_is_reference(guest, number)
                self.assert_nothing_left(guest, before)

    def test_a_method_that_needs_it_no_more(self):
        """Once the copies are made, a client that stays holds nothing up."""
        guest = self.two_disks()
        before = guest.state()
        started = guest.snapshot("--release-monitor", "--speed", "4M", "--method", "backup")
        started.wait_for(lambda event: event["event"] == "step" and event["step"] == "upload")
        client = self.other_client(guest)
        self.assert_done(started)
        client.close()
        self.assert_nothing_left(guest, before)

    def test_not_with_a_job_that_must_be_watched(self):
        guest = self.two_disks()
        before = guest.state()
        started = guest.snapshot("--release-monitor", "--flavour", "job")
        self.assertEqual(started.wait(), REFUSED, started.describe())
        self.assert_nothing_left(guest, before)

    def test_the_undo_waits_for_the_other_client(self):
        guest = self.two_disks()
        before = guest.state()
        started = self.upload(guest)
        client = self.other_client(guest)
        started.wait_for(lambda event: event["event"] == "step" and event["step"] == "release" and
                         event["phase"] == "undo-begin")
        time.sleep(3)
        self.assertIsNone(started.result)
        client.close()
        self.assert_done(started)
        self.assert_nothing_left(guest, before)

    def test_auto_says_that_it_is_blind(self):
        guest = self.two_disks()
        before = guest.state()
        started = guest.snapshot("--release-monitor")
        self.assert_done(started)
        self.assertTrue(any("--speed auto" in event.get("message", "")
                            for event in started.events if event["event"] == "log"))
        self.assert_nothing_left(guest, before)

    def test_interrupted(self):
        guest = self.two_disks()
        before = guest.state()
        started = self.upload(guest)
        started.signal(signal.SIGINT)
        self.assertEqual(started.wait(), INTERRUPTED, started.describe())
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_killed(self):
        """The guard connects by itself, also when others have the monitor at that moment."""
        guest = self.two_disks()
        before = guest.state()
        started = self.upload(guest)
        client = self.other_client(guest)
        started.signal(signal.SIGKILL)
        time.sleep(1)
        client.close()
        started.wait()  # until the guard has closed its standard error
        self.assertIn("all of it has been undone", started.stderr)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_killed_after_the_undo_began(self):
        guest = self.two_disks()
        before = guest.state()
        started = self.upload(guest)
        started.wait_for(lambda event: event["event"] == "step" and event["step"] == "release" and
                         event["phase"] == "undo-end")
        started.kill()
        self.assert_nothing_left(guest, before)

    def test_qemu_ends(self):
        guest = self.two_disks()
        started = self.upload(guest)
        guest.kill()
        self.assertIn(started.wait(), (QEMU_GONE, 6), started.describe())
        self.assertIsNone(started.result["error"]["undo_error"])
        self.assertEqual(list(guest.scratch.iterdir()), [])
        self.assert_no_image(guest)

    def test_another_guest_at_the_same_address(self):
        """Started anew meanwhile: nothing in it is ours, an NBD server of others least of all."""
        guest = self.two_disks()
        self.check_another(guest, self.upload(guest))

    def test_paused_by_its_owner(self):
        guest = self.two_disks()
        before = guest.state()
        started = self.upload(guest)
        client = self.other_client(guest)
        client.command("stop")
        client.close()
        self.assert_done(started)
        self.assertEqual({**guest.state(), "fdsets": []},
                         {**before, "status": "paused"})  # QEMU 7.2 lists sets until it runs
        guest.monitor.command("cont")
        tool.run("inspect", "--qmp", guest.address)
        self.assert_nothing_left(guest, before)
        for number in range(2):
            self.assert_image_is_reference(guest, number)

    def test_continued_by_its_owner(self):
        guest = self.two_disks()
        before = guest.state()
        guest.monitor.command("stop")
        started = self.upload(guest)
        client = self.other_client(guest)
        client.command("cont")
        client.close()
        self.assert_done(started)
        self.assert_nothing_left(guest, before)
        for number in range(2):
            self.assert_image_is_reference(guest, number)

    def test_never_had_again(self):
        """A client that stays: the undo gives up, and says what is to be done."""
        guest = self.two_disks()
        before = guest.state()
        started = self.upload(guest)
        client = self.other_client(guest)
        self.assertEqual(started.wait(), UNDO, started.describe())
        undo = started.result["error"]["undo_error"]
        self.assertIn("couldn't be had again within 60 s", undo["message"])
        self.assertIn(f"qmpsnap recover --qmp {guest.address}", undo["hint"])
        self.assertEqual(len(guest.published()), 2)  # the images are whole all the same
        client.close()
        code, _, err = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 0, err)
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""A single monitor: others wait for it, or have it during the upload (--release-monitor)."""
import signal
import socket
import time
import unittest

import builds
import tool
from monitor import Monitor
from test_monitors import REFUSED, MonitorTest

INTERRUPTED = 130
QEMU_GONE = 4
UNDO = 9


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

# SPDX-License-Identifier: Apache-2.0
"""What others do to the guest between the plan and the end of the instant: their run state stays,
and no image is published that isn't of one instant."""
import datetime
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest
import unittest.mock

import images
import tool
from lab import MIB, Disk
from relay import Relay
from test_killed import KillTest


class OthersTest(KillTest):
    def stopped_after(self, guest, step):
        """A run that stands still behind the step."""
        started = self.start_stopping_after(guest, step)
        self.addCleanup(started.stderr.close)
        self.addCleanup(started.wait)
        self.addCleanup(started.kill)
        _, status = os.waitpid(started.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status))
        return started

    def go_on(self, started):
        """Its exit code and what it and its guard said."""
        os.kill(started.pid, signal.SIGCONT)
        said = started.stderr.read()
        return started.wait(60), said

    def assert_failed(self, guest, started, before, words):
        code, said = self.go_on(started)
        self.assertEqual(code, 4, said)
        self.assertIn(words, said)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


class LateStop(OthersTest):
    """QEMU stops the guest when nobody waits for it any more."""

    def setUp(self):
        self.needs_filter()  # the job flavour doesn't stop the guest

    def test_it_is_continued(self):
        guest = self.two_disks()
        before = guest.state()
        relay = Relay(guest, {"stop": 5})
        self.addCleanup(relay.close)
        guest.address = relay.address
        started = guest.snapshot("--method", "stream", "--flavour", "filter")
        self.assertEqual(started.wait(), 7, started.describe())
        self.assertIn("no reply to stop within 3 s", started.result["error"]["message"])
        at = relay.passed.index("stop")
        self.assertIn("cont", relay.passed[at:])
        self.assertTrue(guest.monitor.wait_event("STOP"))
        self.assertTrue(guest.monitor.wait_event("RESUME"))
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_many_slow_commands(self):
        """Each is in time, but together they would hold the guest for too long."""
        guest = self.guest(*(Disk(8 * MIB) for _ in range(4)))
        before = guest.state()
        relay = Relay(guest, {"stop": 1.5, "qom-set": [1.5] * 3})
        self.addCleanup(relay.close)
        guest.address = relay.address
        started = guest.snapshot("--method", "stream", "--flavour", "filter")
        self.assertEqual(started.wait(), 7, started.describe())
        self.assertIn("has stood still for 5 s", started.result["error"]["message"])
        self.assertEqual(started.result["exit_code"], 7)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


class Refused(OthersTest):
    """QEMU refuses for long to continue the guest, or to say whether it stands still: the undo goes
    on, and so does the guard."""
    TIMES = 12

    def setUp(self):
        self.needs_filter()  # the job flavour doesn't stop the guest

    def relayed(self, refuse):
        guest = self.two_disks()
        relay = Relay(guest, {}, refuse)
        self.addCleanup(relay.close)
        guest.address = relay.address
        return guest, relay

    def test_the_undo_goes_on(self):
        guest, relay = self.relayed({"cont": [True] * self.TIMES})
        before = guest.state()
        started = guest.snapshot("--method", "stream", "--flavour", "filter")
        self.assertEqual(started.wait(), 4, started.describe())
        self.assertEqual(relay.passed.count("cont"), self.TIMES + 1)
        self.assertIn("QEMU doesn't continue it", started.describe())
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_the_guard_goes_on(self):
        guest, relay = self.relayed({"cont": [True] * self.TIMES})
        before = guest.state()
        code, said = self.faulty(guest, "kill-after", "instant")
        self.assertEqual(code, -signal.SIGKILL, said)
        self.assertIn("all of it has been undone", said)
        self.assertEqual(relay.passed.count("cont"), self.TIMES + 1)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_its_state_is_asked_for_again(self):
        guest, relay = self.relayed({"query-status": [False] * 2 + [True] * 3})
        before = guest.state()
        started = guest.snapshot("--method", "stream", "--flavour", "filter")
        self.assertEqual(started.wait(), 4, started.describe())
        self.assertIn("query-status", relay.passed[relay.passed.index("stop"):])
        self.assertIn("cont", relay.passed)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


class Quiet(OthersTest):
    def test_traffic_of_the_pause_is_told_after_it(self):
        self.needs_filter()  # the job flavour doesn't stop the guest
        guest = self.two_disks()
        relay = Relay(guest, {"stop": 1.5})
        self.addCleanup(relay.close)
        guest.address = relay.address
        started = guest.snapshot("-vv")
        self.assert_done(started)
        times = {}
        for event in started.events:
            sent = event["event"] == "log" and re.search(r'-> .*"execute": ?"(stop|cont)"',
                                                         event["message"])
            if sent:
                times[sent[1]] = datetime.datetime.fromisoformat(event["time"])
        self.assertLess(times["cont"] - times["stop"], datetime.timedelta(seconds=1))
        self.assertGreater(started.result["stopped_ms"], 1500)


class SlowStop(OthersTest):
    """QEMU writes all caches out in a `stop`, which can take long."""
    METHOD = {"method": "cold"}

    def test_a_copy_waits_for_it(self):
        """For longer than the guard lets an instant last."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-slow-"))
        self.addCleanup(shutil.rmtree, folder)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "slow.so",
                        pathlib.Path(__file__).with_name("slow_flush.c")], check=True)
        with unittest.mock.patch.dict(os.environ, {"LD_PRELOAD": str(folder / "slow.so"),
                                                   "SLOW_FLUSH": str(folder / "slow")}):
            guest = self.guest(Disk(8 * MIB))
        guest.write(guest.disks[0], 0, 4 * MIB, 0x55)
        before = guest.state()
        (folder / "slow").touch()
        started = guest.snapshot("--method", "cold")
        self.assert_done(started)
        self.assertGreater(started.result["stopped_ms"], 6500)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)


class Continued(OthersTest):
    def setUp(self):
        self.needs_filter()  # the job flavour doesn't stop the guest

    def test_and_stopped_inside_our_pause(self):
        guest = self.two_disks()
        before = guest.state()
        started = self.stopped_after(guest, "instant")
        self.assertEqual(guest.monitor.command("query-status")["status"], "paused")
        guest.monitor.command("cont")
        guest.monitor.command("stop")
        code, said = self.go_on(started)
        self.assertEqual(code, 4, said)
        self.assertIn("somebody continued the guest", said)
        self.assertEqual(guest.monitor.command("query-status")["status"], "paused")
        self.assert_no_image(guest)
        left = guest.state()
        for key in ("nodes", "roots", "jobs", "exports"):
            self.assertEqual(left[key], before[key])
        # Before 8.2 QEMU keeps the sets that are removed while the guest stands still.
        code, _, said = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 0, said)
        self.assertEqual(guest.monitor.command("query-status")["status"], "paused")

    def test_inside_our_pause(self):
        guest = self.two_disks()
        before = guest.state()
        started = self.stopped_after(guest, "pause")
        guest.monitor.command("cont")
        self.assert_failed(guest, started, before, "somebody continued the guest")

    def test_in_their_pause_of_two_disks(self):
        guest = self.two_disks()
        guest.monitor.command("stop")
        before = guest.state()
        started = self.stopped_after(guest, "filter")
        guest.monitor.command("cont")
        self.assert_failed(guest, started, {**before, "status": "running"},
                           "somebody continued the guest")

    def test_in_their_pause_of_one_disk(self):
        guest = self.guest(Disk(8 * MIB))
        guest.write(guest.disks[0], 0, 4 * MIB, 0x55)
        guest.monitor.command("stop")
        before = guest.state()
        started = self.stopped_after(guest, "filter")
        guest.monitor.command("cont")
        code, said = self.go_on(started)
        self.assertEqual(code, 0, said)
        self.assert_image_is_reference(guest)
        metadata = self.image_of(guest)[0].with_suffix(".json").read_text()
        self.assertIn('"crash"', metadata)
        self.assertNotIn('"paused"', metadata)
        self.assert_nothing_left(guest, {**before, "status": "running"})


class MirrorContinued(OthersTest):
    METHOD = {"method": "mirror"}

    def test_in_their_pause_of_two_disks(self):
        guest = self.two_disks()
        guest.monitor.command("stop")
        before = guest.state()
        started = self.stopped_after(guest, "copy")
        guest.monitor.command("cont")
        self.assert_failed(guest, started, {**before, "status": "running"},
                           "somebody continued the guest")


class Snapshotted(OthersTest):
    """By an external snapshot, which the guest writes to from then on."""
    STEP = "scratch"

    def test_it(self):
        guest = self.guest(Disk(8 * MIB))
        guest.write(guest.disks[0], 0, 4 * MIB, 0x55)
        started = self.stopped_after(guest, self.STEP)
        overlay = guest.folder / "overlay.qcow2"
        images.create(overlay, "qcow2", 8 * MIB)
        guest.monitor.command("blockdev-add", driver="qcow2", **{"node-name": "theirs"},
                              file={"driver": "file", "filename": str(overlay)}, backing=None)
        guest.monitor.command("blockdev-snapshot", node="drive0", overlay="theirs")
        guest.write(guest.disks[0], 0, 2 * MIB, 0x66)
        before = guest.state()
        code, said = self.go_on(started)
        self.assertEqual(code, 4, said)
        self.assertIn("others have changed it", said)
        left = guest.state()
        for key in ("status", "roots"):
            self.assertEqual(left[key], before[key])
        for key in ("jobs", "exports", "fdsets"):
            self.assertEqual(left[key], [])
        self.assertFalse([node for node in left["nodes"] if node.startswith("qmpsnap-")])
        self.assert_no_image(guest)
        guest.qemu_io(guest.disks[0], f"read -P 0x66 0 {2 * MIB}")


class JobSnapshotted(Snapshotted):
    METHOD = {"method": "stream", "flavour": "job"}


class BackupSnapshotted(Snapshotted):
    METHOD = {"method": "backup"}
    STEP = "spool"


class MirrorSnapshotted(Snapshotted):
    METHOD = {"method": "mirror"}
    STEP = "spool"


class ColdSnapshotted(Snapshotted):
    METHOD = {"method": "cold"}
    STEP = "spool"


class StillUsed(OthersTest):
    def setUp(self):
        self.needs_filter()

    def test_scratch_keeps_its_bytes(self):
        """What QEMU may still write to isn't cut under it: a guest's write would fail there."""
        guest = self.guest(Disk(8 * MIB))
        before = guest.state()
        started = self.stopped_after(guest, "filter")
        ours = [name for name in guest.state()["nodes"] if name.endswith("-s0")]
        guest.monitor.command("blockdev-add", driver="raw", file=ours[0],
                              **{"node-name": "theirs", "read-only": True})
        os.kill(started.pid, signal.SIGTERM)
        code, said = self.go_on(started)
        self.assertNotEqual(code, 0, said)
        sizes = [os.stat(path).st_size for path in pathlib.Path(f"/proc/{guest.pid}/fd").iterdir()
                 if str(guest.scratch) in os.readlink(path)]
        self.assertTrue(sizes and all(sizes), sizes)
        guest.monitor.command("blockdev-del", **{"node-name": "theirs"})
        self.assertEqual(tool.run("recover", "--qmp", guest.address, env=guest.tool_env())[0], 0)
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

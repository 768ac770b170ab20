# SPDX-License-Identifier: Apache-2.0
"""What others put under or over a disk after the instant: an overlay, a job's filter, another disk.
Theirs stays, with all that the guest has written, and ours goes."""
import signal
import unittest

import images
import tool
from copies import copying, wait_writable
from lab import MIB, Disk
from monitor import MonitorError
from test_killed import RecoverTest

SIZE = 16 * MIB
UNDO = 9


class OverlayTest(RecoverTest):
    SNAPSHOT = ("--method", "stream", "--flavour", "filter")

    def setUp(self):
        if "filter" in self.SNAPSHOT:
            self.needs_filter()

    def begin(self):
        """A snapshot that is being uploaded: (guest, the command)."""
        guest = self.guest(Disk(SIZE))
        guest.write(guest.disks[0], 0, 8 * MIB, 0x55)
        started = guest.snapshot(*self.SNAPSHOT, "--speed", "4M")
        wait_writable(started, self.SNAPSHOT)
        self.assertIsNone(started.result, started.describe())
        return guest, started

    def new_node(self, guest, name="theirs", **options):
        path = guest.folder / f"{name}.qcow2"
        images.create(path, "qcow2", guest.disks[0].size)
        guest.monitor.command("blockdev-add", driver="qcow2", node_name=name,
                              file={"driver": "file", "filename": str(path)}, **options)
        return path

    def overlay(self, guest, on="drive0"):
        self.new_node(guest, backing=None)
        guest.monitor.command("blockdev-snapshot", node=on, overlay="theirs")

    def overlaid(self):
        """... with an overlay on the disk that has new data."""
        guest, started = self.begin()
        self.overlay(guest)
        self.write_new(guest)
        return guest, started

    def write_new(self, guest):
        guest.write(guest.disks[0], MIB, 2 * MIB, 0x66, keep_reference=False)

    def root(self, guest):
        root, = guest.state()["roots"].values()
        return root

    def assert_on(self, guest, node):
        """The guest runs on their node and has what it wrote; nothing of ours is left."""
        self.assertTrue(guest.alive(), guest.log())
        self.assertEqual(self.root(guest), node)
        disk = guest.disks[0]
        guest.qemu_io(disk, f"read -P 0x66 {MIB} {2 * MIB}")
        guest.qemu_io(disk, f"read -P 0x55 {3 * MIB} {5 * MIB}")
        state = guest.state()
        self.assertEqual([name for name in state["nodes"] if "qmpsnap" in name], [])
        self.assert_nothing_left(guest, {**state, "status": "running", "jobs": [], "exports": [],
                                         "fdsets": []})

    def assert_taken(self, guest, started, node):
        self.assert_done(started)
        self.assert_image_is_reference(guest)
        self.assert_on(guest, node)


class Overlay(OverlayTest):
    def test_at_the_end(self):
        guest, started = self.overlaid()
        self.assert_taken(guest, started, "theirs")
        for path in guest.store.iterdir():
            path.unlink()
        guest.write(guest.disks[0], MIB, 2 * MIB, 0x66)  # the reference follows
        self.assert_done(guest.snapshot(*self.SNAPSHOT))
        self.assert_image_is_reference(guest)

    def test_when_it_is_cancelled(self):
        guest, started = self.overlaid()
        started.signal(signal.SIGTERM)
        self.assertEqual(started.wait(), 128 + signal.SIGTERM, started.describe())
        self.assert_on(guest, "theirs")
        self.assert_no_image(guest)

    def test_by_the_guard(self):
        guest, started = self.overlaid()
        started.signal(signal.SIGKILL)
        started.wait()
        self.assertIn("all of it has been undone", started.stderr)
        self.assert_on(guest, "theirs")
        self.assert_no_image(guest)

    def killed(self):
        guest, started = self.overlaid()
        tool.kill_at_once(started.pid, tool.guard_of(started.pid))
        started.wait()
        return guest

    def test_by_recover(self):
        guest = self.killed()
        self.assertIn("is undone", self.recover(guest))
        self.assert_on(guest, "theirs")
        self.assert_no_image(guest)

    def test_by_recover_without_a_journal(self):
        guest = self.killed()
        self.forget(guest)
        self.recover(guest)
        self.assert_on(guest, "theirs")


class JobOfOthers(OverlayTest):
    def test_mirror_is_refused(self):
        """By QEMU: one that becomes the disk would leave our filter without the guest's writes."""
        guest, started = self.begin()
        self.new_node(guest)
        for device in ("drive0", self.root(guest)):
            with self.assertRaises(MonitorError):
                guest.monitor.command("blockdev-mirror", device=device, target="theirs",
                                      sync="full", job_id="theirs")
        guest.monitor.command("blockdev-del", node_name="theirs")
        self.write_new(guest)
        self.assert_taken(guest, started, "drive0")

    def test_backup_that_goes_on(self):
        """It sees each write of the guest, which goes through its filter, before ours and after."""
        guest, started = self.begin()
        path = self.new_node(guest)
        guest.monitor.command("blockdev-backup", device="drive0", target="theirs", sync="full",
                              job_id="theirs", speed=MIB // 2)
        self.assert_done(started)
        self.assert_image_is_reference(guest)
        job, = guest.monitor.command("query-jobs")
        self.assertEqual(job["status"], "running")
        self.write_new(guest)
        guest.monitor.command("block-job-set-speed", device="theirs", speed=0)
        guest.monitor.wait_event("BLOCK_JOB_COMPLETED")
        guest.monitor.command("blockdev-del", node_name="theirs")
        images.assert_same(path, "qcow2", guest.disks[0].reference, "raw")
        self.assert_on(guest, "drive0")


class Above(OverlayTest):
    def test_an_overlay_on_our_filter(self):
        """Ours can't go while it stands on it; nothing is lost, and once it is committed there,
        recover does it."""
        guest, started = self.begin()
        self.overlay(guest, on=self.root(guest))
        self.write_new(guest)
        self.assertEqual(started.wait(), UNDO, started.describe())
        self.assertIn("theirs", started.stderr)
        self.assert_no_image(guest)
        guest.monitor.command("blockdev-reopen", options=[
            {"driver": "qcow2", "node-name": "theirs", "file": self.file_of(guest, "theirs"),
             "backing": "drive0"}])
        self.recover(guest)
        self.assert_on(guest, "theirs")

    @staticmethod
    def file_of(guest, name):
        graph = guest.monitor.command("x-debug-query-block-graph")
        ids = {node["name"]: node["id"] for node in graph["nodes"]}
        child, = (edge["child"] for edge in graph["edges"]
                  if edge["parent"] == ids[name] and edge["name"] == "file")
        return next(node["name"] for node in graph["nodes"] if node["id"] == child)


class ByBackup(Overlay):
    SNAPSHOT = ("--method", "backup")


class ByJob(OverlayTest):
    SNAPSHOT = ("--method", "stream", "--flavour", "job")

    def test_it_is_refused(self):
        """By QEMU, and the snapshot goes on."""
        guest, started = self.begin()
        with self.assertRaises(MonitorError):
            self.overlay(guest)
        self.write_new(guest)
        guest.monitor.command("blockdev-del", node_name="theirs")
        self.assert_taken(guest, started, "drive0")


class ByMirror(OverlayTest):
    def test_it_is_refused_before_the_instant(self):
        guest = self.guest(Disk(48 * MIB))
        for offset in range(0, 48 * MIB, 8 * MIB):
            guest.write(guest.disks[0], offset, 8 * MIB, 0x55)
        started = guest.snapshot("--method", "mirror", "--speed", "4M")
        self.assertIsNotNone(started.wait_for(copying))
        with self.assertRaises(MonitorError):
            self.overlay(guest)
        guest.monitor.command("blockdev-del", node_name="theirs")
        guest.write(guest.disks[0], MIB, 2 * MIB, 0x66)
        self.assertFalse(any(map(tool.is_after_instant, started.events)), started.describe())
        self.assert_taken(guest, started, "drive0")


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""The known dangers (blockops/dangers.c) on a QEMU that has them: the guest lives.

A real Linux writes all the time to a disk that an iothread serves.  QMPSNAP_REPEAT says how many
snapshots in a row; without it 5."""
import os
import signal
import unittest

import blocks
import builds
import images
import tool
from copies import uploading
from lab import MIB, SLOTS, Disk, LabTest

REPEAT = int(os.environ.get("QMPSNAP_REPEAT", 5))
WARM_UP = SLOTS + 20
REFUSED = 3


class Iothread(LabTest):
    def busy_guest(self, device):
        blk = device == "virtio-blk-pci"
        options = ["-object", "iothread,id=io0"]
        if not blk:
            options += ["-global", "virtio-scsi-pci.iothread=io0"]
        disk = Disk(32 * MIB, device=f"{device},iothread=io0" if blk else device)
        guest = self.guest(disk, job="write", options=options)
        guest.wait_count(WARM_UP)
        return guest

    def image_holds(self, guest, first):
        path, fmt = self.image_of(guest)
        images.assert_clean(path, fmt)
        raw = images.to_raw(path, fmt, guest.folder / "image.raw")
        number, bad = blocks.verify(raw, SLOTS)
        self.assertEqual(bad, 0)
        self.assertGreaterEqual(number, first)
        for file in guest.store.iterdir():
            file.unlink()

    def taken_again_and_again(self, device):
        guest = self.busy_guest(device)
        before = guest.state()
        wanted = "stream" if builds.is_good_in_iothreads() else "backup"
        for _ in range(REPEAT):
            first = guest.counted()
            started = guest.snapshot("-v")
            self.assert_done(started)
            self.assertEqual(started.result["method"], wanted)
            told = f"method {wanted}: {started.result['reason']}"
            self.assertIn(told, [e["message"] for e in started.events if e["event"] == "log"])
            if wanted == "backup":
                self.assertIn("iothread", started.result["reason"])
            self.image_holds(guest, first)
            self.assert_nothing_left(guest, before)
        guest.wait_count(guest.counted() + 1)

    def test_virtio_blk(self):
        self.taken_again_and_again("virtio-blk-pci")

    def test_virtio_scsi(self):
        self.taken_again_and_again("scsi-hd")

    def test_by_name_it_is_refused(self):
        if builds.is_good_in_iothreads():
            self.skipTest("this QEMU does well with iothreads")
        guest = self.busy_guest("virtio-blk-pci")
        before = guest.state()
        for flavour in ("auto", "filter", "job"):
            with self.subTest(flavour=flavour):
                started = guest.snapshot("--method", "stream", "--flavour", flavour)
                self.assertEqual(started.wait(), 3, started.describe())
                self.assertIn("iothread", started.result["error"]["message"])
                self.assert_nothing_left(guest, before)


class Asleep(LabTest):
    """Suspended to RAM, which QEMU doesn't count as stopped."""

    def test_cold_is_refused_and_others_let_it_sleep(self):
        disk = Disk(8 * MIB)
        guest = self.guest(disk, Disk(MIB, fmt="raw"), job="sleep")
        guest.wait_count(1)
        guest.qemu_io(guest.disks[1], f"write -P {ord('g'):#x} 0 65536")
        guest.monitor.wait_event("SUSPEND")
        guest.write(disk, MIB, MIB, 0x42)
        before = guest.state()
        self.assertEqual(before["status"], "suspended")
        refused = guest.snapshot("--method", "cold")
        self.assert_done(refused, REFUSED)
        self.assertIn("the guest sleeps", refused.result["error"]["message"])
        self.assertEqual(guest.state(), before)
        started = guest.snapshot()
        self.assert_done(started)
        self.assertEqual(started.result["consistency"], "crash")
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)
        guest.monitor.command("system_wakeup")
        guest.wait_count(2)


class ConcludedJob(LabTest):
    """Of somebody else, who hasn't dismissed it."""

    WANTED = REFUSED if builds.dies_of_listing_nodes() else 0

    def conclude(self, guest):
        number = len(guest.disks) - 1
        target = guest.folder / "theirs.qcow2"
        images.create(target, "qcow2", guest.disks[number].size)
        ask = guest.monitor.command
        ask("blockdev-add", driver="qcow2", node_name="target",
            file={"driver": "file", "filename": str(target)})
        ask("blockdev-backup", device=f"drive{number}", target="target", sync="full",
            job_id="theirs", auto_dismiss=False)
        while guest.monitor.wait_event("JOB_STATUS_CHANGE")["data"] != {"id": "theirs",
                                                                        "status": "concluded"}:
            pass

    def dismiss(self, guest):
        self.assertTrue(guest.alive(), guest.log())
        guest.monitor.command("job-dismiss", id="theirs")
        guest.monitor.command("blockdev-del", node_name="target")

    def test_nodes_are_listed_only_where_it_is_safe(self):
        guest = self.guest(Disk(8 * MIB))
        self.conclude(guest)
        for command in ("inspect", "recover"):
            code, _, said = tool.run(command, "--qmp", guest.address, env=guest.tool_env())
            self.assertEqual(code, self.WANTED, said)
            self.assertTrue(guest.alive(), guest.log())
            if self.WANTED:
                self.assertIn("theirs", said)
        started = guest.snapshot("--dry-run")
        self.assertEqual(started.wait(), self.WANTED, started.describe())
        self.dismiss(guest)
        self.assert_done(guest.snapshot())
        self.assertTrue(guest.alive(), guest.log())

    def begin(self, *method):
        """A snapshot of the first disk, whose upload goes on when their job has ended."""
        guest = self.guest(Disk(16 * MIB), Disk(MIB))
        guest.write(guest.disks[0], 0, 12 * MIB, 0x55)
        before = guest.state()
        started = guest.snapshot("--disk", "vd0", "--speed", "4M", *method)
        self.assertIsNotNone(started.wait_for(uploading), started.describe())
        self.conclude(guest)
        self.assertIsNone(started.result, started.describe())
        return guest, before, started

    def assert_undone(self, guest, before):
        self.dismiss(guest)
        self.assert_nothing_left(guest, before)

    METHODS = (("--method", "backup"), ("--method", "mirror"),
               ("--method", "backup", "--release-monitor"),
               ("--method", "stream", "--flavour", "job"))

    def test_it_ends_during_the_upload(self):
        for method in self.METHODS:
            with self.subTest(method=method):
                guest, before, started = self.begin(*method)
                self.assert_done(started)
                images.assert_same(guest.published()[0], "qcow2", guest.disks[0].reference, "raw")
                self.assert_undone(guest, before)

    def test_and_the_guard_undoes(self):
        for method in self.METHODS:
            with self.subTest(method=method):
                guest, before, started = self.begin(*method)
                started.signal(signal.SIGKILL)
                started.wait()
                self.assertIn("all of it has been undone", started.stderr)
                self.assert_undone(guest, before)

    def test_and_recover_undoes(self):
        """What the journal names; what else there may be isn't looked for."""
        for method in self.METHODS:
            with self.subTest(method=method):
                guest, before, started = self.begin(*method)
                tool.kill_at_once(started.pid, tool.guard_of(started.pid))
                started.wait()
                code, out, said = tool.run("recover", "--qmp", guest.address,
                                           env=guest.tool_env())
                self.assertEqual(code, self.WANTED, said)
                self.assertIn("is undone", out)
                self.assert_undone(guest, before)


if __name__ == "__main__":
    unittest.main()

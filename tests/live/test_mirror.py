# SPDX-License-Identifier: Apache-2.0
"""The method mirror: QEMU copies the disks into files; the point in time is the copy's end."""
import time
import unittest

import builds
import images
import test_booted
import test_frozen
import test_killed
import tool
from copies import IOTHREAD, SPEED, copying
from lab import MIB, Disk, LabTest
from monitor import MonitorError
from relay import Relay
from test_frozen import CHUNK

MIRROR = ("--method", "mirror")
REFUSED, DEADLINE, LEFT = 3, 7, 9


class FrozenByMirror(test_frozen.Prefix):
    """The image is the disk as it was when the jobs ended."""

    METHOD = MIRROR

    def check(self, disk, fmt="qcow2", paused=False, options=()):
        guest = self.guest(disk, paused=paused, options=options)
        for offset in range(self.SLOTS * CHUNK, disk.size, MIB):
            guest.write(disk, offset, MIB, 0xff)  # to make the copy last
        before = guest.state()

        def make(i):
            time.sleep(0.01)  # or the copy never catches up with it
            return 0, i % self.SLOTS * CHUNK, CHUNK, 1 + i % 251 if i % 3 else 0
        writer = self.writer(guest, make)
        while len(writer.log) < self.SLOTS and writer.is_alive():
            time.sleep(0.01)
        started = guest.snapshot("--format", fmt, "--speed", SPEED, *self.METHOD)
        self.assertIsNotNone(started.wait_for(copying), started.describe())
        first = len(writer.log)
        started.wait_instant()
        last = len(writer.log) + 1
        self.assert_done(started)
        writer.stop()
        self.assertGreater(last, first + 1)  # the copy took its time
        self.assert_holds_a_prefix(guest, writer.log, first, last)
        self.assert_nothing_left(guest, before)
        self.assertEqual(started.result["stopped_ms"], 0)
        self.assertEqual(started.result["method"], "mirror")

    def assert_holds_a_prefix(self, guest, log, first, last):
        path, fmt = self.image_of(guest)
        images.assert_clean(path, fmt)
        raw = images.to_raw(path, fmt, guest.folder / "image.raw").read_bytes()
        found = [raw[slot * CHUNK:(slot + 1) * CHUNK] for slot in range(self.SLOTS)]
        self.assertTrue(any(self.holds(found, log, k) for k in range(first + 1, last + 1)))
        rest = len(raw) - self.SLOTS * CHUNK
        self.assertEqual(raw[self.SLOTS * CHUNK:], b"\xff" * rest)

    def test_image_is_a_prefix_of_the_writes(self):
        self.check(Disk(48 * MIB))

    def test_paused(self):
        self.check(Disk(48 * MIB), paused=True)

    def test_drive_raw_to_raw(self):
        self.check(Disk(48 * MIB, fmt="raw", style="drive"), fmt="raw")

    def test_raw_to_qcow2(self):
        self.check(Disk(48 * MIB, fmt="raw"))

    def test_qcow2_to_raw_without_any_id(self):
        self.check(Disk(48 * MIB, style="drive", named=False), fmt="raw")

    def test_scsi(self):
        self.check(Disk(48 * MIB, device="scsi-hd"))

    def test_virtio_blk_in_an_iothread(self):
        disk = Disk(48 * MIB, device="virtio-blk-pci,iothread=io0")
        disk.write_zeroes = "write -P 0"
        self.check(disk, options=IOTHREAD)

    def test_virtio_scsi_in_an_iothread(self):
        disk = Disk(48 * MIB, device="scsi-hd")
        disk.write_zeroes = "write -P 0"
        self.check(disk, options=(*IOTHREAD, "-global", "virtio-scsi-pci.iothread=io0"))

    def test_size_no_multiple_of_a_cluster(self):
        disk = Disk(8 * MIB + 1536)
        guest = self.guest(disk)
        guest.write(disk, disk.size - 512, 512, 0x7f)
        self.assert_done(guest.snapshot(*self.METHOD))
        self.assert_image_is_reference(guest)


class OneInstant(test_booted.Counting):
    METHOD = MIRROR
    SPEED = "8M"  # or it never catches up with this guest

    def check_pause(self, *disks, options=()):
        """Both disks stand at the end of their copies, while the guest stands still."""
        guest = self.guest(*disks, job="twodisks", options=options)
        first, last, result = self.run_it(guest, "8M")
        on_a, bad_a = self.numbers(guest, 0)
        on_b, bad_b = self.numbers(guest, 1)
        self.assertEqual((bad_a, bad_b), (0, 0))
        self.assertIn(on_a - on_b, (0, 1))
        self.assertTrue(first <= on_b and on_a <= last, (first, on_a, on_b, last))
        self.assertTrue(0 < result["stopped_ms"] < 3000, result)

    def test_two_disks_at_one_instant(self):
        self.check_pause(Disk(32 * MIB), Disk(32 * MIB, fmt="raw", style="drive"))

    def test_two_disks_in_an_iothread(self):
        device = "virtio-blk-pci,iothread=io0"
        disks = Disk(32 * MIB, device=device), Disk(32 * MIB, "raw", device=device)
        if builds.dies_of_mirror_ended_in_pause():
            self.check_refused(*disks)
        else:
            self.check_pause(*disks, options=IOTHREAD)

    def check_refused(self, *disks):
        guest = self.guest(*disks, job="twodisks", options=IOTHREAD)
        guest.wait_count(1)
        before = guest.state()
        started = guest.snapshot(*self.METHOD)
        self.assert_done(started, REFUSED)
        self.assertIn("iothread", started.result["error"]["message"])
        self.assert_nothing_left(guest, before)

    def test_without_a_common_instant(self):
        self.skipTest("the gap is the filter's")


class Pinned(LabTest):
    """The node that keeps others from migrating the guest meanwhile: test_meanwhile.py has them
    try it."""

    @staticmethod
    def warned(started):
        return any("nothing keeps others from migrating" in event["message"]
                   for event in started.events if event["event"] == "log")

    def test_qemu_that_must_stay_migratable(self):
        guest = self.guest(Disk(4 * MIB), options=("-only-migratable",))
        guest.write(guest.disks[0], 0, MIB, 0x5a)
        before = guest.state()
        started = guest.snapshot(*MIRROR)
        self.assert_done(started)
        self.assertTrue(self.warned(started), started.describe())
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)

    def test_migration_under_way(self):
        """QEMU would die of a mirror that is begun then."""
        guest = self.guest(Disk(4 * MIB))
        before = guest.state()
        guest.monitor.command("migrate-set-parameters", max_bandwidth=4096)
        guest.monitor.command("migrate", uri="exec:cat >/dev/null")
        started = guest.snapshot(*MIRROR)
        self.assert_done(started, REFUSED)
        self.assertIn("migrating the guest", started.result["error"]["message"])
        self.assertFalse(self.warned(started), started.describe())
        guest.monitor.command("migrate_cancel")
        self.assert_nothing_left(guest, before)
        while guest.monitor.command("query-migrate")["status"] != "cancelled":
            time.sleep(0.02)
        started = guest.snapshot(*MIRROR)
        self.assert_done(started)
        self.assertFalse(self.warned(started), started.describe())


    def test_stays_with_a_job_that_stays(self):
        """As long as the job writes a migration would end QEMU, whoever has given up."""
        guest = self.guest(Disk(96 * MIB))
        guest.write(guest.disks[0], 0, 64 * MIB, 0x5a)
        before = guest.state()
        relay = Relay(guest, {})
        self.addCleanup(relay.close)
        guest.address = relay.address
        started = guest.snapshot(*MIRROR, "--speed", SPEED)
        self.assertIsNotNone(started.wait_for(copying), started.describe())
        relay.refuse("query-jobs", 1000)
        self.assertEqual(started.wait(), LEFT, started.describe())
        with self.assertRaisesRegex(MonitorError, "does not support live migration"):
            guest.migrate()
        relay.refuse("query-jobs", 0)
        code, out, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 0, out + stderr)
        self.assert_nothing_left(guest, before)
        self.assertEqual(guest.migrate(), "completed")


class Stalled(test_killed.KillTest):
    METHOD = {"method": "mirror", "speed": str(MIB // 4)}

    def test_guest_writes_faster_than_it_is_copied(self):
        """Given up by itself; the limit that makes it so has been shortened."""
        guest = self.guest(Disk(128 * MIB))  # QEMU's limit lets the first 16 MiB pass at once
        guest.write(guest.disks[0], 0, 128 * MIB, 0x55)
        before = guest.state()
        writer = self.writer(guest, lambda i: (0, i % 16 * 8 * MIB, 8 * MIB, 1 + i % 100))
        code, stderr = self.faulty(guest, "stall", "3000")
        writer.stop()
        self.assertEqual(code, DEADLINE, stderr)
        self.assertIn("writes faster", stderr)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


class PauseDeadlineOfMirror(test_killed.PauseDeadline):
    """Also where the pause lasts until the copies are complete."""
    METHOD = {"method": "mirror"}


if __name__ == "__main__":
    unittest.main()

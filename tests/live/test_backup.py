# SPDX-License-Identifier: Apache-2.0
"""The method backup: QEMU copies the disks into files; the point in time is the copy's beginning."""
import unittest

import builds
import test_booted
import test_frozen
from copies import IOTHREAD, SPEED, copied, copying, wait_writable
from lab import MIB, Disk, LabTest

BACKUP = ("--method", "backup")


class FrozenByBackup(test_frozen.Frozen):
    METHOD = BACKUP

    def check(self, disk, fmt="qcow2", paused=True, size=24 * MIB, options=()):
        """The writes count that are made while the disk is copied."""
        guest = self.guest(disk, paused=paused, options=options)
        self.fill(guest, disk, size)
        before = guest.state()
        started = guest.snapshot("--format", fmt, "--speed", SPEED, *self.METHOD)
        wait_writable(started, self.METHOD)
        writer = self.writer(guest, test_frozen.overwrite(0, size))
        self.assertIsNotNone(started.wait_for(copied), started.describe())
        while_copied = len(writer.log)
        self.assert_done(started)
        writer.stop()
        if not builds.monitor_writes_wait_for_backup():
            self.assertGreater(while_copied, test_frozen.MIN_WRITES)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)
        self.assertEqual(self.image_of(guest)[1], fmt)
        self.assertEqual(started.result["stopped_ms"], 0)
        self.assertEqual(started.result["method"], "backup")
        return guest, started

    def test_usb_storage(self):
        self.check(Disk(24 * MIB, device="usb-storage"), paused=False)

    def test_virtio_blk_in_an_iothread(self):
        disk = Disk(24 * MIB, device="virtio-blk-pci,iothread=io0")
        disk.write_zeroes = "write -P 0"
        self.check(disk, paused=False, options=IOTHREAD)

    def test_virtio_scsi_in_an_iothread(self):
        disk = Disk(24 * MIB, device="scsi-hd")
        disk.write_zeroes = "write -P 0"
        self.check(disk, paused=False,
                   options=(*IOTHREAD, "-global", "virtio-scsi-pci.iothread=io0"))


class ChainByBackup(test_frozen.Chain):
    METHOD = BACKUP


class OneInstant(test_booted.Counting):
    METHOD = BACKUP

    def test_two_disks_in_an_iothread(self):
        device = "virtio-blk-pci,iothread=io0"
        guest = self.guest(Disk(32 * MIB, device=device), Disk(32 * MIB, "raw", device=device),
                           job="twodisks", options=IOTHREAD)
        first, last, result = self.run_it(guest, "8M")
        on_a, bad_a = self.numbers(guest, 0)
        on_b, bad_b = self.numbers(guest, 1)
        self.assertEqual((bad_a, bad_b), (0, 0))
        self.assertIn(on_a - on_b, (0, 1))
        self.assertTrue(first <= on_b and on_a <= last, (first, on_a, on_b, last))
        self.assertEqual(result["stopped_ms"], 0)

    def test_without_a_common_instant(self):
        self.skipTest("a transaction has no gap")


class Ended(LabTest):
    def test_a_job_that_has_ended_does_not_wait_for_the_others(self):
        """While one stands concluded, QEMU 5.2 dies of being asked for its nodes."""
        guest = self.guest(Disk(MIB), Disk(32 * MIB))
        for disk in guest.disks:
            guest.write(disk, 0, disk.size, 0x55)
        before = guest.state()
        started = guest.snapshot("--speed", "4M", *BACKUP)
        self.assertIsNotNone(started.wait_for(
            lambda event: copying(event) and event["done_bytes"] > 2 * MIB), started.describe())
        self.assertEqual(len(guest.monitor.command("query-jobs")), 1)
        guest.monitor.command("query-named-block-nodes", flat=True)
        self.assertIsNone(started.result)
        self.assert_done(started)
        for number in range(2):
            self.assert_image_is_reference(guest, number)
        self.assert_nothing_left(guest, before)


class Room(LabTest):
    def test_sparse_disk_makes_a_small_image(self):
        disk = Disk(512 * MIB)
        guest = self.guest(disk)
        guest.write(disk, 0, MIB, 0x11)
        guest.write(disk, 300 * MIB, MIB, 0x12)
        guest.write(disk, 400 * MIB, 8 * MIB, 0x13)
        guest.qemu_io(disk, f"write -P 0 {400 * MIB} {8 * MIB}")  # allocated, and all zeroes
        with open(disk.reference, "r+b") as reference:
            reference.seek(400 * MIB)
            reference.write(bytes(8 * MIB))
        started = guest.snapshot(*BACKUP)
        self.assert_done(started)
        self.assert_image_is_reference(guest)
        most = 12 * MIB if builds.backup_copies_zeroes() else 4 * MIB
        self.assertLess(self.image_of(guest)[0].stat().st_size, most)
        # Reserved was the whole of it.
        self.assertGreater(started.result["scratch_bytes"], 512 * MIB)

    def test_raw_image_is_sparse(self):
        disk = Disk(64 * MIB)
        guest = self.guest(disk)
        guest.write(disk, 0, MIB, 0x11)
        self.assert_done(guest.snapshot("--format", "raw", *BACKUP))
        self.assert_image_is_reference(guest)
        self.assertLess(self.image_of(guest)[0].stat().st_blocks * 512, 4 * MIB)


if __name__ == "__main__":
    unittest.main()

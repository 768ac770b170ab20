# SPDX-License-Identifier: Apache-2.0
"""--zero-scan: what is allocated and holds only zeroes isn't in the image.

The measure is qemu-img convert of the same disk. A disk whose map tells its holes isn't read
twice."""
import os
import signal
import unittest

import builds
import images
from lab import KIB, MIB, Disk, LabTest

SIZE = 48 * MIB
ODD = 1536


class ZeroScanTest(LabTest):
    def fill(self, guest, disk, size=SIZE):
        """Data here and there, some of a cluster only, and zeroes written as data."""
        for offset in range(0, size - MIB, 6 * MIB):
            guest.write(disk, offset, MIB, 0x11)
            guest.write(disk, offset + 2 * MIB + 60 * KIB, 8 * KIB, 0x22)
            guest.qemu_io(disk, f"write -P 0 {offset + 4 * MIB} {512 * KIB}")
        guest.write(disk, size - 512, 512, 0x33)

    def take(self, disk, *args, fmt="qcow2", size=SIZE, fill=True):
        guest = self.guest(disk, paused=True)
        if fill:
            self.fill(guest, disk, size)
        before = guest.state()
        started = guest.snapshot("--format", fmt, *args)
        self.assert_done(started)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)
        return guest, started

    def scanned(self, started):
        return any(e["event"] == "step" and e["step"] == "scan" for e in started.events)

    def converted(self, guest, fmt="qcow2"):
        """What qemu-img makes of the disk: (file size, bytes on the host)."""
        disk = guest.disks[0]
        guest.monitor.command("quit")
        guest.wait_end()
        path = guest.folder / "converted"
        images.qemu_img("convert", "-f", disk.format, "-O", fmt, disk.path, path)
        return path.stat().st_size, path.stat().st_blocks * 512

    def assert_as_small(self, guest):
        path, _ = self.image_of(guest)
        size, _ = self.converted(guest)
        self.assertLessEqual(path.stat().st_size, 1.01 * size + MIB)
        self.assertLess(size, SIZE / 2)  # or it would tell nothing


class ZeroScan(ZeroScanTest):
    def check_auto(self, disk, size=SIZE):
        guest, started = self.take(disk, size=size)
        self.assertTrue(self.scanned(started))
        self.assert_as_small(guest)

    def test_block_device(self):
        self.check_auto(self.loop_disk(SIZE))

    def test_block_device_by_drive(self):
        self.check_auto(self.loop_disk(SIZE, style="drive"))

    def test_preallocated_raw(self):
        self.check_auto(Disk(SIZE, fmt="raw", create="preallocation=full"))

    def test_preallocated_raw_of_odd_size(self):
        self.check_auto(Disk(SIZE + ODD, fmt="raw", create="preallocation=full"), SIZE + ODD)

    def test_preallocated_qcow2(self):
        self.check_auto(Disk(SIZE, create="preallocation=full"))

    def test_reserved_files_tell_their_holes(self):
        """Preallocated too, and yet the map tells its holes."""
        for fmt, how in (("raw", "falloc"), ("qcow2", "metadata")):
            with self.subTest(fmt=fmt, how=how):
                guest, started = self.take(Disk(SIZE, fmt=fmt, create=f"preallocation={how}"))
                self.assertFalse(self.scanned(started))
                path, _ = self.image_of(guest)
                size, _ = self.converted(guest)
                zeroes = 8 * 512 * KIB  # were written as data, and only a scan finds them
                self.assertLessEqual(path.stat().st_size, 1.01 * (size + zeroes) + MIB)

    def test_sparse_disks_are_not_scanned(self):
        for fmt in ("qcow2", "raw"):
            with self.subTest(fmt=fmt):
                guest, started = self.take(Disk(SIZE, fmt=fmt))
                self.assertFalse(self.scanned(started))

    def test_always(self):
        guest, started = self.take(Disk(SIZE), "--zero-scan", "always")
        self.assertTrue(self.scanned(started))
        self.assert_as_small(guest)

    def test_never(self):
        disk = Disk(SIZE, fmt="raw", create="preallocation=full")
        guest, started = self.take(disk, "--zero-scan", "never")
        self.assertFalse(self.scanned(started))
        self.assertGreater(self.image_of(guest)[0].stat().st_size, SIZE)

    def test_empty_block_device(self):
        guest, started = self.take(self.loop_disk(SIZE), fill=False)
        self.assertTrue(self.scanned(started))
        self.assertLess(self.image_of(guest)[0].stat().st_size, MIB)

    def test_raw_image_of_a_block_device(self):
        """Its size is the disk's, and the upload finds the zeroes: no second read."""
        guest, started = self.take(self.loop_disk(SIZE), fmt="raw")
        self.assertFalse(self.scanned(started))
        blocks = self.image_of(guest)[0].stat().st_blocks * 512
        self.assertLess(blocks, SIZE / 2)

    def test_raw_image_never(self):
        guest, _ = self.take(self.loop_disk(SIZE), "--zero-scan", "never", fmt="raw")
        self.assertGreaterEqual(self.image_of(guest)[0].stat().st_blocks * 512, SIZE)


class Copied(ZeroScanTest):
    """By QEMU, whose target leaves out what is all zero: cluster by cluster where the disk's
    holes can't be told, else in pieces of 1 MiB."""
    STRIPES = 7 * MIB

    def fill(self, guest, disk, size=SIZE):
        """Besides, where that leaves room, clusters of data and of zeroes in turn."""
        super().fill(guest, disk, size)
        for begin in range(5 * MIB, 6 * self.STRIPES, 6 * MIB):
            for offset in range(begin, begin + MIB, 128 * KIB):
                guest.write(disk, offset, 64 * KIB, 0x44)
                guest.qemu_io(disk, f"write -P 0 {offset + 64 * KIB} {64 * KIB}")

    def copied(self, method, disk, *args):
        guest, started = self.take(disk, "--method", method, *args)
        self.assertFalse(self.scanned(started))
        return guest, started

    def check(self, method, make_disk, *args):
        with self.subTest(method=method):
            if method == "backup" and builds.backup_copies_zeroes():
                return
            guest, _ = self.copied(method, make_disk(), *args)
            self.assert_as_small(guest)

    def check_both(self, make_disk, *args):
        for method in ("backup", "mirror"):
            self.check(method, make_disk, *args)

    def test_preallocated_raw(self):
        self.check_both(lambda: Disk(SIZE, fmt="raw", create="preallocation=full"))

    def test_preallocated_qcow2(self):
        self.check_both(lambda: Disk(SIZE, create="preallocation=full"))

    def test_block_device(self):
        self.check_both(lambda: self.loop_disk(SIZE))

    def test_always(self):
        self.check_both(lambda: Disk(SIZE), "--zero-scan", "always")

    def test_sparse_disks_are_copied_in_large_pieces(self):
        for method in ("backup", "mirror"):
            with self.subTest(method=method):
                guest, _ = self.copied(method, Disk(SIZE))
                path, _ = self.image_of(guest)
                size, _ = self.converted(guest)
                self.assertGreater(path.stat().st_size, size + self.STRIPES / 2 - MIB)

    def test_always_is_warned_of_a_backup_that_copies_zeroes(self):
        _, started = self.copied("backup", Disk(SIZE), "--zero-scan", "always")
        warnings = [event["message"] for event in started.events if event["event"] == "log"]
        told = any("has no x-perf" in warning for warning in warnings)
        self.assertEqual(told, builds.backup_copies_zeroes(), warnings)


class Meanwhile(ZeroScanTest):
    """The scan reads what was at the instant, also while the guest overwrites it."""

    def test_writes_during_the_scan(self):
        disk = Disk(SIZE, fmt="raw", create="preallocation=full")
        guest = self.guest(disk)
        self.fill(guest, disk)
        before = guest.state()
        started = guest.snapshot("--speed", "24M", "--format", "qcow2")
        started.wait_instant()

        def make(i):  # data where zeroes were, and zeroes where data was
            return 0, i * 7 % (SIZE // (64 * KIB)) * 64 * KIB, 64 * KIB, 0 if i % 2 else 0x77
        writer = self.writer(guest, make)
        self.assert_done(started)
        self.assertGreater(writer.stop(), 20)
        self.assertTrue(self.scanned(started))
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)
        told = [e for e in started.events if e["event"] == "progress" and e.get("step") == "scan"]
        self.assertTrue(told)
        self.assertEqual(told[-1]["total_bytes"], SIZE)

    def begin(self, *args):
        disk = Disk(SIZE, fmt="raw", create="preallocation=full")
        guest = self.guest(disk)
        self.fill(guest, disk)
        before = guest.state()
        started = guest.snapshot("--speed", "2M", "--format", "qcow2", *args)
        self.assertIsNotNone(started.wait_for(lambda e: e.get("step") == "scan" and
                                              e["event"] == "progress"), started.describe())
        return guest, before, started

    def assert_given_up(self, guest, started, code):
        self.assertEqual(started.wait(), code, started.describe())
        self.assertEqual(started.result["images"], [])
        self.assertEqual(guest.published(), [])

    def test_interrupted(self):
        guest, before, started = self.begin()
        started.signal(signal.SIGINT)
        self.assert_given_up(guest, started, 130)
        self.assert_nothing_left(guest, before)

    def test_scratch_full(self):
        guest, before, started = self.begin("--scratch-limit", "1M")
        writer = self.writer(guest, lambda i: (0, i % 200 * 64 * KIB, 64 * KIB, 0x66))
        self.assert_given_up(guest, started, 6)
        writer.stop()
        self.assertIn("scratch", started.result["error"]["hint"])
        self.assert_nothing_left(guest, before)

    def test_qemu_dies(self):
        guest, _, started = self.begin()
        os.kill(guest.pid, signal.SIGKILL)
        self.assert_given_up(guest, started, 4)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""The image is the disk as it was at the instant, whatever is written during the upload.

Guests without an OS: known patterns are written before, other ones from the moment on at which the
instant is reported, through a second monitor, all over the disk, until the image is published."""
import unittest

import images
from copies import wait_writable
from lab import KIB, MIB, Disk, LabTest

CHUNK = 64 * KIB
SPEED = "6M"
MIN_WRITES = 20


def overwrite(disk_number, size):
    """The writes during the upload: scattered chunks, each tenth zeroes."""
    chunks = size // CHUNK

    def make(i):
        offset = i * 7 % chunks * CHUNK
        return disk_number, offset, CHUNK, 0 if i % 10 == 9 else 0x80 + i % 100
    return make


class Frozen(LabTest):
    METHOD = ()  # options that name one; test_job has others

    def fill(self, guest, disk, size):
        """Data in every other 512 KiB, zeroes written over a part of it, the very end too."""
        step = 512 * KIB
        for i in range(0, size // step, 2):
            guest.write(disk, i * step, step, 1 + i % 100)
        guest.write(disk, 0, 96 * KIB, 0)
        guest.write(disk, size - 512, 512, 0x7f)

    def check(self, disk, fmt="qcow2", paused=True, size=24 * MIB):
        guest = self.guest(disk, paused=paused)
        self.fill(guest, disk, size)
        before = guest.state()
        started = guest.snapshot("--format", fmt, "--speed", SPEED, *self.METHOD)
        started.wait_instant()
        writer = self.writer(guest, overwrite(0, size))
        self.assert_done(started)
        writes = writer.stop()
        self.assertGreater(writes, MIN_WRITES)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)
        self.assertEqual(self.image_of(guest)[1], fmt)
        return guest, started

    def test_blockdev_qcow2(self):
        self.check(Disk(24 * MIB))

    def test_blockdev_qcow2_running(self):
        _, started = self.check(Disk(24 * MIB), paused=False)
        self.assertEqual(started.result["stopped_ms"], 0)  # one disk needs no stop

    def test_blockdev_raw_to_raw(self):
        self.check(Disk(24 * MIB, fmt="raw"), fmt="raw")

    def test_blockdev_raw_to_qcow2_running(self):
        self.check(Disk(24 * MIB, fmt="raw"), paused=False)

    def test_blockdev_qcow2_to_raw_running(self):
        self.check(Disk(24 * MIB), fmt="raw", paused=False)

    def test_drive_qcow2(self):
        self.check(Disk(24 * MIB, style="drive"))

    def test_drive_raw_running(self):
        self.check(Disk(24 * MIB, fmt="raw", style="drive"), paused=False)

    def test_drive_without_any_id(self):
        self.check(Disk(24 * MIB, style="drive", named=False))

    def test_drive_without_any_id_running(self):
        self.check(Disk(24 * MIB, style="drive", named=False), paused=False)

    def test_scsi(self):
        self.check(Disk(24 * MIB, device="scsi-hd"))

    def test_ide(self):
        self.check(Disk(24 * MIB, device="ide-hd", style="drive"), paused=False)

    def test_nvme(self):
        self.check(Disk(24 * MIB, device="nvme"))

    def test_size_no_multiple_of_a_cluster(self):
        size = 24 * MIB + 1536
        self.check(Disk(size), size=size)

    def test_raw_size_no_multiple_of_a_cluster(self):
        size = 24 * MIB + 512
        self.check(Disk(size, fmt="raw"), fmt="raw", size=size)


class Small(LabTest):
    METHOD = ()

    def check(self, disk, fmt="qcow2"):
        guest = self.guest(disk, paused=True)
        guest.write(disk, 0, 512, 0x42)
        before = guest.state()
        self.assert_done(guest.snapshot("--format", fmt, *self.METHOD))
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)

    def test_one_sector(self):
        self.check(Disk(512))

    def test_one_sector_raw(self):
        self.check(Disk(512, fmt="raw"), fmt="raw")

    def test_nothing_written(self):
        disk = Disk(1 << 40)
        guest = self.guest(disk, paused=True)
        before = guest.state()
        # The job flavour reserves what the disk may need: all that the host has, meanwhile.
        self.assert_done(guest.snapshot("--scratch-limit", "1G", *self.METHOD))
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)
        self.assertLess(self.image_of(guest)[0].stat().st_size, MIB)


class Chain(LabTest):
    """Disks that stand on backing files: the image holds everything and needs none of them."""

    METHOD = ()

    def test_two_backing_files(self):
        size = 16 * MIB
        base = Disk(size, fmt="raw")
        middle = Disk(size, backing=base)
        top = Disk(size, backing=middle)
        maker = self.guest(base, paused=True)
        maker.write(base, 0, 8 * MIB, 0x11)
        maker.write(base, 15 * MIB, MIB, 0x12)
        maker.kill()
        middle.make(maker.folder, "middle")
        middle.reference.write_bytes(base.reference.read_bytes())
        writer = self.guest(middle, paused=True)
        writer.write(middle, 4 * MIB, 2 * MIB, 0x21)
        writer.write(middle, MIB, MIB, 0)
        writer.monitor.command("quit")  # flushes
        writer.wait_end()
        top.make(maker.folder, "top")
        top.reference.write_bytes(middle.reference.read_bytes())

        guest = self.guest(top, paused=False)
        guest.write(top, 5 * MIB, MIB, 0x31)
        before = guest.state()
        started = guest.snapshot("--speed", SPEED, *self.METHOD)
        wait_writable(started, self.METHOD)
        writes = self.writer(guest, overwrite(0, size))
        self.assert_done(started)
        self.assertGreater(writes.stop(), MIN_WRITES)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)
        path, fmt = self.image_of(guest)
        self.assertNotIn("backing-filename", images.info(path, fmt))


class Prefix(LabTest):
    """Writes go on before, during and after: the image holds the first k of them and no other."""

    METHOD = ()
    SLOTS = 64

    def test_image_is_a_prefix_of_the_writes(self):
        disk = Disk(16 * MIB)
        guest = self.guest(disk)
        for slot in range(self.SLOTS, 2 * self.SLOTS):
            guest.write(disk, slot * CHUNK, CHUNK, 0xff)  # to make the upload last
        before = guest.state()

        def make(i):  # each third write zeroes, which a map taken too late would show as a hole
            return 0, i % self.SLOTS * CHUNK, CHUNK, 1 + i % 251 if i % 3 else 0
        writer = self.writer(guest, make)
        while len(writer.log) < 2 * self.SLOTS and writer.is_alive():
            pass
        first = len(writer.log)
        started = guest.snapshot("--speed", SPEED, *self.METHOD)
        started.wait_instant()
        last = len(writer.log) + 1  # one may be done and not logged yet
        self.assert_done(started)
        self.assertGreater(writer.stop(), last + MIN_WRITES)

        path, fmt = self.image_of(guest)
        images.assert_clean(path, fmt)
        raw = images.to_raw(path, fmt, guest.folder / "image.raw").read_bytes()
        found = [raw[slot * CHUNK:(slot + 1) * CHUNK] for slot in range(self.SLOTS)]
        self.assertTrue(any(self.holds(found, writer.log, k) for k in range(first, last + 1)))
        self.assert_nothing_left(guest, before)

    def holds(self, found, log, k):
        """Whether the disk's slots are what the first k writes made of them."""
        latest = {offset // CHUNK: pattern for _, offset, _, pattern in log[:k]}
        return all(found[slot] == bytes([pattern]) * CHUNK for slot, pattern in latest.items())


if __name__ == "__main__":
    unittest.main()

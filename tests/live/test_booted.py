# SPDX-License-Identifier: Apache-2.0
"""A real Linux that writes numbered blocks in order, with a flush between.

Whatever instant the snapshot has, the image must hold all blocks up to one number and none after,
and that number must lie between the one on the console before the command began and the one when
the instant was reported."""
import subprocess
import unittest

import blocks
import images
from lab import MIB, SLOTS, Disk, LabTest
from tool import FAULTY, GUARD

WARM_UP = SLOTS + 100  # every slot was written, some are being overwritten


class Counting(LabTest):
    METHOD = ()  # options that name one; test_job has others
    SPEED = "2M"  # for one disk

    def numbers(self, guest, number=0):
        path, fmt = self.image_of(guest, number)
        images.assert_clean(path, fmt)
        raw = images.to_raw(path, fmt, guest.folder / f"image{number}.raw")
        return blocks.verify(raw, SLOTS)

    def run_it(self, guest, speed, *args):
        """Returns the numbers on the console before the command and at the reported instant."""
        first = guest.wait_count(WARM_UP)
        before = guest.state()
        started = guest.snapshot("--speed", speed, *self.METHOD, *args)
        started.wait_instant()
        last = guest.counted() + 1  # a block may be on the disk and not on the console yet
        self.assert_done(started)
        self.assertGreater(guest.counted(), last)  # it wrote during the upload
        guest.wait_count(guest.counted() + 1)  # and goes on
        self.assert_nothing_left(guest, before)
        return first, last, started.result

    def check_one(self, disk, fmt="qcow2"):
        guest = self.guest(disk, job="write")
        first, last, result = self.run_it(guest, self.SPEED, "--format", fmt)
        number, bad = self.numbers(guest)
        self.assertEqual(bad, 0)
        self.assertTrue(first <= number <= last, (first, number, last))
        self.assertEqual(result["stopped_ms"], 0)
        self.assertEqual(result["consistency"], "crash")

    def test_one_disk(self):
        self.check_one(Disk(64 * MIB))

    def test_one_raw_disk_by_drive(self):
        self.check_one(Disk(64 * MIB, fmt="raw", style="drive"), fmt="raw")

    def test_two_disks_at_one_instant(self):
        """Block n goes to A before it goes to B: at any one instant A leads by one at most."""
        guest = self.guest(Disk(32 * MIB), Disk(32 * MIB, fmt="raw", style="drive"),
                           job="twodisks")
        first, last, _ = self.run_it(guest, "512K")
        on_a, bad_a = self.numbers(guest, 0)
        on_b, bad_b = self.numbers(guest, 1)
        self.assertEqual((bad_a, bad_b), (0, 0))
        self.assertIn(on_a - on_b, (0, 1))
        self.assertTrue(first <= on_b and on_a <= last, (first, on_a, on_b, last))


    def test_without_a_common_instant(self):
        """The negative control: switched one after the other while the guest runs on, 300 ms
        apart, the two disks differ by more than one block."""
        self.needs_filter()
        guest = self.guest(Disk(32 * MIB), Disk(32 * MIB, fmt="raw", style="drive"),
                           job="twodisks")
        guest.wait_count(WARM_UP)
        before = guest.state()
        done = subprocess.run(
            [FAULTY, "gap", "300", guest.address, f"dir:{guest.store}", GUARD],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_nothing_left(guest, before)
        on_a, bad_a = self.numbers(guest, 0)
        on_b, bad_b = self.numbers(guest, 1)
        self.assertEqual((bad_a, bad_b), (0, 0))
        self.assertGreater(abs(on_b - on_a), 1)


class Judge(LabTest):
    """The judge itself: it must see a block that is missing, and one too many."""

    def setUp(self):
        super().setUp()
        self.disk = Disk(8 * MIB, fmt="raw")
        self.raw = self.guest(self.disk, paused=True).folder / "blocks"

    def write(self, numbers, slots=16):
        data = bytearray(slots * blocks.BLOCK_BYTES)
        for n in numbers:
            at = (n - 1) % slots * blocks.BLOCK_BYTES
            data[at:at + blocks.BLOCK_BYTES] = blocks.block(n)
        self.raw.write_bytes(data)
        return blocks.verify(self.raw, slots)

    def test_good(self):
        self.assertEqual(self.write([]), (0, 0))
        self.assertEqual(self.write(range(1, 8)), (7, 0))
        self.assertEqual(self.write(range(1, 41)), (40, 0))

    def test_missing(self):
        self.assertEqual(self.write([1, 2, 4]), (4, 1))
        self.assertEqual(self.write([n for n in range(1, 41) if n != 33]), (40, 1))

    def test_one_too_many(self):
        self.assertEqual(self.write([*range(1, 31), 33]), (33, 2))

    def test_torn(self):
        self.write(range(1, 8))
        data = bytearray(self.raw.read_bytes())
        data[2 * blocks.BLOCK_BYTES + 3000] ^= 1
        self.raw.write_bytes(data)
        self.assertEqual(blocks.verify(self.raw, 16), (7, 1))


if __name__ == "__main__":
    unittest.main()

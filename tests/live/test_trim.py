# SPDX-License-Identifier: Apache-2.0
"""What the node below did goes on with the filter above it: a guest that frees blocks frees them."""
import unittest

import images
from lab import KIB, MIB, Disk, LabTest

FILE = 24 * MIB
DISCARD = ",discard=unmap,file.discard=unmap"


class Trim(LabTest):
    def setUp(self):
        self.needs_filter()

    def prepare(self, fmt):
        disk = Disk(64 * MIB, fmt=fmt, options=DISCARD)
        guest = self.guest(disk, Disk(MIB, fmt="raw"), job="trim")
        guest.wait_count(1)
        return guest, disk

    def allocated(self, disk):
        return disk.path.stat().st_blocks * 512

    def trim(self, guest, disk):
        """Bytes that the guest's fstrim gave back to the host."""
        before = self.allocated(disk)
        guest.qemu_io(guest.disks[1], f"write -P {ord('g'):#x} 0 {64 * KIB}")
        guest.wait_count(2)
        return before - self.allocated(disk)

    def freed_without_us(self, fmt):
        guest, disk = self.prepare(fmt)
        return self.trim(guest, disk)

    def check(self, fmt):
        guest, disk = self.prepare(fmt)
        before = guest.state()
        self.assert_done(guest.snapshot("--disk", "vd0"))
        first, = guest.published()
        started = guest.snapshot("--disk", "vd0", "--speed", "4M")
        started.wait_instant()
        freed = self.trim(guest, disk)
        self.assertIsNone(started.result)  # the snapshot stood all the while
        self.assert_done(started)
        second, = (path for path in guest.published() if path != first)
        images.assert_clean(second, "qcow2")
        images.assert_same(first, "qcow2", second, "qcow2")
        self.assertGreater(second.stat().st_size, FILE)
        self.assert_nothing_left(guest, before)
        self.assertGreater(freed, FILE - MIB)
        self.assertAlmostEqual(freed, self.freed_without_us(fmt), delta=MIB)

    def test_raw(self):
        self.check("raw")

    def test_qcow2(self):
        self.check("qcow2")


class Options(LabTest):
    def setUp(self):
        self.needs_filter()

    def test_filter_has_the_options_of_the_node(self):
        """detect-zeroes and cache as QEMU tells them of both nodes."""
        disk = Disk(16 * MIB, options=",discard=unmap,detect-zeroes=unmap,cache.direct=on,"
                    "cache.no-flush=on,file.discard=unmap")
        guest = self.guest(disk)
        guest.write(disk, 0, 16 * MIB, 0x11)
        before = guest.state()
        started = guest.snapshot("--speed", "8M")
        started.wait_instant()
        nodes = guest.monitor.command("query-named-block-nodes")
        told = {node["drv"]: (node["detect_zeroes"], node["cache"]["direct"],
                              node["cache"]["no-flush"])
                for node in nodes if node["drv"] == "copy-before-write" or
                node["node-name"] == "drive0"}
        self.assertEqual(told, {"qcow2": ("unmap", True, True),
                                "copy-before-write": ("unmap", True, True)})
        allocated = disk.path.stat().st_blocks
        guest.qemu_io(disk, f"write -P 0 {8 * MIB} {4 * MIB}")
        self.assertLess(disk.path.stat().st_blocks, allocated)
        self.assert_done(started)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

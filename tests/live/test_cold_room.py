# SPDX-License-Identifier: Apache-2.0
"""The room that qemu-img's copies may take: known before the guest is stopped, and kept to."""
import os
import pathlib
import subprocess
import time
import unittest

import images
from cold import ColdTest
from lab import MIB, Disk

LIMIT = 8 * MIB


def squeezable(size):
    """Bytes that compress well, without a zero in them."""
    line = b"%08d some text that compresses well...\n"
    return b"".join(line % (i // 1000) for i in range(size // len(line % 0) + 1))[:size]


class RoomTest(ColdTest):
    def compressed_base(self, *sizes):
        """A guest over compressed qcow2 files, which take a hundredth of what they hold."""
        disks = [Disk(size) for size in sizes or (48 * MIB,)]
        maker = self.guest(*disks, paused=True)
        maker.kill()
        for number, disk in enumerate(disks):
            base = maker.folder / f"base{number}.qcow2"
            disk.reference.write_bytes(squeezable(disk.size))
            images.qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", disk.reference, base)
            self.assertLess(os.stat(base).st_blocks * 512, MIB)
            images.qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", disk.path)
        return self.guest(*disks)

    def liar(self, guest):
        """A qemu-img that says a copy takes nothing."""
        self.wrap_qemu_img(guest, '[ "$1" != measure ] || exec echo '
                                  '\'{"required": 65536, "fully-allocated": 65536}\'')

    @staticmethod
    def taken(started, folder):
        """What the tool's files in `folder` take, unlinked as they are."""
        total = 0
        for path in pathlib.Path(f"/proc/{started.pid}/fd").glob("*"):
            try:
                if os.readlink(path).startswith(str(folder)):
                    total += os.stat(path).st_blocks * 512
            except OSError:
                continue
        return total

    def peak(self, started, folder):
        most = 0
        while started.runs():
            most = max(most, self.taken(started, folder))
            time.sleep(0.005)
        return most

    def names(self, guest):
        return [event["event"] for event in guest.monitor.events
                if event["event"] in ("STOP", "RESUME")]

    def assert_ended(self, guest, started, before, *words):
        """In the middle of the copy; the guest runs, and nothing is left."""
        self.assertEqual(started.wait(), 6, started.describe())
        for word in words:
            self.assertIn(word, started.result["error"]["message"])
        self.assertIn("--scratch", started.result["error"]["hint"])
        self.assertIsNone(started.result["error"]["undo_error"])
        self.assert_no_image(guest)
        self.assert_nothing_left(guest, before)
        self.assertEqual(guest.monitor.status(), "running")
        self.assertEqual(self.names(guest), ["STOP", "RESUME"])


class Measured(RoomTest):
    def test_compressed(self):
        guest = self.compressed_base()
        before = guest.state()
        for fmt, needed in (("qcow2", 48), ("raw", 48), ("vmdk", 48), ("vdi", 53)):
            with self.subTest(format=fmt):
                for more in ((), ("--dry-run",)):
                    self.assert_refused(guest, self.cold(
                        guest, "--scratch-limit", LIMIT, "--format", fmt, *more),
                        f"need about {needed}.", "take 8.0 MiB")
                    self.assert_nothing_left(guest, before)
        self.assertEqual(self.names(guest), [])

    def test_compressed_with_room(self):
        guest = self.compressed_base()
        before = guest.state()
        self.assert_done(self.cold(guest, "--scratch-limit", 49 * MIB))
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)

    def test_blocks_of_vdi(self):
        """It allocates a whole MiB where a cluster of the others is needed."""
        disk = Disk(32 * MIB, fmt="raw")
        guest = self.guest(disk)
        for i in range(32):
            guest.write(disk, i * MIB, 4096, 0x41)
        for fmt, code in (("vdi", 3), ("qcow2", 0)):
            started = self.cold(guest, "--format", fmt, "--scratch-limit", LIMIT)
            self.assertEqual(started.wait(), code, started.describe())
        self.assert_image_is_reference(guest)


class Bounded(RoomTest):
    """What the guess before was too low for."""

    def check(self, fmt, slack):
        guest = self.compressed_base()
        self.liar(guest)
        before = guest.state()
        guest.monitor.events.clear()
        started = self.cold(guest, "--format", fmt, "--scratch-limit", LIMIT, "--speed", "32M")
        self.assertLessEqual(self.peak(started, guest.scratch), LIMIT + slack)
        self.assert_ended(guest, started, before, "more than the 8.0 MiB left for it")

    def test_qcow2(self):
        self.check("qcow2", 0)

    def test_vmdk(self):
        self.check("vmdk", 0)

    def test_vdi(self):
        self.check("vdi", 0)

    def test_raw(self):
        """Bounded by looking at it, at a speed that leaves the time for it."""
        self.check("raw", 16 * MIB)

    def test_raw_that_is_copied_at_once(self):
        guest = self.compressed_base(12 * MIB)
        self.liar(guest)
        before = guest.state()
        guest.monitor.events.clear()
        started = self.cold(guest, "--format", "raw", "--scratch-limit", LIMIT)
        self.assert_ended(guest, started, before, "more than the 8.0 MiB left for it")

    def test_what_the_first_disk_took_is_gone(self):
        guest = self.compressed_base(6 * MIB, 6 * MIB)
        self.liar(guest)
        before = guest.state()
        guest.monitor.events.clear()
        started = self.cold(guest, "--scratch-limit", LIMIT, "--format", "qcow2")
        self.assertLessEqual(self.peak(started, guest.scratch), LIMIT)
        self.assert_ended(guest, started, before, "disk vd1: its copy needs more than the 1.")


class Shared(RoomTest):
    """The rest of the file system is others'."""

    def small_file_system(self, guest, size):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs",
                               guest.scratch], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.skipTest(f"no mount: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", guest.scratch], check=True)

    def test_others_fill_it_up(self):
        disk = Disk(48 * MIB)
        guest = self.guest(disk)
        self.small_file_system(guest, "1124M")  # 100 MiB over what is kept free
        guest.write(disk, 0, 40 * MIB, 0x51)
        before = guest.state()
        guest.monitor.events.clear()
        started = self.cold(guest, "--speed", "8M")
        self.assertIsNotNone(started.wait_for(
            lambda event: event["event"] == "progress" and event.get("step") == "copy"))
        self.assertEqual(guest.monitor.status(), "paused")
        theirs = guest.scratch / "theirs"
        theirs.write_bytes(b"x" * (98 * MIB))
        self.assertEqual(started.wait(), 6, started.describe())
        theirs.unlink()
        self.assert_ended(guest, started, before, "1.0 GiB left", str(guest.scratch))


if __name__ == "__main__":
    unittest.main()

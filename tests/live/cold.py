# SPDX-License-Identifier: Apache-2.0
"""What the tests of the method cold have in common."""
import os
import pathlib
import shutil
import stat
import time

from lab import KIB, MIB, Disk, LabTest

SLOW = "8M"  # --speed that makes a copy last; it holds for the copy and for the upload


def is_copying(event):
    return event["event"] == "progress" and event.get("step") == "copy"


class ColdTest(LabTest):
    def fill(self, guest, disk, size):
        step = 512 * KIB
        for i in range(0, size // step, 2):
            guest.write(disk, i * step, step, 1 + i % 100)
        guest.write(disk, 0, 96 * KIB, 0)
        guest.write(disk, size - 512, 512, 0x7f)

    def cold(self, guest, *args, **options):
        return guest.snapshot("--method", "cold", *args, **options)

    def wrap_qemu_img(self, guest, script):
        """The tools that are started from now on find a qemu-img that does this first."""
        folder = guest.folder / "bin"
        folder.mkdir()
        path = folder / "qemu-img"
        path.write_text(f'#!/bin/sh\n{script}\nexec {shutil.which("qemu-img")} "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        here = os.environ["PATH"]
        os.environ["PATH"] = f"{folder}:{here}"
        self.addCleanup(os.environ.__setitem__, "PATH", here)

    def assert_no_image(self, guest):
        self.assertEqual(list(guest.store.iterdir()) if guest.store.exists() else [], [])

    def assert_refused(self, guest, started, *words):
        self.assertEqual(started.wait(), 3, started.describe())
        for word in words:
            self.assertIn(word, started.result["error"]["message"])
        self.assert_no_image(guest)


class SlowTest(ColdTest):
    """Copies that last."""

    def slow(self, size=32 * MIB, **options):
        disk = Disk(size, fmt="raw", style="drive")
        guest = self.guest(disk, **options)
        for offset in range(0, size, 8 * MIB):
            guest.write(disk, offset, 8 * MIB, 0x55)
        return guest

    def wait_copying(self, started):
        self.assertIsNotNone(started.wait_for(is_copying), started.describe())

    @staticmethod
    def children(program, parent):
        """Processes that run it, started by `parent`; maybe through a loader of another name."""
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                state, its_parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                words = (folder / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            names = {word.rsplit("/", 1)[-1] for word in words}
            if program in names and int(its_parent) == parent and state != "Z":
                found.append(int(folder.name))
        return found

    def wait_dead(self, pid, timeout_s=5):
        end = time.monotonic() + timeout_s
        while pathlib.Path(f"/proc/{pid}/exe").exists():
            try:
                os.readlink(f"/proc/{pid}/exe")
            except OSError:
                return  # a zombie has none
            self.assertLess(time.monotonic(), end, "qemu-img lives on")
            time.sleep(0.02)

    def copying(self, guest):
        """A copy that is under way, the guest held."""
        started = self.cold(guest, "--speed", SLOW)
        self.wait_copying(started)
        return started

# SPDX-License-Identifier: Apache-2.0
"""A guest's disks put back from a set that was taken while it ran; and rotation of its backups."""
import json
import os
import subprocess
import unittest

import images
import tool
from lab import MIB, Disk, LabTest


class Restore(LabTest):
    def images_of(self, guest, *args, code=0):
        """A command about images in the guest's store; its result."""
        done = subprocess.run(
            [tool.BINARY, *map(str, args), "--json", "-q", "--from", f"dir:{guest.store}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, **guest.tool_env()})
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def test_a_set_of_a_running_guest(self):
        guest = self.guest(Disk(16 * MIB), Disk(8 * MIB, fmt="raw"))
        for number, disk in enumerate(guest.disks):
            guest.write(disk, MIB, 4 * MIB, 0x40 + number)
        started = guest.snapshot()
        self.assert_done(started)
        taken = started.result
        for disk in guest.disks:
            guest.write(disk, MIB, 2 * MIB, 0x99, keep_reference=False)
        targets = [arg for number, disk in enumerate(guest.disks)
                   for arg in ("--target", f"{self.short_name(guest, number)}={disk.path}")]
        restore = ("restore", taken["set"], *targets, "--force", "--scratch", guest.scratch)
        # a raw disk isn't made qcow2 without a word, and a disk in use is left alone
        refused = self.images_of(guest, *restore, "--format", "raw", code=3)
        self.assertIn("in use", refused["error"]["message"])
        guest.kill()
        refused = self.images_of(guest, *restore, code=3)
        self.assertIn("is not qcow2", refused["error"]["message"])
        targets[1::2] = [target.replace("=", f"={disk.format}:")
                         for target, disk in zip(targets[1::2], guest.disks)]
        self.images_of(guest, "restore", taken["set"], *targets, "--force", "--scratch",
                       guest.scratch)
        for disk in guest.disks:
            images.assert_clean(disk.path, disk.format)
            images.assert_same(disk.path, disk.format, disk.reference, "raw")
        self.assertEqual(list(guest.scratch.iterdir()), [])

    def test_rotation_by_uuid(self):
        guest = self.guest(Disk(8 * MIB), Disk(8 * MIB),
                           options=("-uuid", "5e0b7cf8-6a3a-4b0e-9a53-8c4d5e6f7a8b"))
        sets = []
        for number in range(3):
            # by its UUID it is the same guest under each name
            started = guest.snapshot("--backup-type", "daily", "--rotation", "2", "--guest-id",
                                     f"name{number}", "--property",
                                     f"instance_uuid=00000000-1111-4222-8333-44444444444{number}")
            self.assert_done(started)
            sets.append(started.result["set"])
        listed = self.images_of(guest, "images", "list")["images"]
        self.assertEqual([image["qmpsnap_set"] for image in listed],
                         [sets[1], sets[1], sets[2], sets[2]])
        self.assertEqual(len(guest.published()), 4)

    def test_rotation_without_uuid(self):
        guest = self.guest(Disk(8 * MIB), paused=True)
        before = guest.state()
        started = guest.snapshot("--backup-type", "daily", "--rotation", "2")
        self.assertEqual(started.wait(), 3, started.describe())
        self.assertIn("--guest-id", started.result["error"]["hint"])
        self.assertFalse(guest.store.exists())
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""A scratch folder on a file system that doesn't keep what it reserves: btrfs."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from lab import KIB, MIB, Disk, LabTest

JOB = ("--method", "stream", "--flavour", "job")


class OnBtrfs(LabTest):
    SIZE = 64 * MIB

    def setUp(self):
        if os.geteuid() != 0 or not shutil.which("mkfs.btrfs"):
            self.skipTest("needs root and mkfs.btrfs")
        folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-btrfs-"))
        self.addCleanup(shutil.rmtree, folder)
        image, self.folder = folder / "image", folder / "mounted"
        self.folder.mkdir()
        with open(image, "wb") as out:
            out.truncate(300 * MIB)
        subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
        done = subprocess.run(["mount", "-o", "loop", image, self.folder], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            self.skipTest(f"no mount: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.folder], check=True)

    def filled(self):
        guest = self.guest(Disk(self.SIZE))
        guest.write(guest.disks[0], 0, self.SIZE, 0x11)
        guest.scratch = self.folder
        return guest

    def assert_warned(self, started):
        warnings = [event["message"] for event in started.events if event["event"] == "log"]
        self.assertTrue(any("isn't known to keep what it reserves" in warning
                            for warning in warnings), warnings)

    def test_job_is_watched(self):
        guest = self.filled()
        before = guest.state()
        started = guest.snapshot("--speed", "1M", "--scratch-limit", "1G", *JOB)
        started.wait_instant()
        with open(self.folder / "theirs", "wb", buffering=0) as theirs:
            try:
                while theirs.write(os.urandom(64 * KIB)):
                    pass
            except OSError:
                pass
        self.assertEqual(started.wait(), 6, started.describe())
        (self.folder / "theirs").unlink()
        self.assertIn("nearly full", started.result["error"]["message"])
        self.assertIn(str(self.folder), started.result["error"]["message"])
        self.assert_warned(started)
        guest.monitor.command("query-name")
        self.assertNotIn("STOP", [event["event"] for event in guest.monitor.events])
        self.assert_nothing_left(guest, before)

    def test_job_with_room(self):
        guest = self.filled()
        before = guest.state()
        started = guest.snapshot("--scratch-limit", "1G", *JOB)
        self.assert_done(started)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)

    def test_backup_is_refused(self):
        guest = self.filled()
        before = guest.state()
        for more in ((), ("--dry-run",)):
            started = guest.snapshot("--method", "backup", "--scratch-limit", "1G", *more)
            self.assertEqual(started.wait(), 3, started.describe())
            self.assertIn(f"file system of {self.folder}", started.result["error"]["message"])
            self.assertIn("ext4", started.result["error"]["hint"])
            self.assertFalse(guest.store.exists())
            self.assertNotIn("guard", {event["step"] for event in started.events
                                       if event["event"] == "step"})
            self.assert_nothing_left(guest, before)

    def test_auto_without_a_server_is_refused(self):
        """It would take `backup` then, and learns of that late."""
        guest = self.filled()
        server = {"type": "unix", "data": {"path": str(guest.folder / "theirs.sock")}}
        guest.monitor.command("nbd-server-start", addr=server)
        before = guest.state()
        started = guest.snapshot("--scratch-limit", "1G")
        self.assertEqual(started.wait(), 3, started.describe())
        self.assertIn(f"file system of {self.folder}", started.result["error"]["message"])
        guest.monitor.command("nbd-server-stop")
        self.assertEqual(guest.published(), [])
        self.assert_nothing_left(guest, before)

    def test_mirror_is_warned_of(self):
        guest = self.filled()
        before = guest.state()
        started = guest.snapshot("--method", "mirror", "--scratch-limit", "1G")
        self.assert_done(started)
        self.assert_warned(started)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""Copies, of backup and of mirror, that are refused, given up or fail."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from copies import SPEED, copying, uploading
from lab import MIB, SLOTS, Disk
from test_failures import QEMU, REFUSED, SIGINT, FailureTest


class CopyFails(FailureTest):
    METHODS = ("backup", "mirror")

    def refused(self, guest, *args):
        """Nothing was touched: no step that does was begun."""
        before = guest.state()
        for method in self.METHODS:
            with self.subTest(method=method):
                started = guest.snapshot("--method", method, *args)
                error = self.assert_failed(started, REFUSED)
                begun = {event["step"] for event in started.events if event["event"] == "step"}
                self.assertFalse(begun & {"images", "target", "instant", "mirror"}, begun)
                self.assert_nothing_left(guest, before)
                self.assertFalse(guest.store.exists())
        return error

    def mounted(self, kind, options=""):
        """A file system of its own, for a guest's scratch."""
        if os.geteuid() != 0:
            self.skipTest("mounting needs root")
        folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-mount-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        done = subprocess.run(["mount", "-t", kind, "-o", f"mode=0700{options}", "qmpsnap", folder],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.skipTest(f"no {kind}: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "--lazy", folder], check=True)
        return folder

    def test_scratch_limit_too_small(self):
        guest = self.filled(Disk(32 * MIB))
        error = self.refused(guest, "--scratch-limit", "30M")
        self.assertIn("are missing", error)
        self.assertIn(str(guest.scratch), error)

    def test_file_system_too_small(self):
        guest = self.filled(Disk(32 * MIB))
        guest.scratch = self.mounted("tmpfs", ",size=20M")
        error = self.refused(guest, "--scratch-limit", "1G")
        self.assertIn("No space left", error)
        self.assertIn(str(guest.scratch), error)

    def test_file_system_that_cannot_reserve(self):
        guest = self.filled(Disk(32 * MIB))
        guest.scratch = self.mounted("ramfs")
        error = self.refused(guest, "--scratch-limit", "1G")
        self.assertIn("can't reserve", error)

    def test_file_system_fills_up(self):
        """What is reserved others can't take."""
        for method in self.METHODS:
            with self.subTest(method=method):
                disk = Disk(32 * MIB)
                guest = self.filled(disk)
                guest.scratch = self.mounted("tmpfs", ",size=48M")
                before = guest.state()
                started = guest.snapshot("--method", method, "--speed", SPEED,
                                         "--scratch-limit", "1G")
                self.assertIsNotNone(started.wait_for(copying), started.describe())
                self.fill_up(guest.scratch)
                self.assert_done(started)
                (guest.scratch / "filler").unlink()
                self.assert_image_is_reference(guest)
                self.assert_nothing_left(guest, before)

    @staticmethod
    def fill_up(folder):
        with open(folder / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(MIB))
            except OSError:
                pass

    @staticmethod
    def give_reserve_back(pid, behind):
        """Punches the end of a run's spool out."""
        for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            if "(deleted)" in os.readlink(path):
                with open(path, "r+b") as spool:
                    subprocess.run(["fallocate", "--punch-hole", "--keep-size", "--offset",
                                    str(behind), "--length", str(64 * MIB),
                                    f"/proc/{os.getpid()}/fd/{spool.fileno()}"], check=True)

    def test_spool_full_in_spite_of_the_reserve(self):
        """A guest whose write found no room in the copy goes on, once the copy is given up."""
        disk = Disk(64 * MIB, fmt="raw")
        folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-full-"))
        self.addCleanup(shutil.rmtree, folder)
        disk.make(folder, "disk0")
        disk.path.write_bytes(b"\x11" * disk.size)  # what holds zeroes QEMU 11 needn't copy
        guest = self.guest(disk, job="write")
        guest.wait_count(SLOTS)
        folder = guest.scratch = self.mounted("tmpfs", ",size=80M")
        before = guest.state()
        for method in self.METHODS:
            with self.subTest(method=method):
                started = guest.snapshot("--method", method, "--speed", "1M", "--format", "raw",
                                         "--scratch-limit", "1G")
                self.assertIsNotNone(started.wait_for(
                    lambda event: event["event"] == "step" and event["step"] == "target" and
                    event["phase"] == "end"))
                self.give_reserve_back(started.pid, 0)
                self.fill_up(folder)
                error = self.assert_failed(started, QEMU)
                self.assertIn("No space left", error)
                (folder / "filler").unlink()
                self.assertEqual(guest.monitor.status(), "running")
                guest.wait_count(guest.counted() + 20)
                self.assert_nothing_left(guest, before)
                self.assert_no_image(guest)

    def test_disk_cannot_be_read(self):
        guest = self.guest(Disk(8 * MIB), options=("-device", "virtio-scsi-pci,id=extra"))
        path = guest.folder / "bad.raw"
        path.write_bytes(b"\x11" * (8 * MIB))
        guest.monitor.command(
            "blockdev-add", driver="raw", node_name="bad", file={
                "driver": "blkdebug", "image": {"driver": "file", "filename": str(path)},
                "inject-error": [{"event": "none", "iotype": "read", "errno": 5,
                                  "sector": 8192, "once": False}]})
        guest.monitor.command("device_add", driver="scsi-hd", id="bad0", drive="bad",
                              bus="extra.0")
        before = guest.state()
        for method in self.METHODS:
            with self.subTest(method=method):
                started = guest.snapshot("--disk", "bad0", "--method", method)
                error = self.assert_failed(started, QEMU)
                self.assertIn("bad0", error)
                self.assertIn("Input/output error", error)
                self.assert_nothing_left(guest, before)
                self.assert_no_image(guest)

    def test_given_up(self):
        for method in self.METHODS:
            for moment in (copying, uploading):
                with self.subTest(method=method, moment=moment.__name__):
                    guest = self.filled(Disk(32 * MIB))
                    before = guest.state()
                    started = guest.snapshot("--method", method, "--speed", "8M")
                    self.assertIsNotNone(started.wait_for(moment), started.describe())
                    started.signal(signal.SIGINT)
                    self.assert_failed(started, SIGINT)
                    self.assert_nothing_left(guest, before)
                    self.assert_no_image(guest)

    def test_given_up_while_qemu_hangs(self):
        guest = self.filled(Disk(32 * MIB))
        before = guest.state()
        started = guest.snapshot("--method", "backup", "--speed", "4M")
        self.assertIsNotNone(started.wait_for(copying), started.describe())
        os.kill(guest.pid, signal.SIGSTOP)
        try:
            time.sleep(0.5)
            started.signal(signal.SIGINT)
            self.assertIsNotNone(started.wait_for(lambda e: e["event"] == "step" and
                                                  e["phase"] == "undo-begin", 10),
                                 started.describe())
        finally:
            os.kill(guest.pid, signal.SIGCONT)
        self.assert_failed(started, SIGINT)
        self.assert_nothing_left(guest, before)

    def test_job_ended_by_others(self):
        for method in self.METHODS:
            with self.subTest(method=method):
                # a mirror's first burst passes any limit
                guest = self.filled(Disk(32 * MIB if method == "backup" else 128 * MIB))
                before = guest.state()
                started = guest.snapshot("--method", method, "--speed", "4M")
                self.assertIsNotNone(started.wait_for(copying), started.describe())
                job = guest.monitor.command("query-jobs")[0]["id"]
                guest.monitor.command("block-job-cancel", device=job, force=True)
                self.assert_failed(started, QEMU)
                self.assert_nothing_left(guest, before)
                self.assert_no_image(guest)

    def test_qemu_dies(self):
        for method in self.METHODS:
            with self.subTest(method=method):
                guest = self.filled(Disk(32 * MIB))
                started = guest.snapshot("--method", method, "--speed", "4M")
                self.assertIsNotNone(started.wait_for(copying), started.describe())
                guest.kill()
                self.assert_failed(started, QEMU)
                self.assert_no_image(guest)
                self.assertEqual(list(guest.scratch.iterdir()), [])

    def test_qemu_dies_during_the_upload(self):
        """The copy is made by then, and is uploaded all the same."""
        for method in self.METHODS:
            with self.subTest(method=method):
                guest = self.filled(Disk(32 * MIB))
                started = guest.snapshot("--method", method, "--speed", "8M")
                self.assertIsNotNone(started.wait_for(uploading), started.describe())
                guest.kill()
                self.assert_done(started)
                self.assert_image_is_reference(guest)
                self.assertEqual(list(guest.scratch.iterdir()), [])


class DryRun(FailureTest):
    def test_tells_the_steps(self):
        guest = self.filled(Disk(32 * MIB))
        before = guest.state()
        for method, word in (("backup", "transaction"), ("mirror", "block-job-cancel")):
            started = guest.snapshot("--dry-run", "--method", method)
            self.assertEqual(started.wait(), 0, started.describe())
            text = " ".join(event["step"] for event in started.events
                            if event["event"] == "step" and event["phase"] == "plan")
            self.assertIn(word, text)
            self.assertIn(f"method {method}", text)
            self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""What the method cold refuses, before the guest is stopped."""
import os
import pathlib
import unittest

import images
from cold import ColdTest
from lab import MIB, Disk


class Refused(ColdTest):
    def test_a_guest_that_never_ran(self):
        guest = self.guest(Disk(8 * MIB), paused=True)
        before = guest.state()
        self.assert_refused(guest, self.cold(guest), "never run")
        self.assert_nothing_left(guest, before)

    def test_no_qemu_img(self):
        guest = self.guest(Disk(8 * MIB))
        before = guest.state()
        started = self.cold_without_path(guest)
        self.assertEqual(started.wait(), 3, started.describe())
        self.assertIn("qemu-img", started.result["error"]["message"])
        self.assertIn("qemu-utils", started.result["error"]["hint"])
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def cold_without_path(self, guest):
        empty = guest.folder / "empty"
        empty.mkdir()
        path, os.environ["PATH"] = os.environ["PATH"], str(empty)
        try:
            return self.cold(guest)
        finally:
            os.environ["PATH"] = path

    def test_a_block_job_runs(self):
        disk = Disk(8 * MIB)
        guest = self.guest(disk)
        self.fill(guest, disk, 8 * MIB)
        node = guest.monitor.command("query-block")[0]["inserted"]["node-name"]
        guest.monitor.command("drive-mirror", device=node, job_id="theirs", sync="full",
                              target=str(guest.folder / "mirror"), format="raw")
        guest.monitor.wait_event("BLOCK_JOB_READY")
        self.assert_refused(guest, self.cold(guest), "theirs")

    def test_encrypted(self):
        folder = pathlib.Path(self.guest(Disk(MIB)).folder)
        path = folder / "luks"
        secret = ["--object", "secret,id=key,data=geheim"]
        images.qemu_img("create", "-q", *secret, "-f", "luks", "-o",
                        "key-secret=key,iter-time=10", path, "8M")
        guest = self.guest(options=[
            "-object", "secret,id=key,data=geheim", "-blockdev",
            f"driver=luks,node-name=d,key-secret=key,file.driver=file,file.filename={path}",
            "-device", "virtio-blk-pci,id=vd0,drive=d"])
        self.assert_refused(guest, self.cold(guest, "--allow-plaintext"), "encrypted")

    def test_another_file_under_the_name(self):
        disk = Disk(8 * MIB)
        guest = self.guest(disk)
        disk.path.rename(guest.folder / "moved")
        images.create(disk.path, "qcow2", disk.size)
        for options in ((), ("--dry-run",)):
            self.assert_refused(guest, self.cold(guest, *options),
                                "isn't the file that QEMU has open")

    def test_no_file(self):
        guest = self.guest(options=[
            "-blockdev", "driver=null-co,node-name=d,size=1048576",
            "-device", "virtio-blk-pci,id=vd0,drive=d"])
        self.assert_refused(guest, self.cold(guest), "null-co")

    def test_no_room(self):
        disk = Disk(8 * MIB)
        guest = self.guest(disk)
        self.fill(guest, disk, 8 * MIB)
        before = guest.state()
        for options in ((), ("--dry-run",)):
            self.assert_refused(guest, self.cold(guest, "--scratch-limit", "1M", *options),
                                "need about")
            self.assert_nothing_left(guest, before)
        names = [event["event"] for event in guest.monitor.events]
        self.assertNotIn("STOP", names)

    def test_dry_run_of_what_can_be_taken(self):
        guest = self.guest(Disk(8 * MIB))
        before = guest.state()
        self.assert_done(self.cold(guest, "--dry-run"))
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


if __name__ == "__main__":
    unittest.main()

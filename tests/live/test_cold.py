# SPDX-License-Identifier: Apache-2.0
"""The method cold: qemu-img copies the disks while the guest stands still."""
import os
import pathlib
import unittest

import images
from cold import ColdTest
from lab import KIB, MIB, Disk


class Images(ColdTest):
    def check(self, disk, fmt="qcow2", size=24 * MIB, fill=True):
        guest = self.guest(disk)
        if fill:
            self.fill(guest, disk, size)
        before = guest.state()
        started = self.cold(guest, "--format", fmt)
        self.assert_done(started)
        self.assertEqual(started.result["method"], "cold")
        self.assertEqual(started.result["consistency"], "crash")
        self.assertGreater(started.result["stopped_ms"], 0)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)
        self.assertEqual(self.image_of(guest)[1], fmt)
        return guest, started

    def test_qcow2(self):
        self.check(Disk(24 * MIB))

    def test_qcow2_to_raw(self):
        self.check(Disk(24 * MIB), fmt="raw")

    def test_qcow2_to_vmdk(self):
        self.check(Disk(24 * MIB), fmt="vmdk")

    def test_qcow2_to_vdi(self):
        self.check(Disk(24 * MIB), fmt="vdi")

    def test_raw(self):
        self.check(Disk(24 * MIB, fmt="raw"), fmt="raw")

    def test_raw_to_qcow2_without_ids(self):
        self.check(Disk(24 * MIB, fmt="raw", style="drive", named=False))

    def test_lazy_refcounts(self):
        """What lies in QEMU's caches is in the file once the guest is stopped."""
        self.check(Disk(24 * MIB, create="lazy_refcounts=on"))

    def test_data_file(self):
        guest, _ = self.check(Disk(24 * MIB, create="data_file={folder}/data,data_file_raw=on"))
        self.assertTrue((guest.folder / "data").exists())

    def test_raw_with_offset(self):
        disk = Disk(16 * MIB, fmt="raw", options=",offset=1048576,size=8388608")
        guest = self.guest(disk)
        disk.size = 8 * MIB
        os.truncate(disk.reference, disk.size)
        guest.write(disk, 0, MIB, 0x11)
        guest.write(disk, 7 * MIB, MIB, 0x12)
        self.assert_done(self.cold(guest))
        self.assert_image_is_reference(guest)

    def test_throttled(self):
        self.check(Disk(24 * MIB, style="drive", options=",throttling.bps-total=1000000000"))

    def test_vmdk_disk(self):
        self.check(Disk(24 * MIB, fmt="vmdk"))

    def test_vdi_disk(self):
        self.check(Disk(24 * MIB, fmt="vdi"))

    def test_vhdx_disk(self):
        self.check(Disk(24 * MIB, fmt="vhdx"))

    def test_block_device(self):
        disk = self.loop_disk(8 * MIB)
        guest = self.guest(disk)
        self.fill(guest, disk, 8 * MIB)
        self.assert_done(self.cold(guest, "--format", "qcow2"))
        self.assert_image_is_reference(guest)

    def test_odd_name(self):
        """Commas, colons and quotes in a file's name mean nothing to anybody."""
        disk = Disk(8 * MIB)
        maker = self.guest(disk, paused=True)
        maker.kill()
        odd = maker.folder / 'a,b:c"d=e .qcow2'
        disk.path.rename(odd)
        disk.path = pathlib.Path(str(odd).replace(",", ",,"))  # as QEMU's options want it
        guest = self.guest(disk)
        self.fill(guest, disk, 8 * MIB)
        self.assert_done(self.cold(guest))
        self.assert_image_is_reference(guest)

    def test_relative_name(self):
        """A name that is QEMU's to understand: its working folder isn't the tool's."""
        disk = Disk(8 * MIB)
        maker = self.guest(disk, paused=True)
        maker.kill()
        here = os.getcwd()
        os.chdir(maker.folder)
        self.addCleanup(os.chdir, here)
        disk.path = pathlib.Path(disk.path.name)
        guest = self.guest(disk)
        os.chdir(here)
        self.fill(guest, disk, 8 * MIB)
        self.assert_done(self.cold(guest))
        self.assert_image_is_reference(guest)

    def test_chain(self):
        base = Disk(8 * MIB, fmt="raw")
        top = Disk(8 * MIB, backing=base)
        maker = self.guest(base, paused=True)
        maker.write(base, 0, 4 * MIB, 0x11)
        maker.kill()
        top.make(maker.folder, "top")
        top.reference.write_bytes(base.reference.read_bytes())
        guest = self.guest(top)
        guest.write(top, MIB, MIB, 0x21)
        guest.write(top, 3 * MIB, MIB, 0)
        before = guest.state()
        self.assert_done(self.cold(guest))
        self.assert_image_is_reference(guest)
        path, fmt = self.image_of(guest)
        self.assertNotIn("backing-filename", images.info(path, fmt))
        self.assert_nothing_left(guest, before)

    def test_as_the_copy_inside_qemu(self):
        """QEMU itself, asked at the same standstill, has copied the same."""
        disk = Disk(24 * MIB, create="lazy_refcounts=on")
        guest = self.guest(disk)
        self.fill(guest, disk, 24 * MIB)
        guest.monitor.command("stop")
        node = guest.monitor.command("query-block")[0]["inserted"]["node-name"]
        inside = guest.folder / "inside.qcow2"
        guest.monitor.command("drive-backup", device=node, job_id="inside", target=str(inside),
                              sync="full", format="qcow2")
        guest.monitor.wait_event("BLOCK_JOB_COMPLETED")
        self.assert_done(self.cold(guest))
        images.assert_same(*self.image_of(guest), inside, "qcow2")
        self.assertEqual(guest.monitor.status(), "paused")

    def test_two_disks_in_one_stop(self):
        guest = self.guest(Disk(8 * MIB), Disk(8 * MIB, fmt="raw", style="drive"))
        for disk in guest.disks:
            self.fill(guest, disk, 8 * MIB)
        before = guest.state()
        guest.monitor.events.clear()
        self.assert_done(self.cold(guest))
        for number in range(2):
            self.assert_image_is_reference(guest, number)
        self.assert_nothing_left(guest, before)
        names = [event["event"] for event in guest.monitor.events]
        self.assertEqual([name for name in names if name in ("STOP", "RESUME")],
                         ["STOP", "RESUME"])

    def test_runs_again_before_the_upload(self):
        disk = Disk(8 * MIB)
        guest = self.guest(disk)
        self.fill(guest, disk, 8 * MIB)
        started = self.cold(guest)
        self.assert_done(started)
        steps = [(event["step"], event["phase"]) for event in started.events
                 if event["event"] == "step"]
        self.assertLess(steps.index(("resume", "end")), steps.index(("upload", "begin")))

    def test_a_guest_that_others_paused(self):
        disk = Disk(8 * MIB)
        guest = self.guest(disk)
        self.fill(guest, disk, 8 * MIB)
        guest.monitor.command("stop")
        before = guest.state()
        guest.monitor.events.clear()
        started = self.cold(guest)
        self.assert_done(started)
        self.assertEqual(started.result["stopped_ms"], 0)
        self.assertEqual(started.result["consistency"], "paused")
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)
        names = [event["event"] for event in guest.monitor.events]
        self.assertNotIn("STOP", names)
        self.assertNotIn("RESUME", names)


class Forged(ColdTest):
    def test_a_qcow2_header_in_a_raw_disk(self):
        """A guest that writes one, with a file of the host behind it, gets its own bytes back."""
        disk = Disk(8 * MIB, fmt="raw")
        guest = self.guest(disk)
        secret = guest.folder / "secret"
        secret.write_bytes(b"secret" * 20000)
        forged = guest.folder / "forged.qcow2"
        images.create(forged, "qcow2", 8 * MIB)
        images.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", secret, forged)
        guest.monitor.command("stop")
        header = forged.read_bytes()[:256 * KIB]
        for path in (disk.path, disk.reference):
            with open(path, "r+b") as out:
                out.write(header)
        guest.monitor.command("cont")
        for fmt in ("raw", "qcow2"):
            self.assert_done(self.cold(guest, "--format", fmt))
            self.assert_image_is_reference(guest)
            for path in guest.store.iterdir():
                path.unlink()


if __name__ == "__main__":
    unittest.main()

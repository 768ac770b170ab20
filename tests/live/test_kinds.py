# SPDX-License-Identifier: Apache-2.0
"""Every kind of disk: the image is the disk at the instant, flattened, while the disk is
overwritten. By the filter here; test_kinds_job, test_kinds_backup and test_kinds_mirror are the
same by others."""
import unittest

import images
from copies import wait_writable
from lab import KIB, MIB, Disk, LabTest

SIZE = 16 * MIB
CHUNK = 64 * KIB
THROTTLE = "driver=throttle,throttle-group=limits"
THROTTLED = ("-object", "throttle-group,id=limits,x-bps-total=1073741824")


class KindTest(LabTest):
    METHOD = ("--method", "stream", "--flavour", "filter")

    def setUp(self):
        if "filter" in self.METHOD:
            self.needs_filter()

    def fill(self, guest, disk, size):
        for offset in range(0, size - MIB + 1, 2 * MIB):
            guest.write(disk, offset, MIB, 1 + offset // MIB)
        guest.write(disk, 32 * KIB, 96 * KIB, 0)
        guest.write(disk, size - 512, 512, 0x7f)

    def take(self, guest, *args, overwritten=(0,)):
        before = guest.state()
        started = guest.snapshot(*self.METHOD, "--speed", "12M", *args)
        wait_writable(started, self.METHOD)

        def make(i):
            number = overwritten[i % len(overwritten)]
            chunks = guest.disks[number].size // CHUNK
            return number, i * 7 % chunks * CHUNK, CHUNK, 0 if i % 10 == 9 else 0x80 + i % 100
        writer = self.writer(guest, make)
        self.assert_done(started)
        self.assertGreater(writer.stop(), 0)
        self.assert_nothing_left(guest, before)
        return started

    def check(self, disk, options=(), paused=False, size=SIZE):
        guest = self.guest(disk, paused=paused, options=options)
        self.fill(guest, disk, size)
        self.take(guest)
        self.assert_image_is_reference(guest)
        return guest


class Kinds(KindTest):
    def test_empty(self):
        """QEMU has disks of size 0, and so has the set an image of each."""
        guest = self.guest(Disk(0, fmt="raw"), Disk(0), Disk(2 * MIB), paused=True)
        guest.write(guest.disks[2], MIB, CHUNK, 0x11)
        for fmt in ("qcow2", "raw"):
            with self.subTest(format=fmt):
                before = guest.state()
                self.assert_done(guest.snapshot(*self.METHOD, "--format", fmt))
                for number in range(3):
                    self.assert_image_is_reference(guest, number)
                self.assert_nothing_left(guest, before)
                for path in guest.store.iterdir():
                    path.unlink()

    # ---- devices

    def test_virtio_blk(self):
        self.check(Disk(SIZE))

    def test_virtio_blk_by_drive(self):
        self.check(Disk(SIZE, style="drive"))

    def test_virtio_scsi(self):
        self.check(Disk(SIZE, device="scsi-hd", style="drive"))

    def test_ide(self):
        self.check(Disk(SIZE, device="ide-hd"))

    def test_nvme(self):
        self.check(Disk(SIZE, device="nvme", style="drive"))

    def test_usb_storage(self):
        self.check(Disk(SIZE, device="usb-storage"))

    def test_usb_storage_by_drive(self):
        self.check(Disk(SIZE, device="usb-storage", style="drive"))

    def test_sd_card(self):
        self.check(Disk(SIZE, device="sd-card"))

    def test_sd_card_by_drive(self):
        self.check(Disk(SIZE, device="sd-card", style="drive"))

    # ---- filters

    def test_throttle_on_top(self):
        self.check(Disk(SIZE, top=THROTTLE), THROTTLED)

    def test_throttle_below(self):
        self.check(Disk(SIZE, below=THROTTLE), THROTTLED)

    def test_throttled_drive(self):
        self.check(Disk(SIZE, style="drive", options=",throttling.bps-total=1073741824"))

    def test_copy_on_read_on_top(self):
        self.check(Disk(SIZE, top="driver=copy-on-read"))

    def test_copy_on_read_drive(self):
        self.check(Disk(SIZE, style="drive", options=",copy-on-read=on"))

    # ---- formats

    def test_data_file(self):
        self.check(Disk(SIZE, create="data_file={folder}/data.raw"))

    def test_data_file_by_drive(self):
        self.check(Disk(SIZE, style="drive", create="data_file={folder}/data.raw"))

    def test_vmdk(self):
        self.check(Disk(SIZE, fmt="vmdk"))

    def test_vdi(self):
        self.check(Disk(SIZE, fmt="vdi", style="drive"))

    def test_vhdx(self):
        self.check(Disk(SIZE, fmt="vhdx"))

    def test_block_device(self):
        self.check(self.loop_disk(SIZE))

    def test_block_device_by_drive(self):
        self.check(self.loop_disk(SIZE, style="drive"))

    def test_qcow2_on_a_block_device(self):
        disk = self.loop_disk(2 * SIZE)
        images.create(disk.path, "qcow2", SIZE)
        disk.format, disk.size = "qcow2", SIZE
        with open(disk.reference, "r+b") as reference:
            reference.truncate(SIZE)
        self.check(disk)

    def test_odd_size(self):
        size = SIZE + 1536
        self.check(Disk(size), size=size)

    def test_odd_size_raw_by_drive(self):
        size = SIZE + 512
        self.check(Disk(size, fmt="raw", style="drive"), size=size, paused=True)

    # ---- chains

    def test_backing_file(self):
        base = Disk(SIZE, fmt="raw")
        maker = self.guest(base, paused=True)
        self.fill(maker, base, SIZE)
        maker.monitor.command("quit")
        maker.wait_end()
        top = Disk(SIZE, backing=base)
        top.make(maker.folder, "top")
        top.reference.write_bytes(base.reference.read_bytes())
        guest = self.guest(top)
        guest.write(top, 3 * MIB, MIB, 0x31)
        guest.write(top, 4 * MIB, MIB, 0)
        self.take(guest)
        self.assert_flat(guest)

    def external_snapshot(self, disk, **where):
        """A snapshot that somebody takes at runtime, before ours."""
        guest = self.guest(disk)
        self.fill(guest, disk, SIZE)
        for n in range(2):
            overlay = guest.folder / f"overlay{n}.qcow2"
            guest.monitor.command("blockdev-snapshot-sync", **where, format="qcow2",
                                  snapshot_file=str(overlay),
                                  **({"snapshot_node_name": f"overlay{n}"}
                                     if "node_name" in where else {}))
            if "node_name" in where:
                where = {"node_name": f"overlay{n}"}
            guest.write(disk, 3 * MIB + n * 32 * KIB, MIB, 0x41 + n)
        self.take(guest)
        self.assert_flat(guest)

    def assert_flat(self, guest):
        self.assert_image_is_reference(guest)
        path, fmt = self.image_of(guest)
        self.assertNotIn("backing-filename", images.info(path, fmt))

    def test_external_snapshots(self):
        self.external_snapshot(Disk(SIZE), node_name="drive0")

    def test_external_snapshots_by_drive(self):
        self.external_snapshot(Disk(SIZE, style="drive"), device="drive0")

    # ---- many

    def test_twenty_disks(self):
        styles = ("blockdev", "drive")
        formats = ("qcow2", "raw")
        size = 2 * MIB
        disks = [Disk(size, fmt=formats[i // 2 % 2], style=styles[i % 2]) for i in range(20)]
        guest = self.guest(*disks)
        for number, disk in enumerate(disks):
            guest.write(disk, number * CHUNK, MIB // 2, 1 + number)
        started = self.take(guest, overwritten=range(20))
        self.assertEqual(len(started.result["images"]), 20)
        for number in range(20):
            self.assert_image_is_reference(guest, number)


class Firmware(KindTest):
    """UEFI variables: in pflash, taken when asked for."""

    METHOD = ()

    def pflash(self, style):
        """Code that is read-only, and variables; QEMU's own firmware isn't needed to test this."""
        folder = self.folder()
        code, variables = folder / "code.raw", folder / "variables.raw"
        code.write_bytes(b"\xf4" * MIB)
        variables.write_bytes(bytes(range(256)) * (528 * KIB // 256))
        if style == "drive":
            return variables, ("-drive", f"if=pflash,format=raw,readonly=on,file={code}",
                               "-drive", f"if=pflash,format=raw,file={variables}")
        return variables, (
            "-blockdev", f"driver=raw,node-name=code,read-only=on,file.driver=file,"
            f"file.filename={code}",
            "-blockdev", f"driver=raw,node-name=vars,file.driver=file,file.filename={variables}",
            "-machine", "pflash0=code,pflash1=vars")

    def folder(self):
        return self.guest(Disk(MIB), paused=True).folder

    def check_firmware(self, style, short):
        variables, options = self.pflash(style)
        disk = Disk(SIZE)
        guest = self.guest(disk, paused=True, options=options)
        self.fill(guest, disk, SIZE)
        before = guest.state()
        self.assert_done(guest.snapshot(*self.METHOD))
        self.assert_image_is_reference(guest)  # the only image
        for path in guest.store.iterdir():
            path.unlink()
        self.assert_done(guest.snapshot(*self.METHOD, "--firmware"))
        self.assert_nothing_left(guest, before)
        found = {path for path in guest.published() if f"-{short}-" in path.name}
        self.assertEqual((len(found), len(guest.published())), (1, 2), guest.published())
        image, = found
        images.assert_same(image, "qcow2", variables, "raw")
        disk_image, = set(guest.published()) - found
        images.assert_same(disk_image, "qcow2", disk.reference, "raw")

    def test_drive(self):
        self.check_firmware("drive", "pflash1")

    def test_machine_property(self):
        self.check_firmware("blockdev", "vars")

    def test_named_with_a_disk(self):
        _, options = self.pflash("drive")
        guest = self.guest(Disk(MIB), Disk(MIB), paused=True, options=options)
        started = guest.snapshot(*self.METHOD, "--firmware", "--disk", "vd1")
        self.assert_done(started)
        self.assertEqual({image["disk"] for image in started.result["images"]},
                         {"vd1", "pflash1"})


if __name__ == "__main__":
    unittest.main()

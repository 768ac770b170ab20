# SPDX-License-Identifier: Apache-2.0
"""What others do to the guest while a snapshot of it is under way."""
import signal
import subprocess
import unittest

import builds
import images
import tool
from copies import copying, uploading, wait_writable
from lab import KIB, MIB, Disk, LabTest
from monitor import MonitorError
from tool import FAULTY, GUARD

REFUSED, QEMU, VIEW = 3, 4, 6


class MeanwhileTest(LabTest):
    SIZE = 16 * MIB  # half of it is filled
    METHOD = ("--method", "stream", "--flavour", "filter")
    EXPORTED = True  # what is read are exports
    UNPLUGGED = 0  # with a disk of -drive, whose jobs QEMU cancels when it is unplugged

    def setUp(self):
        if "filter" in self.METHOD:
            self.needs_filter()

    def begin(self, *disks, **options):
        """A snapshot that is under way: (guest, its state before, the command)."""
        guest = self.guest(*(disks or (Disk(self.SIZE),)), **options)
        if options.get("job"):
            guest.wait_count(1)
        for number, disk in enumerate(guest.disks):
            if disk.size >= self.SIZE:
                guest.write(disk, 0, self.SIZE // 2, 1 + number)
                guest.write(disk, 4 * MIB, MIB, 0x77)
        before = guest.state()
        started = guest.snapshot(*self.METHOD, "--speed", "4M")
        self.wait_under_way(started)
        self.assertIsNone(started.result, started.describe())
        return guest, before, started

    def wait_under_way(self, started):
        started.wait_instant()

    def assert_well(self, guest, before, started, number=0):
        self.assert_done(started)
        self.assert_image_is_reference(guest, number)
        self.assert_nothing_left(guest, before)

    def assert_stays(self, guest, before, status):
        """QEMU before 8.2 lists a removed descriptor set until the guest runs and it looks again;
        the file behind it is empty."""
        self.assertEqual({**guest.state(), "fdsets": before["fdsets"]},
                         {**before, "status": status})

    def assert_well_while_paused(self, guest, before, started):
        self.assert_done(started)
        for number in range(len(guest.disks)):
            self.assert_image_is_reference(guest, number)
        self.assert_stays(guest, before, before["status"])
        guest.monitor.command("cont")
        code, _, errors = tool.run("recover", "--qmp", guest.address)
        self.assertEqual(code, 0, errors)
        self.assert_nothing_left(guest, {**before, "status": "running"})

    def assert_failed(self, guest, started, code):
        self.assertEqual(started.wait(), code, started.describe())
        self.assertEqual(started.result["exit_code"], code, started.describe())
        self.assertEqual(started.result["images"], [])
        self.assertEqual(list(guest.scratch.iterdir()), [])
        if guest.store.exists():
            self.assertEqual(list(guest.store.iterdir()), [])


class MeanwhileByFilter(MeanwhileTest):
    # ---- the guest and its QEMU

    def test_reset(self):
        guest, before, started = self.begin()
        guest.monitor.command("system_reset")
        wait_writable(started, self.METHOD)
        guest.write(guest.disks[0], 0, 2 * MIB, 0x55, keep_reference=False)
        self.assert_well(guest, before, started)

    def test_quit(self):
        guest, _, started = self.begin(Disk(self.SIZE), Disk(self.SIZE, fmt="raw", style="drive"))
        guest.monitor.command("quit")
        guest.wait_end()
        self.assert_failed(guest, started, QEMU)
        for disk in guest.disks:
            images.assert_clean(disk.path, disk.format)
            images.assert_same(disk.path, disk.format, disk.reference, "raw")

    def test_poweroff(self):
        """The guest ends, and its QEMU with it."""
        disk = Disk(self.SIZE)
        guest, _, started = self.begin(disk, Disk(MIB, fmt="raw"), job="poweroff")
        guest.qemu_io(guest.disks[1], f"write -P {ord('g'):#x} 0 {64 * KIB}")
        guest.wait_end()
        self.assert_failed(guest, started, QEMU)

    def test_shutdown_of_a_guest_whose_qemu_stays(self):
        """In run state `shutdown` the views still stand."""
        guest, before, started = self.begin(Disk(self.SIZE, fmt="raw"), Disk(MIB, fmt="raw"),
                                            job="poweroff", options=("-no-shutdown",))
        guest.qemu_io(guest.disks[1], f"write -P {ord('g'):#x} 0 {64 * KIB}")
        guest.monitor.wait_event("SHUTDOWN")
        self.assert_done(started)
        self.assert_image_is_reference(guest)
        self.assert_stays(guest, before, "shutdown")

    # ---- its run state

    def test_paused_by_others(self):
        guest, before, started = self.begin()
        guest.monitor.command("stop")
        before["status"] = "paused"
        self.assert_well_while_paused(guest, before, started)

    def test_continued_by_others(self):
        guest, before, started = self.begin(paused=True)
        guest.monitor.command("cont")
        before["status"] = "running"
        self.assert_well(guest, before, started)

    def test_paused_several_disks(self):
        guest, before, started = self.begin(Disk(self.SIZE), Disk(self.SIZE, fmt="raw"))
        guest.monitor.command("stop")
        before["status"] = "paused"
        self.assert_well_while_paused(guest, before, started)

    # ---- its disks

    def unplug(self, style):
        guest, before, started = self.begin(
            Disk(self.SIZE, device="scsi-hd", style=style), Disk(self.SIZE, device="scsi-hd"))
        guest.monitor.command("device_del", id="vd0")
        guest.monitor.wait_event("DEVICE_DELETED")
        if style == "drive" and self.UNPLUGGED:
            self.assert_failed(guest, started, self.UNPLUGGED)
            self.assertIn("unplugged", started.result["error"]["hint"])
        else:
            self.assert_done(started)
            for number in range(2):
                self.assert_image_is_reference(guest, number)
        state = guest.state()
        self.assertEqual([node for node in state["nodes"] if "qmpsnap" in node], [])
        self.assertLessEqual(set(state["nodes"]), set(before["nodes"]))
        before["roots"] = {qdev: node for qdev, node in before["roots"].items()
                           if "vd0" not in qdev}
        before["nodes"] = state["nodes"]
        self.assert_nothing_left(guest, before)

    def test_disk_unplugged(self):
        self.unplug("blockdev")

    def test_disk_unplugged_by_drive(self):
        self.unplug("drive")

    def resize(self, style, **name):
        """QEMU refuses it, and the snapshot goes on; afterwards it works."""
        guest, before, started = self.begin(Disk(self.SIZE, style=style))
        if self.EXPORTED:
            self.assertIsNotNone(started.wait_for(lambda e: e.get("step") == "export" and
                                                  e.get("phase") == "end"))
        root, = guest.state()["roots"].values()
        # a view read past the end of its disk ends QEMU
        for size in (self.SIZE // 4, 2 * self.SIZE):
            for names in (name, {"node_name": root}):
                with self.assertRaises(MonitorError):
                    guest.monitor.command("block_resize", size=size, **names)
        self.assert_well(guest, before, started)
        guest.monitor.command("block_resize", size=2 * self.SIZE, **name)

    def test_resize(self):
        self.resize("blockdev", node_name="drive0")

    def test_resize_by_drive(self):
        self.resize("drive", device="drive0")

    # ---- a migration

    def test_migration(self):
        """It fails while our nodes stand, and the guest runs on; afterwards it completes."""
        if builds.migrates_in_spite_of_jobs():
            self.migrated_away()
            return
        guest, before, started = self.begin()
        self.assertEqual(guest.migrate(), "failed")
        self.assert_well(guest, before, started)
        self.assertEqual(guest.migrate(), "completed")

    def migrated_away(self):
        """What is read from then on may be what the guest wrote elsewhere: no image."""
        if "stream" not in self.METHOD:
            self.skipTest("this QEMU dies of it while the job writes")
        guest, before, started = self.begin()
        self.assertEqual(guest.migrate(), "completed")
        self.assert_failed(guest, started, VIEW)
        self.assertIn("migrated", started.result["error"]["message"])
        self.assert_stays(guest, before, "postmigrate")


class JobOfOthers(MeanwhileTest):
    METHOD = ()

    def test_backup_by_another_tool(self):
        guest, before, started = self.begin()
        target = guest.folder / "other.qcow2"
        images.create(target, "qcow2", self.SIZE)
        guest.monitor.command("blockdev-add", driver="qcow2", node_name="other",
                              file={"driver": "file", "filename": str(target)})
        guest.monitor.command("blockdev-backup", device="drive0", target="other", sync="full",
                              job_id="other")
        guest.monitor.wait_event("BLOCK_JOB_COMPLETED")
        guest.monitor.command("blockdev-del", node_name="other")
        images.assert_same(target, "qcow2", guest.disks[0].reference, "raw")
        self.assert_well(guest, before, started)


class MeanwhileByJob(MeanwhileByFilter):
    METHOD = ("--method", "stream", "--flavour", "job")
    UNPLUGGED = VIEW


class Copies:
    """What a method that copies the disks adds."""

    EXPORTED = False
    UNPLUGGED = QEMU

    def test_once_they_are_made(self):
        """Nothing of ours is in QEMU any more."""
        guest, before, started = self.begin()
        started.wait_for(uploading)
        guest.monitor.command("block_resize", node_name="drive0", size=2 * self.SIZE)
        self.assertEqual(guest.migrate(), "completed")
        self.assert_done(started)
        self.assert_image_is_reference(guest)
        self.assert_stays(guest, before, "postmigrate")


class MeanwhileByBackup(Copies, MeanwhileByFilter):
    METHOD = ("--method", "backup")


class MeanwhileByMirror(Copies, MeanwhileByFilter):
    """During the copying, which is before the instant."""

    METHOD = ("--method", "mirror")
    SIZE = 96 * MIB  # the first and the last 16 MiB of a mirror have no limit
    guest_of_run = None

    def wait_under_way(self, started):
        self.assertIsNotNone(started.wait_for(copying), started.describe())

    def begin(self, *disks, **options):
        self.guest_of_run, *others = super().begin(*disks, **options)
        return self.guest_of_run, *others

    def hurry(self):
        for path in (self.guest_of_run.state_folder / "run").glob("*.sock"):
            tool.run("speed", path.stem, "1G", env=self.guest_of_run.tool_env())

    def assert_done(self, started, code=0):
        self.hurry()
        super().assert_done(started, code)

    def test_migration(self):
        """Refused at once, on each QEMU: it would die of it."""
        guest, before, started = self.begin()
        with self.assertRaisesRegex(MonitorError, "does not support live migration"):
            guest.migrate()
        self.assertEqual(guest.monitor.status(), "running")
        self.assert_well(guest, before, started)
        self.assertEqual(guest.migrate(), "completed")

    def stopped_by_others(self, guest, started):
        """Several disks need a pause of ours for their instant."""
        self.hurry()
        self.assert_failed(guest, started, QEMU)
        self.assertIn("stopped by others", started.result["error"]["message"])

    def test_paused_several_disks(self):
        guest, before, started = self.begin(Disk(self.SIZE), Disk(self.SIZE, fmt="raw"))
        guest.monitor.command("stop")
        self.stopped_by_others(guest, started)
        self.assert_stays(guest, before, "paused")

    def test_shutdown_of_a_guest_whose_qemu_stays(self):
        guest, before, started = self.begin(Disk(self.SIZE, fmt="raw"), Disk(MIB, fmt="raw"),
                                            job="poweroff", options=("-no-shutdown",))
        guest.qemu_io(guest.disks[1], f"write -P {ord('g'):#x} 0 {64 * KIB}")
        guest.monitor.wait_event("SHUTDOWN")
        self.stopped_by_others(guest, started)
        self.assert_stays(guest, before, "shutdown")


class StoppedByItsDisk(MeanwhileTest):
    """A guest's write fails and QEMU stops it (werror=stop): it is left so, and the snapshot goes
    on."""

    METHOD = ()
    # mov es, 0; again: write the boot sector to the next one by the BIOS; jmp again
    WRITES = bytes.fromhex("31c0 8ec0 b80103 b90200 ba8000 bb007c cd13 ebf0").ljust(510, b"\0")

    def stopped_by_its_disk(self, *method, reached):
        guest = self.guest(Disk(MIB), paused=True,
                           options=("-device", "virtio-scsi-pci,id=extra"))
        path = guest.folder / "bad.raw"
        path.write_bytes((self.WRITES + b"\x55\xaa").ljust(8 * MIB, b"\x11"))
        guest.monitor.command(
            "blockdev-add", driver="raw", node_name="bad", file={
                "driver": "blkdebug", "image": {"driver": "file", "filename": str(path)},
                "inject-error": [{"event": "none", "iotype": "write", "errno": 5, "sector": 1,
                                  "once": False}]})
        guest.monitor.command("device_add", driver="scsi-hd", id="bad0", drive="bad",
                              bus="extra.0", werror="stop", bootindex=0)
        before = guest.state()
        started = guest.snapshot(*method, "--disk", "bad0", "--format", "raw", "--speed", "1M")
        self.assertIsNotNone(started.wait_for(reached), started.describe())
        guest.monitor.command("cont")  # it boots from that disk now
        guest.monitor.wait_event("BLOCK_IO_ERROR")
        self.assertIsNone(started.result, started.describe())
        self.assert_done(started)
        image, = guest.published()
        images.assert_same(image, "raw", path, "raw")
        self.assertEqual({**guest.state(), "fdsets": before["fdsets"]},
                         {**before, "status": "io-error"})
        self.assertEqual(guest.journals(), [])

    def test_by_filter(self):
        self.needs_filter()
        self.stopped_by_its_disk("--method", "stream", "--flavour", "filter",
                                 reached=tool.is_after_instant)

    def test_by_job(self):
        self.stopped_by_its_disk("--method", "stream", "--flavour", "job",
                                 reached=tool.is_after_instant)

    def test_by_backup(self):
        self.stopped_by_its_disk("--method", "backup", reached=copying)

    def test_by_mirror(self):
        self.stopped_by_its_disk("--method", "mirror", reached=copying)


class ServerOfOthers(MeanwhileTest):
    """QEMU has one NBD server; another tool's is never touched."""

    METHOD = ()

    def serving(self, *disks, **options):
        guest = self.guest(*(disks or (Disk(self.SIZE),)), **options)
        for disk in guest.disks:
            guest.write(disk, 0, 8 * MIB, 0x11)
        guest.monitor.command("nbd-server-start", addr={
            "type": "unix", "data": {"path": str(guest.folder / "other.sock")}})
        guest.monitor.command("block-export-add", type="nbd", id="other", node_name="drive0",
                              name="other")
        return guest, guest.state()

    def assert_served(self, guest, before):
        self.assertEqual(guest.state(), before)
        self.assertTrue(guest.nbd_server_stands())
        images.qemu_img("compare", "-f", "raw", "-F", "raw", guest.disks[0].reference,
                        f"nbd+unix:///other?socket={guest.folder}/other.sock")
        self.assertEqual(list(guest.scratch.iterdir()), [])

    def refused(self, *method):
        guest, before = self.serving()
        started = guest.snapshot(*method)
        self.assert_failed(guest, started, REFUSED)
        self.assertIn("backup", started.result["error"]["hint"])
        self.assert_served(guest, before)

    def test_stream_is_refused(self):
        self.refused("--method", "stream")

    def test_the_flavours_are_refused(self):
        for flavour in ("filter", "job") if builds.has_filter() else ("job",):
            with self.subTest(flavour=flavour):
                self.refused("--flavour", flavour)

    def auto(self, *disks, **options):
        guest, before = self.serving(*disks, **options)
        started = guest.snapshot()
        self.assert_done(started)
        self.assertEqual(started.result["method"], "backup", started.describe())
        self.assertIn("NBD server", started.result["reason"])
        for number in range(len(guest.disks)):
            self.assert_image_is_reference(guest, number)
        self.assert_served(guest, before)

    def test_auto_takes_backup(self):
        self.auto()

    def test_auto_takes_backup_of_several_disks(self):
        self.auto(Disk(self.SIZE), Disk(self.SIZE, fmt="raw", style="drive"))

    def test_auto_takes_backup_of_a_paused_guest(self):
        self.auto(paused=True)

    def test_auto_where_backup_has_no_room(self):
        """Then there is no method that serves: refused, and nothing is left."""
        guest, before = self.serving()
        started = guest.snapshot("--scratch-limit", "2M")
        self.assert_failed(guest, started, REFUSED)
        self.assert_served(guest, before)

    def test_killed_after_the_change(self):
        """The guard knows which method it was in the end."""
        guest, before = self.serving()
        for step in ("server", "spool", "target", "instant", "copy", "upload"):
            with self.subTest(step=step):
                done = subprocess.run(
                    [FAULTY, "kill-after", step, guest.address, f"dir:{guest.store}", GUARD],
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                    check=False, env={"TMPDIR": str(guest.scratch),
                                      "XDG_RUNTIME_DIR": str(guest.scratch),
                                      "QMPSNAP_STATE_DIR": str(guest.state_folder)})
                self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
                if guest.store.exists():
                    self.assertEqual(list(guest.store.iterdir()), [])
                self.assert_served(guest, before)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""The method cold: qemu-img copies the disks while the guest stands still."""
import os
import pathlib
import shutil
import signal
import subprocess
import time
import unittest

import images
from lab import KIB, MIB, Disk, LabTest
from tool import FAULTY, GUARD

SLOW = "8M"  # --speed that makes a copy last; it holds for the copy and for the upload


class ColdTest(LabTest):
    def fill(self, guest, disk, size):
        step = 512 * KIB
        for i in range(0, size // step, 2):
            guest.write(disk, i * step, step, 1 + i % 100)
        guest.write(disk, 0, 96 * KIB, 0)
        guest.write(disk, size - 512, 512, 0x7f)

    def cold(self, guest, *args, **options):
        return guest.snapshot("--method", "cold", *args, **options)

    def wait_copying(self, started):
        self.assertIsNotNone(started.wait_for(self.is_copying), started.describe())

    @staticmethod
    def is_copying(event):
        return event["event"] == "progress" and event.get("step") == "copy"

    @staticmethod
    def children(program, parent):
        """Processes called so, started by `parent`."""
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                text = (folder / "stat").read_text()
            except OSError:
                continue
            name, rest = text.split(")")[0].split("(")[1], text.rsplit(")", 1)[1].split()
            if name == program and int(rest[1]) == parent and rest[0] != "Z":
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

    def assert_no_image(self, guest):
        self.assertEqual(list(guest.store.iterdir()) if guest.store.exists() else [], [])

    def assert_refused(self, guest, started, *words):
        self.assertEqual(started.wait(), 3, started.describe())
        for word in words:
            self.assertIn(word, started.result["error"]["message"])
        self.assert_no_image(guest)


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
        self.assert_refused(guest, self.cold(guest), "isn't the file that QEMU has open")

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
        self.assert_refused(guest, self.cold(guest, "--scratch-limit", "1M"), "need about")
        self.assert_nothing_left(guest, before)


class Disturbed(ColdTest):
    """Something happens in the middle of the copy."""

    def slow(self, size=32 * MIB, **options):
        disk = Disk(size, fmt="raw", style="drive")
        guest = self.guest(disk, **options)
        for offset in range(0, size, 8 * MIB):
            guest.write(disk, offset, 8 * MIB, 0x55)
        return guest

    def copying(self, guest):
        """A copy that is under way, the guest held."""
        started = self.cold(guest, "--speed", SLOW)
        self.wait_copying(started)
        return started

    def test_a_long_copy_is_no_reason_to_end_it(self):
        guest = self.slow(64 * MIB)
        before = guest.state()
        started = self.cold(guest, "--speed", SLOW)  # 8 s
        self.assert_done(started)
        self.assertGreater(started.result["stopped_ms"], 6000)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)

    def test_killed(self):
        guest = self.slow()
        before = guest.state()
        started = self.copying(guest)
        self.assertEqual(guest.monitor.status(), "paused")
        child, = self.children("qemu-img", started.pid)
        started.kill()  # waits until the guard has closed its standard error
        self.wait_dead(child)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)
        self.assertIn("all of it has been undone", started.stderr)

    def test_hung(self):
        """The guard ends a main process that has stopped saying that it copies."""
        guest = self.slow(64 * MIB)
        before = guest.state()
        started = self.copying(guest)
        started.signal(signal.SIGSTOP)
        self.assertEqual(started.wait(30), -signal.SIGKILL)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_interrupted(self):
        guest = self.slow()
        before = guest.state()
        started = self.copying(guest)
        child, = self.children("qemu-img", started.pid)
        started.signal(signal.SIGINT)
        self.assertEqual(started.wait(), 130, started.describe())
        self.wait_dead(child)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_continued_by_others(self):
        guest = self.slow()
        before = guest.state()
        started = self.copying(guest)
        guest.monitor.command("cont")
        self.assertEqual(started.wait(), 4, started.describe())
        self.assertIn("continued the guest", started.result["error"]["message"])
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_continued_and_stopped_by_others(self):
        """The pause that stands then is theirs, and stays."""
        guest = self.slow()
        started = self.copying(guest)
        guest.monitor.command("cont")
        guest.monitor.command("stop")
        self.assertEqual(started.wait(), 4, started.describe())
        self.assertIn("continued the guest", started.result["error"]["message"])
        self.assertEqual(guest.monitor.status(), "paused")
        self.assert_no_image(guest)

    def test_their_pause_continued_by_them(self):
        guest = self.slow()
        guest.monitor.command("stop")
        started = self.copying(guest)
        guest.monitor.command("cont")
        self.assertEqual(started.wait(), 4, started.describe())
        self.assertIn("continued the guest", started.result["error"]["message"])
        self.assertEqual(guest.monitor.status(), "running")
        self.assert_no_image(guest)

    def test_qemu_quits(self):
        guest = self.slow()
        started = self.copying(guest)
        guest.monitor.command("quit")
        self.assertEqual(started.wait(), 4, started.describe())
        self.assert_no_image(guest)
        self.assertEqual(list(guest.scratch.iterdir()), [])

    def test_qemu_img_dies(self):
        guest = self.slow()
        before = guest.state()
        started = self.copying(guest)
        child, = self.children("qemu-img", started.pid)
        os.kill(child, signal.SIGTERM)
        self.assertEqual(started.wait(), 4, started.describe())
        self.assertIn("signal 15", started.result["error"]["message"])
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


class FaultTest(ColdTest):
    def test_killed_at_each_step(self):
        guest = self.guest(Disk(8 * MIB), Disk(8 * MIB, fmt="raw", style="drive"))
        for disk in guest.disks:
            guest.write(disk, 0, 4 * MIB, 0x55)
        before = guest.state()
        planned = self.cold(guest, "--dry-run")
        self.assert_done(planned)
        steps = [event["step"].split(":")[0] for event in planned.events
                 if event["event"] == "step" and event["phase"] == "plan"]
        steps = [step for step in steps if not step.startswith(("disk ", "method "))]
        self.assertIn("copy", steps)
        for when in ("before", "after"):
            for step in steps:
                with self.subTest(step=step, when=when):
                    done = subprocess.run(
                        [FAULTY, f"kill-{when}", step, guest.address, f"dir:{guest.store}", GUARD],
                        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                        check=False,
                        env={"TMPDIR": str(guest.scratch), "PATH": os.environ["PATH"],
                             "FAULTY_METHOD": "cold",
                             "XDG_RUNTIME_DIR": str(guest.scratch)})
                    self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
                    self.assert_nothing_left(guest, before)
                    if step == "publish" and when == "after":
                        shutil.rmtree(guest.store)
                    self.assert_no_image(guest)


if __name__ == "__main__":
    unittest.main()

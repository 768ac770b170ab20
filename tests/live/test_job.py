# SPDX-License-Identifier: Apache-2.0
"""Stream in its job flavour: frozen as the filter's views are, and no scratch ever stops the guest."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import images
import test_booted
import test_frozen
import tool
from lab import KIB, MIB, Disk, LabTest
from tool import FAULTY, GUARD

JOB = ("--method", "stream", "--flavour", "job")


class FrozenByJob(test_frozen.Frozen):
    METHOD = JOB

    def test_usb_storage(self):
        self.check(Disk(24 * MIB, device="usb-storage"), paused=False)


class SmallByJob(test_frozen.Small):
    METHOD = JOB


class ChainByJob(test_frozen.Chain):
    METHOD = JOB


class PrefixByJob(test_frozen.Prefix):
    METHOD = JOB


class OneInstant(test_booted.Counting):
    METHOD = JOB

    def test_without_a_common_instant(self):
        self.skipTest("a transaction has no gap")


class Cancelled(LabTest):
    def test_by_somebody_else(self):
        """A view whose job is gone shows the disk as it is now: never published."""
        guest = self.guest(Disk(16 * MIB))
        guest.write(guest.disks[0], 0, 16 * MIB, 0x11)
        before = guest.state()
        started = guest.snapshot("--speed", "2M", *JOB)
        started.wait_instant()
        job = guest.monitor.command("query-jobs")[0]["id"]
        guest.monitor.command("block-job-cancel", device=job)
        self.assertEqual(started.wait(), 6, started.describe())
        self.assertIn("job", started.result["error"]["message"])
        self.assertEqual(guest.published(), [])
        self.assert_nothing_left(guest, before)


class Plaintext(LabTest):
    """An encrypted disk is taken when that is asked for, and its image says what it is."""

    def check(self, *method):
        disk = Disk(8 * MIB)
        secret = "secret,id=key,data=secret"
        folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-luks-"))
        self.addCleanup(shutil.rmtree, folder)
        disk.make(folder, "disk0")
        disk.path.unlink()
        images.qemu_img("create", "-q", "--object", secret, "-f", "qcow2",
                        "-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
                        disk.path, str(disk.size))
        disk.options = ",encrypt.format=luks,encrypt.key-secret=key"
        guest = self.guest(disk, options=("-object", secret))
        guest.write(disk, MIB, MIB, 0x42)
        before = guest.state()
        refused = guest.snapshot(*method)
        self.assertEqual(refused.wait(), 3, refused.describe())
        self.assertIn("encrypted", refused.result["error"]["message"])
        started = guest.snapshot("--allow-plaintext", *method)
        self.assert_done(started)
        self.assertTrue([event for event in started.events if event["event"] == "warning"])
        self.assert_image_is_reference(guest)
        path, _ = self.image_of(guest)
        properties = json.loads(path.with_suffix(".json").read_text())
        self.assertIn('"qmpsnap_plaintext": "true"', json.dumps(properties))
        self.assert_nothing_left(guest, before)

    def test_filter(self):
        self.needs_filter()
        self.check("--flavour", "filter")

    def test_job(self):
        self.check(*JOB)

    def test_backup(self):
        self.check("--method", "backup")

    def test_mirror(self):
        self.check("--method", "mirror")


class FullScratch(LabTest):
    SIZE = 64 * MIB

    def small_folder(self, size):
        if os.geteuid() != 0:
            self.skipTest("a file system of a few MiB needs root")
        folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-small-"))
        self.addCleanup(shutil.rmtree, folder)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder],
                              check=False)
        if done.returncode != 0:
            self.skipTest("tmpfs can't be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", folder], check=True)
        return folder

    def stops(self, guest):
        guest.monitor.command("query-name")
        return [event for event in guest.monitor.events if event["event"] == "STOP"]

    def assert_given_up(self, guest, started, before):
        self.assertEqual(started.wait(), 6, started.describe())
        self.assertIn("nearly full", started.result["error"]["message"])
        self.assertEqual(guest.published(), [])
        self.assertEqual(self.stops(guest), [])
        self.assert_nothing_left(guest, before)

    def test_given_up_in_time(self):
        """The limit is a fraction of what the guest overwrites.  No write of it fails."""
        guest = self.guest(Disk(self.SIZE))
        guest.write(guest.disks[0], 0, self.SIZE, 0x11)
        before = guest.state()
        started = guest.snapshot("--speed", "1M", "--scratch-limit", "16M", *JOB)
        started.wait_instant()
        writes = self.writer(guest, lambda i: (0, i * 64 * KIB % self.SIZE, 64 * KIB, 0x22))
        started.wait()
        self.assertGreater(writes.stop(), 100)
        self.assert_given_up(guest, started, before)
        self.assertLess(started.result["scratch_bytes"], 16 * MIB)

    def test_given_up_in_time_when_the_file_system_is_small(self):
        guest = self.guest(Disk(self.SIZE))
        guest.scratch = self.small_folder(12 * MIB)
        guest.write(guest.disks[0], 0, self.SIZE, 0x11)
        before = guest.state()
        started = guest.snapshot("--speed", "1M", "--scratch-limit", "100M", *JOB)
        started.wait_instant()
        writes = self.writer(guest, lambda i: (0, i * 64 * KIB % self.SIZE, 64 * KIB, 0x22))
        started.wait()
        writes.stop()
        self.assert_given_up(guest, started, before)

    def test_reserved_in_full(self):
        """Others fill the file system to its last byte: the guest overwrites its whole disk."""
        size = 16 * MIB
        guest = self.guest(Disk(size))
        guest.scratch = self.small_folder(40 * MIB)
        guest.write(guest.disks[0], 0, size, 0x11)
        before = guest.state()
        started = guest.snapshot("--speed", "3M", "--scratch-limit", "30M", *JOB)
        started.wait_instant()
        file = guest.scratch / "others"
        try:
            with open(file, "wb", buffering=0) as others:
                while others.write(bytes(64 * KIB)):
                    pass
        except OSError:
            pass
        for i in range(size // MIB):
            guest.write(guest.disks[0], i * MIB, MIB, 0x22, keep_reference=False)
        file.unlink()
        self.assert_done(started)
        self.assert_image_is_reference(guest)
        self.assertEqual(self.stops(guest), [])
        self.assert_nothing_left(guest, before)

    def full(self, fault, argument):
        """A Linux that writes, and a scratch that nobody watches."""
        folder = self.small_folder(6 * MIB)
        disk = Disk(self.SIZE, fmt="raw")
        guest = self.guest(disk, paused=True)
        guest.write(disk, 0, self.SIZE, 0x11)  # what holds zeroes takes no room in the scratch
        guest.monitor.command("quit")
        guest.wait_end()
        guest = self.guest(disk, job="write")
        guest.wait_count(1)
        before = guest.state()
        main = subprocess.Popen(
            [FAULTY, fault, argument, guest.address, f"dir:{guest.store}", GUARD],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={"TMPDIR": str(folder), "XDG_RUNTIME_DIR": str(guest.scratch),
                 "QMPSNAP_STATE_DIR": str(guest.state_folder),
                 "FAULTY_METHOD": "stream", "FAULTY_FLAVOUR": "job",
                 "FAULTY_SCRATCH_LIMIT": str(4 * MIB), "FAULTY_SPEED": str(MIB)})
        self.addCleanup(main.kill)
        return guest, before, main

    def wait_status(self, guest, wanted):
        end = time.monotonic() + 60
        while guest.monitor.status() != wanted:
            self.assertLess(time.monotonic(), end, guest.monitor.status())
            time.sleep(0.02)

    def assert_goes_on(self, guest, before):
        count = guest.counted()
        guest.wait_count(count + 20)
        guest.monitor.command("query-name")
        resumes = [event for event in guest.monitor.events if event["event"] == "RESUME"]
        self.assertEqual(len(resumes), 1)
        self.assertNotIn("FAILED", guest.console.read_text(errors="replace"))
        self.assert_nothing_left(guest, before)
        self.assertEqual(guest.published(), [])

    def test_a_stopped_guest_is_continued_by_the_guard(self):
        guest, before, main = self.full("stop-after", "map")
        os.waitid(os.P_PID, main.pid, os.WSTOPPED | os.WNOWAIT)
        self.wait_status(guest, "io-error")
        _, stderr = main.communicate(timeout=60)
        self.assertEqual(main.returncode, -signal.SIGKILL, stderr)
        self.assertIn("hasn't been watched", stderr)
        self.assertIn("all of it has been undone", stderr)
        self.assert_goes_on(guest, before)

    def unwatched(self):
        """Main process and guard are killed, and the scratch has stopped the guest."""
        guest, before, main = self.full("stop-after", "map")
        os.waitid(os.P_PID, main.pid, os.WSTOPPED | os.WNOWAIT)
        tool.kill_at_once(main.pid, tool.guard_of(main.pid))
        main.communicate()
        self.wait_status(guest, "io-error")
        return guest, before

    def recover(self, guest, **env):
        return tool.run("recover", "--qmp", guest.address, env={**guest.tool_env(), **env})

    def test_a_stopped_guest_is_continued_by_recover(self):
        guest, before = self.unwatched()
        code, out, stderr = self.recover(guest)
        self.assertEqual(code, 0, stderr)
        self.assertIn("is undone", out)
        self.assert_goes_on(guest, before)

    def test_a_stopped_guest_is_left_where_others_have_ended_the_job(self):
        """They know of no journal, and continue nothing; then it could be their stop, too."""
        guest, before = self.unwatched()
        code, out, stderr = self.recover(guest, QMPSNAP_STATE_DIR=str(guest.folder / "other"))
        self.assertEqual((code, guest.monitor.status()), (0, "io-error"), out + stderr)
        for _ in range(2):
            code, _, stderr = self.recover(guest)
            self.assertEqual((code, guest.monitor.status()), (9, "io-error"), stderr)
            self.assertIn("`cont`", stderr)
            self.assertEqual(len(guest.journals()), 1)
        guest.monitor.command("cont")
        code, _, stderr = self.recover(guest)
        self.assertEqual(code, 0, stderr)
        self.assert_goes_on(guest, before)

    def test_a_stopped_guest_is_continued_at_once(self):
        guest, before, main = self.full("no-watch", "-")
        _, stderr = main.communicate(timeout=120)
        self.assertEqual(main.returncode, 6, stderr)
        self.assertIn("scratch was full and stopped the guest", stderr)
        self.assert_goes_on(guest, before)
        stop, resume = (next(event for event in guest.monitor.events if event["event"] == name)
                        for name in ("STOP", "RESUME"))
        at = [event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6
              for event in (stop, resume)]
        self.assertLess(at[1] - at[0], 2)

    def test_the_disks_own_lack_of_space_is_not_ours(self):
        """The guest's file has no room: stopped it stays."""
        folder = self.small_folder(6 * MIB)
        disk = Disk(self.SIZE, fmt="raw")
        disk.make(folder, "disk0")
        guest = self.guest(disk, job="write")
        started = guest.snapshot("--speed", "1M", *JOB)
        started.wait_instant()
        self.wait_status(guest, "io-error")
        started.wait()
        self.assertEqual(guest.monitor.status(), "io-error")


if __name__ == "__main__":
    unittest.main()

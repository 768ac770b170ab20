# SPDX-License-Identifier: Apache-2.0
"""Guests whose file systems are frozen around the instant by a real qemu-ga."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import agents
import builds
import images
import tool
from agents import STATUS
from lab import MIB, Disk, LabTest
from test_killed import lame_guard
from tool import FAULTY, GUARD


class RealAgent(LabTest):
    """A booted guest that makes and removes files on an ext4."""

    def setUp(self):
        super().setUp()
        if not shutil.which("qemu-ga"):
            self.skipTest("no qemu-ga on this host: scripts/install-deps --test")

    def file_guest(self, *more):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-ext4-"))
        self.addCleanup(shutil.rmtree, folder)
        disk = Disk(64 * MIB, fmt="raw")
        disk.make(folder, "ext4")
        subprocess.run(["mkfs.ext4", "-q", "-F", disk.path], check=True)
        guest = self.guest(disk, *more, job="files", agent=True)
        guest.qga = guest.folder / "qga.sock"
        guest.wait_count(64)
        return guest

    def file_system(self, guest):
        """The features of the file system in the image, and what e2fsck says of it."""
        path, fmt = self.image_of(guest, 0)
        raw = images.to_raw(path, fmt, guest.folder / "image.raw")
        header = subprocess.run(["dumpe2fs", "-h", raw], check=True, capture_output=True,
                                text=True).stdout
        features = next(line for line in header.splitlines()
                        if line.startswith("Filesystem features:"))
        check = subprocess.run(["e2fsck", "-fn", raw], check=False, capture_output=True, text=True)
        return features.split(), check

    def assert_thawed(self, guest):
        self.assertEqual(agents.ask(guest.qga, STATUS), "thawed")
        guest.wait_count(guest.counted() + 16)  # it writes again

    def take(self, guest, *args):
        before = guest.state()
        started = guest.snapshot("--qga", guest.qga, *args)
        self.assert_done(started)
        self.assert_thawed(guest)
        self.assert_nothing_left(guest, before)
        return started.result

    def check_clean(self, method, *args):
        guest = self.file_guest()
        result = self.take(guest, "--quiesce", "require", "--method", method, *args)
        self.assertEqual(result["method"], method)
        self.assertEqual(result["consistency"], "filesystem")
        record = json.loads(next(guest.store.glob("*.json")).read_text())
        self.assertEqual(record["qmpsnap_consistency"], "filesystem")
        features, check = self.file_system(guest)
        self.assertNotIn("needs_recovery", features)
        self.assertEqual(check.returncode, 0, check.stdout)

    def test_stream_is_clean(self):
        self.needs_filter()
        self.check_clean("stream", "--flavour", "filter")

    def test_stream_by_jobs_is_clean(self):
        self.check_clean("stream", "--flavour", "job")

    def test_backup_is_clean(self):
        self.check_clean("backup")

    def test_mirror_is_clean(self):
        self.check_clean("mirror")

    def test_cold_is_clean(self):
        self.check_clean("cold")

    def test_without_freeze_it_needs_recovery(self):
        """The negative control."""
        guest = self.file_guest()
        result = self.take(guest, "--quiesce", "off")
        self.assertEqual(result["consistency"], "crash")
        features, _ = self.file_system(guest)
        self.assertIn("needs_recovery", features)

    def test_two_disks(self):
        guest = self.file_guest(Disk(8 * MIB))
        result = self.take(guest, "--quiesce", "require")
        self.assertEqual(result["consistency"], "filesystem")
        self.assertEqual(result["stopped_ms"] > 0, builds.has_filter())
        features, check = self.file_system(guest)
        self.assertNotIn("needs_recovery", features)
        self.assertEqual(check.returncode, 0, check.stdout)

    def start_faulty(self, guest, fault, step, guard=GUARD):
        run = subprocess.Popen(
            [FAULTY, fault, step, guest.address, f"dir:{guest.store}", guard,
             f"unix:{guest.qga}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
            env={"TMPDIR": str(guest.scratch), "XDG_RUNTIME_DIR": str(guest.scratch),
                 "QMPSNAP_STATE_DIR": str(guest.state_folder)})
        self.addCleanup(lambda: (run.poll() is None and run.kill(), run.wait(), run.stderr.close()))
        return run

    def test_killed_while_frozen(self):
        guest = self.file_guest(Disk(8 * MIB))
        before = guest.state()
        for fault, step in (("kill-before", "freeze"), ("kill-after", "freeze"),
                            ("kill-after", "instant"), ("kill-before", "thaw")):
            with self.subTest(fault=fault, step=step):
                run = self.start_faulty(guest, fault, step)
                stderr = run.stderr.read()  # until the guard, too, has ended
                self.assertEqual(run.wait(), -signal.SIGKILL, stderr)
                self.assertIn("all of it has been undone", stderr)
                self.assert_thawed(guest)
                self.assert_nothing_left(guest, before)

    def test_recovered_while_frozen(self):
        """Main process and guard killed: the journal says that file systems may be frozen."""
        guest = self.file_guest(Disk(8 * MIB))
        before = guest.state()
        for fault, step in (("kill-after", "freeze"), ("kill-after", "instant")):
            with self.subTest(fault=fault, step=step):
                run = self.start_faulty(guest, fault, step, lame_guard(guest))
                stderr = run.stderr.read()
                self.assertEqual(run.wait(), -signal.SIGKILL, stderr)
                code, out, stderr = tool.run(
                    "recover", "--qmp", guest.address, env=guest.tool_env())
                self.assertEqual(code, 0, stderr)
                self.assertIn("is undone", out)
                self.assert_thawed(guest)
                self.assert_nothing_left(guest, before)

    @staticmethod
    def wait_stopped(run):
        end = time.monotonic() + 30
        while pathlib.Path(f"/proc/{run.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
            if time.monotonic() > end:
                raise AssertionError("it did not stop itself")
            time.sleep(0.02)

    def test_hangs_while_frozen(self):
        """The guard ends a process that holds the freeze for too long, and thaws."""
        guest = self.file_guest()
        before = guest.state()
        run = self.start_faulty(guest, "stop-after", "freeze")
        self.wait_stopped(run)
        held = guest.counted()
        time.sleep(2)
        self.assertLessEqual(guest.counted(), held + 1)
        stderr = run.stderr.read()
        self.assertEqual(run.wait(), -signal.SIGKILL, stderr)
        self.assertIn("held frozen for over", stderr)
        self.assert_thawed(guest)
        self.assert_nothing_left(guest, before)

    def test_freeze_ends_after_its_deadline(self):
        """The guest's disk has become so slow that writing its caches out takes too long."""
        guest = self.file_guest()
        before = guest.state()
        guest.throttle(1)
        time.sleep(3)  # what it may write at once is used up, its caches have something in them
        started = guest.snapshot("--qga", guest.qga, "--quiesce", "require", "--freeze-deadline",
                                 "1s")
        undone = started.wait_for(lambda event: event["event"] == "step" and
                                  event["step"] == "freeze" and event["phase"] == "undo-begin")
        self.assertIsNotNone(undone, started.describe())
        time.sleep(2)  # the agent is still at the freeze
        guest.throttle(0)
        self.assertEqual(started.wait(), 8, started.describe())
        self.assertIn("no reply to guest-fsfreeze-freeze", started.result["error"]["message"])
        self.assert_thawed(guest)
        self.assert_nothing_left(guest, before)

    def test_owner_pauses_a_frozen_guest(self):
        """It is thawed once its owner continues it."""
        guest = self.file_guest()
        before = guest.state()
        run = self.start_faulty(guest, "stop-after", "freeze")
        self.wait_stopped(run)
        guest.monitor.command("stop")
        os.kill(run.pid, signal.SIGCONT)
        time.sleep(2)
        self.assertIsNone(run.poll())
        self.assertEqual(guest.state()["status"], "paused")
        guest.monitor.command("cont")
        stderr = run.stderr.read()
        self.assertEqual(run.wait(), 0, stderr)
        self.assert_thawed(guest)
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

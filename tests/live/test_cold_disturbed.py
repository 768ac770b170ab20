# SPDX-License-Identifier: Apache-2.0
"""A copy by the method cold that is disturbed: the guest runs again, and there is no image."""
import os
import shutil
import signal
import subprocess
import unittest

from cold import SLOW, ColdTest, SlowTest, is_copying
from lab import MIB, Disk
from tool import FAULTY, GUARD


class Disturbed(SlowTest):
    """Something happens in the middle of the copy."""

    def test_a_long_copy_is_no_reason_to_end_it(self):
        guest = self.slow(64 * MIB)
        before = guest.state()
        started = self.cold(guest, "--speed", SLOW)  # 8 s
        self.assert_done(started)
        self.assertGreater(started.result["stopped_ms"], 6000)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)

    def test_a_copy_that_grows_has_not_stalled(self):
        """One percent of a large disk can take longer: here qemu-img tells of none."""
        guest = self.slow()
        before = guest.state()
        self.wrap_qemu_img(guest, '[ "$1 $2" != "convert -p" ] || '
                                  '{ shift 2; set -- convert "$@"; }')
        started = self.cold(guest, "--speed", SLOW, "--stall-timeout", "2s")  # 4 s
        self.assert_done(started)
        self.assertFalse([event for event in started.events
                          if is_copying(event) and event["done_bytes"]])
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

    def check_migrated(self, *words, their_pause=False):
        """cold makes nothing in QEMU that would keep it from migrating."""
        guest = self.slow()
        if their_pause:
            guest.monitor.command("stop")
        started = self.copying(guest)
        stream = guest.folder / "stream"
        self.assertEqual(guest.migrate(f"exec:cat >{stream}"), "completed")
        self.assertEqual(started.wait(), 4, started.describe())
        error = started.result["error"]
        self.assertIn("others migrated", error["message"])
        for word in words:
            self.assertIn(word, error["hint"])
        self.assertEqual(guest.monitor.status(), "postmigrate")  # no cont of ours
        self.assert_no_image(guest)
        self.assertEqual(guest.journals(), [])
        self.assertEqual(guest.arrive(stream), "paused")
        guest.monitor.command("cont")
        self.assertEqual(guest.monitor.status(), "running")

    def test_migrated_by_others(self):
        """With our stop, which is in force where it arrives."""
        self.check_migrated("stopped for the copy", "cont")

    def test_migrated_by_others_who_had_stopped_it(self):
        self.check_migrated("run it again, at its destination", their_pause=True)

    def test_migration_by_others_fails(self):
        guest = self.slow()
        before = guest.state()
        started = self.copying(guest)
        self.assertEqual(guest.migrate("exec:false"), "failed")
        self.assert_done(started)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)

    def test_migration_by_others_fails_at_its_end(self):
        """QEMU 7.2 has a stopped guest in `postmigrate` then: it runs again all the same."""
        guest = self.slow()
        before = guest.state()
        started = self.copying(guest)
        guest.monitor.command("blockdev-add", node_name="theirs", driver="null-co")
        guest.monitor.command("nbd-server-start", addr={
            "type": "unix", "data": {"path": str(guest.folder / "other.sock")}})
        guest.monitor.command("block-export-add", type="nbd", id="other", node_name="theirs",
                              writable=True)
        self.assertEqual(guest.migrate(), "failed")
        after = guest.monitor.status()
        code = started.wait()
        self.assertEqual(code, 4 if after == "postmigrate" else 0, started.describe())
        guest.monitor.command("nbd-server-stop")
        guest.monitor.command("blockdev-del", node_name="theirs")
        self.assert_nothing_left(guest, before)

    def test_migration_that_goes_on(self):
        """It takes along that the guest runs again."""
        guest = self.slow()
        started = self.copying(guest)
        guest.monitor.command("migrate-set-parameters", max_bandwidth=4096)
        guest.monitor.command("migrate", uri="exec:cat >/dev/null")
        self.assert_done(started)
        self.assertEqual(guest.monitor.status(), "running")
        self.assert_image_is_reference(guest)
        guest.monitor.command("migrate_cancel")

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
        steps = [step for step in steps if not step.startswith(("disk ", "method ", "found"))]
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
                             "XDG_RUNTIME_DIR": str(guest.scratch),
                             "QMPSNAP_STATE_DIR": str(guest.state_folder)})
                    self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
                    self.assert_nothing_left(guest, before)
                    if step == "publish" and when == "after":
                        shutil.rmtree(guest.store)
                    self.assert_no_image(guest)


if __name__ == "__main__":
    unittest.main()

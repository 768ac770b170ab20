# SPDX-License-Identifier: Apache-2.0
"""SIGKILL of the main process: the guard undoes everything; without one, `qmpsnap recover` does.

The steps are those that the table itself names in a dry run, so a new step is covered as it is."""
import os
import random
import signal
import subprocess
import time
import unittest

import tool
from lab import MIB, Disk, LabTest
from monitor import Monitor
from tool import FAULTY, GUARD


class KillTest(LabTest):
    METHOD = {}  # options that name one; subclasses have others

    def options(self):
        return [word for name, value in self.METHOD.items() for word in (f"--{name}", value)]

    def fault_env(self, guest):
        return {"TMPDIR": str(guest.scratch), "XDG_RUNTIME_DIR": str(guest.scratch),
                "QMPSNAP_STATE_DIR": str(guest.state_folder),
                "FAULTY_SCRATCH_LIMIT": str(1 << 30),  # however full the host is
                **{f"FAULTY_{name.upper()}": value for name, value in self.METHOD.items()}}

    def two_disks(self, **options):
        guest = self.guest(Disk(8 * MIB), Disk(8 * MIB, fmt="raw", style="drive"), **options)
        for disk in guest.disks:
            guest.write(disk, 0, 4 * MIB, 0x55)
        return guest

    def steps(self, guest):
        started = guest.snapshot("--dry-run", "--zero-scan", "always", *self.options())
        self.assert_done(started)
        names = [event["step"].split(":")[0] for event in started.events
                 if event["event"] == "step" and event["phase"] == "plan"]
        return [name for name in names if not name.startswith(("disk ", "method ", "found"))]

    def faulty(self, guest, fault, argument, guard=GUARD, store=None, env=(), prefix=()):
        """Runs to its end, and to that of its guard, which holds the same standard error."""
        done = subprocess.run(
            [*prefix, FAULTY, fault, argument, guest.address, store or f"dir:{guest.store}",
             guard],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
            env={**self.fault_env(guest), **dict(env)})
        return done.returncode, done.stderr

    def start_stopping_after(self, guest, step, fault="stop-after"):
        """A run that sends itself SIGSTOP after the step; its standard error is a pipe."""
        return subprocess.Popen(
            [FAULTY, fault, step, guest.address, f"dir:{guest.store}", GUARD],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=self.fault_env(guest))

    def assert_no_image(self, guest):
        self.assertEqual(list(guest.store.iterdir()) if guest.store.exists() else [], [])


class Killed(KillTest):
    def kill_at_each_step(self, guest, when):
        before = guest.state()
        steps = self.steps(guest)
        self.assertIn("instant", steps)
        for step in steps:
            with self.subTest(step=step, when=when):
                code, stderr = self.faulty(guest, f"kill-{when}", step)
                self.assertEqual(code, -signal.SIGKILL, stderr)
                self.assert_nothing_left(guest, before)
                if step == "publish" and when == "after":
                    for number in range(2):
                        self.assert_image_is_reference(guest, number)
                    for path in guest.store.iterdir():
                        path.unlink()
                self.assert_no_image(guest)
        # The same guest can still be taken, and is what it was.
        self.assert_done(guest.snapshot(*self.options()))
        for number in range(2):
            self.assert_image_is_reference(guest, number)
        self.assert_nothing_left(guest, before)

    def test_before_each_step(self):
        self.kill_at_each_step(self.two_disks(), "before")

    def test_after_each_step(self):
        self.kill_at_each_step(self.two_disks(), "after")

    def test_before_each_step_of_a_guest_that_never_ran(self):
        self.kill_at_each_step(self.two_disks(paused=True), "before")

    def test_at_any_moment(self):
        guest = self.two_disks()
        before = guest.state()
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        for _ in range(12):
            delay_s = chance.uniform(0, 0.35)
            with self.subTest(seed=seed, delay_s=delay_s):
                started = guest.snapshot("--speed", "20M", *self.options())
                time.sleep(delay_s)
                started.kill()  # waits until the guard has closed its standard error
                self.assert_nothing_left(guest, before)
        self.assertTrue(guest.alive())


class KilledInJob(Killed):
    METHOD = {"method": "stream", "flavour": "job"}


class KilledInBackup(Killed):
    METHOD = {"method": "backup"}


class KilledInMirror(Killed):
    METHOD = {"method": "mirror"}


def lame_guard(guest):
    """A guard that only says that it is ready: killed too, before it could do anything."""
    path = guest.folder / "lame-guard"
    path.write_text("#!/usr/bin/env python3\nimport socket\n"
                    "s = socket.socket(fileno=3)\ns.setblocking(True)\ns.send(b'{\"record\":\"ready\"}')\n"
                    "while s.recv(1 << 20): pass\n")
    path.chmod(0o755)
    return path


class RecoverTest(KillTest):
    """The guard killed too, before it could do anything: a guard that only says it is ready.  And
    no journal is left: what others, or nobody, have one of is found by its names."""

    def forget(self, guest):
        for journal in (guest.state_folder / "journal").iterdir():
            journal.unlink()

    def recover(self, guest):
        code, out, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 0, stderr)
        return out

    def recover_after_each(self, steps, **options):
        guest = self.two_disks(**options)
        lame = lame_guard(guest)
        before = guest.state()
        for step in steps:
            with self.subTest(step=step):
                code, stderr = self.faulty(guest, "kill-after", step, lame)
                self.assertEqual(code, -signal.SIGKILL, stderr)
                exported = guest.monitor.command("query-block-exports")
                self.assertTrue(guest.monitor.command("query-jobs") or guest.state() != before)
                self.forget(guest)
                self.recover(guest)
                self.assertEqual(guest.state(), before)
                if not exported and guest.nbd_server_stands():  # nobody knows whose it is
                    guest.monitor.command("nbd-server-stop")
                self.assertFalse(guest.nbd_server_stands())



class RecoveredFromJob(RecoverTest):
    METHOD = {"method": "stream", "flavour": "job"}

    def test_recover(self):
        self.recover_after_each(("scratch", "overlay", "instant", "export", "upload"))


class RecoveredFromBackup(RecoverTest):
    METHOD = {"method": "backup"}

    def test_recover(self):
        self.recover_after_each(("target", "instant", "copy"))


class RecoveredFromMirror(RecoverTest):
    METHOD = {"method": "mirror"}

    def test_recover(self):
        self.recover_after_each(("target", "mirror", "copy", "resume"))


class Recovered(RecoverTest):
    def setUp(self):
        self.needs_filter()

    def test_recover(self):
        self.recover_after_each(("scratch", "filter", "resume", "view", "export", "upload"))

    def test_recover_keeps_a_pause(self):
        """Without a journal nobody knows whose pause it is."""
        guest = self.two_disks()
        before = guest.state()
        code, stderr = self.faulty(guest, "kill-after", "instant", lame_guard(guest))
        self.assertEqual(code, -signal.SIGKILL, stderr)
        self.assertEqual(guest.monitor.status(), "paused")
        self.forget(guest)
        self.assertIn("qmpsnap-", self.recover(guest))
        left = guest.state()
        self.assertEqual(left.pop("status"), "paused")
        before.pop("status")
        fdsets = left.pop("fdsets")  # QEMU 7.2 lists them until the guest runs
        before.pop("fdsets")
        self.assertEqual(left, before)
        self.assertLessEqual(len(fdsets), 2)

    def test_foreign_things_stay(self):
        guest = self.two_disks()
        ask = guest.monitor.command
        ask("blockdev-add", driver="null-co", node_name="qmpsnap-mine", size=1 << 20)
        address = {"type": "unix", "data": {"path": str(guest.folder / "theirs.sock")}}
        ask("nbd-server-start", addr=address)
        ask("block-export-add", type="nbd", id="theirs", node_name="qmpsnap-mine")
        before = guest.state()
        self.recover(guest)
        self.assertEqual(guest.state(), before)
        started = guest.snapshot("--method", "stream")
        self.assertEqual(started.wait(), 3, started.describe())  # their NBD server stands
        self.assertIn("NBD server", started.result["error"]["message"])
        self.assertEqual(guest.state(), before)
        ask("nbd-server-stop")  # it still was theirs


class StoppedByOthers(KillTest):
    def setUp(self):
        self.needs_filter()  # the job flavour doesn't stop the guest

    def test_their_pause_stays(self):
        """Who stops the guest between our look at it and our own `stop` keeps it stopped."""
        guest = self.two_disks()
        before = guest.state()
        main = self.start_stopping_after(guest, "filter")
        try:
            os.waitid(os.P_PID, main.pid, os.WSTOPPED | os.WNOWAIT)
            guest.monitor.command("stop")
            main.send_signal(signal.SIGCONT)
            _, stderr = main.communicate(timeout=60)
        finally:
            main.kill()
        self.assertEqual(main.returncode, 4, stderr)
        self.assertIn("stopped by others", stderr)
        self.assertEqual(guest.monitor.status(), "paused")
        guest.monitor.command("cont")
        tool.run("inspect", "--qmp", guest.address)  # QEMU 7.2 drops its fdsets as a client leaves
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


    def test_their_pause_stays_when_we_are_killed(self):
        """In the step that would have stopped it, before it did: the guard continues nothing."""
        guest = self.two_disks()
        before = guest.state()
        main = self.start_stopping_after(guest, "pause", "stop-before")
        try:
            os.waitid(os.P_PID, main.pid, os.WSTOPPED | os.WNOWAIT)
            guest.monitor.command("stop")
        finally:
            main.kill()
        _, stderr = main.communicate(timeout=60)
        self.assertIn("all of it has been undone", stderr)
        self.assertEqual(guest.monitor.status(), "paused")
        guest.monitor.command("cont")
        tool.run("inspect", "--qmp", guest.address)  # QEMU 7.2 drops its fdsets as a client leaves
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


class HungInThePause(KillTest):
    def setUp(self):
        self.needs_filter()

    def test_the_guard_waits_for_qemu(self):
        """QEMU hangs for longer than any command's deadline, in the pause and its undo."""
        guest = self.two_disks()
        before = guest.state()
        main = self.start_stopping_after(guest, "instant")
        try:
            os.waitid(os.P_PID, main.pid, os.WSTOPPED | os.WNOWAIT)
            os.kill(guest.pid, signal.SIGSTOP)
            time.sleep(38)  # the guard ends it after 5 s; its first command waits for 30 s
            os.kill(guest.pid, signal.SIGCONT)
            _, stderr = main.communicate(timeout=90)
        finally:
            main.kill()
        self.assertEqual(main.returncode, -signal.SIGKILL, stderr)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)
        self.assertIn("all of it has been undone", stderr)


class LostInThePause(KillTest):
    """QEMU closes the monitor inside the pause, and another client is served for longer than any
    handshake waits: the undo goes on for as long as QEMU lives."""

    def setUp(self):
        self.needs_filter()

    def lose(self, guest, disturb):
        main = self.start_stopping_after(guest, "instant", "lose-after")
        other = None
        try:
            os.waitid(os.P_PID, main.pid, os.WSTOPPED | os.WNOWAIT)
            other = Monitor(guest.folder / "tool.sock")
            main.send_signal(signal.SIGCONT)
            disturb(main)
            self.assertEqual(guest.monitor.status(), "paused")
            other.close()
            _, stderr = main.communicate(timeout=60)
        finally:
            main.kill()
            if other:
                other.close()
        return main.returncode, stderr

    def test_the_undo_goes_on(self):
        guest = self.two_disks()
        before = guest.state()

        def wait(main):
            time.sleep(17)
            self.assertIsNone(main.poll())
        code, stderr = self.lose(guest, wait)
        self.assertEqual(code, 4, stderr)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_the_guard_goes_on(self):
        guest = self.two_disks()
        before = guest.state()

        def kill(main):
            time.sleep(1)
            main.kill()
            time.sleep(16)
        code, stderr = self.lose(guest, kill)
        self.assertEqual(code, -signal.SIGKILL, stderr)
        self.assertIn("all of it has been undone", stderr)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_qemu_ends(self):
        guest = self.two_disks()

        def end(main):
            time.sleep(14)
            self.assertIsNone(main.poll())
            guest.kill()
            _, stderr = main.communicate(timeout=20)
            self.assertEqual(main.returncode, 4, stderr)
        main = self.start_stopping_after(guest, "instant", "lose-after")
        try:
            os.waitid(os.P_PID, main.pid, os.WSTOPPED | os.WNOWAIT)
            other = Monitor(guest.folder / "tool.sock")
            self.addCleanup(other.close)
            main.send_signal(signal.SIGCONT)
            end(main)
        finally:
            main.kill()
        self.assert_no_image(guest)


class StoppedInTheUpload(KillTest):
    def test_the_guest_is_not_held_up(self):
        """Replies that nobody reads would hold up a drain, and so the guest: the guard sees to it."""
        disk = Disk(64 * MIB, fmt="raw")
        guest = self.guest(disk)
        for offset in range(0, disk.size, 8 * MIB):
            guest.write(disk, offset, 8 * MIB, 0x55)
        before = guest.state()
        started = guest.snapshot("--method", "stream", "--speed", "10G")
        started.wait_for(lambda event: event["event"] == "state" and
                         event["state"] == "image_uploading")
        started.signal(signal.SIGSTOP)
        time.sleep(24)  # the guard waits for 20 s
        began = time.monotonic()
        guest.monitor.command("stop")  # drains all
        guest.monitor.command("cont")
        self.assertLess(time.monotonic() - began, 10)
        started.signal(signal.SIGCONT)
        self.assertEqual(started.wait(), 6, started.describe())
        self.assertIn("has stood still", started.stderr)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


class PauseDeadline(KillTest):
    def setUp(self):
        if not self.METHOD:
            self.needs_filter()

    def test_a_hung_main_process_does_not_hold_the_guest(self):
        """The guard ends a main process that is stopped inside the pause."""
        guest = self.two_disks()
        before = guest.state()
        main = self.start_stopping_after(guest, "instant")
        try:
            _, stderr = main.communicate(timeout=60)
        finally:
            main.kill()
        self.assertEqual(main.returncode, -signal.SIGKILL, stderr)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


if __name__ == "__main__":
    unittest.main()

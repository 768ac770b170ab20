# SPDX-License-Identifier: Apache-2.0
"""Guests whose file systems are frozen around the instant, by a real qemu-ga and by played ones."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import agents
import builds
import images
import tool
from lab import MIB, Disk, LabTest
from test_killed import lame_guard
from tool import FAULTY, GUARD

FREEZE, THAW = "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"
STATUS = "guest-fsfreeze-status"


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
        guest.wait_count(200)
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
        guest.wait_count(guest.counted() + 50)  # it writes again

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


class PlayedAgent(LabTest):
    def agent(self, guest, answers, deaf=False):
        agent = agents.FakeAgent(guest.folder / "played.sock", answers, deaf)
        self.addCleanup(agent.close)
        return agent

    def check(self, agent, code, *args, **options):
        """Runs it against the agent (None: no socket); returns the run."""
        guest = self.guest(Disk(8 * MIB), **options)
        guest.write(guest.disks[0], 0, MIB, 0x55)
        before = guest.state()
        played = agent and self.agent(guest, *agent)
        started = guest.snapshot("--qga", guest.folder / "played.sock", *args)
        self.assertEqual(started.wait(), code, started.describe())
        self.assert_nothing_left(guest, before)
        self.assertEqual(len(guest.published()), 0 if code else 1)
        if code == 0:
            self.assert_image_is_reference(guest, 0)
        return started, played.heard if played else []

    def steps(self, started):
        return [event["step"] for event in started.events if event["event"] == "step"]

    def test_no_agent_answers(self):
        started, heard = self.check(({}, True), 0)
        self.assertEqual(started.result["consistency"], "crash")
        self.assertIn("no agent answers", started.stderr + json.dumps(started.events))
        self.assertEqual(heard, ["guest-sync-delimited"])
        started, _ = self.check(({}, True), 8, "--quiesce", "require")
        self.assertNotIn("server", self.steps(started))

    def test_no_socket(self):
        started, _ = self.check(None, 0)
        self.assertEqual(started.result["consistency"], "crash")
        started, _ = self.check(None, 8, "--quiesce", "require")
        self.assertNotIn("server", self.steps(started))

    def test_freeze_is_never_answered(self):
        silent = ({STATUS: "thawed", THAW: 0},)
        started, heard = self.check(silent, 0, "--freeze-deadline", "1s")
        self.assertEqual(started.result["consistency"], "crash")
        self.assertEqual(heard[heard.index(FREEZE):],
                         [FREEZE, "guest-sync-delimited", THAW, STATUS])
        started, heard = self.check(silent, 8, "--freeze-deadline", "1s", "--quiesce", "require")
        self.assertNotIn("instant", self.steps(started))
        self.assertEqual(heard[-2:], [THAW, STATUS])

    def late(self):
        """Its freeze is done after 3 s, and nothing else meanwhile."""
        def freeze():
            time.sleep(3)
            self.held = True
            return 2

        def thaw():
            self.held = False
            return 2
        return ({STATUS: lambda: "frozen" if self.held else "thawed", FREEZE: freeze, THAW: thaw},)

    def test_freeze_ends_after_its_deadline(self):
        """What froze late is thawed."""
        for code, quiesce in ((0, "auto"), (8, "require")):
            with self.subTest(quiesce=quiesce):
                self.held = False
                started, heard = self.check(
                    self.late(), code, "--freeze-deadline", "1s", "--quiesce", quiesce)
                self.assertFalse(self.held)
                self.assertEqual(heard[heard.index(FREEZE):],
                                 [FREEZE, "guest-sync-delimited", THAW, STATUS])
                self.assertIn("no reply to guest-fsfreeze-freeze within 1 s",
                              started.stderr + json.dumps(started.events))

    def test_freezes_nothing(self):
        nothing = ({STATUS: "thawed", FREEZE: 0, THAW: 0},)
        started, heard = self.check(nothing, 0)
        self.assertEqual(started.result["consistency"], "crash")
        self.assertEqual(heard[-2:], [THAW, STATUS])
        self.check(nothing, 8, "--quiesce", "require")

    def test_others_hold_it_frozen(self):
        """Then it isn't ours to thaw."""
        started, heard = self.check(({STATUS: "frozen"},), 0)
        self.assertEqual(started.result["consistency"], "crash")
        self.assertNotIn(THAW, heard)

    def test_killed_while_others_hold_it_frozen(self):
        """Neither the guard nor recover thaws what the run had not frozen yet."""
        for guarded in (True, False):
            with self.subTest(guarded=guarded):
                guest = self.guest(Disk(8 * MIB))
                before = guest.state()
                played = self.agent(guest, {THAW: 2})
                started = guest.snapshot(
                    "--qga", played.address, *(() if guarded else ("--no-guard",)))
                while STATUS not in played.heard:
                    self.assertIsNone(started.result)
                    time.sleep(0.02)
                started.signal(signal.SIGKILL)
                started.wait_exit()
                played.answers[STATUS] = "frozen"
                started.wait()  # until the guard has ended, too
                if not guarded:
                    code, out, stderr = tool.run(
                        "recover", "--qmp", guest.address, env=guest.tool_env())
                    self.assertEqual(code, 0, stderr)
                    self.assertIn("is undone", out)
                self.assert_nothing_left(guest, before)
                self.assertNotIn(THAW, played.heard)

    def test_agent_falls_silent_while_frozen(self):
        """The command ends in time and says what is left, and its guard goes on trying."""
        guest = self.guest(Disk(8 * MIB))
        before = guest.state()
        played = self.agent(guest, {STATUS: "thawed", FREEZE: 2})
        started = guest.snapshot("--qga", played.address, "--freeze-deadline", "1s")
        while THAW not in played.heard:
            self.assertIsNone(started.result)
            time.sleep(0.02)
        started.signal(signal.SIGINT)
        code = started.wait_exit()
        played.answers[THAW] = 2
        self.assertEqual(code, 9, started.describe())
        started.wait()  # until the guard has ended, too
        self.assertIn("the guard process goes on trying", json.dumps(started.result))
        self.assertIn("are thawed", started.stderr)
        self.assertEqual(played.heard[-2:], [THAW, STATUS])
        self.assert_nothing_left(guest, before)

    def test_killed_and_the_agent_falls_silent(self):
        """The guard undoes the rest, lets go of the monitor and goes on trying."""
        guest = self.guest(Disk(8 * MIB))
        before = guest.state()
        played = self.agent(guest, {STATUS: "thawed", FREEZE: 2})
        started = guest.snapshot("--qga", played.address, "--freeze-deadline", "1s")
        while THAW not in played.heard:
            self.assertIsNone(started.result)
            time.sleep(0.02)
        started.signal(signal.SIGKILL)
        started.wait_exit()
        end = time.monotonic() + 60
        while guest.state() != before or any(guest.scratch.iterdir()):
            self.assertLess(time.monotonic(), end, "the guard undoes nothing")
            time.sleep(0.2)
        code, _, said = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 3, said)  # the guard is at it
        self.assertIn("at work on this guest", said)
        played.answers[THAW] = 2
        started.wait()  # until the guard has ended, too
        self.assertIn("are thawed", started.stderr)
        self.assert_nothing_left(guest, before)

    def frozen_run(self, *args):
        """A run whose agent falls silent while the guest is frozen."""
        guest = self.guest(Disk(8 * MIB))
        before = guest.state()
        played = self.agent(guest, {STATUS: "thawed", FREEZE: 2})
        started = guest.snapshot("--qga", played.address, "--freeze-deadline", "1s", *args)
        while THAW not in played.heard:
            self.assertIsNone(started.result)
            time.sleep(0.02)
        return guest, before, played, started

    def wait_all_else_undone(self, guest, before):
        end = time.monotonic() + 60
        while guest.state() != before or any(guest.scratch.iterdir()):
            self.assertLess(time.monotonic(), end, "nothing is undone")
            time.sleep(0.2)
        time.sleep(1)

    def check_goes_on_alone(self, guest, before, played, started):
        """With nobody to go on it doesn't end before the guest is thawed."""
        self.wait_all_else_undone(guest, before)
        started.signal(signal.SIGINT)  # nor then
        time.sleep(1)
        self.assertTrue(started.runs(), started.describe())
        self.assertNotIn("goes on trying", started.describe())
        played.answers[THAW] = 2
        code = started.wait()
        self.assertEqual(played.heard[-2:], [THAW, STATUS])
        self.assert_nothing_left(guest, before)
        return code

    def test_no_guard_and_the_agent_falls_silent(self):
        run = self.frozen_run("--no-guard")
        run[3].signal(signal.SIGINT)
        self.assertEqual(self.check_goes_on_alone(*run), 130, run[3].describe())

    def test_guard_is_killed_and_the_agent_falls_silent(self):
        run = self.frozen_run()
        os.kill(tool.guard_of(run[3].pid), signal.SIGKILL)
        self.assertEqual(self.check_goes_on_alone(*run), 1, run[3].describe())

    def test_recover_goes_on(self):
        """After all else; a SIGKILL of it leaves the journal."""
        guest, before, played, started = self.frozen_run("--no-guard")
        started.signal(signal.SIGKILL)
        started.wait()
        recover = subprocess.Popen(
            [tool.BINARY, "recover", "--all"], stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **guest.tool_env()})
        self.addCleanup(lambda: (recover.poll() is None and recover.kill(), recover.wait()))
        time.sleep(40)  # it is patient once, while there is more to undo
        self.wait_all_else_undone(guest, before)
        self.assertIsNone(recover.poll())
        played.answers[THAW] = 2
        said = recover.communicate(timeout=60)[0]
        self.assertEqual(recover.returncode, 0, said)
        self.assertIn("is undone", said)
        self.assert_nothing_left(guest, before)

    def test_an_agent_given_as_a_descriptor_is_nobody_elses(self):
        """Its number means nothing to recover, which undoes the rest and says so."""
        guest = self.guest(Disk(8 * MIB))
        before = guest.state()
        played = self.agent(guest, {STATUS: "thawed", FREEZE: 2})
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(played.address.removeprefix("unix:"))
            fd = channel.fileno()
            run = subprocess.Popen(
                [tool.BINARY, "snapshot", "--qmp", guest.address, "--qga", f"fd:{fd}", "--to",
                 f"dir:{guest.store}", "--no-guard", "--quiet"], pass_fds=(fd,),
                stdin=subprocess.DEVNULL, env={**os.environ, **guest.tool_env()})
            self.addCleanup(lambda: (run.poll() is None and run.kill(), run.wait()))
            while THAW not in played.heard:
                self.assertIsNone(run.poll())
                time.sleep(0.02)
            run.kill()
            run.wait()
        code, _, said = tool.run("recover", "--all", env=guest.tool_env())
        self.assertEqual(code, 9, said)
        self.assertIn("nobody can connect to a descriptor's other end", said)
        self.assertEqual(guest.state(), before)
        self.assertEqual(len(guest.journals()), 1)

    def test_killed_and_the_agent_cannot_be_reached(self):
        """For a while: its socket is gone, and made anew."""
        guest, before, played, started = self.frozen_run()
        started.signal(signal.SIGKILL)
        started.wait_exit()
        (guest.folder / "played.sock").unlink()
        played.drop()
        self.wait_all_else_undone(guest, before)
        time.sleep(3)
        again = self.agent(guest, {STATUS: "thawed", THAW: 2})
        started.wait()  # until the guard has ended, too
        self.assertIn("are thawed", started.stderr)
        self.assertEqual(again.heard[-2:], [THAW, STATUS])
        self.assert_nothing_left(guest, before)

    def test_required_and_none_named(self):
        guest = self.guest(Disk(8 * MIB))
        started = guest.snapshot("--quiesce", "require")
        self.assertEqual(started.wait(), 2, started.describe())

    def test_paused_guest(self):
        started, heard = self.check(({},), 0, paused=True)
        self.assertEqual(heard, [])
        started, heard = self.check(({},), 8, "--quiesce", "require", paused=True)
        self.assertEqual(heard, [])


if __name__ == "__main__":
    unittest.main()

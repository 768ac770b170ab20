# SPDX-License-Identifier: Apache-2.0
"""Guests with an agent that is played: one that isn't there, falls silent, is late, or another's."""
import json
import os
import signal
import socket
import subprocess
import time
import unittest

import agents
import tool
from agents import FREEZE, STATUS, THAW
from lab import MIB, Disk, LabTest


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

# SPDX-License-Identifier: Apache-2.0
"""A guest that is reset while it stands still for us, which makes QEMU's "paused" a "prelaunch": it
is continued all the same, and nobody else's guest is."""
import os
import signal
import subprocess
import time
import unittest

import agents
import tool
from agents import FREEZE, STATUS, THAW
from cold import SLOW, SlowTest
from lab import MIB
from test_killed import lame_guard
from test_others import OthersTest


def reset(guest):
    guest.monitor.command("system_reset")
    guest.monitor.wait_event("RESET")


class OfCold(SlowTest):
    """In the minutes of a copy."""

    def test_the_image_is_good(self):
        guest = self.slow()
        before = guest.state()
        started = self.copying(guest)
        reset(guest)
        self.assertEqual(guest.monitor.status(), "prelaunch")
        self.assert_done(started)
        self.assertIn("was reset while it stood still", started.describe())
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)

    def test_twice_and_interrupted(self):
        guest = self.slow()
        before = guest.state()
        started = self.copying(guest)
        reset(guest)
        reset(guest)
        started.signal(signal.SIGINT)
        self.assertEqual(started.wait(), 130, started.describe())
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_killed(self):
        """The guard continues it, whether it was reset before the kill or not long after."""
        for order in ((reset, None), (None, reset)):
            with self.subTest(order=order):
                guest = self.slow()
                before = guest.state()
                started = self.copying(guest)
                guard = tool.guard_of(started.pid)
                for number in (signal.SIGSTOP, None):
                    if number:
                        os.kill(guard, number)
                        if order[0]:
                            reset(guest)
                        os.kill(started.pid, signal.SIGKILL)
                    elif order[1]:
                        reset(guest)
                self.assertEqual(guest.monitor.status(), "prelaunch")
                os.kill(guard, signal.SIGCONT)
                started.wait()  # for the guard, too
                self.assertIn("all of it has been undone", started.stderr)
                self.assertIn("was reset while it stood still", started.stderr)
                self.assert_nothing_left(guest, before)
                self.assert_no_image(guest)

    def test_killed_with_its_guard(self):
        guest = self.slow()
        before = guest.state()
        started = self.copying(guest)
        tool.kill_at_once(started.pid, tool.guard_of(started.pid))
        started.wait()
        reset(guest)
        time.sleep(9)  # what had been under way in the disks then is no evidence
        code, out, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 0, stderr)
        self.assertIn("is undone", out)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_their_pause(self):
        """What others had stopped, and now reset, isn't ours to continue."""
        guest = self.slow()
        guest.monitor.command("stop")
        before = guest.state()
        started = self.copying(guest)
        reset(guest)
        self.assert_done(started)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, {**before, "status": "prelaunch"})

    def test_continued_stopped_and_reset_by_others(self):
        guest = self.slow()
        started = self.copying(guest)
        for command in ("cont", "stop", "system_reset"):
            guest.monitor.command(command)
        self.assertEqual(started.wait(), 4, started.describe())
        self.assertIn("continued the guest", started.result["error"]["message"])
        self.assertEqual(guest.monitor.status(), "prelaunch")
        self.assert_no_image(guest)


class OfFilter(OthersTest):
    """In the milliseconds of an instant."""

    def setUp(self):
        if not self.METHOD:
            self.needs_filter()

    def test_the_images_are_good(self):
        for step in ("pause", "instant"):
            with self.subTest(step=step):
                guest = self.two_disks()
                before = guest.state()
                started = self.stopped_after(guest, step)
                reset(guest)
                code, said = self.go_on(started)
                self.assertEqual(code, 0, said)
                for number in range(2):
                    self.assert_image_is_reference(guest, number)
                self.assert_nothing_left(guest, before)

    def test_killed(self):
        guest = self.two_disks()
        before = guest.state()
        started = self.stopped_after(guest, "instant")
        reset(guest)
        started.kill()
        self.assertIn("all of it has been undone", started.stderr.read())
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def recover_after_reset(self, guest):
        """Main process and guard killed in the instant, then reset."""
        code, stderr = self.faulty(guest, "kill-after", "instant", lame_guard(guest))
        self.assertEqual(code, -signal.SIGKILL, stderr)
        reset(guest)
        self.assertEqual(guest.monitor.status(), "prelaunch")
        code, _, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 0, stderr)

    def test_killed_with_its_guard(self):
        guest = self.two_disks()
        before = guest.state()
        self.recover_after_reset(guest)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_a_guest_that_never_ran(self):
        guest = self.two_disks(paused=True)
        before = guest.state()
        self.assertEqual(before["status"], "prelaunch")
        self.recover_after_reset(guest)
        self.assertEqual(guest.monitor.status(), "prelaunch")
        guest.monitor.events.clear()
        guest.monitor.command("query-name")
        self.assertNotIn("RESUME", [event["event"] for event in guest.monitor.events])

    def test_continued_stopped_and_reset_by_others(self):
        guest = self.two_disks()
        started = self.stopped_after(guest, "instant")
        for command in ("cont", "stop", "system_reset"):
            guest.monitor.command(command)
        code, said = self.go_on(started)
        self.assertEqual(code, 4, said)
        self.assertIn("somebody continued the guest", said)
        self.assertEqual(guest.monitor.status(), "prelaunch")
        self.assert_no_image(guest)

    def test_moved_since_the_kill(self):
        """What its owner has run, stopped and reset since a kill of both stays as it is."""
        guest = self.two_disks()
        code, stderr = self.faulty(guest, "kill-after", "instant", lame_guard(guest))
        self.assertEqual(code, -signal.SIGKILL, stderr)
        time.sleep(9)
        guest.monitor.command("cont")
        guest.qemu_io(guest.disks[0], "aio_write -P 0x55 0 64k")
        for command in ("stop", "system_reset"):
            guest.monitor.command(command)
        code, _, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 9, stderr)
        self.assertIn("has used its disks since", stderr)
        self.assertEqual(guest.monitor.status(), "prelaunch")


class OfMirror(OfFilter):
    METHOD = {"method": "mirror"}


class OfAFrozenGuest(SlowTest, OthersTest):
    """A reset ends the freeze: nobody waits for an agent that may never come again."""

    def agent(self, guest):
        """One that freezes and thaws, for as long as its guest isn't reset."""
        def set_to(state):
            self.state = state
            return 1
        self.state = "thawed"
        agent = agents.FakeAgent(guest.folder / "played.sock", {
            STATUS: lambda: self.state, FREEZE: lambda: set_to("frozen"),
            THAW: lambda: set_to("thawed")})
        self.addCleanup(agent.close)
        return agent

    def held(self):
        """A guest with frozen file systems, in the pause of a long copy."""
        guest = self.slow()
        agent = self.agent(guest)
        before = guest.state()
        started = self.cold(guest, "--qga", guest.folder / "played.sock", "--quiesce", "require",
                            "--speed", SLOW)
        self.wait_copying(started)
        self.assertEqual(self.state, "frozen")
        return guest, agent, before, started

    def reset(self, guest, agent):
        agent.deaf = True
        reset(guest)

    def test_the_image_counts_as_crash_consistent(self):
        guest, agent, before, started = self.held()
        self.reset(guest, agent)
        self.assert_done(started)
        self.assertEqual(started.result["consistency"], "crash")
        self.assertIn("since the guest was reset", started.describe())
        self.assertNotIn(THAW, agent.heard)
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)

    def test_killed(self):
        guest, agent, before, started = self.held()
        started.signal(signal.SIGSTOP)
        self.reset(guest, agent)
        started.signal(signal.SIGKILL)
        began = time.monotonic()
        started.wait()  # for the guard, too
        self.assertLess(time.monotonic() - began, 10)
        self.assertIn("all of it has been undone", started.stderr)
        self.assertNotIn(THAW, agent.heard)
        self.assert_nothing_left(guest, before)

    def test_outside_of_a_pause(self):
        """Of one disk, which isn't stopped for its instant."""
        guest = self.slow(8 * MIB)
        agent = self.agent(guest)
        before = guest.state()
        started = subprocess.Popen(
            [tool.FAULTY, "stop-after", "freeze", guest.address, f"dir:{guest.store}", tool.GUARD,
             agent.address], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, env=self.fault_env(guest))
        self.addCleanup(started.stderr.close)
        self.addCleanup(started.wait)
        self.addCleanup(started.kill)
        os.waitid(os.P_PID, started.pid, os.WSTOPPED | os.WNOWAIT)
        self.assertEqual(self.state, "frozen")
        self.reset(guest, agent)
        began = time.monotonic()
        code, said = self.go_on(started)
        self.assertEqual(code, 0, said)
        self.assertLess(time.monotonic() - began, 10)
        self.assertNotIn(THAW, agent.heard)
        metadata = self.image_of(guest)[0].with_suffix(".json").read_text()
        self.assertIn('"crash"', metadata)
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""`recover` and runs in containers: from outside, from another one, and after a container's end."""
import os
import pathlib
import shutil
import signal
import subprocess
import unittest

import tool
from test_journal import JournalTest
from test_killed import KillTest, lame_guard


class Elsewhere(JournalTest):
    """The run and its QEMU are in a pid namespace of their own."""

    def container(self):
        """A pid namespace: what a command that is to run in it begins with."""
        if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"):
            self.skipTest("a pid namespace needs root, unshare and nsenter")
        holder = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c",
             "echo made; exec sleep infinity"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(holder.communicate)
        self.addCleanup(holder.kill)
        if not holder.stdout.readline():
            self.skipTest(f"no pid namespace: {holder.stderr.read().strip()}")
        children = pathlib.Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        return ["nsenter", f"--target={children.read_text().strip()}", "--pid", "--mount"]

    def test_a_run_in_a_container(self):
        """Outside nobody knows whether its QEMU lives: it is left as it is, and not forgotten."""
        inside = self.container()
        guest = self.two_disks(prefix=inside)
        before = guest.state()
        code, stderr = self.faulty(guest, "kill-after", "pause", lame_guard(guest), prefix=inside)
        self.assertIn(code, (-signal.SIGKILL, 128 + signal.SIGKILL), stderr)
        held = guest.state()
        self.assertEqual(held["status"], "paused")
        journal, = guest.journals()
        for which in ("--all",), ("--qmp", guest.address):
            code, _, stderr = tool.run("recover", *which, env=guest.tool_env())
            self.assertEqual(code, 9, stderr)
            self.assertIn("another pid namespace", stderr)
            self.assertEqual(guest.state(), held)
            self.assertEqual(guest.journals(), [journal])
        done = subprocess.run(
            [*inside, tool.BINARY, "recover", "--all"], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, **guest.tool_env()})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_a_container_that_has_ended(self):
        """What sees all processes of the host knows that it has; another container doesn't, and
        only deletes the images."""
        inside = self.container()
        guest = self.two_disks(prefix=inside)
        code, stderr = self.faulty(guest, "kill-before", "upload", lame_guard(guest), prefix=inside)
        self.assertIn(code, (-signal.SIGKILL, 128 + signal.SIGKILL), stderr)
        os.kill(int(inside[1].split("=")[1]), signal.SIGKILL)
        guest.wait_end()
        for where, code in ((self.container(), 9), ([], 0)):
            done = subprocess.run(
                [*where, tool.BINARY, "recover", "--all"], stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=60, check=False,
                env={**os.environ, **guest.tool_env()})
            self.assert_no_image(guest)
            if code == 0 and os.readlink("/proc/self/ns/pid") != "pid:[4026531836]":
                self.skipTest("this isn't the host's own pid namespace")
            self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(guest.journals(), [])

    def test_a_run_in_a_container_that_goes_on(self):
        """Its lock is known outside too."""
        inside = self.container()
        guest = self.two_disks(prefix=inside)
        before = guest.state()
        process = subprocess.Popen(
            [*inside, tool.BINARY, "snapshot", "--json", "--qmp", guest.address, "--speed", "1M",
             "--to", f"dir:{guest.store}", "--scratch", guest.scratch], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **guest.tool_env()})
        self.addCleanup(process.communicate)
        for line in process.stdout:
            if "image_uploading" in line:
                break
        code, _, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 3, stderr)
        self.assertIn("is at work on this guest", stderr)
        code, _, stderr = tool.run("cancel", guest.journals()[0].name, env=guest.tool_env())
        self.assertEqual(code, 0, stderr)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 143)
        self.assert_nothing_left(guest, before)


class KilledWhole(KillTest):
    """A container's end: the main process, its guard and QEMU at once."""

    def check(self, guest, *args):
        started = guest.snapshot("--speed", "1M", *args)
        event = started.wait_for(lambda event: event["event"] == "state" and
                                 event["state"] == "image_uploading")
        self.assertIsNotNone(event, started.describe())
        tool.kill_at_once(started.pid, tool.guard_of(started.pid), guest.pid)
        started.wait()
        guest.kill()  # waits for it
        self.assertEqual(len(guest.journals()), 1)
        code, out, stderr = tool.run("recover", "--all", env=guest.tool_env())
        self.assertEqual(code, 0, stderr)
        self.assertIn("is undone", out)
        self.assertEqual(guest.journals(), [])
        self.assertEqual(list(guest.scratch.iterdir()), [])
        self.assert_no_image(guest)

    def test_with_each_method(self):
        for method in ("stream", "backup", "mirror", "cold"):
            with self.subTest(method=method):
                self.check(self.two_disks(), "--method", method)


if __name__ == "__main__":
    unittest.main()

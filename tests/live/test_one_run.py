# SPDX-License-Identifier: Apache-2.0
"""One run at a time on a guest, which ends by its deadlines."""
import os
import signal
import subprocess
import time
import unittest

import tool
from test_killed import KillTest


class OneRun(KillTest):
    """At a time, on a guest."""

    def first(self, guest):
        started = guest.snapshot("--speed", "1M")
        started.wait_for(lambda e: e["event"] == "state" and e["state"] == "image_uploading")
        return started

    def test_a_second_one_is_refused(self):
        guest = self.two_disks()
        before = guest.state()
        first = self.first(guest)
        second = guest.snapshot()
        self.assertEqual(second.wait(), 3, second.describe())
        run = guest.journals()[0].name
        self.assertIn(f"run {run}, process {first.pid} of user {os.geteuid()} is at work",
                      second.result["error"]["message"])
        self.assertIn("--wait", second.result["error"]["hint"])
        code, _, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 3, stderr)
        self.assertIn(run, stderr)
        code, out, stderr = tool.run("recover", "--all", env=guest.tool_env())
        self.assertEqual((code, out), (0, "nothing of ours found\n"), stderr)
        first.signal(signal.SIGINT)
        self.assertEqual(first.wait(), 130)
        self.assert_nothing_left(guest, before)

    def test_a_second_one_waits(self):
        guest = self.two_disks()
        before = guest.state()
        first = self.first(guest)
        second = guest.snapshot("--wait", "1m", "--stall-timeout", "1s")
        time.sleep(3)  # that isn't counted against it
        self.assertTrue(second.runs(), second.describe())
        first.signal(signal.SIGINT)
        self.assertEqual(first.wait(), 130)
        self.assert_done(second)
        for number in range(2):
            self.assert_image_is_reference(guest, number)
        self.assert_nothing_left(guest, before)

    def test_the_wait_ends(self):
        guest = self.two_disks()
        first = self.first(guest)
        second = guest.snapshot("--wait", "1s")
        self.assertEqual(second.wait(), 3, second.describe())
        waiting = guest.snapshot("--wait", "1h")
        time.sleep(0.5)
        waiting.signal(signal.SIGTERM)
        self.assertEqual(waiting.wait(), 143, waiting.describe())
        first.signal(signal.SIGINT)
        self.assertEqual(first.wait(), 130)


class Signals(KillTest):
    def test_what_is_ignored_stays_so(self):
        """As under nohup, and in the background of a script."""
        guest = self.two_disks()
        before = guest.state()
        process = subprocess.Popen(
            ["sh", "-c", 'trap "" HUP INT; exec "$0" "$@"', tool.BINARY, "snapshot", "--json",
             "--qmp", guest.address, "--to", f"dir:{guest.store}", "--speed", "1M",
             "--scratch", guest.scratch],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **guest.tool_env()})
        self.addCleanup(process.stdout.close)
        for line in process.stdout:
            if "image_uploading" in line:
                break
        for number in (signal.SIGHUP, signal.SIGINT):
            process.send_signal(number)
            time.sleep(1.5)
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        self.assertEqual(process.wait(), 143)
        self.assert_nothing_left(guest, before)


class Deadlines(KillTest):
    def test_of_the_whole_run(self):
        guest = self.two_disks()
        before = guest.state()
        started = guest.snapshot("--speed", "1M", "--deadline", "2s")
        self.assertEqual(started.wait(), 7, started.describe())
        self.assertIn("deadline of 2 s", started.result["error"]["message"])
        self.assertIn("upload", started.result["error"]["message"])
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_of_progress(self):
        """Nobody reads the pipe that the image goes into."""
        guest = self.two_disks()
        before = guest.state()
        process = subprocess.Popen(
            [tool.BINARY, "snapshot", "--qmp", guest.address, "--to", "-", "--disk",
             "vd0", "--format", "raw", "--stall-timeout", "2s",
             "--scratch", guest.scratch],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **guest.tool_env()})
        self.addCleanup(process.stdout.close)
        self.assertEqual(process.wait(timeout=60), 7)
        stderr = process.stderr.read()
        process.stderr.close()
        self.assertIn("no progress for 2 s, in the step upload", stderr)
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""A guard that is slow to start, doesn't start, or is killed alone."""
import os
import signal
import socket
import subprocess
import unittest

import tool
from test_killed import GUARD, KillTest

INTERNAL = 1


class Start(KillTest):
    def guard(self, guest, script):
        path = guest.folder / "guard"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def test_it_hears_of_us_before_it_is_ready(self):
        """The main process says every 2 s that it lives, also to a guard that is being started."""
        guest = self.two_disks()
        before = guest.state()
        slow = self.guard(guest, f'sleep 3\nexec {GUARD} "$@"')
        code, stderr = self.faulty(guest, "kill-after", "export", slow)
        self.assertEqual(code, -signal.SIGKILL, stderr)
        self.assertIn("all of it has been undone", stderr)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_it_ends_at_once(self):
        guest = self.two_disks()
        before = guest.state()
        for script, words in (("exit 3", "the guard process ended, with exit code 3"),
                              ("kill -6 $$", "the guard process was killed by signal 6")):
            with self.subTest(script=script):
                code, stderr = self.faulty(guest, "kill-after", "export", self.guard(guest, script))
                self.assertEqual(code, INTERNAL, stderr)
                self.assertIn(words, stderr)
                self.assert_nothing_left(guest, before)


class Alone(unittest.TestCase):
    def test_its_main_process_is_gone_already(self):
        """Before the guard could say that it is ready: nothing to do, which isn't an error."""
        version = tool.run("--version")[1].split()[-1]
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.close()
        with its:
            done = subprocess.run(["sh", "-c", f'exec "$0" 3 {version} 3<&{its.fileno()}', GUARD],
                                  pass_fds=[its.fileno()], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


class Lost(KillTest):
    def test_killed_alone(self):
        """Nobody would undo a killed run from then on: it ends, and undoes what it has done."""
        guest = self.two_disks()
        before = guest.state()
        started = guest.snapshot("--speed", "1M")
        started.wait_for(lambda event: event["event"] == "progress")
        os.kill(tool.guard_of(started.pid), signal.SIGKILL)
        self.assertEqual(started.wait(), INTERNAL, started.describe())
        self.assertIn("the guard process was killed by signal 9",
                      started.result["error"]["message"])
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


if __name__ == "__main__":
    unittest.main()

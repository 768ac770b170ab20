# SPDX-License-Identifier: Apache-2.0
"""The library in another program: two guests at once, and `done` exactly once wherever a snapshot
is given up."""
import os
import subprocess
import unittest

from lab import MIB, Disk, LabTest
from tool import GUARD

DONE_ONCE = GUARD.parents[1] / "tests" / "live" / "done_once"
OK, INTERRUPTED = 0, 130


class Embedded(LabTest):
    def two_guests(self):
        guests = [self.guest(Disk(4 * MIB), name="victim"), self.guest(Disk(4 * MIB), name="other")]
        for number, guest in enumerate(guests):
            guest.write(guest.disks[0], 0, MIB, 0x51 + number)
        return guests

    def test_given_up_at_each_event(self):
        victim, other = guests = self.two_guests()
        before = [guest.state() for guest in guests]
        env = {**os.environ, "TMPDIR": str(victim.scratch), "XDG_RUNTIME_DIR": str(victim.scratch),
               **victim.tool_env()}
        done = subprocess.run(
            [DONE_ONCE, GUARD, f"dir:{victim.store}", victim.address, other.address],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
            env=env)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        lines = [line.split() for line in done.stdout.splitlines()]
        self.assertEqual(lines[0][3:], ["1", "0", "1", "1", "0", "1", "0"])
        self.assertGreater(len(lines), 40)
        ends = set()
        for line in lines[1:]:
            with self.subTest(event=line[:3]):
                calls, code, images = map(int, line[3:6])
                self.assertEqual(calls, 1)
                self.assertIn((code, images), [(OK, 1), (INTERRUPTED, 0)])
                self.assertEqual(line[6:], ["1", "0", "1", "0"], "the other, and the loop")
                ends.add(code)
        self.assertEqual(ends, {OK, INTERRUPTED})
        for guest, state in zip(guests, before):
            self.assertEqual(guest.state(), state)
            self.assertFalse(guest.nbd_server_stands())
        published = sum(int(line[5]) + int(line[8]) for line in lines)
        self.assertEqual(len(victim.published()), published)
        self.assertEqual(len(list(victim.store.iterdir())), 2 * published)
        self.assertEqual(list(victim.scratch.iterdir()), [])


if __name__ == "__main__":
    unittest.main()

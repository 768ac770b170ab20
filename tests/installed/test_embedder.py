# SPDX-License-Identifier: Apache-2.0
"""docs/embedding.md's commands as they stand there: the example, built against what is installed,
takes two guests at once; what becomes of it when it is given up or killed."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import kit
import images
from lab import MIB, Disk, LabTest

EXAMPLE = kit.HERE / "share" / "doc" / "qmpsnap" / "examples" / "snapshot_guests.c"
COMMANDS = [line.removeprefix("$ ")
            for block in re.findall(r"```console\n(.*?)```",
                                    (kit.TOP / "docs" / "embedding.md").read_text(), re.DOTALL)
            for line in block.splitlines()]


class Embedder(LabTest):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-embedder-"))
        self.addCleanup(shutil.rmtree, self.folder)
        shutil.copy(EXAMPLE, self.folder)
        self.guests = [self.guest(Disk(64 * MIB), name=f"vm{n}") for n in (1, 2)]
        for number, guest in enumerate(self.guests, 1):
            guest.write(guest.disks[0], 0, 32 * MIB, 0x30 + number)
            (self.folder / f"vm{number}.snap.qmp").symlink_to(guest.folder / "tool.sock")
        self.before = [guest.state() for guest in self.guests]
        self.env = {**os.environ, **kit.BUILD_ENV, **self.guests[0].tool_env(),
                    "TMPDIR": str(self.guests[0].scratch),
                    "XDG_RUNTIME_DIR": str(self.guests[0].scratch)}

    def shell(self, line):
        return kit.run("sh", "-c", line, cwd=self.folder, env=self.env)

    def build(self):
        built = self.shell(COMMANDS[0])
        self.assertEqual((built.returncode, built.stderr), (0, ""))

    def start(self, *arguments):
        started = subprocess.Popen(
            ["./snapshot_guests", "dir:images", *arguments], cwd=self.folder, env=self.env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(started.communicate)
        self.addCleanup(started.kill)
        return started

    def images(self):
        folder = self.folder / "images"
        return sorted(folder.glob("*.qcow2")) if folder.exists() else []

    def assert_as_before(self):
        for guest, state in zip(self.guests, self.before):
            self.assert_nothing_left(guest, state)
        self.assertEqual([path for path in (self.folder / "images").glob(".*")], [])

    def assert_images_of(self, *guests):
        self.assertEqual(len(self.images()), len(guests))
        for path, guest in zip(self.images(), guests):  # named after their guests
            images.assert_clean(path, "qcow2")
            images.assert_same(path, "qcow2", guest.disks[0].reference, "raw")

    def test_the_commands_of_the_page(self):
        self.assertEqual(len(COMMANDS), 4)
        for line in COMMANDS[:2]:
            done = self.shell(line)
            self.assertEqual((done.returncode, done.stderr), (0, ""), line)
        self.assertIn("0 of 2 failed", done.stdout)
        self.assertGreater(int(re.search(r"fired (\d+) times", done.stdout)[1]), 3)
        steps = [line.split(":")[0] for line in done.stdout.splitlines() if ": disk " not in line]
        last_of_first = max(i for i, name in enumerate(steps) if name == "./vm1.snap.qmp")
        self.assertLess(steps.index("./vm2.snap.qmp"), last_of_first, "one after the other")
        self.assert_images_of(*self.guests)
        self.assert_as_before()
        for path in self.images():
            path.unlink()
        for line in COMMANDS[2:]:
            done = self.shell(line)
            self.assertEqual((done.returncode, done.stderr), (0, ""), line)
        needed = kit.run("readelf", "-d", self.folder / "snapshot_guests_static").stdout
        self.assertNotIn("libqmpsnap", needed)
        self.assert_images_of(self.guests[0])
        self.assert_as_before()

    def test_one_of_two_fails(self):
        self.build()
        started = self.start("./vm1.snap.qmp", "./vm3.snap.qmp")
        out, err = started.communicate(timeout=60)
        self.assertEqual(started.returncode, 1, err)
        self.assertIn("./vm3.snap.qmp: unix:./vm3.snap.qmp: no such socket\n", err)
        self.assertIn("1 of 2 failed", out)
        self.assert_images_of(self.guests[0])
        self.assert_as_before()

    def end_in_the_middle(self, number):
        """Sends the signal when a guest has been taken over; again, where it was too quick."""
        self.build()
        started, end = None, time.monotonic() + 60
        while not any(guest.state()["nodes"] != state["nodes"]
                      for guest, state in zip(self.guests, self.before)):
            self.assertLess(time.monotonic(), end)
            if not started or started.poll() is not None:
                started = self.start("./vm1.snap.qmp", "./vm2.snap.qmp")
        started.send_signal(number)
        out, err = started.communicate(timeout=60)  # until the guards, too, have ended
        return started.returncode, out, err

    def test_interrupted(self):
        code, out, err = self.end_in_the_middle(signal.SIGINT)
        self.assertIn(code, (0, 1), err)  # 0: it came too late for both
        self.assertNotIn("handles are left", err)
        self.assertIn(" of 2 failed", out)
        self.assert_as_before()

    def test_killed(self):
        """The guards were found, from the library."""
        code, _, _ = self.end_in_the_middle(signal.SIGKILL)
        self.assertEqual(code, -signal.SIGKILL)
        self.assert_as_before()


if __name__ == "__main__":
    unittest.main()

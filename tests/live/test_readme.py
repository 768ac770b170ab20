# SPDX-License-Identifier: Apache-2.0
"""README's examples, run as they stand there, in order, in an empty folder."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

import images
import tool

README = tool.TOP / "README.md"


def commands():
    """The commands of the console blocks, but for those of the block that builds."""
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(), re.DOTALL)
    lines = [line for block in blocks if "cmake" not in block for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


class Examples(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-readme-"))

    def tearDown(self):
        pid_file = self.folder / "vm1.pid"
        if pid_file.exists():  # QEMU removes it as it ends
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
        shutil.rmtree(self.folder)

    def test_all(self):
        path = f"{pathlib.Path(tool.BINARY).resolve().parent}:{os.environ['PATH']}"
        found = commands()
        self.assertGreater(sum("qmpsnap snapshot" in line for line in found), 3)
        for line in found:
            with self.subTest(command=line):
                done = subprocess.run(line, shell=True, cwd=self.folder, timeout=120, check=False,
                                      stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                      env={**os.environ, "PATH": path})
                self.assertEqual(done.returncode, 0, f"{line}\n{done.stdout}{done.stderr}")
        for image in (self.folder / "images").glob("*.qcow2"):
            images.assert_clean(image, "qcow2")
            images.assert_same(image, "qcow2", self.folder / "vm1.qcow2", "qcow2")
        images.assert_same(self.folder / "vd0.raw", "raw", self.folder / "vm1.qcow2", "qcow2")
        images.assert_same(self.folder / "vd0.qcow2", "qcow2", self.folder / "vm1.qcow2", "qcow2")


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""What the tests of images in stores share: images that are made without a guest, and the commands
that look after them."""
import hashlib
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest
import uuid

import tool

MIB = 1 << 20
CLEAN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


def qemu(*args):
    return subprocess.run([str(arg) for arg in args], check=True, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60).stdout


def same(one, one_format, other, other_format):
    return subprocess.run(["qemu-img", "compare", "-f", one_format, "-F", other_format, one, other],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                          check=False).returncode == 0


class Done:
    def __init__(self, code, out, errors):
        self.code, self.out, self.errors = code, out, errors
        lines = out.splitlines()
        self.result = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}

    @property
    def images(self):
        return self.result["images"]

    @property
    def ids(self):
        return [image["id"] for image in self.images]

    def __str__(self):
        return f"{self.code}\n{self.out}\n{self.errors}"


class ShelfTest(unittest.TestCase):
    store = None  # a spec
    variables = {}  # of the environment

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-images-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir()
        self.disk = self.folder / "disk.qcow2"
        qemu("qemu-img", "create", "-q", "-f", "qcow2", self.disk, "24M")
        qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 7 1M 3M", "-c", "write -q -P 9 16M 64K",
             self.disk)

    def run_tool(self, *args, env=None):
        done = subprocess.run(
            [tool.BINARY, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=120, check=False, cwd=self.folder,
            env={**CLEAN, "TMPDIR": str(self.scratch), "XDG_STATE_HOME": str(self.folder / "xdg"),
                 **self.variables, **(env or {})})
        return Done(done.returncode, done.stdout, done.stderr)

    def snapshot(self, *args, guest="web", code=0, env=None):
        """An image of the disk, as a set of its own; the result."""
        named = ["--guest-id", guest] if guest else []
        done = self.run_tool("snapshot", "--json", "-q", "--image", self.disk, "--image-format",
                             "qcow2", "--to", self.store, *named, *args, env=env)
        self.assertEqual(done.code, code, str(done))
        return done.result

    def images(self, command, *args, code=0, env=None):
        words = [command] if command == "restore" else ["images", command]
        done = self.run_tool(*words, "--json", "-q", "--from", self.store, *args, env=env)
        self.assertEqual(done.code, code, str(done))
        self.assertEqual(done.result.get("exit_code"), code, str(done))
        if code:
            self.assertTrue(done.result["error"]["message"])
        return done

    def sets(self, *args, env=None):
        """The sets that the store lists, oldest first."""
        found = []
        for image in self.images("list", *args, env=env).images:
            if image["qmpsnap_set"] not in found:
                found.append(image["qmpsnap_set"])
        return found

    def assert_no_files(self, *but):
        """No file is left in the folder that the commands run in, nor in the scratch."""
        left = {path.name for path in self.folder.iterdir()} - {"scratch", "disk.qcow2", "xdg",
                                                                "store"}
        self.assertEqual(left, set(but))
        self.assertEqual(list(self.scratch.iterdir()), [])


def qcow2_header(version=3, backing="", incompatible=0, extension=b""):
    """The beginning of a qcow2 file, as far as its header goes."""
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", version, 0, 0, 16, 16 * MIB, 0, 1, 0x30000,
                         0x10000, 1, 0, 0)
    header += struct.pack(">QQQII", incompatible, 0, 0, 4, 104)
    extensions = extension + struct.pack(">II", 0, 0)
    if backing:
        at = 104 + len(extensions)
        header = header[:8] + struct.pack(">QI", at, len(backing)) + header[20:]
    return (header + extensions + backing.encode()).ljust(65536, b"\0")


def make_record(data, **more):
    """The members of an image that this tool might have made."""
    image_id = str(uuid.uuid4())
    return {"id": image_id, "qmpsnap_image": image_id, "name": "made", "disk_format": "qcow2",
            "container_format": "bare", "size": len(data), "virtual_size": 16 * MIB,
            "os_hash_algo": "sha256", "os_hash_value": hashlib.sha256(data).hexdigest(),
            "qmpsnap_run": "abcdefghij", "qmpsnap_set": str(uuid.uuid4()), "qmpsnap_disk": "vda",
            "qmpsnap_guest": "web", "qmpsnap_instant": "2026-01-02T03:04:05.678Z",
            "qmpsnap_verified": "true", **more}

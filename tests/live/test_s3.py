# SPDX-License-Identifier: Apache-2.0
"""Snapshots of real guests into a real Swift, through its S3 API: parts of a frozen view are read
several at once while the guest writes, and a run that was killed leaves nothing."""
import hashlib
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest
import urllib.request

import images
from lab import KIB, MIB, Disk, LabTest
from tool import FAULTY, GUARD

SERVICES = pathlib.Path(__file__).resolve().parents[1] / "services"


class Swift:
    """A real Swift, in a folder of its own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="qmpsnap-swift-", dir="/var/tmp")
        out = subprocess.run([SERVICES / "start-swift", f"{self.folder}/state"], check=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        exports = dict(line.removeprefix("export ").split("=", 1)
                       for line in out.stdout.splitlines() if line)
        self.env = {key: value for key, value in exports.items() if key.startswith("AWS_")}
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        request = urllib.request.Request(exports["ST_AUTH"], headers={
            "X-Auth-User": exports["ST_USER"], "X-Auth-Key": exports["ST_KEY"]})
        with self._open(request, timeout=60) as answer:
            self.account = answer.headers["X-Storage-Url"]
            self.token = answer.headers["X-Auth-Token"]
        self.call("PUT", "/bucket")

    def close(self):
        subprocess.run([SERVICES / "stop-services", f"{self.folder}/state", "--purge"], check=True,
                       stdin=subprocess.DEVNULL)
        pathlib.Path(self.folder).rmdir()

    def call(self, method, path):
        request = urllib.request.Request(self.account + path, method=method, headers={
            "X-Auth-Token": self.token, "Accept": "text/plain"})
        with self._open(request, timeout=60) as answer:
            return answer.read()

    def objects(self):
        """Also the parts of uploads that were not completed."""
        return [f"/{container}/{name}" for container in self.call("GET", "").decode().split()
                for name in self.call("GET", f"/{container}").decode().splitlines()]


class IntoS3(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.swift = Swift()
        os.environ.update(cls.swift.env)

    @classmethod
    def tearDownClass(cls):
        for name in cls.swift.env:
            del os.environ[name]
        cls.swift.close()

    def tearDown(self):
        for path in self.swift.objects():
            self.swift.call("DELETE", path)
        super().tearDown()

    def test_a_set_of_two_while_the_guest_writes(self):
        guest = self.guest(Disk(48 * MIB), Disk(8 * MIB, fmt="raw"))
        guest.write(guest.disks[0], 0, 40 * MIB, 0x31)
        guest.write(guest.disks[1], MIB, 4 * MIB, 0x41)
        before = guest.state()
        started = guest.snapshot("--speed", "24M", store="s3://bucket/web")
        started.wait_instant()
        writer = self.writer(guest, lambda i: (0, i * 11 % 384 * 64 * KIB, 64 * KIB, 0x99))
        self.assert_done(started)
        self.assertGreater(writer.stop(), 20)
        for image in started.result["images"]:
            disk = guest.disks[int(image["disk"][-1])]
            path = guest.folder / f"{image['id']}.downloaded"
            data = self.swift.call("GET", image["location"].removeprefix("s3:/"))
            path.write_bytes(data)
            self.assertEqual(hashlib.sha256(data).hexdigest(), image["digest"])
            images.assert_clean(path, image["format"])
            images.assert_same(path, image["format"], disk.reference, "raw")
        self.assert_nothing_left(guest, before)

    def test_given_up(self):
        guest = self.guest(Disk(48 * MIB))
        guest.write(guest.disks[0], 0, 48 * MIB, 0x21)
        before = guest.state()
        started = guest.snapshot("--speed", "8M", store="s3://bucket")
        self.assertIsNotNone(started.wait_for(lambda e: e["event"] == "progress" and
                                              e["done_bytes"] > 0), started.describe())
        started.signal(signal.SIGINT)
        self.assertEqual(started.wait(), 130, started.describe())
        self.assertEqual(self.swift.objects(), [])
        self.assert_nothing_left(guest, before)

    def test_killed(self):
        """The guard deletes what a run that was killed before it published has left."""
        guest = self.guest(Disk(24 * MIB))
        guest.write(guest.disks[0], 0, 24 * MIB, 0x21)
        before = guest.state()
        for fault, step, left in (("kill-after", "images", False), ("kill-after", "upload", False),
                                  ("kill-after", "publish", True)):
            with self.subTest(fault=fault, step=step):
                done = subprocess.run(
                    [FAULTY, fault, step, guest.address, "s3://bucket", GUARD],
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                    check=False, env={"TMPDIR": str(guest.scratch), **self.swift.env})
                self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
                self.assertEqual(bool(self.swift.objects()), left, done.stderr)
                self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

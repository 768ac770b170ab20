# SPDX-License-Identifier: Apache-2.0
"""Snapshots of real guests into a real Glance: what it serves afterwards is the disk as it was."""
import hashlib
import json
import pathlib
import signal
import subprocess
import tempfile
import unittest
import urllib.request

import images
import tool
from lab import KIB, MIB, Disk, LabTest
from tool import FAULTY, GUARD

SERVICES = pathlib.Path(__file__).resolve().parents[1] / "services"


class Glance:
    """A real Glance without authentication, in a folder of its own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="qmpsnap-glance-")
        out = subprocess.run([SERVICES / "start-glance", f"{self.folder}/state"], check=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        exports = dict(line.removeprefix("export ").split("=", 1)
                       for line in out.stdout.splitlines())
        self.url = exports["GLANCE_URL"].strip("'\"")
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def close(self):
        subprocess.run([SERVICES / "stop-services", f"{self.folder}/state", "--purge"], check=True,
                       stdin=subprocess.DEVNULL)
        pathlib.Path(self.folder).rmdir()

    def get(self, path):
        with self._open(self.url + path, timeout=60) as answer:
            return answer.read()

    def records(self):
        return json.loads(self.get("/v2/images"))["images"]

    def download(self, image_id, path):
        data = self.get(f"/v2/images/{image_id}/file")
        pathlib.Path(path).write_bytes(data)
        return hashlib.sha512(data).hexdigest()


class IntoGlance(LabTest):
    @classmethod
    def setUpClass(cls):
        cls.glance = Glance()

    @classmethod
    def tearDownClass(cls):
        cls.glance.close()

    def tearDown(self):
        for record in self.glance.records():
            request = urllib.request.Request(
                f"{self.glance.url}/v2/images/{record['id']}", method="DELETE")
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)
        super().tearDown()

    def snapshot_to_glance(self, guest, *args):
        return guest.snapshot(*args, store=f"glance:{self.glance.url}")

    def assert_served(self, guest, disk, image):
        """The service's bytes are the disk as the reference has it; its record says what it is."""
        path = guest.folder / f"{image['id']}.downloaded"
        self.assertEqual(self.glance.download(image["id"], path), image["digest"])
        images.assert_clean(path, image["format"])
        images.assert_same(path, image["format"], disk.reference, "raw")
        record = json.loads(self.glance.get(f"/v2/images/{image['id']}"))
        self.assertEqual(record["status"], "active")
        self.assertEqual(record["visibility"], "private")
        self.assertEqual(record["size"], path.stat().st_size)
        self.assertEqual(record["os_hash_value"], image["digest"])
        self.assertEqual(record["disk_format"], image["format"])
        self.assertEqual(record["container_format"], "bare")
        self.assertEqual(record["qmpsnap_verified"], "true")
        self.assertEqual(record["qmpsnap_disk"], image["disk"])
        self.assertEqual(record["image_type"], "snapshot")
        self.assertRegex(record["qmpsnap_instant"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        return record

    def frozen(self, disk, fmt="qcow2"):
        guest = self.guest(disk)
        for i in range(0, 48, 2):
            guest.write(disk, i * 512 * KIB, 512 * KIB, 1 + i)
        before = guest.state()
        started = self.snapshot_to_glance(guest, "--format", fmt, "--speed", "8M",
                                          "--property", "os_type=linux")
        started.wait_instant()
        writer = self.writer(guest, lambda i: (0, i * 11 % 384 * 64 * KIB, 64 * KIB,
                                               0 if i % 7 == 6 else 0x99))
        self.assert_done(started)
        self.assertGreater(writer.stop(), 20)
        result = started.result
        self.assertEqual(result["images"][0]["digest_algorithm"], "sha512")
        record = self.assert_served(guest, disk, result["images"][0])
        self.assertEqual(record["os_type"], "linux")
        self.assertEqual(record["qmpsnap_run"], result["run"])
        self.assertEqual(record["qmpsnap_instant"], result["instant"])
        self.assert_nothing_left(guest, before)

    def test_qcow2_while_the_guest_writes(self):
        self.frozen(Disk(24 * MIB))

    def test_raw_while_the_guest_writes(self):
        self.frozen(Disk(24 * MIB, fmt="raw", style="drive"), fmt="raw")

    def test_a_set_of_two(self):
        guest = self.guest(Disk(8 * MIB), Disk(16 * MIB, fmt="raw"))
        for number, disk in enumerate(guest.disks):
            guest.write(disk, MIB, 4 * MIB, 0x40 + number)
        before = guest.state()
        started = self.snapshot_to_glance(guest)
        self.assert_done(started)
        found = {image["disk"]: image for image in started.result["images"]}
        records = [self.assert_served(guest, guest.disks[i], found[f"vd{i}"]) for i in range(2)]
        self.assertEqual(len({record["qmpsnap_set"] for record in records}), 1)
        self.assert_nothing_left(guest, before)

    def test_given_up(self):
        guest = self.guest(Disk(24 * MIB))
        guest.write(guest.disks[0], 0, 24 * MIB, 0x21)
        before = guest.state()
        started = self.snapshot_to_glance(guest, "--speed", "1M")
        self.assertIsNotNone(started.wait_for(lambda e: e["event"] == "progress" and
                                              e["done_bytes"] > 0), started.describe())
        self.assertEqual(len(self.glance.records()), 1)
        started.signal(signal.SIGINT)
        self.assertEqual(started.wait(), 130, started.describe())
        self.assertEqual(self.glance.records(), [])
        self.assert_nothing_left(guest, before)

    def test_qemu_dies(self):
        guest = self.guest(Disk(24 * MIB))
        guest.write(guest.disks[0], 0, 24 * MIB, 0x21)
        started = self.snapshot_to_glance(guest, "--speed", "1M")
        started.wait_instant()
        guest.kill()
        self.assertEqual(started.wait(), 4, started.describe())
        self.assertEqual(self.glance.records(), [])

    def test_killed(self):
        """The guard deletes the records of a run that was killed before it published."""
        guest = self.guest(Disk(8 * MIB), Disk(8 * MIB))
        for disk in guest.disks:
            guest.write(disk, 0, 4 * MIB, 0x21)
        before = guest.state()
        for fault, step, left in (("kill-after", "images", 0), ("kill-before", "upload", 0),
                                  ("kill-after", "upload", 0), ("kill-after", "publish", 2)):
            with self.subTest(fault=fault, step=step):
                done = subprocess.run(
                    [FAULTY, fault, step, guest.address, f"glance:{self.glance.url}", GUARD],
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                    check=False, env={"TMPDIR": str(guest.scratch)})
                self.assertEqual(done.returncode, -signal.SIGKILL, done.stderr)
                self.assertEqual(len(self.glance.records()), left, done.stderr)
                self.assert_nothing_left(guest, before)

    def test_a_container_killed_whole(self):
        """The main process, its guard and QEMU at once: `recover --all` deletes the records."""
        guest = self.guest(Disk(8 * MIB), Disk(8 * MIB))
        for disk in guest.disks:
            guest.write(disk, 0, 4 * MIB, 0x21)
        started = self.snapshot_to_glance(guest, "--speed", "1M")
        self.assertIsNotNone(started.wait_for(lambda e: e["event"] == "progress" and
                                              e["done_bytes"] > 0), started.describe())
        tool.kill_at_once(started.pid, tool.guard_of(started.pid), guest.pid)
        started.wait()
        guest.kill()  # waits for it
        self.assertEqual(len(self.glance.records()), 2)
        self.assertEqual(len(guest.journals()), 1)
        code, out, stderr = tool.run("recover", "--all", env=guest.tool_env())
        self.assertEqual(code, 0, stderr)
        self.assertIn("is undone", out)
        self.assertEqual(self.glance.records(), [])
        self.assertEqual(guest.journals(), [])
        self.assertEqual(list(guest.scratch.iterdir()), [])

    def test_nobody_listens(self):
        guest = self.guest(Disk(8 * MIB), paused=True)
        before = guest.state()
        started = guest.snapshot(store="glance:http://127.0.0.1:9")
        self.assertEqual(started.wait(), 5, started.describe())
        self.assertIn("127.0.0.1:9", started.result["error"]["message"])
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

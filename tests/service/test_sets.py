# SPDX-License-Identifier: Apache-2.0
"""Sets of real guests' disks into real services: all of a set is published, or nothing of it."""
import json
import os
import re
import signal
import subprocess
import time
import unittest
import urllib.request

import images
import kit
import tool
from fault_proxy import FOREVER, FaultProxy, Rule
from lab import MIB, Disk, LabTest
from real_swift import BUCKET, Swift

N_DISKS = 20
QCOW2 = "qcow2"


class SetTest(LabTest):
    def written_guest(self, n, size=4 * MIB):
        """A guest whose disks differ."""
        guest = self.guest(*[Disk(size, fmt="raw" if i % 3 == 2 else QCOW2) for i in range(n)])
        for number, disk in enumerate(guest.disks):
            guest.write(disk, MIB, MIB, 1 + number)
            guest.write(disk, number * 65536, 65536, 0x80 + number)
        return guest

    def assert_refused(self, guest, before, started, code=5):
        self.assertEqual(started.wait(), code, started.describe())
        self.assertIsNone(started.result["error"]["undo_error"])
        self.assert_nothing_left(guest, before)
        return started.result["error"]["message"]


class IntoGlance(SetTest):
    @classmethod
    def setUpClass(cls):
        cls.service = kit.Service("--multistore")
        cls.proxy = FaultProxy(cls.service.port)
        cls.url = f"glance:{cls.proxy.url}"

    @classmethod
    def tearDownClass(cls):
        cls.proxy.close()
        cls.service.close()

    def setUp(self):
        self.proxy.set()

    def tearDown(self):
        self.service.clear()
        super().tearDown()

    def assert_served(self, guest, number, image):
        disk = guest.disks[number]
        path = guest.folder / "served"
        status, data = self.service.call("GET", f"/v2/images/{image['id']}/file")
        self.assertEqual(status, 200)
        path.write_bytes(data)
        images.assert_clean(path, QCOW2)
        images.assert_same(path, QCOW2, disk.reference, "raw")

    def test_twenty_disks(self):
        guest = self.written_guest(N_DISKS)
        before = guest.state()
        started = guest.snapshot("--guest-id", "twenty", store=self.url)
        self.assert_done(started)
        self.assert_nothing_left(guest, before)
        found = {image["disk"]: image for image in started.result["images"]}
        self.assertEqual(len(found), N_DISKS)
        for number in range(N_DISKS):
            self.assert_served(guest, number, found[f"vd{number}"])
        records = self.service.images()
        self.assertEqual({record["qmpsnap_set"] for record in records}, {started.result["set"]})
        self.assertEqual(len({record["qmpsnap_instant"] for record in records}), 1)
        self.assertEqual({record["qmpsnap_verified"] for record in records}, {"true"})

        self.look_after(guest, started.result["set"])

    def look_after(self, guest, set_id):
        """The life of a large set, by the command."""
        def run(*words):
            code, out, errors = tool.run(*words, env=guest.tool_env())
            self.assertEqual(code, 0, out + errors)
            return json.loads(out.splitlines()[-1])
        there = ("--json", "-q", "--from", self.url)
        self.assertEqual(len(run("images", "list", *there, "--guest", "twenty")["images"]), N_DISKS)
        self.assertEqual(len(run("images", "verify", *there, set_id)["images"]), N_DISKS)
        targets = [word for number in range(N_DISKS)
                   for word in ("--target", f"vd{number}=raw:{guest.folder}/back{number}")]
        run("restore", *there, *targets, set_id)
        for number, disk in enumerate(guest.disks):
            images.assert_same(guest.folder / f"back{number}", "raw", disk.reference, "raw")
        run("images", "delete", *there, set_id)
        self.assertEqual(self.service.images(), [])

    def test_two_stores(self):
        """Two of the service's own: the bytes are where --store says."""
        guest = self.written_guest(2)
        for name, folder in (("slow", "slow"), ("fast", "store"), (None, "store")):
            with self.subTest(store=name):
                started = guest.snapshot(*(["--store", name] if name else []), store=self.url)
                self.assert_done(started)
                self.assertEqual([event["state"] for event in started.events
                                  if event["event"] == "state"],  # as Nova's task states
                                 ["image_snapshot_pending", "image_snapshot",
                                  "image_pending_upload", "image_uploading"])
                for image in started.result["images"]:
                    self.assert_served(guest, int(image["disk"][-1]), image)
                ids = {image["id"] for image in started.result["images"]}
                here = {path.name for path in (self.service.state / folder).iterdir()}
                other = self.service.state / ("store" if folder == "slow" else "slow")
                self.assertEqual(here, ids)
                self.assertEqual(list(other.iterdir()), [])
                self.assertEqual({self.service.record(one)["stores"] for one in ids},
                                 {name or "fast"})
                self.service.clear()

    def test_second_disk_fails(self):
        guest = self.written_guest(3)
        before = guest.state()
        for method, path, skip, options in (
                ("POST", "/v2/images$", 1, ()),
                ("PUT", "/file$", 1, ("--parallel", "1")),
                ("PUT", "/file$", 1, ("--parallel", "3")),
                ("PATCH", "/v2/images/", 4, ()),  # three before the bytes; the second publication
                ("PATCH", "/v2/images/", 4, ("--protected",))):
            with self.subTest(method=method, options=options):
                rule = Rule(method, path, "status", skip=skip, status=403, times=1)
                self.proxy.set(rule)
                started = guest.snapshot(*options, store=self.url)
                message = self.assert_refused(guest, before, started)
                self.assertIn("403", message)
                self.assertEqual(rule.times, 0)
                self.assertEqual(self.service.images(), [])
                self.assertEqual(list((self.service.state / "store").iterdir()), [])

    def test_given_up_while_the_service_is_silent(self):
        """Within the set's records, and within its publication: it ends at once."""
        guest = self.written_guest(2)
        before = guest.state()
        for method, path, skip in (("POST", "/v2/images$", 1),
                                   ("PATCH", "/v2/images/", 3)):  # two before the bytes
            with self.subTest(method=method):
                rule = Rule(method, path, "stall", skip=skip, seconds=90)
                self.proxy.set(rule)
                started = guest.snapshot(store=self.url)
                end = time.monotonic() + 60
                while rule.times > 0 and time.monotonic() < end:
                    time.sleep(0.05)
                self.assertEqual(rule.times, 0)
                given_up = time.monotonic()
                started.signal(signal.SIGTERM)
                self.assert_refused(guest, before, started, code=143)
                self.assertLess(time.monotonic() - given_up, 30)
                self.assertEqual(self.service.images(), [])
                self.assertEqual(list((self.service.state / "store").iterdir()), [])

    def test_scratch_full_while_the_service_stalls(self):
        """The broken view is noticed although nothing of it is wanted."""
        self.needs_filter()
        disk = Disk(64 * MIB, fmt="raw")
        guest = self.guest(disk)
        guest.write(disk, 0, 64 * MIB, 0x55)
        before = guest.state()
        rule = Rule("PUT", "/file$", "stall", at=MIB, seconds=90)
        self.proxy.set(rule)
        started = guest.snapshot("--method", "stream", "--flavour", "filter",
                                 "--scratch-limit", "1M", store=self.url)
        self.assertIsNotNone(started.wait_for(lambda e: e["event"] == "progress" and
                                              e["done_bytes"] >= MIB), started.describe())
        time.sleep(2)  # all that fits into the ring and the sockets is read
        guest.write(disk, 0, 8 * MIB, 0x66, keep_reference=False)
        broken = time.monotonic()
        self.assert_refused(guest, before, started, code=6)
        self.assertLess(time.monotonic() - broken, 30)
        self.assertIn("scratch", started.result["error"]["hint"])
        self.assertEqual(self.service.images(), [])
        # Glance keeps what it has of a body whose record was deleted while it came.
        for part in (self.service.state / "store").iterdir():
            part.unlink()

    def test_somebody_deletes_a_record(self):
        guest = self.written_guest(2, 24 * MIB)
        for disk in guest.disks:
            guest.write(disk, 0, 24 * MIB, 0x21)
        before = guest.state()
        for status in ("queued", "saving"):
            with self.subTest(status=status):
                started = guest.snapshot("--speed", "8M", "--parallel", "1", store=self.url)
                self.assertIsNotNone(started.wait_for(lambda e: e["event"] == "progress" and
                                                      e["done_bytes"] > 0), started.describe())
                deadline = time.monotonic() + 20
                while not any(one["status"] == "saving" for one in self.service.images()):
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.05)
                victim = [one for one in self.service.images() if one["status"] == status][0]
                self.service.call("DELETE", f"/v2/images/{victim['id']}")
                message = self.assert_refused(guest, before, started, 130)
                self.assertIn(victim["id"], message)
                self.assertIn("cancelled", message)
                self.assertEqual(self.service.images(), [])

    def test_service_is_gone(self):
        """The undo doesn't wait for ever, and says how to delete what is left."""
        guest = self.written_guest(3, 24 * MIB)
        for disk in guest.disks:
            guest.write(disk, 0, 24 * MIB, 0x21)
        before = guest.state()
        started = guest.snapshot("--speed", "1M", store=self.url)
        self.assertIsNotNone(started.wait_for(lambda e: e["event"] == "progress" and
                                              e["done_bytes"] > 0), started.describe())
        self.proxy.set(Rule("DELETE", "/v2/images/", "reset", times=FOREVER))
        began = time.monotonic()
        started.signal(signal.SIGINT)
        self.assertEqual(started.wait(), 9, started.describe())
        self.assertTrue(28 < time.monotonic() - began < 100, time.monotonic() - began)
        left = started.result["error"]["undo_error"]
        self.assertIn("deleting image", left["message"])
        deleted = [path for method, path, _ in self.proxy.log if method == "DELETE"]
        self.assertEqual(len(set(deleted)), 1, "a dead service was asked for each image")
        # The one that it was asked for is gone: the answer never came.
        self.assertEqual(len(self.service.images()), 2)
        self.proxy.set()
        command = re.search("`qmpsnap (.*)`", left["hint"])[1].split()
        code, out, errors = tool.run(*command, env=guest.tool_env())
        self.assertEqual((code, self.service.images()), (0, []), out + errors)
        self.assert_nothing_left(guest, before)


class Full(SetTest):
    """A service whose disk is full when the second image comes."""

    def setUp(self):
        self.service = kit.Service()
        self.addCleanup(self.service.close)
        self.folder = self.service.state / "store"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", self.folder],
                                 capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            self.skipTest(f"no file system of its own: {mounted.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", self.folder], check=True)

    def test_full(self):
        guest = self.guest(Disk(24 * MIB), Disk(24 * MIB))
        for disk in guest.disks:
            guest.write(disk, 0, 8 * MIB, 0x21)
        before = guest.state()
        for options in ((), ("--transfer", "sized"), ("--parallel", "2")):
            with self.subTest(options=options):
                started = guest.snapshot(*options, store=f"glance:{self.service.url}")
                message = self.assert_refused(guest, before, started)
                self.assertIn("413", message)
                self.assertIn("disk", started.result["error"]["hint"])
                self.assertEqual(self.service.images(), [])
                self.assertEqual(list(self.folder.iterdir()), [])
        self.assert_done(guest.snapshot("--disk", "vd0", store=f"glance:{self.service.url}"))


class IntoObjects(SetTest):
    @classmethod
    def setUpClass(cls):
        cls.swift = Swift()
        cls.swift.make(BUCKET)
        cls.proxy = FaultProxy(cls.swift.url.rsplit(":", 1)[1])
        cls.other = FaultProxy(cls.swift.url.rsplit(":", 1)[1])
        through = {key: value.replace(cls.swift.url, cls.proxy.url)
                   for key, value in cls.swift.exports.items() if key.startswith(("AWS_", "ST_"))}
        cls.old = dict(os.environ)
        os.environ.update(through)

    @classmethod
    def tearDownClass(cls):
        os.environ.clear()
        os.environ.update(cls.old)
        cls.proxy.close()
        cls.other.close()
        cls.swift.close()

    def setUp(self):
        self.proxy.set()

    def tearDown(self):
        self.swift.clear()
        super().tearDown()

    def test_second_disk_fails(self):
        guest = self.written_guest(3)
        before = guest.state()
        rules = (("PUT", r"vd1-.*\.(raw|qcow2)"), ("PUT", r"vd1-.*\.json$"))
        for store in (f"s3://{BUCKET}/sets", f"swift:{BUCKET}"):
            for method, path in rules:
                with self.subTest(store=store, path=path):
                    self.proxy.set(Rule(method, path, "status", status=403, times=FOREVER))
                    message = self.assert_refused(guest, before, guest.snapshot(store=store))
                    self.assertIn("403", message)
                    self.assertTrue(any(fault for *_, fault in self.proxy.log))
                    self.assertEqual(self.swift.objects(), set())

    def test_what_cannot_be_deleted(self):
        """Exit 9, and the command that it names deletes what is left, once the service lets it."""
        guest = self.written_guest(2)
        before = guest.state()
        for store in (f"s3://{BUCKET}/sets", f"swift:{BUCKET}"):
            with self.subTest(store=store):
                self.proxy.set(Rule("PUT", r"vd1-.*\.json$", "status", status=403, times=FOREVER),
                               Rule("DELETE", ".", "status", status=403, times=FOREVER))
                started = guest.snapshot(store=store)
                self.assertEqual(started.wait(), 9, started.describe())
                undo = started.result["error"]["undo_error"]
                self.assertRegex(undo["message"], rf"disk vd\d: deleting {store}.*403")
                (command,) = re.findall("`(.*)`", undo["hint"])
                name, *words = command.split()
                self.assertEqual(name, "qmpsnap")
                left = self.swift.objects()
                self.assertTrue(left)
                code, out, stderr = tool.run(*words, env=guest.tool_env())
                self.assertEqual((code, self.swift.objects()), (9, left), out + stderr)
                self.assertIn("403", stderr)
                self.proxy.set()
                code, out, stderr = tool.run(*words, env=guest.tool_env())
                self.assertEqual((code, self.swift.objects()), (0, set()), out + stderr)
                code, out, stderr = tool.run(*words, env=guest.tool_env())
                self.assertIn("nothing of ours", out)
                self.assert_nothing_left(guest, before)

    def test_all_were_killed(self):
        """In the middle of an upload, with nobody left to undo it: `recover` does."""
        guest = self.guest(Disk(96 * MIB))
        guest.write(guest.disks[0], 0, 96 * MIB, 0x21)
        before = guest.state()
        for store in (f"s3://{BUCKET}/sets", f"swift:{BUCKET}"):
            with self.subTest(store=store):
                started = guest.snapshot("--no-guard", "--speed", "48M", store=store)
                deadline = time.monotonic() + 60
                while not any(re.search(r"\.qcow2/", path) for path in self.swift.objects()):
                    self.assertLess(time.monotonic(), deadline, started.describe())
                    time.sleep(0.1)
                started.kill()
                (journal,) = guest.journals()
                for key in ("ST_KEY", "AWS_SECRET_ACCESS_KEY"):
                    self.assertNotIn(self.swift.exports[key], journal.read_text())
                time.sleep(1)  # what is on its way still arrives
                self.assert_left_elsewhere(guest, store)
                code, out, stderr = tool.run("recover", "--all", env=guest.tool_env())
                self.assertEqual((code, self.swift.objects()), (0, set()), out + stderr)
                self.assert_nothing_left(guest, before)

    def assert_left_elsewhere(self, guest, store):
        """By a process whose settings lead elsewhere: there is nothing, which says nothing."""
        (journal,) = guest.journals()
        left = self.swift.objects()
        self.assertTrue(left)
        there = {"AWS_ENDPOINT_URL": self.other.url, "ST_AUTH": f"{self.other.url}/auth/v1.0"}
        code, _, stderr = tool.run("recover", "--all", env={**guest.tool_env(), **there})
        self.assertEqual((code, self.swift.objects()), (9, left), stderr)
        self.assertIn(f"may be left in {store} ({self.proxy.url}", stderr)
        self.assertIn(f"lead to {self.other.url}", stderr)
        self.assertEqual((guest.journals(), self.other.log), ([journal], []))
        # Without credentials; and no more than images is left, so the guest can be taken again.
        nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "ST_AUTH": ""}
        code, _, stderr = tool.run("snapshot", "--qmp", guest.address, "--scratch", guest.scratch,
                                   "--to", f"file:{guest.folder}/plain", "--force",
                                   env={**guest.tool_env(), **nobody})
        self.assertEqual((code, self.swift.objects()), (0, left), stderr)
        self.assertIn(f"may be left in {store} ({self.proxy.url}", stderr)
        self.assertEqual(guest.journals(), [journal])

    def test_twenty_disks(self):
        guest = self.written_guest(N_DISKS)
        before = guest.state()
        for store in (f"s3://{BUCKET}", f"swift:{BUCKET}"):
            with self.subTest(store=store):
                started = guest.snapshot(store=store)
                self.assert_done(started)
                self.assert_nothing_left(guest, before)
                for image in started.result["images"]:
                    path = "/" + image["location"].split(":", 1)[1].lstrip("/")
                    status, data = self.swift.call("GET", urllib.request.quote(path))
                    self.assertEqual(status, 200, path)
                    file = guest.folder / "served"
                    file.write_bytes(data)
                    images.assert_same(file, QCOW2,
                                       guest.disks[int(image["disk"][2:])].reference, "raw")
                self.swift.clear()


if __name__ == "__main__":
    unittest.main()

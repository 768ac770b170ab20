# SPDX-License-Identifier: Apache-2.0
"""The life of images in a real Glance: pages, whose image it is, downloads that break off."""
import json
import unittest
import uuid

import kit
from fault_proxy import FaultProxy, Rule
from shelf import ShelfTest, make_record, qcow2_header, same

PAGE = 3
STORED_BY_GLANCE = ("id", "checksum", "created_at", "direct_url", "file", "os_hash_algo",
                    "os_hash_value", "owner", "schema", "self", "status", "updated_at",
                    "visibility")
STORED_ALONE = ("size", "virtual_size", "os_hash_algo", "os_hash_value")


class GlanceTest(ShelfTest):
    options = ()
    service = None

    @classmethod
    def setUpClass(cls):
        cls.service = kit.Service("--set", f"DEFAULT.api_limit_max={PAGE}", *cls.options)

    @classmethod
    def tearDownClass(cls):
        cls.service.close()

    def tearDown(self):
        while self.all_images():
            self.service.clear()

    def all_images(self, user="demo"):
        return json.loads(self.service.call("GET", "/v2/images", user=user)[1])["images"]

    def put(self, data, user="demo", upload=True, **more):
        """An image as this tool would have made it, by other means."""
        record = make_record(data, **more)
        wanted = {key: value for key, value in record.items()
                  if key not in STORED_ALONE and value is not None}
        status, body = self.service.call("POST", "/v2/images", json.dumps(wanted).encode(),
                                         user=user)
        self.assertEqual(status, 201, body)
        if upload:
            status, body = self.service.call("PUT", f"/v2/images/{record['id']}/file", data,
                                             "application/octet-stream", user=user)
            self.assertEqual(status, 204, body)
        return record


class Alone(GlanceTest):
    """Without a login, through a proxy that breaks things."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.proxy = FaultProxy(cls.service.port)
        cls.store = f"glance:{cls.proxy.url}"

    @classmethod
    def tearDownClass(cls):
        cls.proxy.close()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.proxy.set()

    def test_pages(self):
        day = [f"2026-01-{n:02d}T00:00:00.000Z" for n in range(1, 11)]
        made = [self.put(b"x", disk_format="raw", qmpsnap_instant=time, tags=["t"] * (i % 2))
                for i, time in enumerate(day)]
        for _ in range(4):
            self.put(b"y", disk_format="raw", qmpsnap_run=None)
        self.proxy.set(Rule("GET", "marker=", "status", status=503, skip=1))
        listed = self.images("list")
        self.assertEqual(listed.ids, [image["id"] for image in made])
        self.assertGreater(sum("marker=" in path for _, path, _ in self.proxy.log), 3)
        self.assertEqual(len(self.images("list", "--all").ids), 14)
        self.assertEqual(self.images("list", "--tag", "t").ids,
                         [image["id"] for image in made[1::2]])
        self.assertEqual(self.images("list", "--set", made[4]["qmpsnap_set"]).ids,
                         [made[4]["id"]])
        self.assertEqual(self.images("list", "--since", day[7]).ids,
                         [image["id"] for image in made[7:]])
        self.assertEqual(self.images("delete", "--before", day[8]).ids,
                         [image["id"] for image in made[:8]])
        self.assertEqual(self.images("list").ids, [image["id"] for image in made[8:]])

    def test_download_verify_restore(self):
        image = self.snapshot("--tag", "a", "--format", "raw")["images"][0]
        self.assertEqual(self.images("list", "--tag", "a").ids, [image["id"]])
        self.images("download", image["id"], "-o", "x.raw")
        self.assertTrue(same(self.folder / "x.raw", "raw", self.disk, "qcow2"))
        self.assertLess((self.folder / "x.raw").stat().st_blocks * 512, 5 << 20)
        image = self.snapshot()["images"][0]
        self.images("verify", image["id"])
        self.images("verify", "--deep", image["id"])
        self.images("restore", image["id"], "--target", "y.raw", "--format", "raw")
        self.assertTrue(same(self.folder / "y.raw", "raw", self.disk, "qcow2"))
        self.assert_no_files("x.raw", "y.raw")

    def test_verify_finds(self):
        """Without reading the bytes: that they are there, and that their digest is the old one."""
        image = self.snapshot()["images"][0]
        other = self.snapshot()["images"][0]["id"]
        digest = self.service.record(image["id"])["qmpsnap_digest"]
        self.assertEqual(digest, "sha512:" + image["digest"])
        self.assertEqual(self.images("verify").ids, [image["id"], other])
        for wrong in ("sha512:" + "0" * 128, "sha256:" + "0" * 64, "md5:" + "0" * 32):
            self.service.patch(image["id"], {"op": "replace", "path": "/qmpsnap_digest",
                                             "value": wrong})
            done = self.images("verify", code=5)
            self.assertIn("digest", done.result["error"]["message"])
            self.assertEqual(done.ids, [other])
        self.service.patch(image["id"], {"op": "replace", "path": "/qmpsnap_digest",
                                         "value": digest})
        self.images("verify")
        for rule in (Rule("GET", "/file", "status", status=503), Rule("GET", "/file", "lose")):
            self.proxy.set(rule)
            self.images("verify", image["id"])
            self.assertEqual(rule.times, 0)
        (self.service.state / "store" / image["id"]).unlink()
        done = self.images("verify", code=5)
        self.assertIn(image["id"], done.result["error"]["message"])
        self.assertEqual(done.ids, [other])

    def test_other_formats(self):
        """Glance looks at what it gets: a vmdk that it doesn't allow, or a wrong size, shows."""
        for fmt in ("vmdk", "vdi"):
            with self.subTest(format=fmt):
                image = self.snapshot("--format", fmt)["images"][0]
                record = self.service.record(image["id"])
                self.assertEqual((record["disk_format"], record["virtual_size"]),
                                 (fmt, 24 << 20))
                self.assertEqual(record["qmpsnap_verified"], "true")
                status, data = self.service.call("GET", f"/v2/images/{image['id']}/file")
                self.assertEqual((status, len(data)), (200, image["size_bytes"]))
                (self.folder / "served").write_bytes(data)
                self.assertTrue(same(self.folder / "served", fmt, self.disk, "qcow2"))
                self.images("verify", "--deep", image["id"])
                self.images("download", image["id"], "-o", "x")
                self.assertEqual((self.folder / "x").read_bytes(), data)
                self.images("restore", image["id"], "--target", "y")
                self.assertTrue(same(self.folder / "y", fmt, self.disk, "qcow2"))
                for name in ("served", "x", "y"):
                    (self.folder / name).unlink()
        self.assert_no_files()

    def test_download_goes_on(self):
        """After a break it asks for the rest, not for all of it once more."""
        image = self.snapshot("--format", "raw")["images"][0]
        for rules in ([Rule("GET", "/file", "shorten", at=9 << 20)],
                      [Rule("GET", "/file", "shorten", at=5 << 20, times=2)],
                      [Rule("GET", "/file", "status", status=503, headers="Retry-After: 1\r\n")],
                      [Rule("GET", "/file", "lose")]):
            with self.subTest(fault=rules[0].fault, times=rules[0].times):
                self.proxy.set(*rules)
                self.images("download", image["id"], "-o", "x.raw", "--force")
                self.assertTrue(same(self.folder / "x.raw", "raw", self.disk, "qcow2"))
                self.assertGreater(sum(fault is not None for *_, fault in self.proxy.log), 0)
        self.assert_no_files("x.raw")

    def test_download_refused(self):
        image = self.snapshot()["images"][0]
        self.proxy.set(Rule("GET", "/file", "status", status=403))
        done = self.images("download", image["id"], code=5)
        self.assertIn("403", done.result["error"]["message"])
        self.assert_no_files()

    def test_header(self):
        record = self.put(qcow2_header(backing="/etc/passwd"), disk_format="raw")
        # a Glance that looks itself wouldn't take it as qcow2; one that doesn't gives it out
        self.assertEqual(self.images("download", record["id"], "-o", "x.raw").ids, [record["id"]])
        record = self.put(qcow2_header(backing="/etc/passwd"))
        self.images("download", record["id"], code=3)
        self.images("verify", "--deep", record["id"], code=3)
        self.assert_no_files("x.raw")

    def test_unfinished(self):
        """What a killed run has left is shown to nobody, and can be deleted by its id."""
        record = self.put(b"", upload=False, qmpsnap_verified=None)
        self.assertEqual(self.images("list").images, [])
        self.assertEqual(self.images("list", "--all").ids, [record["id"]])
        self.images("verify", record["id"], code=5)
        self.images("download", record["id"], code=5)
        self.images("delete", record["id"])
        self.assertEqual(self.all_images(), [])

    def test_rotation(self):
        weekly = self.snapshot("--backup-type", "weekly")["set"]
        half = self.put(b"", upload=False, qmpsnap_verified=None, image_type="backup",
                        backup_type="daily")
        sets = [self.snapshot("--backup-type", "daily", "--rotation", "2")["set"]
                for _ in range(3)]
        self.assertEqual(sorted(self.sets()), sorted([weekly, *sets[1:]]))
        self.assertIn(half["id"], self.images("list", "--all").ids)
        # a deletion fails: a warning, and the rest goes on
        self.proxy.set(Rule("DELETE", "/v2/images", "status", status=409))
        last = self.snapshot("--backup-type", "daily", "--rotation", "1")["set"]
        self.assertEqual(sorted(self.sets()), sorted([weekly, sets[1], last]))

    def backups(self, disks, times, **more):
        """A set of so many disks at each of the times, the first disk's records first."""
        sets = [{"qmpsnap_set": str(uuid.uuid4()), "qmpsnap_instant": time} for time in times]
        return [[self.put(b"x", disk_format="raw", image_type="backup", backup_type="daily",
                          qmpsnap_disk=disk, qmpsnap_disks=str(len(disks)), **one, **more)
                 for one in sets] for disk in disks]

    def test_rotation_of_sets(self):
        """They go whole: not one with a protected image, and one that misses an image counts for
        none."""
        day = [f"2026-01-{n:02d}T00:00:00.000Z" for n in range(1, 5)]
        first, second = self.backups(("vda", "vdb"), day)
        sets = [image["qmpsnap_set"] for image in first]
        self.service.patch(second[0]["id"], {"op": "replace", "path": "/protected", "value": True})
        self.service.call("DELETE", f"/v2/images/{first[3]['id']}")
        half, = [image for image in self.images("list").images if image["incomplete"]]
        self.assertEqual(half["id"], second[3]["id"])
        self.images("restore", sets[3], "--target", "x", code=3)
        new = [self.snapshot("--backup-type", "daily", "--rotation", "2")["set"]]
        self.assertEqual(self.sets(), [sets[0], *sets[2:], *new])
        self.assertEqual(len(self.images("list", "--set", sets[0]).ids), 2)
        # the second of two deletions fails: the rest of the set goes the next time
        self.proxy.set(Rule("DELETE", "/v2/images", "status", status=409, skip=1))
        new.append(self.snapshot("--backup-type", "daily", "--rotation", "2")["set"])
        self.assertEqual(self.sets(), [sets[0], sets[2], *new])
        self.assertEqual(len(self.images("list", "--set", sets[2]).ids), 1)
        self.snapshot("--backup-type", "daily", "--rotation", "3")
        self.assertEqual(len(self.sets()), 4)
        self.assertNotIn(sets[2], self.sets())
        self.assertEqual(len(self.images("list", "--set", sets[0]).ids), 2)
        self.assert_no_files()

    def test_inherited(self):
        """What Nova makes of a server that was booted from an image of ours has all its properties,
        and is no image of ours all the same."""
        backup = ("--backup-type", "daily", "--format", "raw")
        first = self.snapshot(*backup)
        image_id = first["images"][0]["id"]
        inherited = {key: value for key, value in self.service.record(image_id).items()
                     if isinstance(value, str) and key not in STORED_BY_GLANCE}
        self.assertIn("qmpsnap_digest", inherited)
        theirs = self.put(b"x", **{**inherited, "name": "theirs", "id": str(uuid.uuid4())})
        self.assertEqual(self.service.record(theirs["id"])["qmpsnap_image"], image_id)
        self.assertEqual(self.images("list").ids, [image_id])
        self.assertEqual(self.images("list", "--all", "--guest", "web").ids, [image_id])
        shown = self.run_tool("images", "list", "--all", "--from", self.store).out
        self.assertIn(f"set {theirs['id']}", shown)
        self.assertEqual(shown.count("guest web"), 1)
        self.assertEqual(self.images("verify").ids, [image_id])
        self.images("verify", theirs["id"])
        self.images("restore", first["set"], "--target", "y.raw")
        self.assertTrue(same(self.folder / "y.raw", "raw", self.disk, "qcow2"))
        second = self.snapshot(*backup, "--rotation", "2")
        self.assertEqual(sorted(self.sets()), sorted([first["set"], second["set"]]))
        third = self.snapshot(*backup, "--rotation", "1")
        self.assertEqual(self.sets(), [third["set"]])
        self.images("delete", theirs["id"], code=3)
        self.images("delete", "--guest", "web")
        self.assertEqual([image["id"] for image in self.all_images()], [theirs["id"]])
        self.images("delete", "--force", theirs["id"])


class LoggedIn(GlanceTest):
    """Behind a real Keystone: whose image it is."""

    options = ("--keystone",)
    store = "glance:"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.variables = cls.service.login()
        cls.admin = {"OS_USERNAME": "admin", "OS_PASSWORD": "admin-pw",
                     "OS_PROJECT_NAME": "admin"}

    def test_life(self):
        first = self.snapshot()
        second = self.snapshot("--protected")
        self.assertEqual(self.sets(), [first["set"], second["set"]])
        self.images("verify", "--deep")
        self.images("delete", first["set"], second["set"], code=3)
        self.images("delete", "--force", second["set"], code=3)
        self.assertEqual(self.images("delete", first["set"]).ids, [first["images"][0]["id"]])
        self.assertEqual(self.sets(), [second["set"]])
        self.assertIn(second["images"][0]["id"],
                      self.run_tool("images", "list", "--from", self.store).out)

    def test_forbidden_visibility(self):
        """A member may not publish to all: that is known before there are bytes."""
        for options in (("--visibility", "public"), ("--visibility", "public", "--protected")):
            with self.subTest(options=options):
                done = self.snapshot(*options, code=5)
                error = done["error"]
                self.assertIn("403", error["message"])
                self.assertIn("public", error["message"])
                self.assertIn("--visibility", error["hint"])
                self.assertIsNone(error["undo_error"])
                self.assertEqual(self.all_images(), [])
        for options in (("--visibility", "community"), ("--visibility", "shared")):
            image = self.snapshot(*options)["images"][0]
            self.assertEqual(self.service.record(image["id"])["visibility"], options[1])
        image = self.snapshot("--visibility", "public", env=self.admin)["images"][0]
        self.assertEqual(self.service.record(image["id"])["visibility"], "public")
        self.images("delete", image["id"], env=self.admin)

    def test_not_ours(self):
        """An admin may delete all images there are; this tool doesn't do it for him."""
        image = self.snapshot("--backup-type", "daily")["images"][0]
        done = self.images("delete", "--force", image["id"], code=3, env=self.admin)
        self.assertIn("another project", done.result["error"]["message"])
        self.assertTrue(self.images("show", image["id"], env=self.admin).images[0]["foreign"])
        mine = self.snapshot("--backup-type", "daily", "--rotation", "1", env=self.admin)
        self.assertEqual(len(self.images("list").ids), 1)
        self.images("delete", mine["set"], env=self.admin)
        self.assertEqual(self.images("list").ids, [image["id"]])

    def test_others_do_not_count(self):
        """An admin's list has all projects' images: his own aren't deleted for theirs."""
        backup = ("--backup-type", "daily", "--rotation", "2")
        mine = self.snapshot(*backup, env=self.admin)["set"]
        theirs = self.snapshot(*backup)["set"]
        last = self.snapshot(*backup, env=self.admin)["set"]
        self.assertEqual(sorted(self.sets(env=self.admin)), sorted([mine, theirs, last]))
        self.images("delete", mine, last, env=self.admin)

    def test_no_project(self):
        """Who has logged in to the whole system owns nothing."""
        image = self.snapshot("--backup-type", "daily")["images"][0]
        system = {**self.admin, "OS_SYSTEM_SCOPE": "all", "OS_PROJECT_NAME": ""}
        done = self.images("delete", image["id"], "--force", code=3, env=system)
        self.assertIn("another project", done.result["error"]["message"])
        self.assertEqual(self.images("list").ids, [image["id"]])

    def test_made_by_others(self):
        record = self.put(b"x", disk_format="raw", qmpsnap_run=None)
        self.images("delete", record["id"], code=3)
        self.images("delete", "--force", record["id"])
        self.assertEqual(self.all_images(), [])


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""The life of images in a folder: list, show, delete, download, verify, restore, rotation."""
import json
import os
import pathlib
import shutil
import subprocess
import time
import unittest

from shelf import MIB, ShelfTest, make_record, qcow2_header, qemu, same


class FolderTest(ShelfTest):
    def setUp(self):
        super().setUp()
        self.path = self.folder / "store"
        self.store = f"dir:{self.path}"

    def put(self, data, **more):
        """An image that stands there, whoever made it."""
        record = make_record(data, **more)
        self.path.mkdir(exist_ok=True)
        stem = f"{record['name']}-{record['id']}"
        (self.path / f"{stem}.{record['disk_format']}").write_bytes(data)
        (self.path / f"{stem}.json").write_text(json.dumps(record))
        return record

    def change(self, image_id, **members):
        path, = self.path.glob(f"*-{image_id}.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


class Images(FolderTest):
    def test_nothing_there(self):
        self.assertEqual(self.images("list").images, [])
        self.images("show", "web", code=5)
        self.images("delete", code=2)

    def test_list_and_show(self):
        first = self.snapshot("--name", "one")
        second = self.snapshot("--name", "two", guest="db")
        self.assertEqual(self.sets(), [first["set"], second["set"]])
        self.assertEqual(self.sets("--guest", "db"), [second["set"]])
        self.assertEqual(self.sets("--set", first["set"]), [first["set"]])
        self.assertEqual(self.sets("two"), [second["set"]])
        self.assertEqual(self.sets("--since", "1h"), [first["set"], second["set"]])
        self.assertEqual(self.sets("--before", "2020-01-01"), [])
        self.assertEqual(self.sets("--before", second["instant"]), [first["set"]])
        self.assertEqual(self.sets("--tag", "x"), [])
        image, = self.images("show", "one").images
        self.assertEqual(image["location"], first["images"][0]["location"])
        self.assertEqual(image["qmpsnap_guest"], "web")
        self.assertIs(image["foreign"], False)
        text = self.run_tool("images", "list", "--from", self.store).out
        self.assertIn(first["images"][0]["id"], text)
        self.assertIn(f"set {first['set']}", text)
        self.assertIn('"qmpsnap_set"', self.run_tool("images", "show", "--from", self.store,
                                                     "one").out)

    def test_download(self):
        image = self.snapshot("--name", "w/1")["images"][0]
        downloaded, = self.images("download", image["id"]).images
        path = self.folder / downloaded["path"]
        self.assertEqual(path.name, f"w_1-{image['id']}.qcow2")
        self.assertEqual(path.read_bytes(), pathlib.Path(image["location"]).read_bytes())
        self.images("download", image["id"], code=3)
        self.images("download", image["id"], "--force")
        self.images("download", image["id"], "-o", "x.qcow2")
        self.assertTrue(same(self.folder / "x.qcow2", "qcow2", self.disk, "qcow2"))
        self.assertEqual(self.images("download", image["id"], "-o", "/nowhere/x", code=5).images,
                         [])
        self.assert_no_files("x.qcow2", path.name)

    def test_raw_keeps_holes(self):
        image = self.snapshot("--format", "raw")["images"][0]
        self.images("download", image["id"], "-o", "x.raw")
        self.assertTrue(same(self.folder / "x.raw", "raw", self.disk, "qcow2"))
        self.assertLess((self.folder / "x.raw").stat().st_blocks * 512, 5 * MIB)

    def test_headers(self):
        """What an image says about other files is read before anything opens it."""
        data_file = b"/etc/passwd".ljust(16, b"\0")
        for header, words in (
                (qcow2_header(backing="/etc/passwd"), "/etc/passwd"),
                (qcow2_header(incompatible=1 << 2), "another file"),
                (qcow2_header(extension=b"DATA\0\0\0\x0b" + data_file), "another file"),
                (qcow2_header(incompatible=1 << 9), "0x200"),
                (qcow2_header(version=4), "damaged"),
                (b"no qcow2".ljust(4096), "no qcow2")):
            with self.subTest(words=words):
                record = self.put(header)
                for command, *args in (("download",), ("verify", "--deep"),
                                       ("restore", "--target", "x", "--format", "raw")):
                    done = self.images(command, *args, record["id"], code=3)
                    self.assertIn(words, done.result["error"]["message"])
                    self.assert_no_files()

    def test_verify(self):
        good, bad = (self.snapshot()["images"][0] for _ in range(2))
        self.assertEqual(len(self.images("verify").images), 2)
        self.assertEqual(len(self.images("verify", "--deep").images), 2)
        with open(bad["location"], "r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x55")
        done = self.images("verify", code=5)
        self.assertEqual(done.ids, [good["id"]])
        self.assertIn("1 of 2 images", done.result["error"]["message"])
        self.assertEqual(self.images("verify", "--deep", good["id"]).ids, [good["id"]])
        self.images("download", bad["id"], code=5)
        self.assert_no_files()

    def test_verify_finds_damage_of_old(self):
        """An image that was broken before it was stored: its digest is right."""
        data = bytearray(self.disk.read_bytes())
        table = int.from_bytes(data[48:56], "big")
        block = int.from_bytes(data[table:table + 8], "big")
        data[block:block + 64] = bytes(64)
        record = self.put(bytes(data))
        self.images("verify", record["id"])
        done = self.images("verify", "--deep", record["id"], code=5)
        self.assertIn("checking image", done.result["error"]["message"])
        self.assert_no_files()

    def test_limits(self):
        """qemu-img gets little time and memory for what came out of a store."""
        self.snapshot()
        tools, seen = self.folder / "bin", self.folder / "seen"
        tools.mkdir()
        script = tools / "qemu-img"
        script.write_text("#!/bin/bash\n{ ulimit -t; ulimit -v; } >" + f"'{seen}'\n"
                          + f"exec {shutil.which('qemu-img')} \"$@\"\n", "ascii")
        script.chmod(0o755)
        self.images("verify", "--deep", env={"PATH": f"{tools}:{os.environ['PATH']}"})
        seconds, kib = map(int, seen.read_text().split())
        self.assertEqual((seconds // 60, kib), (1, 2 << 20))

    def test_delete(self):
        first, second = self.snapshot(), self.snapshot()
        alien = self.put(b"x", qmpsnap_run=None)
        safe = self.put(b"x", protected=True)
        self.images("delete", first["set"], safe["id"], code=3)
        self.images("delete", "--force", safe["id"], code=3)
        self.images("delete", alien["id"], code=3)
        self.assertEqual(len(self.images("list", "--all").images), 4)
        self.assertEqual(self.images("delete", first["set"]).ids, [first["images"][0]["id"]])
        self.assertEqual(self.images("delete", "--force", alien["id"]).ids, [alien["id"]])
        self.assertEqual(self.sets(), [safe["qmpsnap_set"], second["set"]])
        self.assertEqual(len(list(self.path.iterdir())), 4)
        self.change(safe["id"], protected=False)
        self.assertEqual(self.images("delete", "--before", "2026-02-01").ids, [safe["id"]])

    def test_other_stores(self):
        for store in ("file:/tmp/x", "-", "http://127.0.0.1:9/x"):
            done = self.run_tool("images", "list", "--from", store)
            self.assertEqual(done.code, 2, str(done))
            self.assertIn("keeps no list", done.errors)


class Rotation(FolderTest):
    def backup(self, *args, **more):
        return self.snapshot("--backup-type", "daily", *args, **more)

    def test_rotation(self):
        plain = self.snapshot()["set"]
        other = self.backup(guest="db")["set"]
        weekly = self.snapshot("--backup-type", "weekly", "--rotation", "1")["set"]
        alien = self.put(b"x", qmpsnap_run=None, image_type="backup", backup_type="daily")
        sets = [self.backup("--rotation", "2")["set"] for _ in range(4)]
        self.assertEqual(sorted(self.sets()), sorted([plain, other, weekly, *sets[2:]]))
        self.assertEqual(len(self.images("list", "--all").images), 6)
        self.assertIn(alien["id"], self.images("list", "--all").ids)
        image, = self.images("list", "--set", sets[3]).images
        self.assertEqual((image["image_type"], image["backup_type"]), ("backup", "daily"))
        # the user's own properties don't undo it
        last = self.backup("--rotation", "1", "--property", "image_type=x")["set"]
        self.assertEqual(sorted(self.sets()), sorted([plain, other, weekly, last]))

    def test_protected(self):
        first = self.backup()
        self.change(first["images"][0]["id"], protected=True)
        last = [self.backup("--rotation", "1")["set"] for _ in range(2)][-1]
        self.assertEqual(self.sets(), [first["set"], last])

    def test_half_a_set(self):
        """What is left of a set counts for none, and goes with what is older than all that stay."""
        first, second = self.backup()["set"], self.backup()
        self.change(second["images"][0]["id"], qmpsnap_disks="2")
        third = self.backup("--rotation", "2")["set"]
        self.assertEqual(self.sets(), [first, second["set"], third])
        last = self.backup("--rotation", "2")["set"]
        self.assertEqual(self.sets(), [third, last])

    def test_refused(self):
        self.backup("--rotation", "1", guest=None, code=3)
        self.backup("--rotation", "0", code=2)
        self.backup("--rotation", "-1", code=2)
        self.snapshot("--rotation", "1", code=2)
        self.assertFalse(self.path.exists())
        done = self.run_tool("snapshot", "--image", self.disk, "--image-format", "qcow2", "--to",
                             f"file:{self.folder}/x", "--guest-id", "web", "--backup-type", "daily",
                             "--rotation", "1")
        self.assertEqual(done.code, 2, str(done))
        self.assertIn("keeps no list", done.errors)
        self.assert_no_files()

    def test_only_after_success(self):
        first = self.backup()["set"]
        self.disk.rename(self.folder / "gone")
        self.disk.write_bytes(qcow2_header(version=4))
        self.backup("--rotation", "1", code=3)
        self.assertEqual(self.sets(), [first])

    def test_a_deletion_fails(self):
        """The new backup is a good one, and the failure a warning."""
        first = self.backup()
        image = pathlib.Path(first["images"][0]["location"])
        subprocess.run(["chattr", "+i", image], check=False, stdin=subprocess.DEVNULL,
                       capture_output=True)
        self.addCleanup(subprocess.run, ["chattr", "-i", image], check=False,
                        stdin=subprocess.DEVNULL, capture_output=True)
        try:
            image.chmod(0o600)
            self.skipTest("chattr +i doesn't work here")
        except PermissionError:
            pass
        done = self.run_tool("snapshot", "--json", "-q", "--image", self.disk, "--image-format",
                             "qcow2", "--to", self.store, "--guest-id", "web", "--backup-type",
                             "daily", "--rotation", "1")
        self.assertEqual(done.code, 0, str(done))
        self.assertIn("rotation of backups", done.out)
        self.assertIn(done.result["set"], self.sets())


class Restore(FolderTest):
    def setUp(self):
        super().setUp()
        self.set = self.snapshot()["set"]
        self.target = self.folder / "back"

    def restore(self, *args, code=0, **more):
        return self.images("restore", *args, code=code, **more)

    def test_new_files(self):
        for fmt in ("qcow2", "raw"):
            with self.subTest(format=fmt):
                self.restore(self.set, "--target", self.target, "--format", fmt)
                self.assertTrue(same(self.target, fmt, self.disk, "qcow2"))
                self.assertEqual(json.loads(qemu("qemu-img", "info", "--output=json", "-f", fmt,
                                                 self.target))["virtual-size"], 24 * MIB)
                self.assert_no_files("back")
                self.target.unlink()

    def test_over_a_file(self):
        self.target.write_bytes(b"old")
        self.target.chmod(0o640)
        (self.folder / "link").symlink_to("back")
        done = self.restore(self.set, "--target", "link", code=3)
        self.assertIn("exists", done.result["error"]["message"])
        # the format isn't changed without a word
        self.restore(self.set, "--target", "link", "--force", code=3)
        self.assertEqual(self.target.read_bytes(), b"old")
        self.restore(self.set, "--target", "link", "--force", "--format", "raw")
        self.assertTrue(same(self.target, "raw", self.disk, "qcow2"))
        self.assertEqual(self.target.stat().st_mode & 0o7777, 0o640)
        self.assertTrue((self.folder / "link").is_symlink())
        self.assert_no_files("back", "link")

    def test_a_set(self):
        """Whole or not at all."""
        second = self.put(self.disk.read_bytes(), qmpsnap_disk="vdb", qmpsnap_set=self.set,
                          virtual_size=24 * MIB)
        self.restore(self.set, "--target", self.target, code=2)
        self.restore(self.set, "--target", "web=back", code=2)
        self.restore(self.set, "--target", "web=back", "--target", "vdb=back", code=2)
        self.restore(self.set, "--target", "web=back", "--target", "vdb=b", "--target", "vdc=c",
                     code=2)
        self.assert_no_files()
        self.restore(self.set, "--target", "web=back", "--target", "vdb=b")
        self.assertTrue(same(self.target, "qcow2", self.disk, "qcow2"))
        self.assertTrue(same(self.folder / "b", "qcow2", self.disk, "qcow2"))
        # one of them is damaged: the other isn't put back either
        self.target.write_bytes(b"old")
        (self.folder / "b").unlink()
        self.change(second["id"], os_hash_value="0" * 64)
        self.restore(self.set, "--force", "--format", "raw", "--target", "web=back", "--target",
                     "vdb=b", code=5)
        self.assertEqual(self.target.read_bytes(), b"old")
        self.assert_no_files("back")
        # a single one of it by its id
        self.restore(self.images("list", "--guest", "web").ids[-1], "--target", "c")

    def test_half_a_set(self):
        """It is shown as that, and goes back only where that image itself is meant."""
        first, = self.images("list").images
        self.assertEqual((first["qmpsnap_disks"], first["incomplete"]), ("1", False))
        self.change(first["id"], qmpsnap_disks="2")
        second = self.put(self.disk.read_bytes(), qmpsnap_disk="vdb", qmpsnap_set=self.set,
                          qmpsnap_disks="2", virtual_size=24 * MIB)
        self.assertNotIn("incomplete", self.run_tool("images", "list", "--from", self.store).out)
        self.restore(self.set, "--target", "web=back", "--target", "vdb=b", "--format", "raw")
        self.images("delete", second["id"])
        shown = self.run_tool("images", "list", "--from", self.store).out
        self.assertRegex(shown, rf"set {self.set} .*  incomplete\n")
        self.assertIs(self.images("show", first["id"]).images[0]["incomplete"], True)
        for targets in (("back",), ("web=back",), ("web=back", "vdb=b")):
            done = self.restore(self.set, "--force", *(word for target in targets
                                                       for word in ("--target", target)), code=3)
            self.assertIn(f"of the 2 images of set {self.set} only 1 ",
                          done.result["error"]["message"])
        self.assertTrue(same(self.target, "raw", self.disk, "qcow2"))
        self.restore(first["id"], "--target", "raw:back", "--force")
        self.assert_no_files("back", "b")

    def set_of_two(self, disk):
        """The set gets a second disk; the first is called web, and in their order they go."""
        first, = self.images("list").images
        self.put(self.disk.read_bytes(), qmpsnap_disk=disk, qmpsnap_set=self.set,
                 virtual_size=24 * MIB, qmpsnap_instant=first["qmpsnap_instant"])

    def device(self):
        """A block device with something in it."""
        path = self.folder / "disk.raw"
        path.write_bytes(b"\x55" * (32 * MIB))
        made = subprocess.run(["losetup", "--find", "--show", path], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if made.returncode != 0:
            self.skipTest("no loop devices here")
        device = made.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "-d", device], check=False,
                        stdin=subprocess.DEVNULL)
        return device

    def failing_qemu_img(self, onto_devices):
        """An environment where it fails; -n is for devices, which are there."""
        tools = self.folder / "scratch" / "bin"
        tools.mkdir()
        self.addCleanup(shutil.rmtree, tools)
        script = tools / "qemu-img"
        right, wrong = f"exec {shutil.which('qemu-img')} \"$@\"", "exit 1"
        cases = (wrong, right) if onto_devices else (right, wrong)
        script.write_text('#!/bin/sh\ncase "$*" in *" -n "*) {};; *) {};; esac\n'.format(*cases),
                          "ascii")
        script.chmod(0o755)
        return {"PATH": f"{tools}:{os.environ['PATH']}"}

    def test_files_before_devices(self):
        """A device is written to only when nothing else can fail."""
        device = self.device()
        self.set_of_two("zdb")
        self.target.write_bytes(b"old")
        targets = ("--target", f"web={device}", "--target", "zdb=raw:back", "--force")
        done = self.restore(self.set, *targets, code=5, env=self.failing_qemu_img(False))
        self.assertIsNone(done.result["error"].get("hint"))
        self.assertEqual(pathlib.Path(device).read_bytes(), b"\x55" * (32 * MIB))
        self.assertEqual(self.target.read_bytes(), b"old")
        self.restore(self.set, *targets)
        self.assertTrue(same(self.target, "raw", self.disk, "qcow2"))
        self.assertNotEqual(pathlib.Path(device).read_bytes()[MIB:2 * MIB], b"\x55" * MIB)

    def test_a_device_fails(self):
        """It may be written over in part, which is said; the file is as it was."""
        device = self.device()
        self.set_of_two("vdb")
        self.target.write_bytes(b"old")
        done = self.restore(self.set, "--target", f"web={device}", "--target", "vdb=raw:back",
                            "--force", code=5, env=self.failing_qemu_img(True))
        self.assertIn(f"{device} (written over", done.result["error"]["hint"])
        self.assertNotIn("back", done.result["error"]["hint"])
        self.assertEqual(self.target.read_bytes(), b"old")

    def test_half_way(self):
        """What was replaced already, when another one can't be, is named."""
        self.set_of_two("zdb")
        other = self.folder / "fixed"
        for path in (self.target, other):
            path.write_bytes(b"")
        if subprocess.run(["chattr", "+i", other], check=False, stdin=subprocess.DEVNULL,
                          capture_output=True).returncode != 0:
            self.skipTest("chattr +i doesn't work here")
        self.addCleanup(subprocess.run, ["chattr", "-i", other], check=True,
                        stdin=subprocess.DEVNULL)
        done = self.restore(self.set, "--target", "web=back", "--target", "zdb=fixed", "--force",
                            code=5)
        self.assertIn(f"{self.target} (replaced)", done.result["error"]["hint"])
        self.assertNotIn("fixed", done.result["error"]["hint"])
        self.assertTrue(same(self.target, "qcow2", self.disk, "qcow2"))
        self.assertEqual(other.read_bytes(), b"")

    def test_what_a_killed_one_left(self):
        """Its hidden files are in nobody's way."""
        for path in (self.target, self.folder / "x", self.folder / ".back.part",
                     self.folder / ".x.part"):
            path.write_bytes(b"")
        self.restore(self.set, "--target", "back", "--force")
        self.images("download", self.set, "-o", "x", "--force")
        for name in ("back", "x"):
            self.assertTrue(same(self.folder / name, "qcow2", self.disk, "qcow2"))

    def test_in_use(self):
        qemu("qemu-img", "create", "-q", "-f", "raw", self.target, "24M")
        before = self.target.read_bytes()
        for command in (["qemu-nbd", "-f", "raw", "-t", "-k", self.folder / "nbd", self.target],
                        ["qemu-nbd", "-r", "-f", "raw", "-t", "-k", self.folder / "nbd",
                         self.target],
                        ["sh", "-c", "exec 3<back; touch nbd; exec sleep 60"]):
            with self.subTest(command=command[0]):
                holder = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL,
                                          cwd=self.folder)
                try:
                    deadline = time.monotonic() + 10
                    while not (self.folder / "nbd").exists() and time.monotonic() < deadline:
                        time.sleep(0.02)
                    done = self.restore(self.set, "--target", self.target, "--force", "--format",
                                        "raw", code=3)
                    self.assertIn("in use", done.result["error"]["message"])
                finally:
                    holder.kill()
                    holder.wait()
                (self.folder / "nbd").unlink(missing_ok=True)
                self.assertEqual(self.target.read_bytes(), before)
        self.restore(self.set, "--target", self.target, "--force", "--format", "raw")
        self.assertTrue(same(self.target, "raw", self.disk, "qcow2"))

    def test_onto_a_block_device(self):
        device = self.device()
        self.restore(self.set, "--target", device, code=3)
        self.restore(self.set, "--target", device, "--force", "--format", "qcow2", code=2)
        self.restore(self.set, "--target", device, "--force")
        data = pathlib.Path(device).read_bytes()
        self.assertEqual(len(data), 32 * MIB)
        expected = self.folder / "expected"
        qemu("qemu-img", "convert", "-f", "qcow2", "-O", "raw", self.disk, expected)
        self.assertEqual(data[:24 * MIB], expected.read_bytes())
        self.assertEqual(data[24 * MIB:], b"\x55" * (8 * MIB))
        # too small
        self.change(self.images("list").ids[0], virtual_size=33 * MIB)
        self.restore(self.set, "--target", device, "--force", code=3)
        self.assert_no_files("disk.raw", "expected")


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""The method offline: an image file that no guest uses, and no QEMU at all."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import unittest.mock

import images
import tool
from lab import KIB, MIB, Disk, LabTest

FORMATS = ("qcow2", "raw", "vmdk", "vdi")


class OfflineTest(LabTest):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-offline-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.store = self.folder / "store"
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir()

    def make(self, name, fmt="qcow2", size=8 * MIB, options="", backing=None, backing_format=None):
        """An image with data in some places; only what it stands on otherwise."""
        path = self.folder / name
        base = ["-b", backing, "-F", backing_format] if backing else []
        chosen = ["-o", options] if options else []
        images.qemu_img("create", "-q", "-f", fmt, *base, *chosen, path, size)
        at = 4 if backing else 0
        for offset, length, pattern in ((at * MIB, MIB, 0x11), ((at + 2) * MIB, 512 * KIB, 0x22)):
            subprocess.run(["qemu-io", "-f", fmt, "-c",
                            f"write -q -P {pattern} {offset} {length}", path],
                           check=True, stdin=subprocess.DEVNULL, timeout=60)
        return path

    def offline(self, path, fmt, *args):
        started = tool.Tool("snapshot", "--json", "--image", path, "--image-format", fmt, "--to",
                            f"dir:{self.store}", "--scratch", self.scratch, *args,
                            env={"XDG_STATE_HOME": str(self.folder / "xdg"),
                                 "XDG_RUNTIME_DIR": str(self.folder),
                                 "XDG_DATA_HOME": str(self.folder / "xdg")})
        self.addCleanup(started.kill)
        return started

    def published(self):
        return sorted(path for path in self.store.iterdir() if path.suffix != ".json")

    def assert_nothing_left(self):
        self.assertEqual(list(self.scratch.iterdir()), [])
        self.assertEqual([path for path in self.folder.iterdir()
                          if path.name.startswith("qmpsnap-")], [])

    def check(self, path, fmt, *args, formats=FORMATS):
        for out in formats:
            with self.subTest(format=out):
                started = self.offline(path, fmt, "--format", out, *args)
                self.assert_done(started)
                self.assertEqual(started.result["method"], "offline")
                self.assertEqual(started.result["consistency"], "offline")
                image, = self.published()
                self.assertEqual(image.suffix, f".{out}")
                images.assert_clean(image, out)
                images.assert_same(image, out, path, fmt)
                self.assertEqual(images.info(image, out)["virtual-size"],
                                 images.info(path, fmt)["virtual-size"])
                self.assertNotIn("backing-filename", images.info(image, out))
                shutil.rmtree(self.store)
                self.assert_nothing_left()

    def assert_refused(self, started, *words, code=3):
        self.assertEqual(started.wait(), code, started.describe())
        text = " ".join(map(str, started.result["error"].values()))
        for word in words:
            self.assertIn(word, text)
        self.assertEqual(list(self.store.iterdir()) if self.store.exists() else [], [])
        self.assert_nothing_left()


class Images(OfflineTest):
    def test_qcow2(self):
        self.check(self.make("a.qcow2"), "qcow2")

    def test_raw(self):
        self.check(self.make("a.raw", "raw"), "raw")

    def test_size_no_multiple_of_a_cluster(self):
        path = self.make("a.raw", "raw")
        with open(path, "ab") as out:
            out.write(b"\x33" * 1536)
        self.check(path, "raw", formats=("qcow2", "raw"))

    def test_size_0(self):
        """All but vmdk, which QEMU itself doesn't open then."""
        path = self.folder / "a.raw"
        path.touch()
        self.check(path, "raw", formats=("qcow2", "raw", "vdi"))

    def test_chain(self):
        self.make("base.raw", "raw")
        self.make("middle.qcow2", backing="base.raw", backing_format="raw")
        top = self.make("top.qcow2", backing=str(self.folder / "middle.qcow2"),
                        backing_format="qcow2")
        self.check(top, "qcow2")

    def test_data_file(self):
        data = self.folder / "data,file"
        options = f"data_file={str(data).replace(',', ',,')},data_file_raw=on"
        self.check(self.make("a.qcow2", options=options), "qcow2")

    def test_other_formats(self):
        for fmt in ("vmdk", "vdi", "vhdx", "vpc", "qed"):
            with self.subTest(source=fmt):
                self.check(self.make(f"a.{fmt}", fmt), fmt, formats=("qcow2",))

    def test_compressed(self):
        path = self.make("a.qcow2")
        images.qemu_img("convert", "-c", "-O", "qcow2", "-f", "qcow2", path,
                        self.folder / "b.qcow2")
        self.check(self.folder / "b.qcow2", "qcow2", formats=("qcow2", "vdi"))

    def test_block_device(self):
        disk = self.loop_disk(8 * MIB)
        subprocess.run(["qemu-io", "-f", "raw", "-c", "write -q -P 5 1M 1M", disk.path],
                       check=True, stdin=subprocess.DEVNULL)
        self.check(disk.path, "raw")

    def test_block_device_is_raw_unless_asked_otherwise(self):
        disk = self.loop_disk(8 * MIB)
        self.assert_done(self.offline(disk.path, "raw"))
        image, = self.published()
        self.assertEqual(image.suffix, ".raw")
        images.assert_same(image, "raw", disk.path, "raw")
        shutil.rmtree(self.store)
        images.qemu_img("create", "-q", "-f", "qcow2", disk.path, 4 * MIB)
        self.assert_done(self.offline(disk.path, "qcow2"))
        image, = self.published()
        self.assertEqual(image.suffix, ".qcow2")

    def test_named_after_the_file(self):
        path = self.make("web server.old.qcow2")
        started = self.offline(path, "qcow2")
        self.assert_done(started)
        self.assertTrue(started.result["images"][0]["name"].startswith("web server.old-2"),
                        started.describe())

    def test_one_pass(self):
        """No copy on the host for what can be laid out on the way."""
        path = self.make("a.qcow2")
        started = self.offline(path, "qcow2")
        self.assert_done(started)
        self.assertEqual(started.result["scratch_bytes"], 0)

    def test_dry_run(self):
        started = self.offline(self.make("a.qcow2"), "qcow2", "--dry-run")
        self.assert_done(started)
        steps = [event["step"] for event in started.events
                 if event["event"] == "step" and event["phase"] == "plan"]
        self.assertTrue(any("qemu-nbd" in step for step in steps), steps)
        self.assertFalse(self.store.exists() and list(self.store.iterdir()))


class Refused(OfflineTest):
    def test_no_such_file(self):
        self.assert_refused(self.offline(self.folder / "none", "raw"), "none", "No such file")

    def test_a_folder(self):
        self.assert_refused(self.offline(self.folder, "raw"), "folder")

    def test_not_of_that_format(self):
        path = self.make("a.raw", "raw")
        for fmt in ("qcow2", "vmdk", "vdi", "vhdx"):
            with self.subTest(format=fmt):
                self.assert_refused(self.offline(path, fmt), str(path))

    def test_no_such_format(self):
        self.assert_refused(self.offline(self.make("a.raw", "raw"), "brick"), "brick", code=2)

    def test_what_only_a_guest_can_follow(self):
        path = self.make("a.raw", "raw")
        for words in (("--method", "cold"), ("--flavour", "job"), ("--quiesce", "require"),
                      ("--qga", "/a/b"), ("--disk", "vda"), ("--firmware",),
                      ("--allow-plaintext",), ("--release-monitor",), ("--qmp", "/a/b")):
            with self.subTest(words=words):
                self.assert_refused(self.offline(path, "raw", *words), words[0], code=2)
        self.assert_done(self.offline(path, "raw", "--method", "auto", "--flavour", "auto",
                                      "--quiesce", "off", "--dry-run"))

    def test_names_that_no_record_takes(self):
        path = self.make("a.raw", "raw")
        for words in (("--name", "n" * 256), ("--property", "os_hidden=1"),
                      ("--guest-id", "g" * 255)):
            with self.subTest(words=words[0]):
                self.assert_refused(self.offline(path, "raw", *words), code=2)
                self.assert_refused(self.offline(path, "raw", *words, "--dry-run"), code=2)

    def test_backing_file_is_missing(self):
        self.make("base.raw", "raw")
        path = self.make("top.qcow2", backing="base.raw", backing_format="raw")
        (self.folder / "base.raw").unlink()
        self.assert_refused(self.offline(path, "qcow2"), "base.raw", "No such file")

    def test_backing_format_is_not_recorded(self):
        self.make("base.qcow2")
        path = self.make("top.qcow2", backing="base.qcow2", backing_format="qcow2")
        images.qemu_img("rebase", "-u", "-f", "qcow2", "-b", "base.qcow2", "-F", "", path,
                        ok=(0, 1))
        header = bytearray(path.read_bytes()[:512])
        at = header.find(bytes.fromhex("e2792aca"))
        if at >= 0:  # an unknown extension instead
            header[at] = 0x12
            with open(path, "r+b") as out:
                out.write(header)
        self.assert_refused(self.offline(path, "qcow2"), "doesn't record the format", "rebase")

    def test_backing_file_elsewhere(self):
        path = self.make("top.qcow2")
        images.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b",
                        "nbd://127.0.0.1:1/x", path)
        self.assert_refused(self.offline(path, "qcow2"), "no local file")

    def test_encrypted(self):
        path = self.folder / "luks.qcow2"
        images.qemu_img("create", "-q", "--object", "secret,id=key,data=geheim", "-f", "qcow2",
                        "-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
                        path, "8M")
        self.assert_refused(self.offline(path, "qcow2"), "encrypted")

    def test_no_qemu_img(self):
        path = self.make("a.qcow2")
        (self.folder / "empty").mkdir()
        here, os.environ["PATH"] = os.environ["PATH"], str(self.folder / "empty")
        try:
            started = self.offline(path, "qcow2")
        finally:
            os.environ["PATH"] = here
        self.assert_refused(started, "qemu-img", "qemu-utils")

    def test_no_room(self):
        started = self.offline(self.make("a.qcow2"), "qcow2", "--format", "vdi",
                               "--scratch-limit", "1M")
        self.assert_refused(started, "need about")


    def test_too_large(self):
        path = self.folder / "huge.qcow2"
        images.create(path, "qcow2", 17 << 40)
        for fmt in ("qcow2", "raw"):
            for more in ((), ("--dry-run",)):
                self.assert_refused(self.offline(path, "qcow2", "--format", fmt, *more),
                                    "huge.qcow2", "16 TiB")


class Forged(OfflineTest):
    def test_a_qcow2_header_in_a_raw_file(self):
        """The bytes are what is asked for, not what they claim to stand on."""
        secret = self.folder / "secret"
        secret.write_bytes(b"secret" * 20000)
        path = self.make("a.qcow2")
        images.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", secret, path)
        self.check(path, "raw")


class Locked(OfflineTest):
    def test_a_guest_uses_it(self):
        for fmt in ("qcow2", "raw"):
            disk = Disk(8 * MIB, fmt=fmt)
            self.guest(disk)
            for out in ("qcow2", "vdi"):
                with self.subTest(source=fmt, format=out):
                    self.assert_refused(self.offline(disk.path, fmt, "--format", out),
                                        str(disk.path), '"write" lock', "--force-share")

    def test_a_guest_uses_what_it_stands_on(self):
        disk = Disk(8 * MIB, fmt="raw")
        self.guest(disk)
        path = self.make("top.qcow2", backing=str(disk.path), backing_format="raw")
        self.assert_refused(self.offline(path, "qcow2"), str(disk.path), '"write" lock')

    def test_by_name(self):
        disk = Disk(8 * MIB)
        guest = self.guest(disk)
        guest.write(disk, 0, MIB, 0x41)
        guest.monitor.command("stop")  # flushes
        for out in ("qcow2", "vdi"):
            with self.subTest(format=out):
                self.assert_done(self.offline(disk.path, "qcow2", "--force-share", "--format",
                                              out))
                image, = self.published()
                images.assert_same(image, out, disk.reference, "raw")
                shutil.rmtree(self.store)

    def test_a_guest_that_starts_meanwhile_is_kept_off(self):
        path = self.make("a.raw", "raw", size=32 * MIB)
        images.qemu_img("resize", "-q", "-f", "raw", path, "64M")
        with open(path, "r+b") as out:
            out.write(b"\x44" * (16 << 20))
        started = self.offline(path, "raw", "--speed", "4M")
        self.assertIsNotNone(started.wait_for(lambda event: event["event"] == "progress"))
        done = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 512", path], check=False,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("lock", done.stderr)
        started.signal(signal.SIGINT)
        self.assertEqual(started.wait(), 130, started.describe())
        subprocess.run(["qemu-io", "-f", "raw", "-c", "write -q 0 512", path], check=True,
                       stdin=subprocess.DEVNULL)
        self.assertEqual(list(self.store.iterdir()), [])
        self.assert_nothing_left()


class Killed(OfflineTest):
    @staticmethod
    def children(parent):
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                rest = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(rest[1]) == parent and rest[0] != "Z":
                found.append(int(folder.name))
        return found

    def test_nothing_outlives_it(self):
        path = self.make("a.raw", "raw")
        path.write_bytes(b"\x44" * (16 << 20))
        for out, event in (("qcow2", "progress"), ("vdi", "progress")):
            with self.subTest(format=out):
                started = self.offline(path, "raw", "--format", out, "--speed", "4M")
                self.assertIsNotNone(started.wait_for(lambda e, k=event: e["event"] == k))
                children = self.children(started.pid)
                self.assertEqual(len(children), 2)  # the guard, and qemu-nbd or qemu-img
                started.kill()
                end = time.monotonic() + 10
                while any(os.path.exists(f"/proc/{pid}/cwd") for pid in children):
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.02)
                self.assertEqual(list(self.store.iterdir()) if self.store.exists() else [], [])
                self.assert_nothing_left()

    def test_what_does_not_die_is_not_waited_for(self):
        """Here its end isn't seen, since a process that it left holds its standard error."""
        tools = self.folder / "tools"
        tools.mkdir()
        (tools / "qemu-nbd").write_text(
            f"#!/bin/sh\nsleep 40 &\nexec {shutil.which('qemu-nbd')} \"$@\"\n")
        (tools / "qemu-nbd").chmod(0o755)
        with unittest.mock.patch.dict(os.environ, {"PATH": f"{tools}:{os.environ['PATH']}"}):
            began = time.monotonic()
            started = self.offline(self.make("a.qcow2"), "qcow2")
            self.assertIsNotNone(started.wait_for(lambda event: event["event"] == "result", 60))
            self.assertLess(time.monotonic() - began, 35)
        self.assertIn("isn't waited for", started.describe())
        self.assertEqual(started.wait(), 0, started.describe())
        self.assertEqual(len(self.published()), 1)
        self.assert_nothing_left()


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""Snapshots that are refused, given up or fail: the guest is as before and no image is left."""
import json
import os
import signal
import socket
import time
import unittest

import builds
import images
import tool
from lab import KIB, MIB, Disk, LabTest
from monitor import Monitor

USAGE, REFUSED, QEMU, STORE, VIEW = 2, 3, 4, 5, 6
SIGINT, SIGTERM = 130, 143


class FailureTest(LabTest):
    def filled(self, disk, **options):
        guest = self.guest(disk, **options)
        guest.write(disk, 0, 16 * MIB, 0x55)
        return guest

    def assert_failed(self, started, code):
        self.assertEqual(started.wait(), code, started.describe())
        result = started.result
        self.assertIsNotNone(result, started.describe())
        self.assertEqual(result["exit_code"], code)
        self.assertEqual(result["images"], [])
        self.assertTrue(result["error"]["message"])
        return f"{result['error']['message']}; {result['error']['hint']}"

    def assert_no_image(self, guest):
        self.assertEqual(guest.published(), [])
        if guest.store.exists():
            self.assertEqual(list(guest.store.iterdir()), [])


class GivenUp(FailureTest):
    def give_up(self, number, code, paused):
        guest = self.filled(Disk(32 * MIB), paused=paused)
        before = guest.state()
        started = guest.snapshot("--speed", "1M")
        self.assertIsNotNone(started.wait_for(lambda e: e["event"] == "progress" and
                                              e["done_bytes"] > 0), started.describe())
        started.signal(number)
        self.assert_failed(started, code)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_interrupted(self):
        self.give_up(signal.SIGINT, SIGINT, paused=False)

    def test_interrupted_while_paused(self):
        self.give_up(signal.SIGINT, SIGINT, paused=True)

    def test_terminated(self):
        self.give_up(signal.SIGTERM, SIGTERM, paused=False)


    def test_interrupted_while_qemu_hangs(self):
        """The upload ends although its reads are never answered; the undo waits for QEMU."""
        guest = self.filled(Disk(32 * MIB))
        before = guest.state()
        started = guest.snapshot("--speed", "4M")
        self.assertIsNotNone(started.wait_for(lambda e: e["event"] == "progress" and
                                              e["done_bytes"] > 0), started.describe())
        os.kill(guest.pid, signal.SIGSTOP)
        try:
            time.sleep(0.5)  # reads are under way by now
            started.signal(signal.SIGINT)
            self.assertIsNotNone(started.wait_for(lambda e: e["event"] == "step" and
                                                  e["phase"] == "undo-begin", 10),
                                 started.describe())
        finally:
            os.kill(guest.pid, signal.SIGCONT)
        self.assert_failed(started, SIGINT)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


class QemuFails(FailureTest):
    def test_qemu_dies(self):
        guest = self.filled(Disk(32 * MIB))
        started = guest.snapshot("--speed", "1M")
        started.wait_instant()
        guest.kill()
        self.assert_failed(started, QEMU)
        self.assert_no_image(guest)

    def test_scratch_full(self):
        """The view breaks, the guest does not notice, the image is discarded."""
        disk = Disk(32 * MIB)
        guest = self.filled(disk)
        before = guest.state()
        started = guest.snapshot("--speed", "1M", "--scratch-limit", "1M")
        started.wait_instant()

        def make(i):
            return 0, i % 200 * 64 * KIB, 64 * KIB, 0x66
        writer = self.writer(guest, make)
        self.assert_failed(started, VIEW)
        writer.stop()
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_disk_cannot_be_read(self):
        """A read error below the view: the snapshot fails with it, the guest runs on."""
        guest = self.guest(Disk(8 * MIB), options=("-device", "virtio-scsi-pci,id=extra"))
        path = guest.folder / "bad.raw"
        path.write_bytes(b"\x11" * (8 * MIB))
        guest.monitor.command(
            "blockdev-add", driver="raw", node_name="bad", file={
                "driver": "blkdebug", "image": {"driver": "file", "filename": str(path)},
                "inject-error": [{"event": "none", "iotype": "read", "errno": 5,
                                  "sector": 8192, "once": False}]})
        guest.monitor.command("device_add", driver="scsi-hd", id="bad0", drive="bad",
                              bus="extra.0")
        before = guest.state()
        error = self.assert_failed(guest.snapshot("--disk", "bad0"), VIEW)
        self.assertIn("bad0", error)
        self.assertIn("Input/output error", error)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)

    def test_monitor_in_use(self):
        guest = self.filled(Disk(32 * MIB))
        other = Monitor(guest.folder / "tool.sock")
        self.addCleanup(other.close)
        before = guest.state()
        started = guest.snapshot()
        error = self.assert_failed(started, REFUSED)
        self.assertIn("use", error)
        other.close()
        self.assert_nothing_left(guest, before)

    def test_no_socket(self):
        code, _, stderr = tool.run("inspect", "--qmp", "/nonexistent/qmp.sock")
        self.assertNotIn(code, (0, 1))
        self.assertIn("/nonexistent/qmp.sock", stderr)

    def test_socket_without_listener(self):
        guest = self.filled(Disk(32 * MIB))
        path = guest.folder / "dead.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        code, _, stderr = tool.run("inspect", "--qmp", f"unix:{path}")
        self.assertNotIn(code, (0, 1))
        self.assertIn(str(path), stderr)


class StoreFails(FailureTest):
    def test_folder_cannot_be_made(self):
        guest = self.filled(Disk(32 * MIB))
        before = guest.state()
        (guest.folder / "file").write_text("")
        started = guest.snapshot(store=f"dir:{guest.folder}/file/images")
        self.assert_failed(started, STORE)
        self.assert_nothing_left(guest, before)

    def test_file_exists(self):
        guest = self.filled(Disk(32 * MIB))
        before = guest.state()
        path = guest.folder / "image.qcow2"
        path.write_text("precious")
        started = guest.snapshot(store=f"file:{path}")
        started.wait()
        self.assertIn(started.result["exit_code"], (REFUSED, STORE), started.describe())
        self.assertEqual(path.read_text(), "precious")
        self.assert_nothing_left(guest, before)


class Refused(FailureTest):
    def refused(self, guest, *args, code=REFUSED):
        before = guest.state()
        started = guest.snapshot(*args)
        error = self.assert_failed(started, code)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)
        return error

    def test_iothread(self):
        """On Debian 12's QEMU an iothread disk's guest can be killed by the filter."""
        if builds.is_good_in_iothreads():
            self.skipTest("this QEMU does well with iothreads")
        disk = Disk(32 * MIB, device="virtio-blk-pci,iothread=io0")
        guest = self.guest(disk, options=("-object", "iothread,id=io0"))
        self.assertIn("iothread", self.refused(guest, "--method", "stream"))

    def test_encrypted(self):
        secret = "secret,id=key,data=secret"
        guest = self.guest(Disk(32 * MIB), paused=True, options=(
            "-object", secret, "-device", "virtio-scsi-pci,id=extra"))
        path = guest.folder / "luks.qcow2"
        images.qemu_img("create", "-q", "--object", secret, "-f", "qcow2",
                        "-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
                        path, "8M")
        guest.monitor.command(
            "blockdev-add", driver="qcow2", node_name="luks", encrypt={
                "format": "luks", "key-secret": "key"},
            file={"driver": "file", "filename": str(path)})
        guest.monitor.command("device_add", driver="scsi-hd", id="secret0", drive="luks",
                              bus="extra.0")
        self.assertIn("encrypted", self.refused(guest))
        self.assert_done(guest.snapshot("--disk", "vd0"))  # the other one can be taken
        self.assert_image_is_reference(guest)

    def test_unknown_disk(self):
        guest = self.guest(Disk(32 * MIB), Disk(32 * MIB), paused=True)
        error = self.refused(guest, "--disk", "nonesuch", code=USAGE)
        self.assertIn("vd0", error)
        self.assertIn("vd1", error)


class DryRun(FailureTest):
    def test_touches_nothing(self):
        guest = self.filled(Disk(32 * MIB))
        before = guest.state()
        started = guest.snapshot("--dry-run")
        self.assertEqual(started.wait(), 0, started.describe())
        steps = [event["step"] for event in started.events if event["event"] == "step" and
                 event["phase"] == "plan"]
        instant = "qom-set" if builds.has_filter() else "transaction"
        self.assertTrue(any(instant in step for step in steps), steps)
        self.assert_nothing_left(guest, before)
        self.assert_no_image(guest)


class Recover(FailureTest):
    def test_nothing_to_do(self):
        guest = self.filled(Disk(32 * MIB), paused=True)
        before = guest.state()
        code, _, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 0, stderr)
        self.assert_nothing_left(guest, before)


class Inspect(FailureTest):
    def test_drive_and_blockdev(self):
        disks = [Disk(8 * MIB, style="drive", named=False), Disk(24 * MIB),
                 Disk(16 * MIB, fmt="raw", style="drive")]
        guest = self.guest(*disks, name="kitchen", paused=True)
        before = guest.state()
        code, out, stderr = tool.run("inspect", "--json", "--qmp", guest.address)
        self.assertEqual(code, 0, stderr)
        found = json.loads(out)
        self.assertEqual(found["name"], "kitchen")
        self.assertEqual(found["status"], "prelaunch")
        by_id = {disk["id"]: disk for disk in found["disks"]}
        self.assertEqual(sorted(by_id), ["vd1", "vd2", "virtio0"])
        for name, disk in zip(("virtio0", "vd1", "vd2"), disks):
            self.assertEqual(by_id[name]["virtual_size_bytes"], disk.size)
            self.assertEqual(by_id[name]["format"], disk.format)
            self.assertEqual(by_id[name]["filename"], str(disk.path))
            self.assertTrue(by_id[name]["stream"]["possible"], by_id[name])
        self.assertEqual(by_id["vd1"]["node"], "drive1")
        self.assert_nothing_left(guest, before)

    def test_text(self):
        guest = self.guest(Disk(24 * MIB), name="kitchen", paused=True)
        code, out, stderr = tool.run("inspect", "--qmp", guest.address)
        self.assertEqual(code, 0, stderr)
        self.assertIn("kitchen", out)
        self.assertIn("vd0", out)


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""The known dangers (blockops/dangers.c) on a QEMU that has them: the guest lives.

A real Linux writes all the time to a disk that an iothread serves.  QMPSNAP_REPEAT says how many
snapshots in a row; without it 5, or 50 with QMPSNAP_LONG=1."""
import os
import unittest

import blocks
import builds
import images
import tool
from lab import MIB, SLOTS, Disk, LabTest

REPEAT = int(os.environ.get("QMPSNAP_REPEAT", 50 if os.environ.get("QMPSNAP_LONG") == "1" else 5))
WARM_UP = SLOTS + 20


class Iothread(LabTest):
    def busy_guest(self, device):
        blk = device == "virtio-blk-pci"
        options = ["-object", "iothread,id=io0"]
        if not blk:
            options += ["-global", "virtio-scsi-pci.iothread=io0"]
        disk = Disk(32 * MIB, device=f"{device},iothread=io0" if blk else device)
        guest = self.guest(disk, job="write", options=options)
        guest.wait_count(WARM_UP)
        return guest

    def image_holds(self, guest, first):
        path, fmt = self.image_of(guest)
        images.assert_clean(path, fmt)
        raw = images.to_raw(path, fmt, guest.folder / "image.raw")
        number, bad = blocks.verify(raw, SLOTS)
        self.assertEqual(bad, 0)
        self.assertGreaterEqual(number, first)
        for file in guest.store.iterdir():
            file.unlink()

    def taken_again_and_again(self, device):
        guest = self.busy_guest(device)
        before = guest.state()
        wanted = "stream" if builds.is_good_in_iothreads() else "backup"
        for _ in range(REPEAT):
            first = guest.counted()
            started = guest.snapshot("-v")
            self.assert_done(started)
            self.assertEqual(started.result["method"], wanted)
            told = f"method {wanted}: {started.result['reason']}"
            self.assertIn(told, [e["message"] for e in started.events if e["event"] == "log"])
            if wanted == "backup":
                self.assertIn("iothread", started.result["reason"])
            self.image_holds(guest, first)
            self.assert_nothing_left(guest, before)
        guest.wait_count(guest.counted() + 1)

    def test_virtio_blk(self):
        self.taken_again_and_again("virtio-blk-pci")

    def test_virtio_scsi(self):
        self.taken_again_and_again("scsi-hd")

    def test_by_name_it_is_refused(self):
        if builds.is_good_in_iothreads():
            self.skipTest("this QEMU does well with iothreads")
        guest = self.busy_guest("virtio-blk-pci")
        before = guest.state()
        for flavour in ("auto", "filter", "job"):
            with self.subTest(flavour=flavour):
                started = guest.snapshot("--method", "stream", "--flavour", flavour)
                self.assertEqual(started.wait(), 3, started.describe())
                self.assertIn("iothread", started.result["error"]["message"])
                self.assert_nothing_left(guest, before)


class ConcludedJob(LabTest):
    """Of somebody else, who hasn't dismissed it."""

    def test_nodes_are_listed_only_where_it_is_safe(self):
        guest = self.guest(Disk(8 * MIB))
        target = guest.folder / "theirs.qcow2"
        images.create(target, "qcow2", 8 * MIB)
        ask = guest.monitor.command
        ask("blockdev-add", driver="qcow2", node_name="target",
            file={"driver": "file", "filename": str(target)})
        ask("blockdev-backup", device="drive0", target="target", sync="full", job_id="theirs",
            auto_dismiss=False)
        guest.monitor.wait_event("BLOCK_JOB_COMPLETED")
        wanted = 3 if builds.dies_of_listing_nodes() else 0
        for command in ("inspect", "recover"):
            code, _, said = tool.run(command, "--qmp", guest.address, env=guest.tool_env())
            self.assertEqual(code, wanted, said)
            self.assertTrue(guest.alive(), guest.log())
            if wanted:
                self.assertIn("theirs", said)
        started = guest.snapshot("--dry-run")
        self.assertEqual(started.wait(), wanted, started.describe())
        ask("job-dismiss", id="theirs")
        ask("blockdev-del", node_name="target")
        self.assert_done(guest.snapshot())
        self.assertTrue(guest.alive(), guest.log())


if __name__ == "__main__":
    unittest.main()

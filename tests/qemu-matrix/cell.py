# SPDX-License-Identifier: Apache-2.0
"""One cell: a snapshot by one method of a guest with one kind of disk, on one QEMU."""
import os
import pathlib
import sys
import time
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "live")]

import builds  # noqa: E402
import lab  # noqa: E402
import tool  # noqa: E402
from expected import EQUAL, LAYOUTS, METHODS, expected, migratable  # noqa: E402
from lab import KIB, MIB  # noqa: E402
from monitor import MonitorError  # noqa: E402

SIZE = 12 * MIB
CHUNK = 64 * KIB
SPEED = "6M"
# On 5.2 a write by the monitor's qemu-io may wait for ever for a backup job, probably since the
# event loop in the command doesn't run the job's timer: here writing begins when the job has ended.
# A guest's own writes don't (85 backups in an iothread, 15 without, of a guest that wrote: 0.5 s).
LATE = (("bullseye", "backup"),)
# There the job flavour's job lasts as long as the snapshot, and the wait was seen with an iothread
# (in both cells of a run of all on a loaded machine). Booted guests write there in test_dangers,
# which the matrix runs too.
SILENT = (("bullseye", "job", "virtio-blk+iothread", "running"),
          ("bullseye", "job", "virtio-scsi+iothread", "running"))
REFUSAL = 3  # the exit code


def overwrite(i):
    """The writes from the instant on: scattered chunks, each tenth zeroes."""
    return 0, i * 7 % (SIZE // CHUNK) * CHUNK, CHUNK, 0 if i % 10 == 9 else 0x80 + i % 100


def is_uploading(event):
    return event["event"] == "state" and event["state"] == "image_uploading"


class Cell(lab.LabTest):
    def __init__(self, version, method, layout, state):
        super().__init__()
        self.version, self.method, self.layout, self.run_state = version, method, layout, state

    def __str__(self):
        return f"{self.version} {self.method} {self.layout} {self.run_state}"

    def runTest(self):
        expects = expected(self.version, self.method, self.layout)
        guest = self.start()
        before = guest.state()
        started = guest.snapshot(*METHODS[self.method], "--speed", SPEED)
        if expects == EQUAL:
            self.check_equal(guest, started)
        else:
            self.assert_done(started, REFUSAL)
            self.assertIn(expects, started.result["error"]["message"], started.describe())
            self.assertFalse(guest.store.exists() and guest.published())
        self.assert_nothing_left(guest, before)
        if not migratable(self.version, self.layout):
            with self.assertRaisesRegex(MonitorError, "non-migratable"):
                guest.monitor.command("migrate", uri="exec:cat >/dev/null")
        elif expects == EQUAL:
            self.check_migrates(guest)

    def start(self):
        """A guest with data in every other 512 KiB, zeroes over a part of it, the end too."""
        device, options = LAYOUTS[self.layout]
        disk = lab.Disk(SIZE, device=device)
        guest = self.guest(disk, options=options)
        if "iothread" in self.layout:
            disk.write_zeroes = "write -P 0"
            self.wait_firmware(guest)
        for i in range(0, SIZE // MIB):
            guest.write(disk, i * MIB, MIB // 2, 1 + i)
        guest.write(disk, 0, 96 * KIB, 0)
        guest.write(disk, SIZE - 512, 512, 0x7f)
        if self.run_state == "paused":
            guest.monitor.command("stop")
        return guest

    def wait_firmware(self, guest):
        """The disk moves into its iothread when the firmware begins to use it."""
        end = time.monotonic() + 60
        while not guest.monitor.command("query-blockstats")[0]["stats"]["rd_operations"]:
            self.assertLess(time.monotonic(), end, "the firmware doesn't read the disk")
            time.sleep(0.05)

    def check_equal(self, guest, started):
        late = (self.version, self.method) in LATE
        if started.wait_for(is_uploading if late else tool.is_after_instant) is None:
            self.assert_done(started)
        if (self.version, self.method, self.layout, self.run_state) in SILENT:
            self.assert_done(started)
        else:
            writer = self.writer(guest, overwrite)
            self.assert_done(started)
            self.assertGreater(writer.stop(), 0)
        self.assert_image_is_reference(guest)

    def check_migrates(self, guest):
        ask = guest.monitor.command
        ask("migrate-set-parameters", max_bandwidth=1 << 40)
        ask("migrate", uri="exec:cat >/dev/null")
        end = time.monotonic() + 60
        while (state := ask("query-migrate"))["status"] not in ("completed", "failed"):
            self.assertLess(time.monotonic(), end, state)
            time.sleep(0.05)
        self.assertEqual(state["status"], "completed", f"{state}\n{guest.log()}")


def run(programs, *cell):
    """Runs a Cell with the QEMU and qemu-img of the folder `programs`: None, or why it failed."""
    builds.QEMU = f"{programs}/qemu-system-x86_64"
    os.environ["PATH"] = f"{programs}:{ORIGINAL_PATH}"
    result = unittest.TestResult()
    Cell(*cell).run(result)
    failures = result.failures + result.errors
    return failures[0][1] if failures else None


ORIGINAL_PATH = os.environ["PATH"]

# SPDX-License-Identifier: Apache-2.0
"""Guests to take snapshots of, on real QEMU, each in a temporary folder of its own.

A guest without an OS (`-M q35`, only the firmware runs, or nothing with paused=True) is written to
through `qemu-io` on the test's own monitor; a booted one runs a job of tests/guest/guestjob.c."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import builds
import images
import tool
from monitor import Monitor

TOP = pathlib.Path(__file__).resolve().parents[2]
KIT = TOP / "build" / "guest"
KIB = 1 << 10
MIB = 1 << 20
LEFT_OUT = "cryptomgr.notests mitigations=off nokaslr"  # a sixth of the boot's CPU time
SLOTS = 256  # of the numbered blocks; 1 MiB


class Disk:
    """A disk's file and how QEMU is told of it.

    style "drive" or "blockdev"; device the QEMU device; named=False leaves out the ids that may be
    left out; `create` are qemu-img's creation options; protocol the driver of the file; top and
    below are filters over and under the format, "driver=...,option=..."; `reference` is a raw copy,
    kept equal by Guest.write until the instant."""

    def __init__(self, size, fmt="qcow2", style="blockdev", device="virtio-blk-pci",
                 backing=None, named=True, options="", create="", protocol="file",
                 top="", below=""):
        self.size, self.format, self.style, self.device = size, fmt, style, device
        self.backing, self.named, self.options = backing, named, options
        self.create, self.protocol, self.top, self.below = create, protocol, top, below
        self.path = self.reference = self.label = self.io = None
        self.write_zeroes = "write -z"  # "write -P 0" with an iothread: 5.2 and 7.2 abort on -z

    def make(self, folder, name):
        self.label = name
        self.path = folder / f"{name}.{self.format}"
        self.reference = folder / f"{name}.reference"
        images.create(self.path, self.format, self.size, self.backing,
                      self.create.format(folder=folder))
        with open(self.reference, "wb") as out:
            out.truncate(self.size)

    def arguments(self, index):
        """QEMU's options; sets `io`, the device as HMP's qemu-io wants it."""
        file = f"file={self.path},format={self.format}{self.options}"
        if self.style == "drive" and not self.named:
            self.io = f"virtio{index}"
            return ["-drive", f"if=virtio,{file}"]
        dev = f"vd{index}"
        device = f"{self.device},id={dev},drive=drive{index}"
        extra = []
        if self.device == "scsi-hd":
            extra = ["-device", f"virtio-scsi-pci,id=scsi{index}"]
            device += f",bus=scsi{index}.0"
        elif self.device == "nvme":
            device += f",serial=nvme{index}"
        elif self.device == "usb-storage":
            extra = ["-device", f"qemu-xhci,id=usb{index}"]
            device += f",bus=usb{index}.0"
        elif self.device == "sd-card":
            extra = ["-device", "sdhci-pci"]
        if self.style == "drive":
            self.io = f"drive{index}"
            return ["-drive", f"if=none,id=drive{index},{file}", *extra, "-device", device]
        backend = ("/virtio-backend" if self.device.startswith("virtio") else
                   f"/{dev}.0/legacy[0]" if self.device == "usb-storage" else "")
        self.io = f"-d /machine/peripheral/{dev}{backend}"
        return [*self.blockdev(index), *extra, "-device", device]

    def blockdev(self, index):
        """The nodes; the topmost is called driveN."""
        name, above, file = f"drive{index}", [], "file"
        if self.top:
            above = ["-blockdev", f"{self.top},node-name={name},file=format{index}"]
            name = f"format{index}"
        node = f"driver={self.format},node-name={name}"
        if self.below:
            node += "".join(f",file.{option}" for option in self.below.split(","))
            file = "file.file"
        node += f",{file}.driver={self.protocol},{file}.filename={self.path}{self.options}"
        return ["-blockdev", node, *above]


class Guest:
    """A QEMU process; `monitor` is the test's own, `address` is where the tool connects."""

    def __init__(self, disks, name="lab", paused=False, job=None, options=(), agent=False,
                 pass_fds=(), prefix=()):
        self.disks, self.name, self.job, self.paused = disks, name, job, paused
        self.options, self.pass_fds = list(options), pass_fds
        self.prefix = prefix  # a command that runs QEMU
        self.agent = agent  # a guest agent runs in it, behind qga.sock
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-live-"))
        self.store = self.folder / "store"
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir()
        self.state_folder = self.folder / "state"  # of the tool's runs
        self.console = self.folder / "console"
        self.address = f"unix:{self.folder}/tool.sock"
        self.monitor = self._process = None
        self._tools = []
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        command = [*self.prefix, builds.QEMU, "-name", self.name, "-nodefaults", "-display", "none",
                   "-M", "q35", "-m", "256"]
        for socket in ("tool", "test"):
            command += ["-qmp", f"unix:{self.folder}/{socket}.sock,server=on,wait=off"]
        for index, disk in enumerate(self.disks):
            if disk.path is None:
                disk.make(self.folder, f"disk{index}")
            command += disk.arguments(index)
        command += self._boot() if self.job else ["-accel", "tcg"]
        if self.agent:
            command += ["-device", "virtio-serial-pci", "-chardev",
                        f"socket,id=qga,path={self.folder}/qga.sock,server=on,wait=off",
                        "-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0"]
        if self.paused:
            command.append("-S")
        with open(self.folder / "qemu.log", "wb") as log:
            self._process = subprocess.Popen(command + self.options, stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=log, pass_fds=self.pass_fds)
        self.monitor = self._connect()

    def _boot(self):
        subprocess.run([TOP / "scripts" / "guest" / "prepare", KIT], check=True,
                       stdin=subprocess.DEVNULL, capture_output=True)
        letters = "abcdefgh"
        kinds = ["sd" if disk.device == "scsi-hd" else "vd" for disk in self.disks]
        paths = [f"disk{'' if i == 0 else i + 1}=/dev/{kind}{letters[kinds[:i].count(kind)]}"
                 for i, kind in enumerate(kinds)]
        # the kernel's test of its timer fails in an emulated guest whose host is busy
        line = (f"console=ttyS0 quiet panic=-1 no_timer_check {LEFT_OUT} job={self.job} "
                f"slots={SLOTS} {' '.join(paths)}")
        if self.agent:
            line += " agent=1"
        return [*(KIT / "accel").read_text().split(), "-no-reboot", "-kernel", str(KIT / "vmlinuz"),
                "-initrd", str(KIT / "initrd.img"), "-serial", f"file:{self.console}",
                "-append", line]

    def _connect(self):
        end = time.monotonic() + 30
        while True:
            try:
                return Monitor(self.folder / "test.sock")
            except (FileNotFoundError, ConnectionError):
                if self._process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"QEMU did not start:\n{self.log()}") from None
                time.sleep(0.02)

    @property
    def pid(self):
        return self._process.pid

    def log(self):
        return (self.folder / "qemu.log").read_text(errors="replace")

    def alive(self):
        return self._process.poll() is None

    def wait_end(self):
        """After `quit`: what was written is in the files then."""
        self._process.wait(30)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def restart(self):
        """Another QEMU with the same disks, on the same sockets."""
        self.monitor.close()
        self.kill()
        self._start()

    def arrive(self, stream):
        """Restarted as the destination of a migration that went into this file."""
        self.options += ["-incoming", f"exec:cat {stream}"]
        self.restart()
        end = time.monotonic() + 30
        while self.monitor.status() == "inmigrate" and time.monotonic() < end:
            time.sleep(0.02)
        return self.monitor.status()

    def close(self):
        """Ends everything that was started here, and removes the folder."""
        for started in self._tools:
            started.kill()
        if self.monitor:
            self.monitor.close()
        if self._process:
            self.kill()
        shutil.rmtree(self.folder)

    # ---- the console of a booted guest

    def counted(self):
        """The last number on the console, 0 before the first."""
        if not self.console.exists():
            return 0
        lines = re.findall(rb"^COUNT (\d+)\r*$", self.console.read_bytes(), re.MULTILINE)
        return int(lines[-1]) if lines else 0

    def wait_count(self, number, timeout_s=240):
        end = time.monotonic() + timeout_s
        while self.counted() < number:
            if not self.alive() or time.monotonic() > end:
                console = self.console.read_text(errors="replace")
                raise AssertionError(f"the guest did not count to {number}: {console[-500:]}")
            time.sleep(0.02)
        return self.counted()

    # ---- writing to a guest without an OS

    def qemu_io(self, disk, command):
        answer = self.monitor.human(f'qemu-io {disk.io} "{command}"')
        if "rror" in answer or "nvalid" in answer:
            raise AssertionError(f"qemu-io {disk.io} {command}: {answer}")

    def write(self, disk, offset, length, pattern, keep_reference=True):
        """A pattern byte; 0 is written as zeroes that the format may leave unallocated."""
        verb = f"write -P {pattern:#x}" if pattern else disk.write_zeroes
        self.qemu_io(disk, f"{verb} {offset} {length}")
        if keep_reference:
            with open(disk.reference, "r+b") as reference:
                reference.seek(offset)
                reference.write(bytes([pattern]) * length)

    def throttle(self, writes_per_s):
        """Of the first disk, a virtio one; 0: no limit."""
        said = self.monitor.human("block_set_io_throttle /machine/peripheral/vd0/virtio-backend "
                                  f"0 0 0 0 0 {writes_per_s}")
        if said:
            raise AssertionError(said)

    # ---- what others do to it

    def migrate(self, uri="exec:cat >/dev/null"):
        """Its outcome."""
        self.monitor.command("migrate", uri=uri)
        while True:
            status = self.monitor.command("query-migrate").get("status")
            if status in ("completed", "failed"):
                return status
            time.sleep(0.02)

    # ---- what must be as before after a snapshot

    def state(self):
        ask = self.monitor.command
        return {
            "status": ask("query-status")["status"],
            "nodes": sorted(node["node-name"] for node in ask("query-named-block-nodes")),
            "roots": {block.get("qdev") or block["device"]:
                      block.get("inserted", {}).get("node-name")
                      for block in ask("query-block")},
            "jobs": ask("query-jobs"),
            "exports": ask("query-block-exports"),
            "fdsets": ask("query-fdsets"),
        }

    def nbd_server_stands(self):
        """QEMU has no query for it: starting a second one is refused."""
        address = {"type": "unix", "data": {"path": str(self.folder / "probe.sock")}}
        try:
            self.monitor.command("nbd-server-start", addr=address)
        except Exception as error:
            if "already running" not in str(error):
                raise
            return True
        self.monitor.command("nbd-server-stop")
        return False

    # ---- the tool

    def snapshot(self, *args, on_event=None, store=None):
        """Starts `qmpsnap snapshot --json` on this guest."""
        started = tool.Tool(
            "snapshot", "--json", "--qmp", self.address, "--to", store or f"dir:{self.store}",
            "--scratch", self.scratch, *args, env=self.tool_env(), on_event=on_event)
        self._tools.append(started)
        return started

    def tool_env(self):
        """State and locks of this guest's runs stay in its folder."""
        return {"QMPSNAP_STATE_DIR": str(self.state_folder),
                "XDG_DATA_HOME": str(self.folder / "xdg")}

    def journals(self):
        """Of runs that aren't undone."""
        folder = self.state_folder / "journal"
        return sorted(folder.iterdir()) if folder.exists() else []

    def published(self):
        """Images in the store that have their metadata, by file name."""
        if not self.store.exists():
            return []
        return sorted(path for path in self.store.iterdir()
                      if path.suffix != ".json" and path.with_suffix(".json").exists())


class Writer(threading.Thread):
    """Overwrites a guest's disks through the test's monitor until it is stopped.

    Keep off the monitor meanwhile. `log` has (disk number, offset, length, pattern) of all writes
    in order; it is appended to after the write is done."""

    def __init__(self, guest, make_write):
        super().__init__()
        self._guest, self._make_write = guest, make_write
        self._ended = threading.Event()
        self.log, self.error = [], None

    def run(self):
        try:
            while not self._ended.is_set():
                write = self._make_write(len(self.log))
                number, offset, length, pattern = write
                self._guest.write(self._guest.disks[number], offset, length, pattern,
                                  keep_reference=False)
                self.log.append(write)
        except Exception as error:  # reported by stop(), in the test's thread
            self.error = error

    def stop(self):
        self._ended.set()
        self.join(60)
        if self.error:
            raise self.error
        return len(self.log)


class LabTest(unittest.TestCase):
    """A test with guests; whatever it started is ended."""

    def guest(self, *disks, **options):
        guest = Guest(list(disks), **options)
        self.addCleanup(guest.close)
        return guest

    def loop_disk(self, size, **options):
        """A disk on a raw block device."""
        if os.geteuid() != 0 or not os.path.exists("/dev/loop-control"):
            self.skipTest("a loop device needs root and /dev/loop-control")
        folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-loop-"))
        self.addCleanup(shutil.rmtree, folder)
        disk = Disk(size, fmt="raw", protocol="host_device", **options)
        disk.make(folder, "loop")
        done = subprocess.run(["losetup", "--find", "--show", disk.path], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            self.skipTest(f"no loop device: {done.stderr.strip()}")
        disk.path = done.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", disk.path], check=True)
        return disk

    def writer(self, guest, make_write):
        writer = Writer(guest, make_write)

        def end():
            if writer.is_alive():
                writer.stop()
        self.addCleanup(end)
        writer.start()
        return writer

    def needs_filter(self):
        if not builds.has_filter():
            self.skipTest("this QEMU has no filter")

    def assert_done(self, started, code=0):
        self.assertEqual(started.wait(), code, started.describe())
        self.assertIsNotNone(started.result, started.describe())
        for image in started.result.get("images", ()):
            if os.path.isfile(image["location"]):
                images.assert_clean(image["location"], image["format"])

    def assert_nothing_left(self, guest, before):
        """QEMU is as it was, and our folders hold images at most."""
        self.assertTrue(guest.alive(), guest.log())
        self.assertEqual(guest.state(), before)
        self.assertFalse(guest.nbd_server_stands())
        self.assertEqual(list(guest.scratch.iterdir()), [])
        self.assertEqual(guest.journals(), [])
        if guest.store.exists():
            for path in guest.published():
                images.assert_clean(path, path.suffix[1:])
            images_and_metadata = {path.with_suffix("") for path in guest.published()}
            others = [path for path in guest.store.iterdir()
                      if path.with_suffix("") not in images_and_metadata]
            self.assertEqual(others, [])

    def image_of(self, guest, number=0):
        """The only image of a disk in the guest's store: (path, format)."""
        found = guest.published()
        if len(guest.disks) > 1:
            found = [path for path in found if f"-{self.short_name(guest, number)}-" in path.name]
        self.assertEqual(len(found), 1, found)
        return found[0], found[0].suffix[1:]

    @staticmethod
    def short_name(guest, number):
        return f"vd{number}" if guest.disks[number].named else f"virtio{number}"

    def assert_image_is_reference(self, guest, number=0):
        path, fmt = self.image_of(guest, number)
        images.assert_clean(path, fmt)
        images.assert_same(path, fmt, guest.disks[number].reference, "raw")
        self.assertEqual(images.info(path, fmt)["virtual-size"], guest.disks[number].size)

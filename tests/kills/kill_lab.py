# SPDX-License-Identifier: Apache-2.0
"""What a cell needs: a booted guest with an agent, a Glance behind a proxy, folders for the tool.

It is used again for as long as it is as it was; `spoil()` says that it isn't."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "live"), str(TESTS / "service")]

# pylint: disable=wrong-import-position
import agents
from fault_proxy import FaultProxy
from kit import Service
from lab import MIB, Disk, Guest

STATUS = "guest-fsfreeze-status"
DISKS = 2


class Lab:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-kills-"))
        self.service = self.proxy = self.guest = self.before = None
        self.restarts = 0
        try:
            self.service = Service()
            self.proxy = FaultProxy(self.service.port)
            self.image = self.folder / "image.raw"
            with open(self.image, "wb") as image:
                image.write(b"\xd5" * (3 * MIB))
                image.truncate(8 * MIB)
            self.make_folders()
        except BaseException:
            self.close()
            raise

    def close(self):
        self.drop_guest()
        if self.proxy:
            self.proxy.close()
        if self.service:
            self.service.close()
        shutil.rmtree(self.folder)

    def make_folders(self):
        for name in ("scratch", "run", "state"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(mode=0o700)

    # ---- the guest

    def need_guest(self, config):
        if not self.guest:
            self.boot()
        if config.other_server != self.before["NBD server"]:
            self.before["NBD server"] = config.other_server
            if config.other_server:
                address = {"type": "unix", "data": {"path": str(self.guest.folder / "others")}}
                self.guest.monitor.command("nbd-server-start", addr=address)
            else:
                self.guest.monitor.command("nbd-server-stop")

    def boot(self):
        disk = Disk(24 * MIB, fmt="raw")
        disk.make(self.folder, "ext4")
        subprocess.run(["mkfs.ext4", "-q", "-F", disk.path], check=True)
        self.guest = Guest([disk, Disk(8 * MIB)], job="files", agent=True)
        self.guest.wait_count(50)
        self.guest.write(self.guest.disks[1], 0, 3 * MIB, 0x55)
        self.before = self.state()
        self.restarts += 1

    def drop_guest(self):
        if self.guest:
            self.guest.close()
        self.guest = self.before = None

    def state(self):
        """Of QEMU; None when it is gone."""
        if not self.guest.alive():
            return None
        return {**self.guest.state(), "NBD server": self.guest.nbd_server_stands()}

    def frozen(self):
        """What the agent says."""
        return agents.ask(self.guest.folder / "qga.sock", STATUS)

    def guest_works(self):
        """Its job goes on."""
        try:
            self.guest.wait_count(self.guest.counted() + 3, 20)
        except AssertionError:
            return False
        return True

    # ---- the tool

    def address(self):
        return ["--qmp", self.guest.address]

    def target(self, config):
        if config.offline:
            return ["--image", str(self.image), "--image-format", "raw"]
        return [*self.address(), "--qga", f"unix:{self.guest.folder}/qga.sock"]

    def environment(self):
        return {"XDG_RUNTIME_DIR": str(self.folder / "run"), "TMPDIR": str(self.folder / "scratch"),
                "QMPSNAP_STATE_DIR": str(self.folder / "state"), "HOME": str(self.folder)}

    def left(self):
        """Files of ours, but for what a killed process may leave: `qmpsnap status` removes dead
        runs' sockets; a lock's file stays, the lock doesn't."""
        return sorted(str(path.relative_to(self.folder)) for name in ("scratch", "run", "state")
                      for path in (self.folder / name).rglob("*")
                      if not path.is_dir() and path.suffix not in (".sock", ".lock"))

    def images(self):
        """What the service has, settled: it may still be at a deletion."""
        end = time.monotonic() + 5
        while True:
            found = self.service.images()
            if all(image["status"] != "deleted" for image in found) or time.monotonic() > end:
                return found
            time.sleep(0.05)

    def spoil(self):
        """What is left is none of the next cell's."""
        self.drop_guest()
        self.service.clear()
        self.make_folders()

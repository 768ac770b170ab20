# SPDX-License-Identifier: Apache-2.0
"""What the cases share: the disk, the guest, the finished image, and who competes."""
import contextlib
import json
import os
import pathlib
import subprocess
import urllib.request
import uuid

import images
import kit
import tool
from lab import Disk, Guest

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
RUN_BYTES = 16 * MIB  # of data, with as long a hole behind it
VIEW = "frozen"
SCRATCH = "bench-scratch"
UNLIMITED = ("--speed", "1T")  # the default slows down for the guest's sake


def assert_same(disk, image):
    """-U: a guest has the disk open."""
    images.assert_clean(image, "qcow2")
    images.qemu_img("compare", "-U", "-f", "qcow2", "-F", "qcow2", disk.path, image)


class Bench:
    """The big disk (4 GiB, 2 GiB of them random data in runs with holes between), a guest without
    an OS on it, and its finished image."""

    def __init__(self, folder, rounds, programs, table):
        self.folder, self.rounds, self.programs, self.table = folder, rounds, programs, table
        self._end = contextlib.ExitStack()
        self.guest = self.disk = self.image = None

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self._end.close()

    def prepare(self):
        """Makes disk, guest and image; no effect the second time."""
        if self.guest:
            return
        print("preparing a disk of 4 GiB", flush=True)
        self.disk = Disk(4 * GIB)
        self.disk.path = self.folder / "disk.qcow2"
        if not self.disk.path.exists():
            self._make_disk()
        self.guest = self._end.enter_context(self.other_guest([self.disk], paused=True))
        self.image = self.folder / "finished.qcow2"
        self.snapshot(f"file:{self.image}", "--force")
        assert_same(self.disk, self.image)

    def _make_disk(self):
        raw = self.folder / "disk.raw"
        with open(raw, "wb") as out:
            out.truncate(self.disk.size)
            for offset in range(0, self.disk.size, 2 * RUN_BYTES):
                out.seek(offset)
                out.write(os.urandom(RUN_BYTES))
        part = self.folder / "disk.part"
        images.qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, part)
        raw.unlink()
        part.rename(self.disk.path)

    @staticmethod
    def other_guest(disks, **options):
        """For a `with`: none that runs shall disturb another case."""
        return contextlib.closing(Guest(disks, **options))

    @property
    def image_bytes(self):
        return self.image.stat().st_size

    @property
    def qemu_major(self):
        return self.guest.monitor.command("query-version")["qemu"]["major"]

    # ---- who competes

    def snapshot(self, store, *options, guest=None):
        guest = guest or self.guest
        return kit.measure_json(
            [tool.BINARY, "snapshot", "--json", "--qmp", guest.address, "--to", store,
             "--scratch", guest.scratch, *UNLIMITED, *options], env={**os.environ, **guest.tool_env()})

    def curl(self, url, *options):
        """curl -T of the finished image, chunked."""
        with open(self.image, "rb") as image:
            return kit.measure(["curl", "-sS", "-f", "--noproxy", "*", "-T", "-", *options, url],
                               stdin=image)

    @contextlib.contextmanager
    def frozen(self):
        """A view like the product's, exported; gives its socket."""
        ask = self.guest.monitor.command
        device, node = "/machine/peripheral/vd0/virtio-backend", "drive0"
        scratch, socket = self.guest.folder / "view.scratch", self.guest.folder / "view.sock"
        images.create(scratch, "qcow2", self.disk.size)
        with contextlib.ExitStack() as undo:
            undo.callback(scratch.unlink)
            ask("blockdev-add", driver="qcow2", node_name="view-scratch",
                file={"driver": "file", "filename": str(scratch)})
            undo.callback(ask, "blockdev-del", node_name="view-scratch")
            ask("blockdev-add", **{"driver": "copy-before-write", "node-name": "view-filter",
                                   "file": node, "target": "view-scratch",
                                   "on-cbw-error": "break-snapshot", "cbw-timeout": 5})
            undo.callback(ask, "blockdev-del", node_name="view-filter")
            ask("qom-set", path=device, property="drive", value="view-filter")
            undo.callback(ask, "qom-set", path=device, property="drive", value=node)
            ask("blockdev-add", driver="snapshot-access", node_name="view", file="view-filter")
            undo.callback(ask, "blockdev-del", node_name="view")
            ask("nbd-server-start", addr={"type": "unix", "data": {"path": str(socket)}})
            undo.callback(ask, "nbd-server-stop")
            ask("block-export-add", type="nbd", id=VIEW, name=VIEW, node_name="view",
                writable=False)
            ask("block-export-add", **{"type": "nbd", "id": SCRATCH, "name": SCRATCH,
                                       "node-name": "view-scratch", "allocation-depth": True})
            yield socket

    def of_view(self, make_command):
        """Measures a command made from the view's NBD URI and socket."""
        with self.frozen() as socket:
            return kit.measure(make_command(f"nbd+unix:///{VIEW}?socket={socket}", socket))


class Sink:
    """http_sink, running."""

    def __init__(self, programs):
        self._process = subprocess.Popen([programs / "http_sink"], stdin=subprocess.DEVNULL,
                                         stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/"

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def took(self):
        """(bytes, time.monotonic() of the first one) of the next request's body."""
        bytes_, first_ns = map(int, self._process.stdout.readline().split())
        return bytes_, first_ns / 1e9


class Glance:
    """A real Glance in a folder; `url` is None where it isn't installed."""

    def __init__(self, folder):
        self._folder = folder
        services = TOP / "tests" / "services"
        done = subprocess.run([services / "start-glance", folder], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in (0, 77):
            raise RuntimeError("start-glance failed")
        self._stop = [services / "stop-services", folder, "--purge"]
        self.url = done.stdout.strip().rsplit("=", 1)[1] if done.returncode == 0 else None

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        subprocess.run(self._stop, stdin=subprocess.DEVNULL, check=True)

    @property
    def pid(self):
        return int((self._folder / "pids").read_text().split()[0])

    def _ask(self, method, path, body=None):
        request = urllib.request.Request(
            f"{self.url}/v2/images{path}", method=method,
            data=json.dumps(body).encode() if body else None,
            headers={"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def create(self):
        """A record without bytes; the URL to PUT them to."""
        record = self._ask("POST", "", {"id": str(uuid.uuid4()), "name": "bench",
                                        "disk_format": "qcow2", "container_format": "bare"})
        return f"{self.url}/v2/images/{record['id']}/file"

    def empty(self):
        """Deletes all images; returns their sizes."""
        there = self._ask("GET", "?limit=100")["images"]
        for record in there:
            self._ask("DELETE", f"/{record['id']}")
        return [record["size"] for record in there]

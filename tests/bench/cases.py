# SPDX-License-Identifier: Apache-2.0
"""The cases of the bench; each takes a Bench and adds rows to its table."""
import json
import os
import re
import shutil
import subprocess
import time

import bench
import images
import kit
import tool
from bench import GIB, KIB, MIB, TIB
from kit import PRODUCT
from lab import Disk

MEMORY_BAR = 48 * MIB
CLUSTER = 64 * KIB


def ratios(runs, name, other, value=lambda run: run.seconds):
    return [value(mine) / theirs.seconds for mine, theirs in zip(runs[name], runs[other])]


# ---- how fast

def glance(b):
    """Into a real Glance, against curl."""
    with bench.Glance(b.folder / "glance") as service:
        if not service.url:
            b.table.add("glance", "python3-glance is missing", "", False)
            return
        b.prepare()

        def checked(run):
            sizes = service.empty()
            if sizes != [b.image_bytes]:
                raise RuntimeError(f"Glance has images of {sizes} bytes, not of {b.image_bytes}")
            return run
        runs = kit.interleave(b.rounds, {
            PRODUCT: lambda: checked(b.snapshot(f"glance:{service.url}")),
            "curl": lambda: checked(b.curl(
                service.create(), "-H", "Content-Type: application/octet-stream")),
        }, [b.disk.path, b.image])
    b.table.seconds("glance: curl -T", runs["curl"], b.image_bytes)
    b.table.seconds("glance: whole command", runs[PRODUCT], b.image_bytes)
    b.table.ratios("glance: step upload / curl -T",
                   ratios(runs, PRODUCT, "curl", lambda run: run.span("upload", "upload")), 1.05)
    b.table.ratios("glance: whole command / curl -T", ratios(runs, PRODUCT, "curl"), None)
    memory_row(b, "memory: glance, 4 GiB", runs[PRODUCT])


def null(b):
    """Into a sink without digest, against nbdcopy and curl."""
    b.prepare()
    with bench.Sink(b.programs) as sink:
        def upload(checked):
            run = b.of_view(lambda _, socket: null_upload(b, sink, socket, checked=checked))
            return took_all(run)

        def took_all(run):
            there, _ = sink.took()
            if there != b.image_bytes:
                raise RuntimeError(f"the sink took {there} bytes, not {b.image_bytes}")
            return run
        competitors = {
            PRODUCT: lambda: upload(b.qemu_major < 8),
            "nbdcopy": lambda: b.of_view(lambda uri, _: ["nbdcopy", "--", uri, "null:"]),
            "curl": lambda: took_all(b.curl(sink.url)),
        }
        if b.qemu_major < 8:  # whose views the product checks its reads of
            competitors["unchecked"] = lambda: upload(False)
        runs = kit.interleave(b.rounds, competitors, [b.disk.path, b.image])
    for name, taken in runs.items():
        b.table.seconds(f"null: {name}", taken, b.image_bytes)

    def speeds(name):
        return [max(reader.seconds, curl.seconds) / mine.seconds for reader, curl, mine
                in zip(runs["nbdcopy"], runs["curl"], runs[name])]
    b.table.ratios("null: speed / slower of nbdcopy, curl -T", speeds(PRODUCT), 0.9, at_least=True)
    if "unchecked" in runs:
        b.table.ratios("null: the same, reads unchecked, as from QEMU 8", speeds("unchecked"), None)


def null_upload(b, sink, socket, digest=None, checked=True):
    scratch = bench.SCRATCH if checked and b.qemu_major < 8 else "-"
    return [b.programs / "null_upload", socket, bench.VIEW, scratch, b.disk.size, sink.url,
            *([digest] if digest else [])]


def directory(b):
    """Into the directory store, fsync included, against qemu-img convert."""
    b.prepare()
    store, out = b.folder / "dir", b.folder / "converted.qcow2"

    def snapshot():
        run = b.snapshot(f"dir:{store}")
        shutil.rmtree(store)
        return run

    def convert(*options):
        with b.frozen() as socket:
            uri = f"nbd+unix:///{bench.VIEW}?socket={socket}"
            run = kit.measure(["sh", "-c", 'qemu-img convert "$@" && sync "$0"', out, *options,
                               "-t", "none", "-f", "raw", "-O", "qcow2", uri, out])
        out.unlink()
        return run
    runs = kit.interleave(b.rounds, {
        PRODUCT: snapshot, "convert": convert,
        "convert -W -m 16": lambda: convert("-W", "-m", "16"),
    }, [b.disk.path])
    for name, text in (("convert", "qemu-img convert -t none"),
                       ("convert -W -m 16", "qemu-img convert -t none -W -m 16"),
                       (PRODUCT, "whole command")):
        b.table.seconds(f"dir: {text}", runs[name], b.image_bytes)

    def steps(run):
        return run.span("map", "publish")
    b.table.ratios("dir: steps map to publish / convert",
                   ratios(runs, PRODUCT, "convert", steps), 1.1)
    b.table.ratios("dir: whole command / convert", ratios(runs, PRODUCT, "convert"), None)
    b.table.ratios("dir: steps map to publish / convert -W -m 16",
                   ratios(runs, PRODUCT, "convert -W -m 16", steps), None)
    memory_row(b, "memory: dir, 4 GiB", runs[PRODUCT])


# ---- what it takes

def cpu(b):
    """Own CPU time and QEMU's, a GiB of image."""
    b.prepare()
    store = b.folder / "dir"
    qemu = {}

    def with_qemu(name, run):
        before = kit.cpu_seconds(b.guest.pid)
        done = run()
        qemu.setdefault(name, []).append(kit.cpu_seconds(b.guest.pid) - before)
        return done
    with bench.Sink(b.programs) as sink:
        def upload(digest):
            run = b.of_view(
                lambda _, socket: null_upload(b, sink, socket, digest))
            sink.took()
            return run

        def snapshot():
            run = b.snapshot(f"dir:{store}")
            shutil.rmtree(store)
            return run
        rows = {"no digest, null sink": lambda: upload(None),
                "sha256, null sink": lambda: upload("sha256"),
                "sha512, null sink": lambda: upload("sha512"),
                "sha256, whole command, dir": snapshot}
        runs = kit.interleave(b.rounds, {
            name: lambda name=name, run=run: with_qemu(name, run)
            for name, run in rows.items()}, [b.disk.path])
    gib = b.image_bytes / GIB
    for name in rows:
        own = kit.median([run.cpu_s for run in runs[name]]) / gib
        b.table.add(f"cpu: {name}", f"{own:.2f} s/GiB, QEMU {kit.median(qemu[name]) / gib:.2f}")


def memory_row(b, case, runs):
    peak = max(run.peak_bytes for run in runs)
    b.table.add(case, f"{peak / MIB:.1f} MiB", f"<= {MEMORY_BAR // MIB} MiB", peak <= MEMORY_BAR)


def sparse_disk(b):
    """10 TiB with 1 GiB of data in 1024 spread MiBs."""
    disk = Disk(10 * TIB)
    disk.path = b.folder / "sparse.qcow2"
    if not disk.path.exists():
        part = b.folder / "sparse.part"
        images.create(part, "qcow2", disk.size)
        script = "".join(f"write -P {1 + i % 255} {i * 10 * GIB} 1M\n" for i in range(1024))
        subprocess.run(["qemu-io", "-f", "qcow2", part], input=script, text=True, check=True,
                       stdout=subprocess.DEVNULL)
        part.rename(disk.path)
    return disk


def memory(b):
    """Peak memory, also of a sparse 10 TiB disk, and when its first byte leaves."""
    b.prepare()
    store = b.folder / "dir"
    run = b.snapshot(f"dir:{store}")
    shutil.rmtree(store)
    memory_row(b, "memory: dir, 4 GiB", [run])

    disk, out = sparse_disk(b), b.folder / "out.qcow2"
    runs, firsts = [], []
    with b.other_guest([disk], paused=True) as guest:
        for number in range(b.rounds):
            kit.warm(disk.path)
            run, first = to_stdout(guest, out)
            runs.append(run)
            firsts.append(first)
            print(f"  round {number + 1}: first byte {first:.2f} s, all {run.seconds:.2f} s",
                  flush=True)
        bench.assert_same(disk, out)
    out.unlink()
    memory_row(b, "memory: stdout, 10 TiB sparse", runs)
    b.table.add("first byte: stdout, 10 TiB sparse", f"{kit.median(firsts):.2f} s", "<= 3 s",
                kit.median(firsts) <= 3)


def to_stdout(guest, out):
    """A Run, and the seconds until the first byte came."""
    process = kit.Process(
        [tool.BINARY, "snapshot", "--quiet", "--qmp", guest.address, "--to", "-",
         "--scratch", guest.scratch, *bench.UNLIMITED],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, **guest.tool_env()}, bufsize=0)
    first = None
    with process.process.stdout as pipe, open(out, "wb") as file:
        while data := pipe.read(MIB):
            first = first or time.monotonic() - process.began
            file.write(data)
    return process.end(), first


# ---- what the guest feels

STOPS = 20


def stop(b):
    """How long a running guest stands still."""
    disks = [Disk(64 * MIB), Disk(64 * MIB)]
    with b.other_guest(disks) as guest:
        for disk in disks:
            guest.write(disk, 0, 16 * MIB, 7, keep_reference=False)

        def stopped(*options):
            run = b.snapshot(f"dir:{guest.store}", *options, guest=guest)
            shutil.rmtree(guest.store)
            if guest.monitor.status() != "running":
                raise RuntimeError("the guest doesn't run")
            return run.result["stopped_ms"]
        two = [stopped() for _ in range(STOPS)]
        one = [stopped("--disk", "vd0") for _ in range(STOPS)]
    b.table.add(f"stop: two disks, {STOPS} rounds",
                f"{kit.median(two):.2f} ms ({min(two):.2f}-{max(two):.2f})", "<= 10 ms",
                kit.median(two) <= 10)
    b.table.add(f"stop: one disk, {STOPS} rounds", f"{max(one):.2f} ms", "0 ms", max(one) == 0)


OVERWRITTEN = 512  # clusters
SCRATCH_SLACK = MIB  # for the file system's own blocks


def scratch(b):
    """The scratch holds what the guest overwrote, and nothing more."""
    for clusters in (0, OVERWRITTEN):
        used, least = scratch_bytes(b, clusters), clusters * CLUSTER
        b.table.add(f"scratch: {clusters} clusters overwritten twice",
                    f"{used // KIB} KiB", f"{least // KIB} KiB + < {SCRATCH_SLACK // KIB}",
                    least <= used < least + SCRATCH_SLACK)


def scratch_bytes(b, clusters):
    """What a snapshot reports, during which so many clusters are written to."""
    disk = Disk(256 * MIB)
    data = disk.size // 2
    with b.other_guest([disk], paused=True) as guest:
        guest.write(disk, 0, data, 7, keep_reference=False)
        started = guest.snapshot("--speed", "32M")
        started.wait_instant()
        for times in range(2):  # a cluster's second write costs nothing more
            for i in range(clusters):
                guest.write(disk, i * (data // clusters) + times * 4 * KIB, 4 * KIB, 8,
                            keep_reference=False)
        if started.wait() != 0:
            raise RuntimeError(started.describe())
        return started.result["scratch_bytes"]


# name: options, the step that loads the guest
LOADS = {
    "stream, unlimited": (bench.UNLIMITED, "upload"),
    "stream, 200 MiB/s": (("--speed", "200M"), "upload"),
    "stream, 100 MiB/s": (("--speed", "100M"), "upload"),
    "stream, auto": (("--speed", "auto"), "upload"),
    "backup, unlimited": (("--method", "backup", *bench.UNLIMITED), "copy"),
    "backup, 100 MiB/s": (("--method", "backup", "--speed", "100M"), "copy"),
    "backup, auto": (("--method", "backup", "--speed", "auto"), "copy"),
    "mirror, unlimited": (("--method", "mirror", *bench.UNLIMITED), "copy"),
    "mirror, 100 MiB/s": (("--method", "mirror", "--speed", "100M"), "copy"),
    "mirror, auto": (("--method", "mirror", "--speed", "auto"), "copy"),
}
UNDISTURBED_S = 3


def guest(b):
    """What a booted guest's own synchronous writes take meanwhile."""
    disk = Disk(GIB)
    disk.path = b.folder / "guest.raw"
    disk.format = "raw"
    with open(disk.path, "wb") as out:
        for _ in range(GIB // bench.RUN_BYTES):
            out.write(os.urandom(bench.RUN_BYTES))
    found = {name: [] for name in ("none", *LOADS)}
    with b.other_guest([disk], job="time") as timed:
        timed_writes(timed, 0)  # until it writes
        for number in range(b.rounds):
            for name, (options, step) in LOADS.items():
                kit.warm(disk.path)
                at = timed.console.stat().st_size
                time.sleep(UNDISTURBED_S)
                alone = timed_writes(timed, at)
                loaded = loaded_writes(timed, options, step)
                found["none"].append((*alone, 1))
                found[name].append((*loaded, loaded[0] / alone[0]))
            print(f"  round {number + 1}: " + ", ".join(
                f"{name} {runs[-1][3]:.2f}" for name, runs in found.items()), flush=True)
    disk.path.unlink()
    for name, runs in found.items():
        rate, worst, seconds, ratio = (
            kit.median([run[i] for run in runs]) for i in range(4))
        b.table.add(f"guest: {name}", f"{rate:.0f} writes/s, {ratio:.2f} of undisturbed, worst "
                    f"{worst:.0f} ms, for {seconds:.1f} s")


def timed_writes(guest, begin, end=None):
    """(writes/s, worst ms, seconds) by the lines on the console; waits for the first."""
    deadline = time.monotonic() + 90
    while True:
        lines = guest.console.read_bytes()[begin:end] if guest.console.exists() else b""
        rows = [list(map(int, row)) for row in re.findall(
            rb"^TIME (\d+) (\d+) (\d+)\r*$", lines, re.MULTILINE)]
        if rows or time.monotonic() > deadline:
            break
        time.sleep(0.05)
        end = None
    seconds = sum(us for _, us, _ in rows) / 1e6
    return sum(n for n, _, _ in rows) / seconds, max(worst for *_, worst in rows) / 1e3, seconds


def loaded_writes(guest, options, step):
    """The writes during that step of a snapshot that goes nowhere."""
    at = {}
    process = subprocess.Popen(
        [tool.BINARY, "snapshot", "--json", "--qmp", guest.address, "--to", "-", "--scratch",
         guest.scratch, *options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, env={**os.environ, **guest.tool_env()})
    with process.stderr as lines:
        for event in map(json.loads, lines):
            if event["event"] == "step" and event["step"] == step:
                at[event["phase"]] = guest.console.stat().st_size
    if process.wait() != 0:
        raise RuntimeError(f"{options}: {event}")
    return timed_writes(guest, at["begin"], at["end"])


CASES = {"glance": glance, "null": null, "dir": directory, "cpu": cpu, "memory": memory,
         "stop": stop, "scratch": scratch, "guest": guest}

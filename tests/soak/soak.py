# SPDX-License-Identifier: Apache-2.0
"""Many snapshots of one guest that writes all the time, some of them killed, one after the other.

The guest numbers its writes (tests/guest/guestjob.c), each flushed before the next: not one may be
wrong or lost, on its disk and in each image. What QEMU holds (descriptors, nodes, memory) and what
a snapshot takes at its most may grow by 5 % at most between the first quarter and the end."""
import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "live"))
# pylint: disable=wrong-import-position
import blocks
import images
import tool
from lab import MIB, SLOTS, Disk, Guest

METHODS = (("--method", "stream", "--flavour", "filter"), ("--method", "stream", "--flavour", "job"),
           ("--method", "backup"), ("--method", "mirror"), ("--method", "cold"))
KILLED_ONE_IN = 4
GROWTH = 1.05


class Measure:
    """What QEMU holds, after a snapshot."""

    def __init__(self, guest):
        proc = pathlib.Path(f"/proc/{guest.pid}")
        self.fds = len(list((proc / "fd").iterdir()))
        self.nodes = len(guest.monitor.command("query-named-block-nodes"))
        status = (proc / "status").read_text(encoding="ascii")
        self.rss_kib = int(status.split("VmRSS:")[1].split()[0])

    def __str__(self):
        return f"{self.fds} descriptors, {self.nodes} nodes, {self.rss_kib} KiB"


def start(guest, options):
    return subprocess.Popen(
        [tool.BINARY, "snapshot", "--quiet", "--qmp", guest.address, "--to", f"dir:{guest.store}",
         "--scratch", str(guest.scratch), *options], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={**os.environ, **guest.tool_env()})


def take(guest, options, kill_after_s):
    """(exit code, standard error, most memory in KiB); ends when the guard has ended too."""
    started = start(guest, options)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(started.pid, signal.SIGKILL)  # not send_signal(), which would wait for it
    stderr = started.stderr.read().decode(errors="replace")
    started.stderr.close()
    _, status, usage = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    return started.returncode, stderr, usage.ru_maxrss


def judge_image(guest, before):
    """The newest image; then there is none any more. How many numbers were wrong."""
    found = guest.published()
    if len(found) != 1:
        raise AssertionError(f"{len(found)} images after one snapshot")
    raw = images.to_raw(found[0], "qcow2", guest.folder / "image.raw")
    number, bad = blocks.verify(raw, SLOTS)
    for path in (raw, *guest.store.iterdir()):
        path.unlink()
    if number < before or number > guest.counted() + 1:
        raise AssertionError(f"the image ends at write {number}, the guest was at {before} before")
    return bad


def grown(name, early, late):
    """A complaint, or nothing."""
    if late <= early * GROWTH:
        return []
    return [f"{name} grew from {early} to {late}"]


def soak(guest, count, chance):
    """The complaints."""
    complaints, peaks, measures, killed = [], [], [], 0
    state = guest.state()
    for number in range(1, count + 1):
        options = METHODS[number % len(METHODS)]
        kill_after_s = chance.uniform(0, 1.0) if chance.randrange(KILLED_ONE_IN) == 0 else None
        before = guest.counted()
        code, stderr, peak_kib = take(guest, options, kill_after_s)
        if code == 0:
            peaks.append((number, options[-1], peak_kib))
            bad = judge_image(guest, before)
            if bad:
                complaints.append(f"snapshot {number}: {bad} wrong or lost writes in the image")
        elif code == -signal.SIGKILL and kill_after_s is not None:
            killed += 1
            if guest.store.exists() and guest.published():  # killed when all was done
                bad = judge_image(guest, before)
                if bad:
                    complaints.append(f"snapshot {number}: {bad} wrong or lost writes")
            for path in guest.store.iterdir() if guest.store.exists() else ():
                complaints.append(f"snapshot {number}: {path.name} is left")
                path.unlink()
        else:
            complaints.append(f"snapshot {number} {options}: exit code {code}: {stderr}")
        if guest.state() != state or guest.nbd_server_stands():
            complaints.append(f"snapshot {number} {options}: left in QEMU: {guest.state()}")
        guest.wait_count(before + 1)
        measures.append(Measure(guest))
        if number % 10 == 0 or number == count:
            print(f"{number} snapshots, {killed} killed: {measures[-1]}", flush=True)
    early, late = measures[count // 4 - 1], measures[-1]
    complaints += grown("QEMU's descriptors", early.fds, late.fds)
    complaints += grown("QEMU's nodes", early.nodes, late.nodes)
    complaints += grown("QEMU's memory", max(m.rss_kib for m in measures[:count // 4]),
                        late.rss_kib)
    for method in {peak[1] for peak in peaks}:
        ours = [kib for number, name, kib in peaks if name == method]
        if len(ours) > 1:
            complaints += grown(f"a snapshot's memory ({method})",
                                max(ours[:max(len(ours) // 4, 1)]), ours[-1])
    return complaints


def judge_disk(guest):
    """What the guest wrote is on its disk, all of it."""
    counted = guest.counted()
    guest.monitor.command("quit")
    guest.wait_end()
    number, bad = blocks.verify(guest.disks[0].path, SLOTS)
    found = [f"{bad} wrong or lost writes on the guest's disk"] if bad else []
    if number < counted:
        found.append(f"the guest's disk ends at write {number}, its log at {counted}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=200, help="how many snapshots (200)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"{options.n} snapshots, seed {options.seed}", flush=True)
    began = time.monotonic()
    guest = Guest([Disk(16 * MIB, fmt="raw")], name="soak", job="write")
    try:
        guest.wait_count(SLOTS + 1000)  # what it writes fills the disk
        complaints = soak(guest, options.n, random.Random(options.seed))
        complaints += judge_disk(guest)
    finally:
        guest.close()
    for complaint in complaints:
        print(f"FAILED {complaint}")
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{0 if complaints else 1} passed, {len(complaints)} failed")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

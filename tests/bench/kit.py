# SPDX-License-Identifier: Apache-2.0
"""Measuring: processes, rounds, and the table of results."""
import dataclasses
import datetime
import json
import os
import signal
import statistics
import subprocess
import threading
import time

POLL_S = 0.02
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PRODUCT = "qmpsnap"  # the name among the competitors of a round


@dataclasses.dataclass
class Run:
    """What a process took."""
    seconds: float
    cpu_s: float = 0
    peak_bytes: int = 0
    events: list = dataclasses.field(default_factory=list)

    def span(self, first, last):
        """Seconds from the begin of one step to the end of another."""
        at = {(event["step"], event["phase"]): when(event["time"])
              for event in self.events if event["event"] == "step"}
        return (at[last, "end"] - at[first, "begin"]).total_seconds()

    @property
    def result(self):
        return self.events[-1]


def when(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def peak_bytes(pid):
    """VmHWM; wait4()'s ru_maxrss would begin with that of this Python, which forked."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


class Process:
    """A process that is measured until it ends; a failure of it ends the bench."""

    def __init__(self, command, **options):
        self.command = list(map(str, command))
        self.began = time.monotonic()
        self.process = subprocess.Popen(self.command, **{"stdin": subprocess.DEVNULL, **options})
        self._peak = 0
        self._poller = threading.Thread(target=self._poll)
        self._poller.start()

    def _poll(self):
        while self.process.returncode is None:
            try:
                self._peak = max(self._peak, peak_bytes(self.process.pid))
            except OSError:
                return
            time.sleep(POLL_S)

    def end(self):
        _, status, usage = os.wait4(self.process.pid, 0)
        seconds = time.monotonic() - self.began
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self._poller.join()
        if self.process.returncode != 0:
            raise RuntimeError(f"{' '.join(self.command)}: exit code {self.process.returncode}")
        return Run(seconds, usage.ru_utime + usage.ru_stime, self._peak)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._poller.join()


def measure(command, **options):
    return Process(command, stdout=subprocess.DEVNULL, **options).end()


def measure_json(command, **options):
    """Of a process that prints JSON lines, which are kept."""
    process = Process(command, stdout=subprocess.PIPE, text=True, **options)
    with process.process.stdout as lines:
        events = [json.loads(line) for line in lines]
    run = process.end()
    run.events = events
    return run


def warm(*paths):
    """Reads files into the page cache, and has what is dirty written."""
    os.sync()
    buffer = bytearray(1 << 20)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def interleave(rounds, competitors, warm_paths):
    """Runs each competitor (name: function that returns a Run) once a round, each round in another
    order; returns name: list of Runs."""
    names = list(competitors)
    runs = {name: [] for name in names}
    for number in range(rounds):
        at = number % len(names)
        for name in names[at:] + names[:at]:
            warm(*warm_paths)
            runs[name].append(competitors[name]())
        print(f"  round {number + 1}: " + ", ".join(
            f"{name} {runs[name][-1].seconds:.2f} s" for name in names), flush=True)
    return runs


def median(values):
    return statistics.median(values)


class Table:
    def __init__(self):
        self.rows = []
        self.missed = False

    def add(self, case, value, bar="", ok=None):
        """`ok` None: there is no bar."""
        self.rows.append((case, value, bar, {None: "-", True: "ok", False: "MISSED"}[ok]))
        self.missed = self.missed or ok is False

    def ratios(self, case, values, bar, at_least=False):
        """The ratio of each round and their median, against the bar; None: no bar."""
        middle = median(values)
        text = f"{middle:.2f} ({' '.join(f'{value:.2f}' for value in values)})"
        if bar is None:
            self.add(case, text)
        else:
            self.add(case, text, f"{'>=' if at_least else '<='} {bar}",
                     middle >= bar if at_least else middle <= bar)

    def seconds(self, case, runs, image_bytes):
        seconds = median([run.seconds for run in runs])
        self.add(case, f"{seconds:.2f} s, {image_bytes / seconds / 1e6:.0f} MB/s")

    def show(self):
        head = ("case", "value", "bar", "ok")
        widths = [max(len(row[i]) for row in [head, *self.rows]) for i in range(4)]
        for row in [head, tuple("-" * width for width in widths), *self.rows]:
            print(" | ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())

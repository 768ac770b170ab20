# SPDX-License-Identifier: Apache-2.0
"""qmpsnap as its users see it: arguments in, JSON lines, files and an exit code out."""
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("QMPSNAP_BIN", str(TOP / "build" / "asan" / "cli" / "qmpsnap"))
GUARD = pathlib.Path(BINARY).resolve().parent / "qmpsnap-guard"
FAULTY = GUARD.parents[1] / "tests" / "live" / "faulty"
TIMEOUT_S = 180

# Nova's states from the instant on: the frozen views stand.
AFTER_INSTANT = ("image_pending_upload", "image_uploading")


class Tool:
    """A running `qmpsnap COMMAND --json ...`."""

    def __init__(self, *args, env=None, on_event=None):
        self.events = []
        self.times = []  # when each event was read, time.monotonic()
        self._on_event = on_event
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [BINARY, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self._errors = []
        self._readers = [threading.Thread(target=self._read_events),
                         threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read_events(self):
        for line in self._process.stdout:
            event = json.loads(line)
            with self._changed:
                self.events.append(event)
                self.times.append(time.monotonic())
                self._changed.notify_all()
            if self._on_event:
                self._on_event(event)
        with self._changed:
            self._changed.notify_all()

    def _read_errors(self):
        self._errors = self._process.stderr.readlines()

    @property
    def pid(self):
        return self._process.pid

    @property
    def stderr(self):
        return "".join(self._errors)

    @property
    def result(self):
        """The last line; None as long as there is none."""
        return self.events[-1] if self.events and self.events[-1]["event"] == "result" else None

    def wait_for(self, matches, timeout_s=TIMEOUT_S):
        """Waits for an event that `matches`, or for the end; returns the event or None."""
        end = time.monotonic() + timeout_s
        seen = 0
        with self._changed:
            while True:
                for event in self.events[seen:]:
                    if matches(event):
                        return event
                seen = len(self.events)
                if not self._readers[0].is_alive() or time.monotonic() > end:
                    return None
                self._changed.wait(0.5)

    def wait_instant(self):
        """Waits until the instant was reported; fails when it never is."""
        event = self.wait_for(is_after_instant)
        if event is None:
            self.wait()
            raise AssertionError(f"no instant was reported\n{self.describe()}")
        return event

    def runs(self):
        return self._process.poll() is None

    def wait_exit(self, timeout_s=TIMEOUT_S):
        """Its exit code; its guard may go on."""
        return self._process.wait(timeout_s)

    def wait(self, timeout_s=TIMEOUT_S):
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        for reader in self._readers:
            reader.join(30)
        return code

    def signal(self, number=signal.SIGTERM):
        self._process.send_signal(number)

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(30)
        self._process.stdout.close()
        self._process.stderr.close()

    def describe(self):
        lines = "\n".join(json.dumps(event) for event in self.events
                          if event["event"] != "progress")
        return f"{lines}\n{self.stderr}exit code {self._process.poll()}"


def guard_of(pid):
    """The pid of that main process's guard; 0: it has none."""
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        for child in children.split():
            if pathlib.Path(f"/proc/{child}/comm").read_text().startswith("qmpsnap-g"):
                return int(child)
    except OSError:
        pass
    return 0


def kill_at_once(*pids):
    """None of them sees another's end."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)


def is_after_instant(event):
    if event["event"] == "step":
        return event["step"] == "instant" and event["phase"] == "end"
    return event["event"] == "state" and event["state"] in AFTER_INSTANT


def run(*args, env=None):
    """Runs qmpsnap to its end: (exit code, stdout, stderr)."""
    done = subprocess.run([BINARY, *map(str, args)], stdin=subprocess.DEVNULL, timeout=TIMEOUT_S,
                          capture_output=True, text=True, check=False,
                          env={**os.environ, **(env or {})})
    return done.returncode, done.stdout, done.stderr

# SPDX-License-Identifier: Apache-2.0
"""One run of qmpsnap that is struck at a step, and, if asked for, one of `recover` behind it.

The programs are those of tests/faults: they tell the stage of each step and of each message that
changes something, and wait for the answer, so a blow falls just there (stage_client.h)."""
import json
import os
import selectors
import signal
import socket
import subprocess
import threading
import time

import tool  # of tests/live, as kill_lab.py finds it

LIMIT_S = 90
SOON_S = 0.02  # for a step that only reads, or waits: amid it
CHANGING = ("DELETE", "PATCH", "POST", "PUT")


class Watched:
    """A proxy's rule (fault_proxy.py) that asks the run about each request."""

    fault, status, after_body, headers, body = "status", 500, False, "", "the test made it fail"

    def __init__(self, run):
        self.run = run

    def take(self, method, _path):
        return self.run.on_request(method)


class Run:
    def __init__(self, lab, binary, cell, strikes=True):
        self.lab, self.binary, self.cell = lab, str(binary), cell
        self.strikes = strikes
        self.lock = threading.RLock()
        self.selector = selectors.DefaultSelector()
        self.process = None
        self.place = ("", "")
        self.due = None  # when to strike, for want of a message
        self.struck = self.met = self.spoiled = False
        self.guarded = False  # the guard has undone something
        self.spoiling = None  # the step whose undo fails
        self.story = []
        self.code, self.stdout, self.stderr, self.late = None, "", "", False

    @property
    def result(self):
        lines = self.stdout.splitlines()
        last = json.loads(lines[-1]) if lines else None
        return last if last and last["event"] == "result" else None

    # ---- what comes

    def on_request(self, method):
        """Of the service's client; whether it fails."""
        with self.lock:
            self.story.append(f"{method} at the service")
            if method not in CHANGING:
                return False
            self.meet()
            if self.spoiling == self.place[1] and self.place[0] == "undo" and not self.spoiled and \
                    method in ("DELETE", "PATCH"):
                self.spoiled = True
                return True
            return False

    def on_announcement(self, sock):
        try:
            data = sock.recv(256)
        except ConnectionResetError:  # killed with our answer unread
            data = b""
        if not data:
            self.selector.unregister(sock)
            sock.close()
            return
        with self.lock:
            answer = self.answer(*data.decode().split()[:3])
        try:
            sock.send(answer)
        except OSError:
            pass

    def answer(self, pid, phase, step):
        role = "main" if int(pid) == self.process.pid else "guard"
        self.story.append(f"{role}: {phase} {step}")
        if phase == "message":
            self.meet()
            return b"-"
        if phase == "spoiled":
            self.spoiled = True
            return b"-"
        self.place = (phase, step)
        self.guarded |= (role, phase) == ("guard", "undo")
        if role == "main" and step == self.cell.step and self.strikes and not self.struck:
            self.come_by(phase)
        if phase == "undo" and step == self.spoiling and not self.spoiled:
            return b"spoil"
        return b"-"

    # ---- the blow

    def come_by(self, phase):
        if phase == "begin":
            self.met = True
            if self.cell.moment == "amid":
                self.due = time.monotonic() + SOON_S
        elif phase == "end":
            if self.cell.moment == "amid":
                self.cell.why_not = "it is over at once and sends nothing"
            self.strike()

    def meet(self):
        """A message that changes something is on its way."""
        if self.place == ("begin", self.cell.step) and self.cell.moment == "amid":
            self.strike()

    def strike(self):
        if self.struck or not self.strikes:
            return
        self.struck, self.due = True, None
        if self.cell.undo_fails and self.cell.fault != "kill-both":
            self.spoiling = self.cell.step
        main, guard = self.process.pid, tool.guard_of(self.process.pid)
        self.story.append(f"--- {self.cell.fault}, process {main}, guard {guard or 'none'}")
        if self.cell.fault == "kill-both" and guard:
            tool.kill_at_once(main, guard)
        else:
            os.kill(main, self.cell.signal)

    # ---- the run

    def snapshot(self, config):
        words = ["snapshot", "--json", *config.options, "--to", f"glance:{self.lab.proxy.url}",
                 "--scratch", self.lab.folder / "scratch", *self.lab.target(config)]
        return self.execute(words)

    def recover(self, config, fails):
        if fails:
            self.spoiling = self.cell.step
        return self.execute(["recover", *(["--all"] if config.offline else self.lab.address())])

    def execute(self, words):
        """Until it and its guard, which has the standard error too, have ended."""
        stage = self.lab.folder / "stage"
        stage.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(stage))
        listener.listen(8)
        self.watch(listener, lambda sock: self.watch(sock.accept()[0], self.on_announcement))
        self.lab.proxy.set(Watched(self))
        try:
            self.process = subprocess.Popen(
                [self.binary, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, start_new_session=True,
                env={**os.environ, **self.lab.environment(), "FAULTS_STAGE": str(stage),
                     "FAULTS_MESSAGES": "1"})
            self.follow()
        finally:
            self.lab.proxy.set()
            for key in list(self.selector.get_map().values()):
                key.fileobj.close()
            self.selector.close()
        return self

    def watch(self, sock, callback):
        self.selector.register(sock, selectors.EVENT_READ, callback)

    def follow(self):
        texts = {self.process.stdout: b"", self.process.stderr: b""}
        open_pipes = set(texts)

        def read(pipe):
            data = os.read(pipe.fileno(), 1 << 16)
            texts[pipe] += data
            if not data:
                self.selector.unregister(pipe)
                open_pipes.discard(pipe)
        for pipe in texts:
            self.watch(pipe, read)
        end = time.monotonic() + LIMIT_S
        while open_pipes and not self.late:
            for key, _ in self.selector.select(0.01 if self.due else 0.1):
                key.data(key.fileobj)
            with self.lock:
                if self.due and time.monotonic() >= self.due:
                    self.strike()
            self.late = time.monotonic() > end
        if self.late:
            self.end_late()
        self.code = self.process.wait()
        self.stdout = texts[self.process.stdout].decode(errors="replace")
        self.stderr = texts[self.process.stderr].decode(errors="replace")
        for pipe in texts:
            pipe.close()

    def end_late(self):
        for pid in (tool.guard_of(self.process.pid), self.process.pid):
            if pid and self.process.poll() is None:
                os.kill(pid, signal.SIGKILL)

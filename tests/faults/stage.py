# SPDX-License-Identifier: Apache-2.0
"""One cell: a model QEMU in a process of its own, an image service, and the real qmpsnap between
them, which tells the stage of each step and waits until it may go on (stage_client.h)."""
import json
import os
import pathlib
import select
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import traceback

from model import DATA_BYTES, DISK_BYTES, Model
from qemu import Fault, Qemu, send_signals
from service import Service

LIMIT_S = 400  # for a cell, by its own clock
CHANNELS = ("qmp", "agent", "nbd", "service")


class Outcome:
    """What a run left behind."""

    def __init__(self):
        self.code = None  # of the main process; negative: killed
        self.result, self.events, self.stderr = None, [], ""
        self.states = []  # of QEMU: before, after, after recover; None: it is gone
        self.wrong = []
        # (phase, step, channel) -> [messages, changing ones, which is the first of these]
        self.counts = {}
        self.writes = {}  # step -> what was written or started
        self.children = set()  # steps beside which a program of QEMU's runs
        self.order = []  # (role, phase, step)
        self.struck = False  # the fault has befallen it
        self.records, self.left, self.log = {}, {}, []
        self.recovered = None  # (exit code, output)
        self.late = False
        self.seconds = 0.0


class Stage:
    """`faults` are QEMU's; `plan` is what the stage does itself: a dict of "at" ("begin"), "step",
    "do" (a function called then). `service_faults` are [phase, step, kind, number], kind as in
    service.py or "gone", "signal"."""

    def __init__(self, binary, config, faults=(), speed=1):
        self.binary, self.config, self.speed = binary, config, speed
        self.faults = list(faults)
        self.outcome = Outcome()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-cell-"))
        for name in ("scratch", "run", "state"):
            (self.folder / name).mkdir(mode=0o700)
        self.selector = selectors.DefaultSelector()
        self.place = ("", "")
        self.main = self.qemu_pid = None
        self.control = None
        self.resume_at = None
        self.hunting = None  # a fault that waits for a program beside the main process

    # ---- the parts

    def make_disks(self):
        disks = []
        for number in range(self.config.disks):
            path = self.folder / f"disk{number}.raw"
            with open(path, "wb") as disk:
                disk.write(b"\xd5" * DATA_BYTES)
                disk.truncate(DISK_BYTES)
            disks.append(str(path))
        return disks

    def make_model(self, disks):
        model = Model(self.config.version, disks, self.config.status)
        for command, arguments in self.config.before:
            if command == "nbd-server-start":
                model.server = -1
            else:
                model.run(command, arguments)
        return model

    def start_qemu(self, disks):
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        faults = [fault for fault in self.faults if fault.channel in ("qmp", "agent", "nbd")]
        self.qemu_pid = os.fork()
        if self.qemu_pid == 0:
            try:
                os.setsid()
                self.control.close()
                # Here: who listens is who a client takes for QEMU (SO_PEERCRED).
                Qemu(self.make_model(disks), self.folder, theirs, faults).serve()
            except BaseException:  # pylint: disable=broad-except
                with open(self.folder / "qemu.log", "w", encoding="utf-8") as log:
                    traceback.print_exc(file=log)
            finally:
                os._exit(0)
        theirs.close()

    def ask_qemu(self, order):
        """None when it is gone."""
        if self.control is None:
            return None
        try:
            self.control.send(json.dumps(order).encode())
            self.control.settimeout(10)
            data = self.control.recv(1 << 20)
            return json.loads(data) if data else None
        except (OSError, ValueError):
            return None

    def watch(self, sock, callback):
        self.selector.register(sock, selectors.EVENT_READ, callback)

    def forget(self, sock):
        self.selector.unregister(sock)

    # ---- faults at the service and at announcements

    def strike_service(self, request):
        changes = request.split()[0] in ("DELETE",) or self.place[0] == "begin"
        tally = self.outcome.counts.setdefault((*self.place, "service"), [0, 0, 0])
        tally[0] += 1
        tally[1] += request.startswith("DELETE")
        for fault in self.faults:
            if fault.counts(self.place, "service", changes):
                return self.act(fault)
        return None

    def act(self, fault):
        """Does it; returns what becomes of a request."""
        if fault.kind == "signal":
            send_signals(fault, self.main.pid, self.guard_pid())
            if fault.victims == "all" and self.qemu_pid:
                os.kill(self.qemu_pid, signal.SIGKILL)
            self.note_stop(fault)
        elif fault.kind == "gone":
            self.service.close()
            return "silence"
        elif fault.kind == "kill-child":
            self.hunting = fault
            fault.struck = False  # when there is one
        elif fault.kind == "kill-qemu" and self.qemu_pid:
            os.kill(self.qemu_pid, signal.SIGKILL)
        return fault.kind if fault.kind in ("500", "silence", "garbage", "closed", "after") else None

    def note_stop(self, fault):
        if fault.signal_number == signal.SIGSTOP:
            self.resume_at = time.monotonic() + 32 / self.speed

    def children(self):
        try:
            path = f"/proc/{self.main.pid}/task/{self.main.pid}/children"
            pids = pathlib.Path(path).read_text(encoding="ascii").split()
            return [(int(pid), pathlib.Path(f"/proc/{pid}/comm").read_text().strip())
                    for pid in pids]
        except OSError:
            return []

    def guard_pid(self, children=None):
        children = self.children() if children is None else children
        return next((pid for pid, name in children if name.startswith("qmpsnap-g")), 0)

    def hunt(self):
        """A program beside the main process dies as soon as there is one."""
        for pid, name in self.children():
            if name.startswith("qemu-"):
                os.kill(pid, signal.SIGKILL)
                self.hunting.struck = True
                self.hunting = None
                return

    def on_announcement(self, sock):
        try:
            data = sock.recv(256)
        except ConnectionResetError:  # it was killed with our answer unread
            data = b""
        if not data:
            self.forget(sock)
            sock.close()
            return
        pid, phase, step, writes = data.decode().split()
        role = "main" if int(pid) == self.main.pid else "guard"
        if int(writes):
            at = self.place[1] if self.place[0] == "begin" else None
            self.outcome.writes[at] = self.outcome.writes.get(at, 0) + int(writes)
        children = self.children()
        if any(name.startswith("qemu-") for _, name in children):
            self.outcome.children |= {self.place[1], step}
        self.place = (phase, step)
        self.outcome.order.append((role, phase, step))
        if self.hunting and phase != "begin":
            self.hunting = None
        self.ask_qemu({"order": "place", "phase": phase, "step": step, "main": self.main.pid,
                       "guard": self.guard_pid(children) if role == "main" else 0})
        answer = b"-"
        for fault in self.faults:
            if fault.channel == "announcement" and fault.counts(self.place, fault.channel, True):
                if fault.kind == "full":
                    self.ask_qemu({"order": "full"})
                    answer = b"full"
                elif fault.kind == "quiet":
                    pass
                else:
                    self.act(fault)
            if fault.signal_number == signal.SIGSTOP and fault.channel != "announcement" and \
                    self.place == (fault.phase, fault.step):
                self.note_stop(fault)
        try:
            sock.send(answer)
        except OSError:
            pass

    # ---- the run

    def command(self, address):
        words = [self.binary, "snapshot", "--json", *self.config.options]
        words += ["--to", f"glance:{self.service.url}", "--scratch", self.folder / "scratch"]
        if self.config.offline:
            words += ["--image", self.folder / "disk0.raw", "--image-format", "raw"]
        else:
            words += ["--qmp", address, "--qga", f"unix:{self.folder}/qga.sock"]
        return [str(word) for word in words]

    def environment(self):
        return {**os.environ, "FAULTS_STAGE": str(self.folder / "stage"),
                "FAULTS_SPEED": str(self.speed), "XDG_RUNTIME_DIR": str(self.folder / "run"),
                "QMPSNAP_STATE_DIR": str(self.folder / "state"),
                "TMPDIR": str(self.folder / "scratch"), "HOME": str(self.folder)}

    def run(self):
        """Runs it, and what comes after it; returns the Outcome."""
        began = time.monotonic()
        try:
            disks = self.make_disks()
            if not self.config.offline:
                self.start_qemu(disks)
                self.outcome.states.append(self.ask_qemu({"order": "state"})["state"])
            # After the fork: QEMU's process would hold the service's socket too.
            self.service = Service(self.watch_call, self.forget, self.strike_service)
            self.run_tool()
            self.look()
        finally:
            self.close()
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def watch_call(self, sock, callback):
        self.watch(sock, lambda _sock: callback())

    def run_tool(self):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(self.folder / "stage"))
        listener.listen(8)
        self.watch(listener, lambda sock: self.watch(sock.accept()[0], self.on_announcement))
        address, descriptors = f"unix:{self.folder}/tool.sock", ()
        if self.config.descriptor:
            monitor = socket.socket(socket.AF_UNIX)
            monitor.connect(str(self.folder / "tool.sock"))
            address, descriptors = f"fd:{monitor.fileno()}", (monitor.fileno(),)
        self.main = subprocess.Popen(
            self.command(address), pass_fds=descriptors, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self.environment(), start_new_session=True)
        if self.config.descriptor:
            monitor.close()
        texts = {self.main.stdout: b"", self.main.stderr: b""}
        open_pipes = set(texts)

        def read(pipe):
            data = os.read(pipe.fileno(), 1 << 16)
            texts[pipe] += data
            if not data:
                self.forget(pipe)
                open_pipes.discard(pipe)
        for pipe in texts:
            self.watch(pipe, read)
        end = time.monotonic() + max(LIMIT_S / self.speed, 40)
        while open_pipes:  # the guard has the standard error too
            for key, _ in self.selector.select(0.002 if self.hunting else 0.05):
                key.data(key.fileobj)
            if self.hunting:
                self.hunt()
            if self.resume_at and time.monotonic() > self.resume_at:
                self.resume_at = None
                self.signal_main(signal.SIGCONT)
            if time.monotonic() > end:
                self.outcome.late = True
                break
        if self.outcome.late:
            self.kill_late()
        self.outcome.code = self.main.wait()
        self.outcome.stderr = texts[self.main.stderr].decode(errors="replace")
        self.outcome.events = [json.loads(line) for line in
                               texts[self.main.stdout].decode(errors="replace").splitlines()]
        if self.outcome.events and self.outcome.events[-1]["event"] == "result":
            self.outcome.result = self.outcome.events[-1]
        for pipe in texts:
            if pipe in open_pipes:
                self.forget(pipe)
            pipe.close()

    def signal_main(self, number):
        if self.main.poll() is None:
            self.main.send_signal(number)

    def kill_late(self):
        guard = self.guard_pid()
        self.signal_main(signal.SIGKILL)
        if guard:
            try:
                os.kill(guard, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def look(self):
        """What is left, and what recover makes of it."""
        answer = self.ask_qemu({"order": "state"})
        self.outcome.states.append(answer["state"] if answer else None)
        if answer is None and self.qemu_pid:  # else it would be a zombie to recover
            os.kill(self.qemu_pid, signal.SIGKILL)
            os.waitpid(self.qemu_pid, 0)
            self.qemu_pid = None
        if answer:
            self.outcome.wrong = answer["wrong"]
            for phase, step, channel, *tally in answer["counts"]:
                self.outcome.counts[phase, step, channel] = tally
        struck = answer["struck"] if answer else []
        inner = [fault for fault in self.faults if fault.channel in ("qmp", "agent", "nbd")]
        for fault, was in zip(inner, struck):
            fault.struck = was
        if answer is None and inner:
            inner[0].struck = True  # what else would have ended it
        self.outcome.struck = bool(self.faults) and self.faults[0].struck
        self.outcome.records = self.service.records
        self.outcome.log = self.service.log
        self.outcome.left = self.list_left()
        states = self.outcome.states[:2]
        changed = len(states) == 2 and states[1] is not None and states[0] != states[1]
        if changed or any(path.startswith("journal/") for path in self.outcome.left["state"]):
            self.outcome.left_before = self.outcome.left
            self.recover()
            if self.outcome.recovered[0] and any(fault.phase == "undo" for fault in self.faults):
                self.recover()  # the first had a failure to cope with
            self.outcome.left = self.list_left()

    def list_left(self):
        return {name: sorted(str(path.relative_to(self.folder / name)) for path in
                             (self.folder / name).rglob("*") if not path.is_dir())
                for name in ("scratch", "run", "state")}

    def recover(self):
        if self.service.listener is None:
            self.service.open()
        self.ask_qemu({"order": "place", "phase": "undo", "step": "recover", "main": 0, "guard": 0})
        self.place = ("undo", "recover")
        environment = self.environment()
        del environment["FAULTS_STAGE"]
        process = subprocess.Popen(
            [str(self.binary), "recover",
             *(["--all"] if self.config.offline or self.outcome.states[1] is None else
               ["--qmp", f"unix:{self.folder}/tool.sock"])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment)
        text = b""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            ready, _, _ = select.select([process.stdout], [], [], 0)
            if ready:
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    break
                text += data
            for key, _ in self.selector.select(0.01):
                key.data(key.fileobj)
        else:
            process.kill()
        process.stdout.close()
        self.outcome.recovered = (process.wait(), text.decode(errors="replace"))
        if not self.config.offline:
            answer = self.ask_qemu({"order": "state"})
            self.outcome.states.append(answer["state"] if answer else None)

    def close(self):
        if self.main and self.main.poll() is None:
            self.main.kill()
            self.main.wait()
        if self.control:
            self.control.close()
        if self.qemu_pid:
            os.kill(self.qemu_pid, signal.SIGKILL)
            os.waitpid(self.qemu_pid, 0)
        log = self.folder / "qemu.log"
        if log.exists():
            self.outcome.wrong.append("the model failed: " + log.read_text())
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        shutil.rmtree(self.folder)

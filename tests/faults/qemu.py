# SPDX-License-Identifier: Apache-2.0
"""The model (model.py) as a process: its monitors, agent and NBD server, and the faults in them.

A fault is armed for a step of the table; the stage tells over the control socket which step runs.
It befalls the k-th message that comes meanwhile on one of the channels qmp, agent, nbd."""
import json
import os
import selectors
import signal
import socket
import sys

import nbd_server
from model import DATA_BYTES, DISK_BYTES, Refused

GARBAGE = b"\x80\x01not json at all]}\r\n"
READ_ONLY = ("query-", "qom-get", "x-debug")


def take_its_name():
    """Starts this program anew under a name that qmpsnap takes for a QEMU's (qmp/identity.h)."""
    if not sys.orig_argv[0].startswith("qemu"):
        os.execv(os.readlink("/proc/self/exe"), ["qemu-model", *sys.orig_argv[1:]])


class Fault:
    """`phase` "begin" (while the step is done) or "undo"; kinds: error, silence, garbage, closed,
    kill-qemu, signal. `first` the message that is struck: 1 is the first; modifying=True counts
    those alone that change something."""

    def __init__(self, step, kind, phase="begin", channel="qmp", first=1, modifying=False,
                 signal_number=0, victims="main"):
        self.step, self.kind, self.phase, self.channel = step, kind, phase, channel
        self.left, self.modifying = first, modifying
        self.signal_number, self.victims = signal_number, victims
        self.struck = False

    def counts(self, place, channel, changes):
        if self.struck or place[:2] != (self.phase, self.step) or channel != self.channel or \
                (self.modifying and not changes):
            return False
        self.left -= 1
        self.struck = self.left == 0
        return self.struck


class Line:
    """A connection with a JSON line protocol."""

    def __init__(self, sock, kind):
        self.sock, self.kind = sock, kind
        self.input, self.fds = b"", []
        self.greeted = self.dead = False

    def send(self, data):
        try:
            self.sock.setblocking(True)
            self.sock.sendall(data)
        except OSError:
            self.dead = True
        finally:
            if not self.dead:
                self.sock.setblocking(False)


class Qemu:
    """Serves until it is killed or told to quit."""

    def __init__(self, model, folder, control, faults):
        self.model, self.folder, self.control, self.faults = model, folder, control, faults
        self.place = ("", "")
        # (phase, step, channel) -> messages, changing ones, which is the first of these
        self.counts = {}
        self.main = self.guard = 0
        self.selector = selectors.DefaultSelector()
        self.clients = []  # of the monitor, the first is served
        self.agents = []
        self.held = []  # agents' input while the guest stands still
        self.nbd = {}  # Connection -> socket
        self.silenced = False
        model.emit = self.emit
        for name, accept in (("tool.sock", self.accept_client), ("qga.sock", self.accept_agent)):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{folder}/{name}")
            listener.listen(16)
            self.watch(listener, accept)
        self.watch(control, self.on_control)

    def watch(self, sock, callback):
        sock.setblocking(False)
        self.selector.register(sock, selectors.EVENT_READ, callback)

    def serve(self):
        while not self.model.ended:
            wait_s = 0.003 if self.model.busy() else None
            for key, _ in self.selector.select(wait_s):
                if key.fileobj.fileno() >= 0:
                    key.data(key.fileobj)
            if self.model.busy():
                self.counts.setdefault((*self.place, "job"), [0, 0, 0])[0] += 1
            self.model.tick()
            self.sync_server()

    # ---- the stage

    def on_control(self, sock):
        data = sock.recv(1 << 16)
        if not data:
            self.model.ended = True
            return
        order = json.loads(data)
        if order["order"] == "place":
            self.place = (order["phase"], order["step"])
            self.main, self.guard = order["main"], order["guard"]
        elif order["order"] == "full":
            self.model.full = True
            self.break_views()
        answer = {}
        if order["order"] == "state":
            answer = {"state": self.model.state(), "wrong": self.model.wrong,
                      "counts": [[*key, *value] for key, value in self.counts.items()],
                      "struck": [fault.struck for fault in self.faults]}
        sock.setblocking(True)
        sock.send(json.dumps(answer).encode())
        sock.setblocking(False)

    def break_views(self):
        """What a full scratch does: the filter gives its view up, the job flavour stops the
        guest."""
        for connection in self.nbd:
            connection.broken = any(node["driver"] == "copy-before-write"
                                    for node in self.model.nodes.values())
        if any(job.sync == "none" for job in self.model.jobs.values()) and \
                self.model.status == "running":
            self.model.status = "io-error"
            self.emit("STOP", {})

    def strike(self, channel, changes):
        """The fault for this message, if one is armed for it."""
        tally = self.counts.setdefault((*self.place, channel), [0, 0, 0])
        tally[0] += 1
        tally[1] += changes
        if changes and tally[1] == 1:
            tally[2] = tally[0]
        for fault in self.faults:
            if fault.counts(self.place, channel, changes):
                return fault
        return None

    def act(self, fault):
        """What is done to processes."""
        if fault.kind == "kill-qemu":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.kind == "signal":
            send_signals(fault, self.main, self.guard)
            if fault.victims == "all":
                os.kill(os.getpid(), signal.SIGKILL)

    # ---- the monitor

    def accept_client(self, listener):
        sock, _ = listener.accept()
        client = Line(sock, "qmp")
        self.clients.append(client)
        self.greet()

    def greet(self):
        """One client at a time, as QEMU does it."""
        if self.clients and not self.clients[0].greeted:
            client = self.clients[0]
            client.greeted = True
            major, minor, micro = self.model.version
            client.send(json.dumps({"QMP": {"version": {
                "qemu": {"major": major, "minor": minor, "micro": micro}, "package": ""},
                "capabilities": ["oob"]}}).encode() + b"\r\n")
            self.watch(client.sock, lambda _sock: self.on_client(client))

    def emit(self, name, data):
        if self.clients and self.clients[0].greeted and not self.clients[0].dead:
            event = {"event": name, "timestamp": {"seconds": 1, "microseconds": 0}}
            self.clients[0].send(json.dumps({**event, **({"data": data} if data else {})})
                                 .encode() + b"\r\n")

    def drop_client(self, client):
        if client in self.clients:
            self.selector.unregister(client.sock)
            client.sock.close()
            self.clients.remove(client)
            self.greet()

    def on_client(self, client):
        try:
            data, fds, _, _ = socket.recv_fds(client.sock, 1 << 16, 8)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        client.fds += fds
        if not data:
            self.drop_client(client)
            return
        client.input += data
        while client.input and client in self.clients:
            if client.input[:1] == b"\xff":  # resets the parser
                client.input = client.input[1:]
                client.send(b'{"error": {"class": "GenericError", "desc": "JSON parse error"}}\r\n')
                continue
            line, newline, rest = client.input.partition(b"\n")
            cut = line.find(b"\xff")
            if cut >= 0:
                client.input = client.input[cut:]
                continue
            if not newline:
                return
            client.input = rest
            self.on_command(client, line)

    def on_command(self, client, line):
        request = json.loads(line)
        command = request["execute"]
        # The guest's latency is sampled (blockops/speed.h) whatever step runs.
        channel = "sample" if command == "query-blockstats" else "qmp"
        fault = self.strike(channel, not command.startswith((*READ_ONLY, "qmp_cap")))
        if fault and fault.kind == "error":
            for fd in self.take(client) if command in ("getfd", "add-fd") else ():
                os.close(fd)
            self.answer(client, request, {"error": {
                "class": "GenericError", "desc": f"the test made {command} fail"}})
            return
        try:
            if command == "qmp_capabilities":
                result = {}
            else:
                fds = self.take(client) if command in ("getfd", "add-fd") else []
                result = self.model.run(command, request.get("arguments", {}), fds)
            reply = {"return": result}
        except Refused as error:
            reply = {"error": {"class": error.kind, "desc": str(error)}}
        self.sync_server()
        self.wake_agents()
        if fault:
            self.act(fault)
        if fault and fault.kind == "closed":
            self.drop_client(client)
        elif fault and fault.kind == "garbage":
            client.send(GARBAGE)
        elif not fault or fault.kind != "silence":
            self.answer(client, request, reply)

    @staticmethod
    def take(client):
        fds, client.fds = client.fds, []
        return fds

    @staticmethod
    def answer(client, request, reply):
        if "id" in request:
            reply["id"] = request["id"]
        client.send(json.dumps(reply).encode() + b"\r\n")

    # ---- the agent: a guest that stands still doesn't answer

    def accept_agent(self, listener):
        sock, _ = listener.accept()
        agent = Line(sock, "agent")
        self.agents.append(agent)
        self.watch(sock, lambda _sock: self.on_agent(agent))

    def on_agent(self, agent):
        try:
            data = agent.sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(agent.sock)
            agent.sock.close()
            self.agents.remove(agent)
            return
        agent.input += data
        self.run_agent(agent)

    def wake_agents(self):
        for agent in self.agents:
            self.run_agent(agent)

    def run_agent(self, agent):
        while self.model.status == "running" and b"\n" in agent.input and not agent.dead:
            line, agent.input = agent.input.split(b"\n", 1)
            line = line.rsplit(b"\xff", 1)[-1]
            try:
                request = json.loads(line)
            except ValueError:
                continue
            self.on_agent_command(agent, request)

    def on_agent_command(self, agent, request):
        command = request["execute"]
        fault = self.strike("agent", command in ("guest-fsfreeze-freeze", "guest-fsfreeze-thaw"))
        if fault and fault.kind == "error":
            agent.send(b'{"error": {"class": "GenericError", "desc": "the test made %s fail"}}\n'
                       % command.encode())
            return
        prefix = b""
        if command == "guest-sync-delimited":
            prefix, result = b"\xff", request["arguments"]["id"]
        elif command == "guest-fsfreeze-status":
            result = "frozen" if self.model.frozen else "thawed"
        elif command == "guest-fsfreeze-freeze":
            self.model.frozen, result = True, 2
        elif command == "guest-fsfreeze-thaw":
            result = 2 if self.model.frozen else 0
            self.model.frozen = False
        else:
            agent.send(b'{"error": {"class": "CommandNotFound", "desc": "unknown"}}\n')
            return
        if fault:
            self.act(fault)
        if fault and fault.kind == "closed":
            agent.dead = True
            self.selector.unregister(agent.sock)
            agent.sock.close()
            self.agents.remove(agent)
        elif fault and fault.kind == "garbage":
            agent.send(GARBAGE)
        elif not fault or fault.kind != "silence":
            agent.send(prefix + json.dumps({"return": result}).encode() + b"\n")

    # ---- NBD

    def sync_server(self):
        """Watches the listening socket that the model was given, and drops what has no export."""
        listener = getattr(self, "listener", None)
        if self.model.server is not None and self.model.server >= 0:
            self.listener = socket.socket(fileno=self.model.server)
            self.model.server = -1  # the socket object owns it
            self.watch(self.listener, self.accept_nbd)
        elif self.model.server is None and listener is not None:
            self.selector.unregister(listener)
            listener.close()
            self.listener = None
            for connection in list(self.nbd):
                self.drop_nbd(connection)
        names = {export["name"] for export in self.model.exports.values()}
        for connection in list(self.nbd):
            if connection.name is not None and connection.name not in names:
                self.drop_nbd(connection)

    def find_export(self, name):
        names = {export["name"] for export in self.model.exports.values()}
        return DISK_BYTES if name in names else None

    def accept_nbd(self, listener):
        sock, _ = listener.accept()
        connection = nbd_server.Connection(
            self.find_export, [(DATA_BYTES, True), (DISK_BYTES - DATA_BYTES, False)])
        self.nbd[connection] = sock
        self.watch(sock, lambda _sock: self.on_nbd(connection))
        sock.send(connection.output)
        connection.output = b""

    def drop_nbd(self, connection):
        sock = self.nbd.pop(connection)
        self.selector.unregister(sock)
        sock.close()

    def on_nbd(self, connection):
        sock = self.nbd[connection]
        if connection.unsent:
            self.flush_nbd(connection)
            if connection not in self.nbd:
                return
        try:
            data = sock.recv(1 << 16)
            if not data:
                raise nbd_server.Ended
        except BlockingIOError:
            return
        except (OSError, nbd_server.Ended):
            self.drop_nbd(connection)
            return
        fault = None if connection.is_farewell(data) else self.strike("nbd", False)
        try:
            if fault and fault.kind == "error":
                connection.broken = True
            connection.feed(data)
        except nbd_server.Ended:
            self.drop_nbd(connection)
            return
        output, connection.output = connection.output, b""
        if fault:
            self.act(fault)
        if fault and fault.kind == "closed":
            self.drop_nbd(connection)
            return
        if fault and fault.kind == "garbage":
            output = GARBAGE * 8
        if fault and fault.kind == "silence":
            return
        connection.unsent += output
        self.flush_nbd(connection)

    def flush_nbd(self, connection):
        """Without waiting: QEMU's monitor answers while a reader is slow."""
        sock = self.nbd[connection]
        try:
            sent = sock.send(connection.unsent)
            connection.unsent = connection.unsent[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self.drop_nbd(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        self.selector.modify(sock, events, lambda _sock: self.on_nbd(connection))


def send_signals(fault, main, guard):
    """To the main process, or to it and its guard at once."""
    victims = [main] + ([guard] if fault.victims in ("both", "all") and guard else [])
    if len(victims) > 1:  # neither sees the other's end
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)
    for pid in victims:
        os.kill(pid, fault.signal_number)



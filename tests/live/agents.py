# SPDX-License-Identifier: Apache-2.0
"""The guest agent's socket from both sides: asking the real one, and playing one."""
import json
import socket
import threading

FREEZE, THAW = "guest-fsfreeze-freeze", "guest-fsfreeze-thaw"
STATUS = "guest-fsfreeze-status"


def ask(path, command, timeout_s=20):
    """What the agent behind the socket returns."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(timeout_s)
        channel.connect(str(path))
        sync = {"execute": "guest-sync-delimited", "arguments": {"id": 4711}}
        channel.sendall(b"\xff" + json.dumps(sync).encode() + b"\n")
        heard = b""
        while b'\xff{"return": 4711}\n' not in heard:
            heard += channel.recv(4096) or _gone()
        channel.sendall(json.dumps({"execute": command}).encode() + b"\n")
        heard = b""
        while not heard.endswith(b"\n"):
            heard += channel.recv(4096) or _gone()
        return json.loads(heard)["return"]


def _gone():
    raise ConnectionError("the agent's socket was closed")


class FakeAgent(threading.Thread):
    """An agent that answers with `answers` by command, and says nothing to others. An answer may be
    a function that returns it.

    `heard` has the commands in order; `deaf`: not even a sync is answered."""

    def __init__(self, path, answers, deaf=False):
        super().__init__(daemon=True)
        self.address = f"unix:{path}"
        self.answers, self.deaf, self.heard = answers, deaf, []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._ended = False
        self._channel = None
        self.start()

    def run(self):
        while not self._ended:
            try:
                channel, _ = self._listener.accept()
            except OSError:
                return
            self._channel = channel
            with channel, channel.makefile("rb") as lines:
                try:
                    for line in lines:
                        self._take(channel, json.loads(line.split(b"\xff")[-1]))
                except OSError:
                    pass

    def _take(self, channel, message):
        command = message["execute"]
        self.heard.append(command)
        if self.deaf:
            return
        if command == "guest-sync-delimited":
            answer = message["arguments"]["id"]
            channel.sendall(b"\xff" + json.dumps({"return": answer}).encode() + b"\n")
        elif command in self.answers:
            answer = self.answers[command]
            answer = answer() if callable(answer) else answer
            channel.sendall(json.dumps({"return": answer}).encode() + b"\n")

    def drop(self):
        """Ends the connection."""
        self._channel.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._ended = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

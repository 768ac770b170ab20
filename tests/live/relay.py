# SPDX-License-Identifier: Apache-2.0
"""A way to a guest's monitor that can hold a command back, descriptors included, or have it refused."""
import json
import socket
import threading
import time


class Relay:
    """Listens at `address` and passes lines on to the monitor's socket; `hold` tells by a command's
    name for how many seconds it, and all behind it, waits; or a list, for as many of them. `refuse`
    has for each of its first ones whether QEMU refuses it. `passed` has the names, in order."""

    def __init__(self, guest, hold, refuse=None):
        self.address = f"unix:{guest.folder}/relay.sock"
        self.passed = []
        self._target = str(guest.folder / "tool.sock")
        self._hold = {name: list(held) if isinstance(held, list) else [held]
                      for name, held in hold.items()}
        self._refuse = {name: list(are) for name, are in (refuse or {}).items()}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(guest.folder / "relay.sock"))
        self._listener.listen(4)
        threading.Thread(target=self._accept, daemon=True).start()

    def refuse(self, name, times):
        """The next ones."""
        self._refuse[name] = [True] * times

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            monitor = socket.socket(socket.AF_UNIX)
            monitor.connect(self._target)
            for run in (self._ask, self._answer):
                threading.Thread(target=run, args=(client, monitor), daemon=True).start()

    def _ask(self, client, monitor):
        """Descriptors go with the last line of what is read: Linux reads no further than them."""
        try:
            while True:
                data, fds, _, _ = socket.recv_fds(client, 1 << 20, 4)
                if not data:
                    break
                lines = data.splitlines(keepends=True)
                for line in lines[:-1]:
                    self._pass(monitor, line, [])
                self._pass(monitor, lines[-1], fds)
        except OSError:
            pass
        monitor.shutdown(socket.SHUT_RDWR)

    def _pass(self, monitor, line, fds):
        message = json.loads(line.lstrip(b"\xff") or b"{}")
        name = message.get("execute")
        if self._hold.get(name):
            time.sleep(self._hold[name].pop(0))
        self.passed.append(name)
        if self._refuse.get(name) and self._refuse[name].pop(0):
            message["arguments"] = {"the-test-made-it-fail": True}
            line = json.dumps(message).encode() + b"\n"
        socket.send_fds(monitor, [line], fds)
        for fd in fds:
            socket.close(fd)

    @staticmethod
    def _answer(client, monitor):
        try:
            while data := monitor.recv(1 << 20):
                client.sendall(data)
        except OSError:
            pass
        client.close()
        monitor.close()

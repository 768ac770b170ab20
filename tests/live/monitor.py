# SPDX-License-Identifier: Apache-2.0
"""A small QMP client: one command at a time, events kept."""
import json
import socket
import time


class MonitorError(Exception):
    """QEMU's answer was an error."""


class Monitor:
    def __init__(self, path, timeout_s=30):
        self.events = []
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
            self._read()  # the greeting
            self.command("qmp_capabilities")
        except OSError:
            self._socket.close()
            raise

    def close(self):
        self._socket.close()

    def _read(self):
        while b"\n" not in self._buffer:
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionError("QEMU closed the monitor")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, /, **arguments):
        """Runs a command; `_` in an argument's name stands for `-`."""
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        request = {"execute": name, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            message = self._read()
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise MonitorError(f"{name}: {message['error']['desc']}")
            else:
                return message["return"]

    def human(self, line):
        return self.command("human-monitor-command", command_line=line)

    def status(self):
        return self.command("query-status")["status"]

    def wait_event(self, name, timeout_s=30):
        """Returns the first event of that name that was not waited for yet."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            self.command("query-name")
            time.sleep(0.02)
        raise TimeoutError(f"no event {name}")

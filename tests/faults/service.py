# SPDX-License-Identifier: Apache-2.0
"""As much of Glance's v2 API as a snapshot uses, in the loop of its owner, with faults."""
import hashlib
import json
import os
import re
import socket


class Exchange:
    """A connection: requests are answered one after the other."""

    def __init__(self, sock):
        self.sock = sock
        self.input = b""
        self.head = None  # (method, path, headers)
        self.body = b""
        self.told_to_go_on = False


class Service:
    """`strike(request)` returns what becomes of a request: None, "500", "silence", "garbage",
    "closed", "after" (done, and the connection is closed instead of an answer); `watch` and
    `forget` are the owner's loop."""

    def __init__(self, watch, forget, strike):
        self.watch, self.forget, self.strike = watch, forget, strike
        self.records = {}  # id -> record, with "data"
        self.exchanges = []
        self.log = []
        pid = os.getpid()  # an address of its own: nobody takes the port while it is gone
        self.host = f"127.{1 + (pid >> 16) % 126}.{(pid >> 8) % 256}.{pid % 256}"
        self.port = 0
        self.listener = None
        self.open()

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    def open(self):
        self.listener = socket.create_server((self.host, self.port))
        self.port = self.listener.getsockname()[1]
        self.listener.setblocking(False)
        self.watch(self.listener, self.accept)

    def close(self):
        """The service is gone: nothing listens any more."""
        if self.listener:
            self.forget(self.listener)
            self.listener.close()
            self.listener = None
        for exchange in list(self.exchanges):
            self.drop(exchange)

    def accept(self):
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        exchange = Exchange(sock)
        self.exchanges.append(exchange)
        self.watch(sock, lambda: self.on_bytes(exchange))

    def drop(self, exchange):
        if exchange in self.exchanges:
            self.exchanges.remove(exchange)
            self.forget(exchange.sock)
            exchange.sock.close()

    def on_bytes(self, exchange):
        try:
            data = exchange.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(exchange)
            return
        exchange.input += data
        while exchange in self.exchanges and self.step(exchange):
            pass

    def step(self, exchange):
        """Whether it got on."""
        if exchange.head is None:
            head, blank, rest = exchange.input.partition(b"\r\n\r\n")
            if not blank:
                return False
            lines = head.decode().split("\r\n")
            method, path, _ = lines[0].split(" ")
            headers = {key.lower(): value.strip() for key, value in
                       (line.split(":", 1) for line in lines[1:])}
            exchange.head, exchange.input, exchange.body = (method, path, headers), rest, b""
            if headers.get("expect", "").lower() == "100-continue":
                exchange.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.take_body(exchange):
            return False
        method, path, headers = exchange.head
        exchange.head = None
        self.log.append(f"{method} {path}")
        self.answer(exchange, method, path, exchange.body)
        return True

    @staticmethod
    def take_body(exchange):
        headers = exchange.head[2]
        if headers.get("transfer-encoding", "").lower() != "chunked":
            length = int(headers.get("content-length", 0))
            if len(exchange.input) < length:
                return False
            exchange.body, exchange.input = exchange.input[:length], exchange.input[length:]
            return True
        while True:
            size, newline, rest = exchange.input.partition(b"\r\n")
            if not newline or len(rest) < int(size, 16) + 2:
                return False
            length = int(size, 16)
            exchange.body += rest[:length]
            exchange.input = rest[length + 2:]
            if length == 0:
                return True

    def answer(self, exchange, method, path, body):
        fault = self.strike(f"{method} {path}")
        if exchange not in self.exchanges:
            return
        if fault == "500":
            status, reply = 500, {"message": "the test made it fail"}
        elif fault == "silence":
            return
        else:
            status, reply = self.run(method, path, body)
        if fault == "garbage":
            self.send(exchange, b"\x80\x01 no HTTP at all\r\n\r\n")
            self.drop(exchange)
        elif fault in ("closed", "after"):
            self.drop(exchange)
        else:
            text = b"" if reply is None else json.dumps(reply).encode()
            self.send(exchange, f"HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\n"
                                f"Content-Length: {len(text)}\r\n\r\n".encode() + text)

    @staticmethod
    def send(exchange, data):
        try:
            exchange.sock.send(data)
        except OSError:
            pass

    def run(self, method, path, body):
        found = re.fullmatch(r"/v2/images/([0-9a-f-]+)(/file)?", path)
        if method == "POST" and path == "/v2/images":
            record = json.loads(body)
            if record["id"] in self.records:
                return 409, {"message": "an image of that id exists"}
            record.update(status="queued", size=None, data=b"", checksum=None,
                          os_hash_algo=None, os_hash_value=None)
            self.records[record["id"]] = record
            return 201, self.shown(record)
        if method == "GET" and path.startswith("/v2/images?"):
            return 200, {"images": [self.shown(record) for record in self.records.values()
                                    if record["status"] == "active"][:1]}
        if not found or found[1] not in self.records:
            return 404, {"message": "no such image"}
        record = self.records[found[1]]
        if method == "PUT" and found[2]:
            if record["status"] != "queued":
                return 409, {"message": "it has data"}
            record.update(status="active", size=len(body), data=body, os_hash_algo="sha512",
                          checksum=hashlib.md5(body).hexdigest(),
                          os_hash_value=hashlib.sha512(body).hexdigest())
            return 204, None
        if method == "PATCH":
            for change in json.loads(body):
                record[change["path"].strip("/")] = change.get("value")
            return 200, self.shown(record)
        if method == "DELETE":
            del self.records[found[1]]
            return 204, None
        return 200, self.shown(record)

    @staticmethod
    def shown(record):
        return {key: value for key, value in record.items() if key != "data"}

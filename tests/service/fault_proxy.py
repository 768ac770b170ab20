# SPDX-License-Identifier: Apache-2.0
"""A proxy in front of an HTTP service that breaks the requests it is told to break.

Each connection carries one request, forwarded as it is but for a "Connection: close". It is one
that clients are sent to by http_proxy, too: URLs and CONNECT lead to the service, or with several,
by the name in them, to one of them. A rule says
which request (method, a regular expression for the path, how often) and what becomes of it:

  status      answers by itself, at once, or with after_body=True when the whole body is in
  cut         closes both sides when `at` bytes of the body have passed
  reset       the same by RST
  half-close  shuts the way to the service down then, and passes on what the service says
  stall       passes nothing on for `seconds`, then resets
  slow        passes `rate` bytes a second
  flip        changes one bit of byte `at` of the body
  lose        passes all on, and closes instead of passing the answer on
  shorten     passes `at` bytes of the answer on, and closes
"""
import dataclasses
import re
import socket
import ssl
import struct
import threading
import time
import urllib.parse

BLOCK = 65536
FOREVER = 1 << 30


@dataclasses.dataclass
class Rule:
    method: str
    path: str
    fault: str
    times: int = 1
    skip: int = 0  # so many requests pass before
    at: int = 0
    status: int = 500
    headers: str = ""
    body: str = "<html><head><title>T</title></head><body><h1>T</h1>on purpose</body></html>"
    after_body: bool = False
    seconds: float = 3
    rate: int = 1 << 20

    def take(self, method, path):
        if method != self.method or not re.search(self.path, path) or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Broken(Exception):
    """The connection is to end now, by RST or not."""

    def __init__(self, reset=False):
        super().__init__()
        self.reset = reset


def hang_up(sock, reset=False):
    try:
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    sock.close()


class Exchange:
    """One request on its way."""

    def __init__(self, proxy, client):
        self.proxy, self.client, self.server, self.rule = proxy, client, None, None
        self.passed = 0

    def run(self):
        reset = False
        try:
            self.forward()
        except Broken as broken:
            reset = broken.reset
        except OSError:
            pass
        for sock in (self.client, self.server):
            if sock:
                hang_up(sock, reset)

    def read_head(self):
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.client.recv(BLOCK)
            if not data:
                raise Broken()
            head += data
        return head.split(b"\r\n\r\n", 1)

    def forward(self):
        head, rest = self.read_head()
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        self.rule = self.proxy.rule_for(method, path)
        if self.rule and self.rule.fault == "status" and not self.rule.after_body:
            self.answer()
        host = path if method == "CONNECT" else urllib.parse.urlsplit(path).netloc
        self.server = socket.create_connection(("127.0.0.1", self.proxy.port_of(host)), 60)
        self.server.settimeout(None)
        if method == "CONNECT":
            self.client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            lines, rest = [], b""
        elif host:
            lines[0] = lines[0].replace(f"http://{host}", "", 1)
        lines = [line for line in lines if not line.lower().startswith("connection:")]
        if lines:
            self.server.sendall("\r\n".join(lines + ["Connection: close", "", ""])
                                .encode("latin-1"))
        at_once = self.breaks() and self.rule.at == 0
        if at_once and not self.fault("half-close"):
            self.strike()  # before an answer can pass
        back = threading.Thread(target=self.pass_back, daemon=True)
        back.start()
        if at_once:
            self.strike()
        if rest:
            self.pass_on(rest)
        try:
            while True:
                data = self.client.recv(BLOCK)
                if not data:
                    break
                self.pass_on(data)
        finally:
            if self.rule and self.rule.fault in ("half-close", "slow"):
                back.join(20)

    def fault(self, name):
        return self.rule is not None and self.rule.fault == name

    def breaks(self):
        return self.rule is not None and self.rule.fault in ("cut", "reset", "half-close", "stall")

    def pass_on(self, data):
        if self.breaks() and self.passed + len(data) >= self.rule.at:
            self.server.sendall(data[:self.rule.at - self.passed])
            self.strike()
            return
        if self.fault("slow"):
            time.sleep(len(data) / self.rule.rate)
        if self.fault("flip") and self.passed <= self.rule.at < self.passed + len(data):
            data = bytearray(data)
            data[self.rule.at - self.passed] ^= 1
        self.passed += len(data)
        if not (self.fault("status") and self.rule.after_body):
            self.server.sendall(data)
        elif data.endswith(b"0\r\n\r\n"):
            self.answer()

    def strike(self):
        if self.fault("half-close"):
            self.server.shutdown(socket.SHUT_WR)
            while self.client.recv(BLOCK):
                pass
            return
        if self.fault("stall"):
            time.sleep(self.rule.seconds)
        raise Broken(reset=not self.fault("cut"))

    def answer(self):
        rule = self.rule
        text = (f"HTTP/1.1 {rule.status} On Purpose\r\nContent-Type: text/html\r\n"
                f"Content-Length: {len(rule.body)}\r\nConnection: close\r\n"
                f"X-Openstack-Request-Id: req-proxy\r\n{rule.headers}\r\n{rule.body}")
        self.client.sendall(text.encode())
        self.client.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and self.client.recv(BLOCK):
            pass
        raise Broken()

    def pass_back(self):
        passed = 0
        try:
            while True:
                data = self.server.recv(BLOCK)
                if not data:
                    break
                # The 100 is no answer yet.
                if self.fault("lose") and not data.startswith(b"HTTP/1.1 100"):
                    break
                if self.fault("shorten") and not data.startswith(b"HTTP/1.1 100"):
                    self.client.sendall(data[:max(self.rule.at - passed, 0)])
                    passed += len(data)
                    if passed >= self.rule.at:
                        break
                    continue
                self.client.sendall(data)
        except OSError:
            pass
        hang_up(self.client)


class FaultProxy:
    """Listens on `url`; `log` has (method, path, fault or None) of each request. `upstream` is the
    service's port, or those of several by "HOST:PORT" as clients call them."""

    def __init__(self, upstream, cert=None, key=None, clients=None):
        """`clients`: the authority of the certificates that clients must have."""
        self.upstream, self.rules, self.log = upstream, [], []
        self.lock = threading.Lock()
        self.context = None
        if cert:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(cert, key)
        if clients:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(clients)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if cert else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def port_of(self, host):
        return int(self.upstream[host] if isinstance(self.upstream, dict) else self.upstream)

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            if self.context:
                client = self.context.wrap_socket(client, server_side=True,
                                                  do_handshake_on_connect=False)
                client.do_handshake()
        except OSError:
            self.let_read(client)
            return
        Exchange(self, client).run()

    @staticmethod
    def let_read(client):
        """Why the handshake failed: a reset for bytes that weren't read would overtake it."""
        try:
            client.settimeout(2)
            while socket.socket.recv(client, BLOCK):
                pass
        except OSError:
            pass
        hang_up(client)

    def rule_for(self, method, path):
        with self.lock:
            for rule in self.rules:
                if rule.take(method, path):
                    self.log.append((method, path, rule.fault))
                    return rule
            self.log.append((method, path, None))
        return None

    def set(self, *rules):
        with self.lock:
            self.rules, self.log = list(rules), []

    def close(self):
        self.listener.close()

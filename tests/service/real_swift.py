# SPDX-License-Identifier: Apache-2.0
"""A real Swift, with a Keystone beside it where one is asked for, and what stands in it."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

import kit

BUCKET = "images"


class Account:
    """What one login has in Swift, by Swift's own interface, with urllib."""

    account = token = None
    _open = staticmethod(urllib.request.build_opener(urllib.request.ProxyHandler({})).open)

    def log_in(self):
        """The URL of the account, and a token."""
        raise NotImplementedError

    def call(self, method, path, again=2, **headers):
        if not self.token:
            self.account, self.token = self.log_in()
        request = urllib.request.Request(self.account + path, method=method, headers={
            "X-Auth-Token": self.token, "Accept": "text/plain",
            **{key.replace("_", "-"): value for key, value in headers.items()}})
        try:
            with self._open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            if error.code != 401 or again == 0:
                return error.code, error.read()
        self.token = None  # it has expired; so may soon a new one, which version 1 has of others
        return self.call(method, path, again=again - 1, **headers)

    def make(self, container):
        status, body = self.call("PUT", f"/{container}")
        assert status in (201, 202), f"{container}: {status} {body}"

    def objects(self):
        """All there are, with their containers."""
        return {f"/{container}/{name}"
                for container in self.call("GET", "")[1].decode().split()
                for name in self.call("GET", f"/{container}")[1].decode().splitlines()}

    def clear(self):
        for path in self.objects():
            self.call("DELETE", urllib.request.quote(path))


class KeystoneAccount(Account):
    """That of the user demo."""

    def __init__(self, exports):
        self.exports = exports

    def log_in(self):
        default = {"id": "default"}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": "demo", "domain": default, "password": "demo-pw"}}},
            "scope": {"project": {"name": "demo", "domain": default}}}}
        request = urllib.request.Request(
            self.exports["OS_AUTH_URL"] + "/auth/tokens", json.dumps(body).encode(),
            {"Content-Type": "application/json"})
        with self._open(request, timeout=60) as answer:
            (url,) = {endpoint["url"] for service in json.load(answer)["token"]["catalog"]
                      if service["type"] == "object-store" for endpoint in service["endpoints"]}
            return url, answer.headers["X-Subject-Token"]


class Swift(Account):
    """One for all tests of a module, as its start takes a while; the account is that of version
    1's login."""

    def __init__(self, *options, size=None):
        """Options are those of start-swift; with a size its disk is a small one of its own."""
        self.folder = tempfile.mkdtemp(prefix="qmpsnap-swift-", dir="/var/tmp")
        self.state = pathlib.Path(self.folder) / "state"
        self.mounted = None
        if size:
            self.mount(size)
        done = subprocess.run([kit.SERVICES / "start-swift", self.state, *options], check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            os.rmdir(self.folder) if not self.state.exists() else self.close()
            if done.returncode == kit.SKIPPED:
                raise unittest.SkipTest("a package is missing; see scripts/install-deps --test")
            raise RuntimeError("start-swift failed")
        self.exports = dict(line.removeprefix("export ").split("=", 1)
                            for line in done.stdout.splitlines() if line)
        self.url = self.exports["AWS_ENDPOINT_URL"]
        self.account, self.token = self.log_in()

    def log_in(self):
        request = urllib.request.Request(self.exports["ST_AUTH"], headers={
            "X-Auth-User": self.exports["ST_USER"], "X-Auth-Key": self.exports["ST_KEY"]})
        with self._open(request, timeout=60) as answer:
            return answer.headers["X-Storage-Url"], answer.headers["X-Auth-Token"]

    def mount(self, size):
        disk = self.state / "srv" / "d1"
        disk.mkdir(parents=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(self.folder)
            raise unittest.SkipTest(f"no file system of its own: {done.stderr.strip()}")
        self.mounted = disk

    def close(self):
        if self.mounted:
            subprocess.run([kit.SERVICES / "stop-services", self.state], check=True,
                           stdin=subprocess.DEVNULL)
            subprocess.run(["umount", self.mounted], check=True)
        subprocess.run([kit.SERVICES / "stop-services", self.state, "--purge"], check=True,
                       stdin=subprocess.DEVNULL)
        os.rmdir(self.folder)

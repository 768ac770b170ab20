# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/store-*.md, run as they stand there but for names and secrets, into real
services and files; what curl fetches from these afterwards is what the guest had."""
import os
import pathlib
import re
import subprocess
import threading
import unittest
import urllib.request

import images
import kit
import tool
from lab import MIB, Disk, LabTest
from real_swift import KeystoneAccount, Swift


class DocsTest(LabTest):
    def setUp(self):
        self.home = self.guest_with_data().folder / "home"
        self.home.mkdir()

    def guest_with_data(self):
        self.vm = self.guest(Disk(8 * MIB))
        self.vm.write(self.vm.disks[0], MIB, 3 * MIB, 0x5a)
        return self.vm

    @staticmethod
    def blocks(page):
        text = (tool.TOP / "docs" / page).read_text("utf-8")
        return re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)

    def examples(self, page, names):
        """The blocks with snapshots, and those that are files, which are written."""
        names = {"/run/vm.qmp": self.vm.address.removeprefix("unix:"), "vda": "vd0", **names}
        commands = []
        for block in self.blocks(page):
            for old, new in names.items():
                block = block.replace(old, new)
            if "qmpsnap snapshot" in block:
                commands.append(block)
            for path, text in re.findall(r"^# (\S+), mode 0600[^\n]*\n(.*?)(?=^# |\Z)", block,
                                         re.DOTALL | re.MULTILINE):
                file = pathlib.Path(path.replace("~", str(self.home)))
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, "utf-8")
                file.chmod(0o600)
        return commands

    def run_block(self, block, **env):
        path = f"{pathlib.Path(tool.BINARY).resolve().parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-ec", block], cwd=self.home, timeout=240, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={"PATH": path, "HOME": str(self.home), **self.vm.tool_env(), **env})
        self.assertEqual(done.returncode, 0, f"{block}\n{done.stdout}{done.stderr}")

    def assert_fetched(self, url, token=None):
        file = self.home / "fetched.qcow2"
        login = ["-H", f"X-Auth-Token: {token}"] if token else []
        subprocess.run(["curl", "-sSf", "--noproxy", "*", *login, "-o", file, url], check=True,
                       stdin=subprocess.DEVNULL, timeout=120)
        images.assert_clean(file, "qcow2")
        images.assert_same(file, "qcow2", self.vm.disks[0].reference, "raw")
        file.unlink()


class Commands:
    """What any process of this host that is qmpsnap's or QEMU's has on its command line meanwhile."""

    def __enter__(self):
        self.seen, self._over = set(), threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _look(self):
        while not self._over.wait(0.02):
            for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue  # it has ended
                if line.split(" ")[0].rsplit("/", 1)[-1].startswith(("qmpsnap", "qemu")):
                    self.seen.add(line)


class Files(DocsTest):
    def test_examples(self):
        folder = self.home / "images"
        found = self.examples("store-files.md", {"/srv/images": str(folder)})
        self.assertEqual(len(found), 4)
        for block in found:
            with self.subTest(block=block):
                self.run_block(block)
        with open(self.home / "piped.qcow2", "wb") as out:
            subprocess.run(["gzip", "-dc", self.home / "web.qcow2.gz"], check=True, stdout=out)
        made = {path: path.suffix[1:] for path in (*folder.iterdir(), *self.home.iterdir())
                if path.suffix in (".qcow2", ".raw")}
        self.assertEqual(sorted(made.values()), ["qcow2", "qcow2", "qcow2", "raw"])
        self.assertEqual(len(list(folder.glob("*.json"))), 2)
        for path, fmt in made.items():
            images.assert_clean(path, fmt)
            images.assert_same(path, fmt, self.vm.disks[0].reference, "raw")


class Glance(DocsTest):
    def test_examples(self):
        service, alone = kit.Service("--keystone", "--multistore"), kit.Service()
        self.addCleanup(service.close)
        self.addCleanup(alone.close)
        status, _ = service.call("POST", "/v2/images", b'{"id": "5f9a4c2e-0b3d-4a6f-8a9b-0c1d2e3f4'
                                 b'a5b", "name": "base", "container_format": "bare", '
                                 b'"disk_format": "qcow2"}')
        self.assertEqual(status, 201)
        exports = service.exports
        found = self.examples("store-glance.md", {
            "https://keystone.example:5000": exports["OS_AUTH_URL"].removesuffix("/v3"),
            "61b18c1a97064522aeaa0b92ada7c264": exports["TEST_CREDENTIAL_ID"],
            "application_credential_secret: ...": "application_credential_secret: appcred-secret",
            "    cacert: /etc/ssl/example-ca.pem\n": "", "http://127.0.0.1:9292": alone.url})
        self.assertEqual(len(found), 4)
        (self.home / "openrc").write_text("".join(f"export {key}={value}\n" for key, value
                                                  in service.login().items()), "ascii")
        secrets = ("demo-pw", "appcred-secret")
        for block in found:
            with self.subTest(block=block):
                with Commands() as commands:
                    self.run_block(block)
                seen = commands.seen
                self.assertTrue(any(line.startswith("qmpsnap-guard") for line in seen), seen)
                self.assertEqual([line for line in seen if any(s in line for s in secrets)], [])
                here = alone if alone.url in block else service
                (made,) = [one for one in here.images() if one["name"] != "base"]
                self.assert_fetched(f"{here.url}/v2/images/{made['id']}/file", here.token())
                self.assertEqual(here.call("DELETE", f"/v2/images/{made['id']}")[0], 204)


class Objects(DocsTest):
    @classmethod
    def setUpClass(cls):
        cls.swift = Swift("--keystone")
        for container in ("backups", "images"):
            cls.swift.make(container)

    @classmethod
    def tearDownClass(cls):
        cls.swift.close()

    def run_each(self, found, account, **env):
        for block in found:
            with self.subTest(block=block):
                account = account if "ST_AUTH" not in block else self.swift
                self.run_block(block, **env)
                (made,) = [one for one in account.objects() if one.endswith(".qcow2")]
                self.assert_fetched(account.account + urllib.request.quote(made), account.token)
                account.clear()

    def test_s3(self):
        exports = self.swift.exports
        key, secret = exports["AWS_ACCESS_KEY_ID"], exports["AWS_SECRET_ACCESS_KEY"]
        found = self.examples("store-s3.md", {
            "AKIA...": key, "AWS_SECRET_ACCESS_KEY=...": f"AWS_SECRET_ACCESS_KEY={secret}",
            "_access_key_id = backup": f"_access_key_id = {key}",
            "secret_access_key = ...": f"secret_access_key = {secret}",
            "eu-central-1": exports["AWS_REGION"], "https://s3.lab.example": self.swift.url,
            "ca_bundle = /etc/ssl/lab-ca.pem\n": "", "# ~/.aws/config\n":
            "# ~/.aws/config, mode 0600\n"})
        self.assertEqual(len(found), 2)
        self.run_each(found[:1], self.swift, AWS_ENDPOINT_URL=self.swift.url)
        self.run_each(found[1:], self.swift)

    def test_swift(self):
        exports = self.swift.exports
        found = self.examples("store-swift.md", {
            "https://swift.example/auth/v1.0": exports["ST_AUTH"],
            "account:user": exports["ST_USER"], "ST_KEY=...": f"ST_KEY={exports['ST_KEY']}"})
        self.assertEqual(len(found), 2)
        clouds = pathlib.Path(exports["TEST_CLOUDS"]).read_text("utf-8")
        clouds = clouds.replace("  demo-appcred:", "  prod:")
        folder = self.home / ".config" / "openstack"
        folder.mkdir(parents=True)
        (folder / "clouds.yaml").write_text(clouds, "utf-8")
        (folder / "clouds.yaml").chmod(0o600)
        self.run_each(found, KeystoneAccount(exports))

    def test_http(self):
        found = self.examples("store-http.md", {
            "https://files.example": self.swift.account,
            "/etc/qmpsnap": str(self.home),
            "Authorization: Bearer ...": f"X-Auth-Token: {self.swift.token}"})
        self.assertEqual(len(found), 1)
        self.run_each(found, self.swift)


del DocsTest  # no test of its own


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""What the tests with real services share: the services, uploads, and what the service has then."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

SERVICES = pathlib.Path(__file__).resolve().parents[1] / "services"
UPLOAD = os.environ.get("UPLOAD_IMAGE") or str(
    pathlib.Path(__file__).resolve().parents[2] / "build" / "tests" / "service" / "upload_image")
SKIPPED = 77


class Service:
    """A real Glance, with options of start-glance."""

    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="qmpsnap-glance-", dir="/var/tmp")
        self.state = pathlib.Path(self.folder) / "state"
        done = subprocess.run([SERVICES / "start-glance", self.state, *options], check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            os.rmdir(self.folder) if not self.state.exists() else self.close()
            if done.returncode == SKIPPED:
                raise unittest.SkipTest("a package is missing; see scripts/install-deps --test")
            raise RuntimeError("start-glance failed")
        self.exports = dict(line.removeprefix("export ").split("=", 1)
                            for line in done.stdout.splitlines())
        self.url = self.exports["GLANCE_URL"]
        self.port = int(self.url.rsplit(":", 1)[1])
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self.tokens = {}

    def close(self):
        subprocess.run([SERVICES / "stop-services", self.state, "--purge"], check=True,
                       stdin=subprocess.DEVNULL)
        os.rmdir(self.folder)

    def login(self):
        """The variables of the user demo."""
        return {key: value for key, value in self.exports.items() if key.startswith("OS_")}

    def token(self, user="demo"):
        if "OS_AUTH_URL" not in self.exports:
            return None
        if user not in self.tokens:
            default = {"id": "default"}
            body = {"auth": {
                "identity": {"methods": ["password"], "password": {"user": {
                    "name": user, "domain": default, "password": user + "-pw"}}},
                "scope": {"project": {"name": user, "domain": default}}}}
            request = urllib.request.Request(
                self.exports["OS_AUTH_URL"] + "/auth/tokens", json.dumps(body).encode(),
                {"Content-Type": "application/json"})
            with self._open(request, timeout=60) as answer:
                self.tokens[user] = answer.headers["X-Subject-Token"]
        return self.tokens[user]

    def call(self, method, path, body=None, kind="application/json", user="demo"):
        """By urllib, not by what is tested."""
        headers = {"Content-Type": kind}
        if self.token(user):
            headers["X-Auth-Token"] = self.token(user)
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with self._open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            if error.code == 401 and self.tokens.pop(user, None):
                return self.call(method, path, body, kind, user)
            return error.code, error.read()

    def record(self, image_id):
        status, body = self.call("GET", f"/v2/images/{image_id}")
        return json.loads(body) if status == 200 else None

    def images(self):
        return json.loads(self.call("GET", "/v2/images?limit=1000")[1])["images"]

    def patch(self, image_id, *changes):
        return self.call("PATCH", f"/v2/images/{image_id}", json.dumps(changes).encode(),
                         "application/openstack-images-v2.1-json-patch")[0]

    def clear(self):
        for image in self.images():
            if image["protected"]:
                self.patch(image["id"], {"op": "replace", "path": "/protected", "value": False})
            self.call("DELETE", f"/v2/images/{image['id']}")


class Certificates:
    """Of a test authority, ca.pem: good for this host and NAMES, for another name, and expired."""

    NAMES = "IP:127.0.0.1,DNS:localhost,DNS:*.cloud.example"

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-tls-"))
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out",
                     "ca.pem", "-days", "2", "-subj", "/CN=test authority")
        for name, alt, days in (("good", self.NAMES, "2"), ("name", "DNS:elsewhere.example", "2"),
                                ("old", self.NAMES, "-1")):
            self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out",
                         f"{name}.csr", "-subj", "/CN=service")
            (self.folder / f"{name}.ext").write_text(f"subjectAltName={alt}\n", "ascii")
            self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                         "-CAcreateserial", "-days", days, "-out", f"{name}.pem", "-extfile",
                         f"{name}.ext")
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "self.key", "-out",
                     "self.pem", "-days", "2", "-subj", "/CN=service", "-addext",
                     f"subjectAltName={self.NAMES}")

    def openssl(self, *words):
        subprocess.run(["openssl", *words], check=True, cwd=self.folder, stdin=subprocess.DEVNULL,
                       capture_output=True)

    def of(self, name):
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    @property
    def authority(self):
        return str(self.folder / "ca.pem")

    def close(self):
        shutil.rmtree(self.folder)


class Uploaded:
    def __init__(self, done):
        self.status, self.stderr = done.returncode, done.stderr
        self.result = json.loads(done.stdout) if done.stdout.strip() else {}

    def __getattr__(self, name):
        return self.result[name]

    def __str__(self):
        return f"{self.status} {self.result} {self.stderr}"


def start_upload(spec, size, *options, env=None):
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **(env or {})}
    return subprocess.Popen([UPLOAD, *options, spec, str(size)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean,
                            cwd="/")


def upload(spec, size, *options, env=None):
    child = start_upload(spec, size, *options, env=env)
    try:
        out, errors = child.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        child.kill()
        out, errors = child.communicate()
        raise AssertionError(f"the upload hangs: {out} {errors}") from None
    return Uploaded(subprocess.CompletedProcess(child.args, child.returncode, out, errors))


class ServiceTest(unittest.TestCase):
    service = None

    def tearDown(self):
        self.service.clear()

    def assert_stored(self, done):
        """The upload was a success, and what the service has is what was sent."""
        self.assertEqual((done.status, done.code), (0, 0), str(done))
        record = self.service.record(done.id)
        self.assertEqual(record["status"], "active")
        self.assertEqual(record["qmpsnap_verified"], "true")
        self.assertEqual(record["qmpsnap_instant"], "2026-11-23T13:20:14.123Z")
        status, data = self.service.call("GET", f"/v2/images/{done.id}/file")
        self.assertIn(status, (200, 204))
        self.assertEqual(hashlib.sha512(data).hexdigest(), done.sha512)
        self.assertTrue(done.location.endswith(done.id), done.location)
        return record

    def assert_refused(self, done, code=5):
        """It failed with something to say, and nothing is left."""
        self.assertEqual((done.status, done.code), (1, code), str(done))
        self.assertTrue(done.message, str(done))
        self.assertNotIn("<", done.message)
        self.assertNotIn("undo", done.result, str(done))
        self.assertEqual([image["id"] for image in self.service.images()], [])

# SPDX-License-Identifier: Apache-2.0
"""The stores http: and https: with a real server that takes a PUT: Swift, whose login is a header."""
import hashlib
import json
import pathlib
import shutil
import tempfile
import unittest

import kit
from fault_proxy import FOREVER, FaultProxy, Rule
from real_swift import BUCKET, Swift

SIZE = 5000001
QUICK = ("--wait", "20", "--tries", "4")
NAME = f"/{BUCKET}/web.qcow2"
JSON = f"{NAME}.json"


class Web(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.swift = Swift()
        cls.swift.make(BUCKET)
        cls.port = int(cls.swift.url.rsplit(":", 1)[1])
        cls.path = cls.swift.account.removeprefix(cls.swift.url) + NAME
        cls.certificates = kit.Certificates()
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-web-"))
        cls.headers = cls.folder / "headers"
        cls.headers.write_text(f"# the login\nX-Auth-Token: {cls.swift.token}\n", "ascii")
        cls.headers.chmod(0o600)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)
        cls.certificates.close()
        cls.swift.close()

    def setUp(self):
        self.proxy = FaultProxy(self.port)
        self.addCleanup(self.proxy.close)

    def tearDown(self):
        self.swift.clear()

    def secure(self, name):
        proxy = FaultProxy(self.port, *self.certificates.of(name))
        self.addCleanup(proxy.close)
        return proxy

    def upload(self, proxy, *options, size=SIZE, env=None):
        return kit.upload(proxy.url + self.path, size, *QUICK, "--header-file", self.headers,
                          *options, env=env)

    def assert_stored(self, done, size=SIZE):
        self.assertEqual((done.status, done.code), (0, 0), str(done))
        status, data = self.swift.call("GET", NAME)
        self.assertEqual((status, len(data)), (200, size))
        self.assertEqual(hashlib.sha512(data).hexdigest(), done.sha512)
        record = self.record()
        self.assertEqual((record["id"], record["size"]), (done.id, size))
        self.assertEqual(record["os_hash_value"], hashlib.sha256(data).hexdigest())
        self.assertNotIn(self.swift.token, str(done))

    def record(self):
        status, text = self.swift.call("GET", JSON)
        self.assertEqual(status, 200)
        return json.loads(text)

    def assert_refused(self, done, *words):
        self.assertEqual((done.status, done.code), (1, 5), str(done))
        for word in words:
            self.assertIn(word, (done.message + done.hint).lower())
        self.assertNotIn("undo", done.result, str(done))
        self.assertEqual(self.swift.objects(), set())

    def test_round_trip(self):
        for size in (SIZE, 1, 0):
            with self.subTest(size=size):
                self.assert_stored(self.upload(self.proxy, size=size), size)
                self.swift.clear()

    def test_something_is_there(self):
        self.assert_stored(self.upload(self.proxy))
        done = self.upload(self.proxy, size=7)
        self.assertEqual(done.code, 5, str(done))
        self.assertIn("--force", done.hint)
        self.assertEqual(len(self.swift.call("GET", NAME)[1]), SIZE)
        self.assert_stored(self.upload(self.proxy, "--force", size=7), 7)

    def test_faults(self):
        for fault in ({"fault": "cut", "at": 2000000}, {"fault": "reset", "at": 2000000},
                      {"fault": "lose"}, {"fault": "status", "status": 503},
                      {"fault": "half-close", "at": 2000000},
                      {"fault": "status", "status": 429, "headers": "Retry-After: 1\r\n"}):
            with self.subTest(**fault):
                rule = Rule("PUT", "web.qcow2$", **fault)
                self.proxy.set(rule)
                self.assert_stored(self.upload(self.proxy))
                self.assertEqual(rule.times, 0)
                self.swift.clear()

    def test_failure_leaves_nothing(self):
        for fault in ({"fault": "reset", "at": 2000000}, {"fault": "status", "status": 507},
                      {"fault": "status", "status": 403}):
            with self.subTest(**fault):
                self.proxy.set(Rule("PUT", "web.qcow2$", times=FOREVER, **fault))
                self.assert_refused(self.upload(self.proxy))

    def test_failure_leaves_what_was_there(self):
        self.assert_stored(self.upload(self.proxy, size=7), 7)
        for fault in ({"fault": "reset", "at": 2000000}, {"fault": "status", "status": 507}):
            with self.subTest(**fault):
                self.proxy.set(Rule("PUT", "web.qcow2$", times=FOREVER, **fault))
                done = self.upload(self.proxy, "--force")
                self.assertEqual(done.code, 5, str(done))
                self.assertEqual("left alone" in done.stderr, "at" in fault)
                self.assertEqual(len(self.swift.call("GET", NAME)[1]), 7)

    def test_json_is_a_directorys(self):
        self.assert_stored(self.upload(self.proxy))
        folder = self.folder / "images"
        done = kit.upload(f"dir:{folder}", SIZE)
        self.assertEqual(done.code, 0, str(done))
        (file,) = folder.glob("*.json")
        mine, other = self.record(), json.loads(file.read_text("utf-8"))
        self.assertEqual(list(mine), list(other))
        for key in ("id", "qmpsnap_image", "created_at"):
            mine.pop(key), other.pop(key)
        self.assertEqual(mine, other)

    def test_json_faults(self):
        for fault in ({"fault": "lose"}, {"fault": "status", "status": 503},
                      {"fault": "reset", "at": 100}):
            with self.subTest(**fault):
                rule = Rule("PUT", "json$", **fault)
                self.proxy.set(rule)
                self.assert_stored(self.upload(self.proxy))
                self.assertEqual(rule.times, 0)
                self.swift.clear()

    def test_json_refused(self):
        """The image is there, and whole."""
        self.proxy.set(Rule("PUT", "json$", times=FOREVER, fault="status", status=405))
        done = self.upload(self.proxy)
        self.assertEqual(done.code, 0, str(done))
        self.assertIn("without its JSON", done.stderr)
        self.assertEqual(self.swift.objects(), {NAME})

    def test_json_fails(self):
        for fault in ({"fault": "status", "status": 503}, {"fault": "lose"}):
            with self.subTest(**fault):
                self.proxy.set(Rule("PUT", "json$", times=FOREVER, **fault))
                self.assert_refused(self.upload(self.proxy), "json")

    def test_json_fails_beside_what_replaced(self):
        self.assert_stored(self.upload(self.proxy, size=7), 7)
        self.proxy.set(Rule("PUT", "json$", times=FOREVER, fault="status", status=503))
        done = self.upload(self.proxy, "--force")
        self.assertEqual(done.code, 0, str(done))
        self.assertIn("perhaps without its JSON", done.stderr)
        self.assertEqual(len(self.swift.call("GET", NAME)[1]), SIZE)
        self.assertEqual(self.swift.objects(), {NAME})

    def test_old_json_goes_first(self):
        self.assert_stored(self.upload(self.proxy, size=7), 7)
        done = kit.upload(f"{self.proxy.url}{self.path}#no-json", SIZE, *QUICK, "--force",
                          "--header-file", self.headers)
        self.assertEqual(done.code, 0, str(done))
        self.assertEqual(self.swift.objects(), {NAME})
        self.assertEqual([method for method, *_ in self.proxy.log][-5:],
                         ["HEAD", "HEAD", "DELETE", "PUT", "HEAD"])

    def test_json_unwanted(self):
        done = kit.upload(f"{self.proxy.url}{self.path}#no-json", SIZE, *QUICK, "--header-file",
                          self.headers)
        self.assertEqual(done.code, 0, str(done))
        self.assertEqual(self.swift.objects(), {NAME})

    def test_login_is_wanted(self):
        done = kit.upload(self.proxy.url + self.path, SIZE, *QUICK)
        self.assert_refused(done, "401", "--header-file")

    def test_killed(self):
        """A guard deletes what is there."""
        stored = self.upload(self.proxy)
        self.assert_stored(stored)
        done = self.upload(self.proxy, "--discard-left", "0f7a1c2e-4b5d-4e6f-8a9b-0c1d2e3f4a5b")
        self.assertEqual(done.code, 0, str(done))
        self.assertIn("its JSON is another image's", done.stderr)
        self.assertEqual(self.swift.objects(), {NAME, JSON})
        done = self.upload(self.proxy, "--discard-left", stored.id)
        self.assertEqual(done.code, 0, str(done))
        self.assertEqual(self.swift.objects(), set())

    def test_known_authority(self):
        done = self.upload(self.secure("good"), "--cacert", self.certificates.authority)
        self.assert_stored(done)
        # What a guard opens is the same, by what it is told alone.
        self.assertIn("cacert=", done.spec)
        done = kit.upload(done.spec, 0, "--discard-left", done.id)
        self.assertEqual(done.code, 0, str(done))
        self.assertEqual(self.swift.objects(), set())

    def test_not_trusted(self):
        authority = ("--cacert", self.certificates.authority)
        for name, options in (("good", ()), ("name", authority), ("old", authority),
                              ("self", authority), ("self", ())):
            with self.subTest(name=name, options=options):
                proxy = self.secure(name)
                self.assert_refused(self.upload(proxy, *options), "certificate")
                self.assertEqual(proxy.log, [], "something was sent")

    def test_insecure(self):
        for name in ("good", "name", "old", "self"):
            with self.subTest(name=name):
                self.assert_stored(self.upload(self.secure(name), "--insecure"))
                self.swift.clear()

    def test_no_such_file(self):
        done = self.upload(self.secure("good"), "--cacert", self.folder / "nowhere.pem")
        self.assertNotEqual(done.code, 0, str(done))
        self.assertIn("nowhere.pem", done.message + done.hint)

    def test_proxy(self):
        proxy = FaultProxy({"files.cloud.example": self.port})
        self.addCleanup(proxy.close)
        url = f"http://files.cloud.example{self.path}"
        self.assert_stored(kit.upload(url, SIZE, *QUICK, "--header-file", self.headers,
                                      env={"http_proxy": proxy.url}))
        self.assertEqual([method for method, *_ in proxy.log],
                         ["HEAD", "HEAD", "PUT", "HEAD", "PUT"])

    def test_s3_and_tls(self):
        env = {key: value for key, value in self.swift.exports.items() if key.startswith("AWS_")}
        for name, known, well in (("good", True, True), ("good", False, False),
                                  ("name", True, False), ("old", True, False),
                                  ("self", True, False)):
            with self.subTest(name=name, known=known):
                proxy = self.secure(name)
                more = {"AWS_CA_BUNDLE": self.certificates.authority} if known else {}
                done = kit.upload(f"s3://{BUCKET}", SIZE, *QUICK,
                                  env={**env, **more, "AWS_ENDPOINT_URL": proxy.url})
                if well:
                    self.assertEqual(done.code, 0, str(done))
                    self.swift.clear()
                else:
                    self.assert_refused(done, "certificate")
                    self.assertEqual(proxy.log, [], "something was sent")


if __name__ == "__main__":
    unittest.main()

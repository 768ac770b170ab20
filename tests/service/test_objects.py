# SPDX-License-Identifier: Apache-2.0
"""A real Swift, by its own interface and by its S3 API: what is fetched back is what was sent, and
what failed or was killed leaves nothing."""
import hashlib
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest
import urllib.request

import kit
from fault_proxy import FOREVER, FaultProxy, Rule
from real_swift import BUCKET, Swift

LARGE = 20000001
QUICK = ("--wait", "20", "--tries", "5")


def setUpModule():
    global swift, proxy
    swift = Swift("--keystone")
    proxy = FaultProxy(swift.url.rsplit(":", 1)[1])
    swift.make(BUCKET)


def tearDownModule():
    proxy.close()
    swift.close()


class ObjectTest(unittest.TestCase):
    """What both ways have in common; the rest is the subclass's."""
    spec = data_path = final_path = requests = part = None
    container = BUCKET

    def env(self, url=None):
        raise NotImplementedError

    def tearDown(self):
        proxy.rules.clear()
        swift.clear()

    def setUp(self):
        self.size = 2 * self.part + 500001
        self.quick = (*QUICK, "--part", str(self.part))

    def upload(self, *options, size=None, spec=None, url=None, **env):
        return kit.upload(spec or self.spec, self.size if size is None else size, *self.quick,
                          *options, env={**self.env(url), **env})

    def faulty(self, *rules, **more):
        proxy.rules[:] = rules
        return self.upload(url=proxy.url, **more)

    def assert_stored(self, done, size=None, prefix=""):
        size = self.size if size is None else size
        self.assertEqual((done.status, done.code), (0, 0), str(done))
        name = f"/{self.container}/{prefix}web_1-{done.id}"
        self.assertEqual({path for path in swift.objects()
                          if path.startswith(f"/{self.container}/")}, {name + ".raw", name + ".json"})
        status, data = swift.call("GET", urllib.request.quote(name + ".raw"))
        self.assertEqual((status, len(data)), (200, size))
        self.assertEqual(hashlib.sha512(data).hexdigest(), done.sha512)
        record = json.loads(swift.call("GET", urllib.request.quote(name + ".json"))[1])
        self.assertEqual(record["size"], size)
        self.assertEqual((record["os_hash_algo"], record["os_hash_value"]),
                         ("sha256", hashlib.sha256(data).hexdigest()))
        self.assertEqual((record["id"], record["qmpsnap_verified"], record["disk_format"]),
                         (done.id, "true", "raw"))

    def assert_nothing(self):
        # Uploads that were never completed are objects, too, in the segments' container.
        self.assertEqual(swift.objects(), set())

    def assert_refused(self, done, *words):
        self.assertEqual((done.status, done.code), (1, 5), str(done))
        for word in words:
            self.assertIn(word, done.message)
        self.assertNotIn("<", done.message)
        self.assertNotIn("undo", done.result, str(done))
        self.assert_nothing()

    def test_round_trip(self):
        for size in (LARGE, 2 * self.part, 1, 0):
            with self.subTest(size=size):
                done = self.upload(size=size)
                self.assert_stored(done, size)
                self.assertNotIn(swift.exports["ST_KEY"], done.stderr)
                swift.clear()

    def test_what_passes_is_tried_again(self):
        for fault in ({"fault": "reset", "at": 500000}, {"fault": "lose"},
                      {"fault": "status", "status": 503, "headers": "Retry-After: 1\r\n"},
                      {"fault": "stall", "at": 100000, "seconds": 1}):
            with self.subTest(fault=fault):
                rule = Rule("PUT", self.data_path, times=2, skip=1, **fault)
                self.assert_stored(self.faulty(rule))
                self.assertEqual(rule.times, 0)
                swift.clear()

    def test_once(self):
        """Each request meets each fault that passes: the image is there, and nothing else."""
        for method, path in self.requests:
            for fault in ({"fault": "cut"}, {"fault": "reset"}, {"fault": "lose"},
                          {"fault": "shorten", "at": 20},
                          {"fault": "status", "status": 503}):
                with self.subTest(method=method, path=path, **fault):
                    swift.clear()
                    rule = Rule(method, path, **fault)
                    done = self.faulty(rule, size=self.part + 1001)
                    self.assertEqual(rule.times, 0)
                    self.assert_stored(done, self.part + 1001)
                    self.assertEqual(len(swift.objects()), 4)  # and two parts

    def test_each_request_stands_still(self):
        """All of them in one upload."""
        size = self.part + 1001
        for fault in ({"fault": "stall", "seconds": 0.3}, {"fault": "slow", "rate": 20000000}):
            with self.subTest(**fault):
                swift.clear()
                rules = [Rule(method, path, **fault) for method, path in self.requests]
                done = self.faulty(*rules, size=size)
                self.assertEqual([rule.times for rule in rules], [0] * len(rules))
                self.assert_stored(done, size)

    def test_each_request_half_closed(self):
        size = self.part + 1001
        for method, path in self.requests:
            with self.subTest(method=method, path=path):
                swift.clear()
                rule = Rule(method, path, "half-close")
                done = self.faulty(rule, size=size)
                self.assertEqual(rule.times, 0)
                if done.code == 0:
                    self.assert_stored(done, size)
                else:
                    self.assert_refused(done)

    def test_lost_completion(self):
        method, path = self.final_path
        rule = Rule(method, path, "lose")
        self.assert_stored(self.faulty(rule))
        self.assertEqual(rule.times, 0)

    def test_failure_leaves_nothing(self):
        rules = {"parts": Rule("PUT", self.data_path, "reset", times=FOREVER, skip=2, at=100),
                 "completion": Rule(*self.final_path, "status", times=FOREVER, status=500),
                 "check": Rule("HEAD", r"\.raw$", "status", times=FOREVER, status=403),
                 "publication": Rule("PUT", r"\.json$", "status", times=FOREVER, status=500)}
        for where, rule in rules.items():
            with self.subTest(where=where):
                self.assert_refused(self.faulty(rule))

    def test_refusals_are_final(self):
        for status in (400, 403, 413):
            with self.subTest(status=status):
                rule = Rule("PUT", self.data_path, "status", times=FOREVER, status=status)
                proxy.log.clear()
                self.assert_refused(self.faulty(rule), str(status), "on purpose")
                faults = [path for _, path, fault in proxy.log if fault]
                self.assertEqual(len(faults), len(set(faults)), "a refusal was tried again")

    def test_changed_on_the_way(self):
        rule = Rule("PUT", self.data_path, "flip", skip=1, at=300000)
        self.assert_refused(self.faulty(rule), *self.mismatch)
        self.assertEqual(rule.times, 0)

    def test_killed(self):
        child = kit.start_upload(self.spec, self.size, *self.quick, "--delay", "20",
                                 env=self.env())
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.stderr.close)
        deadline = time.monotonic() + 60
        while not any(re.search(r"\.raw/", path) for path in swift.objects()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        child.send_signal(signal.SIGKILL)
        child.wait(60)
        time.sleep(0.5)  # what is on its way still arrives
        (image_id,) = {path.split("web_1-")[1][:36] for path in swift.objects()}
        done = self.upload("--discard-left", image_id)
        self.assertEqual(done.code, 0, str(done))
        self.assert_nothing()
        self.assertEqual(self.upload("--discard-left", image_id).code, 0)

    def test_left_elsewhere(self):
        """Where there is no such container, there was none of the image."""
        done = self.upload("--discard-left", "0f7a1c2e-4b5d-4e6f-8a9b-0c1d2e3f4a5b",
                           spec=self.spec.replace(self.container, "elsewhere"))
        self.assertEqual((done.status, done.code), (1, 5), str(done))
        self.assertIn("404", done.message)

    def test_left_before_publication(self):
        done = self.upload("--left")
        self.assertEqual(done.code, 0, str(done))
        other = self.upload()
        self.assertEqual(self.upload("--discard-left", done.id).code, 0)
        self.assert_stored(other)

    def test_quota(self):
        """Of the container that the bytes go to: the parts, or the one object, are refused."""
        bytes_in = self.bytes_container
        swift.make(bytes_in)
        for size in (self.size, 600000):
            with self.subTest(size=size):
                for container in (self.container, bytes_in):
                    self.container_quota(container, 500000)
                done = self.upload(size=size)
                for container in (self.container, bytes_in):
                    self.container_quota(container, "")
                self.assert_refused(done, self.over_quota)
                self.assertIn("quota", done.message + done.hint)

    @staticmethod
    def container_quota(container, quota):
        swift.call("POST", f"/{container}", X_Container_Meta_Quota_Bytes=str(quota))

    def test_nobody_there(self):
        done = self.upload(url="http://127.0.0.1:9")
        self.assertEqual((done.status, done.code), (1, 5), str(done))
        self.assertIn("127.0.0.1", done.message)
        self.assertNotIn("undo", done.result, str(done))

    def test_set_at_once(self):
        children = [kit.start_upload(self.spec, self.size + n, *self.quick, env=self.env())
                    for n in range(3)]
        for child in children:
            out, errors = child.communicate(timeout=120)
            self.assertEqual(child.returncode, 0, out + errors)
        self.assertEqual(len([path for path in swift.objects()
                              if path.startswith(f"/{self.container}/")]), 6)


class S3(ObjectTest):
    spec = f"s3://{BUCKET}"
    bytes_container = f"{BUCKET}+segments"
    over_quota = "EntityTooLarge"
    part = 5 << 20  # the least that S3 has
    mismatch = ("BadDigest",)
    data_path = r"partNumber="
    final_path = ("POST", r"\?uploadId=")
    requests = (("POST", r"\?uploads="), ("PUT", "partNumber=1&"), ("PUT", "partNumber=2&"),
                final_path, ("HEAD", r"\.raw$"), ("PUT", r"\.json$"))

    def env(self, url=None):
        return {"AWS_ENDPOINT_URL_S3": url or swift.url,
                **{key: value for key, value in swift.exports.items() if key.startswith("AWS_")}}

    def test_prefix(self):
        for prefix in ("web/daily", "a b+c/ü~%41=&"):
            with self.subTest(prefix=prefix):
                done = self.upload(spec=f"s3://{BUCKET}/{prefix}/", size=100)
                self.assert_stored(done, 100, prefix + "/")
                self.assertEqual(
                    self.upload("--discard-left", done.id, spec=f"s3://{BUCKET}/{prefix}").code, 0)
                self.assert_nothing()

    def test_wrong_key(self):
        done = self.upload(AWS_SECRET_ACCESS_KEY="wrong-secret")
        self.assert_refused(done, "403", "SignatureDoesNotMatch", "request tx")
        self.assertIn("secret key", done.hint)
        self.assertNotIn("wrong-secret", str(done))

    def test_no_bucket(self):
        done = self.upload(spec="s3://nowhere/x")
        self.assert_refused(done, "NoSuchBucket")

    def test_upload_gone(self):
        rule = Rule("POST", r"\?uploadId=", "status", times=FOREVER, status=404,
                    body="<?xml version='1.0'?>\n<Error><Code>NoSuchUpload</Code>"
                         "<Message>gone</Message></Error>")
        self.assert_refused(self.faulty(rule), "NoSuchUpload: gone")

    def test_error_behind_200(self):
        rule = Rule("POST", r"\?uploadId=", "status", times=2, status=200,
                    body="<?xml version='1.0'?>\n \n<Error><Code>InternalError</Code></Error>")
        self.assert_stored(self.faulty(rule))
        self.assertEqual(rule.times, 0)

    def test_profile(self):
        with tempfile.TemporaryDirectory() as home:
            aws = pathlib.Path(home) / ".aws"
            aws.mkdir()
            keys = {key: swift.exports[key.upper()]
                    for key in ("aws_access_key_id", "aws_secret_access_key")}
            (aws / "credentials").write_text("[default]\naws_access_key_id = nobody\n"
                                             "aws_secret_access_key = x\n[lab]\n"
                                             + "".join(f"{k}={v}\n" for k, v in keys.items()))
            (aws / "config").write_text(f"[profile lab]\nregion = us-east-1\nservices = here\n"
                                        f"[services here]\ns3 =\n  endpoint_url = {swift.url}\n")
            done = kit.upload(self.spec, self.size, *self.quick,
                              env={"HOME": home, "AWS_PROFILE": "lab"})
            self.assert_stored(done)
            self.assertIn("chmod 600", done.stderr)


class SwiftV1(ObjectTest):
    spec = "swift:pics"
    container = "pics"
    bytes_container = "pics_segments"
    over_quota = "413"
    part = 2 << 20
    mismatch = ("422",)
    data_path = r"pics_segments/.*\.raw/"
    final_path = ("PUT", "multipart-manifest=put")
    requests = (("GET", "/auth/v1.0"), ("HEAD", "/pics$"), ("HEAD", "/pics_segments$"),
                ("PUT", r"\.raw/00000001"), ("PUT", r"\.raw/00000002"), final_path,
                ("HEAD", r"\.raw$"), ("PUT", r"\.json$"))

    def env(self, url=None):
        auth = swift.exports["ST_AUTH"]
        return {"ST_AUTH": auth.replace(swift.url, url) if url else auth,
                "ST_USER": swift.exports["ST_USER"], "ST_KEY": swift.exports["ST_KEY"]}

    def test_wrong_key(self):
        done = self.upload(ST_KEY="wrong-secret")
        self.assertEqual(done.code, 5)
        self.assertIn("answered 401", done.message)
        self.assertIn("ST_KEY", done.hint)
        self.assertNotIn("wrong-secret", str(done))

    def test_token_refused(self):
        rule = Rule("PUT", self.data_path, "status", skip=1, status=401)
        proxy.log.clear()
        self.assert_stored(self.faulty(rule))
        self.assertEqual(len([path for _, path, _ in proxy.log if path == "/auth/v1.0"]), 2)


class SwiftKeystone(unittest.TestCase):
    def test_login(self):
        env = {key: value for key, value in swift.exports.items() if key.startswith("OS_")}
        done = kit.upload("swift:pics", LARGE, *QUICK, env=env)
        self.assertEqual((done.status, done.code), (0, 0), str(done))
        again = kit.upload("swift:pics", LARGE, *QUICK, "--discard-left", done.id, env=env)
        self.assertEqual((again.status, again.code), (0, 0), str(again))

    def test_named_cloud(self):
        env = {"OS_CLIENT_CONFIG_FILE": swift.exports["TEST_CLOUDS"],
               "ST_AUTH": "http://127.0.0.1:9/auth/v1.0"}  # which the cloud goes before
        done = kit.upload("swift:pics", LARGE, *QUICK, "--os-cloud", "demo-appcred", env=env)
        self.assertEqual((done.status, done.code), (0, 0), str(done))
        self.assertEqual(done.spec, "swift:pics?os-cloud=demo-appcred")
        again = kit.upload(done.spec, LARGE, "--discard-left", done.id, env=env)
        self.assertEqual((again.status, again.code), (0, 0), str(again))


class Full(unittest.TestCase):
    """Swift's disk is full in the middle of an upload: it may not even be able to delete then."""

    @classmethod
    def setUpClass(cls):
        cls.swift = Swift(size=32 << 20)
        cls.swift.make(BUCKET)

    @classmethod
    def tearDownClass(cls):
        cls.swift.close()

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.swift.mounted], check=True)

    def test_full(self):
        env = {key: value for key, value in self.swift.exports.items()
               if key.startswith(("AWS_", "ST_"))}
        for spec, part in ((f"s3://{BUCKET}", 5 << 20), ("swift:pics", 2 << 20)):
            with self.subTest(spec=spec):
                self.resize("32m")
                options = (*QUICK, "--part", str(part))
                done = kit.upload(spec, 60 << 20, *options, env=env)
                self.assertEqual((done.status, done.code), (1, 5), str(done))
                self.assertRegex(done.message, "503|507")
                self.resize("256m")
                left = kit.upload(spec, 0, *options, "--discard-left", done.id, env=env)
                self.assertEqual(left.code, 0, str(left))
                self.assertEqual(self.swift.objects(), set())
                done = kit.upload(spec, part + 1, *options, env=env)
                self.assertEqual((done.status, done.code), (0, 0), str(done))
                for path in self.swift.objects():
                    self.swift.call("DELETE", urllib.request.quote(path))


del ObjectTest  # no test of its own

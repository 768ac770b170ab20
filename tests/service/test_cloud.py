# SPDX-License-Identifier: Apache-2.0
"""A real Glance behind a real Keystone: logging in, tokens that expire, records as Nova makes them,
TLS."""
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import time
import unittest
import warnings

import kit
from fault_proxy import FOREVER, FaultProxy, Rule

SIZE = 3000001
QUICK = ("--wait", "20", "--settle", "3000", "--tries", "4")
# What Nova leaves out when it makes an image of a server that was booted from this one; the last
# line is what it sets itself.
NOT_INHERITED = (
    "cache_in_nova", "bittorrent", "cinder_encryption_key_id",
    "cinder_encryption_key_deletion_policy", "img_signature", "img_signature_hash_method",
    "img_signature_key_type", "img_signature_certificate_uuid", "mappings", "block_device_mapping",
    "img_mappings", "img_block_device_mapping", "bdm_v2", "root_device_name", "user_id", "owner_id",
    "backup_type", "image_location", "image_state", "qmpsnap_image", "qmpsnap_digest",
    "instance_uuid", "image_type", "base_image_ref")
BASE = json.dumps({
    "name": "base", "container_format": "bare", "disk_format": "qcow2", "min_disk": 7,
    "min_ram": 512, "os_distro": "debian", "hw_disk_bus": "scsi", "os_type": "linux",
    "kernel_id": "None", "qmpsnap_verified": "true", **{key: "theirs" for key in NOT_INHERITED}})

# Of an upload that is staged and imported: the order to import, and the bytes.
IMPORT_FAULTS = {
    ("POST", "/import$"): ({"fault": "cut"}, {"fault": "lose"}, {"fault": "shorten", "at": 20},
                           {"fault": "status", "status": 503}, {"fault": "stall", "seconds": 1}),
    ("PUT", "/stage$"): ({"fault": "reset", "at": 2000000}, {"fault": "status", "status": 503},
                         {"fault": "half-close", "at": 2000000}, {"fault": "slow"}),
}


class Cloud(kit.ServiceTest):
    @classmethod
    def setUpClass(cls):
        cls.service = kit.Service("--keystone", "--multistore")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-clouds-"))
        cls.clouds = cls.service.exports["TEST_CLOUDS"]

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)
        cls.service.close()

    def with_login(self, *options, **changes):
        env = {**self.service.login(), **changes}
        return kit.upload("glance:", SIZE, *QUICK, *options,
                          env={key: value for key, value in env.items() if value is not None})

    def with_cloud(self, name, *options, **env):
        return kit.upload("glance:", SIZE, *QUICK, "--os-cloud", name, *options,
                          env={"OS_CLIENT_CONFIG_FILE": self.clouds, **env})

    def written(self, text):
        """A clouds.yaml; NAME in it is the real Keystone's URL."""
        path = self.folder / "clouds.yaml"
        path.write_text(text.replace("NAME", self.service.exports["OS_AUTH_URL"]), "utf-8")
        path.chmod(0o600)
        return str(path)

    # ---- Logging in

    def test_variables(self):
        done = self.with_login()
        self.assert_stored(done)
        self.assertEqual(done.spec, "glance:")

    def test_password_by_ids(self):
        exports = self.service.exports
        done = self.with_login(OS_USERNAME=None, OS_USER_DOMAIN_ID=None, OS_PROJECT_NAME=None,
                               OS_PROJECT_DOMAIN_ID=None, OS_USER_ID=exports["TEST_USER_ID"],
                               OS_PROJECT_ID=exports["TEST_PROJECT_ID"])
        self.assert_stored(done)

    def test_token(self):
        done = self.with_login(OS_USERNAME=None, OS_PASSWORD=None, OS_AUTH_TYPE="token",
                               OS_TOKEN=self.service.token())
        self.assert_stored(done)

    def test_clouds(self):
        for name in ("demo", "demo-appcred"):
            with self.subTest(name=name):
                done = self.with_cloud(name)
                self.assert_stored(done)
                self.assertEqual(done.spec, f"glance:?os-cloud={name}")

    def test_spec_opens_it_again(self):
        """What a guard is told is enough to delete the image."""
        done = self.with_cloud("demo-appcred", "--left")
        self.assertEqual(len(self.service.images()), 1)
        left = kit.upload(done.spec, 0, "--discard-left", done.id,
                          env={"OS_CLIENT_CONFIG_FILE": self.clouds})
        self.assertEqual(left.code, 0, str(left))
        self.assertEqual(self.service.images(), [])

    def test_unversioned_and_versioned(self):
        root = self.service.exports["OS_AUTH_URL"].removesuffix("/v3")
        for url in (root, root + "/", root + "/v3", root + "/v3/", root + "/v2.0"):
            with self.subTest(url=url):
                self.assert_stored(self.with_login(OS_AUTH_URL=url))
        for url in (self.service.url + "/", self.service.url + "/v2", self.service.url + "/v2/"):
            with self.subTest(endpoint=url):
                self.assert_stored(self.with_login(OS_IMAGE_ENDPOINT_OVERRIDE=url))

    def test_wrong(self):
        for changes, words in (
                ({"OS_PASSWORD": "wrong"}, ("401", "password")),
                ({"OS_USERNAME": "nobody"}, ("401", "user")),
                ({"OS_PROJECT_NAME": "other"}, ("401",)),
                ({"OS_REGION_NAME": "Nowhere"}, ("Nowhere", "public RegionOne")),
                ({"OS_AUTH_URL": self.service.url}, ("Keystone", "v3")),
                ({"OS_AUTH_TYPE": "token", "OS_TOKEN": "gAAAAABnonsense"}, ("404", "token")),
                ({"OS_AUTH_URL": "http://127.0.0.1:9/v3"}, ("127.0.0.1:9", "URL"))):
            with self.subTest(**changes):
                done = self.with_login(**changes)
                self.assert_refused(done)
                for word in words:
                    self.assertIn(word, done.message + done.hint)
                self.assertIn("logging in", done.message)

    def test_secrets_are_nowhere(self):
        for changes in ({}, {"OS_PASSWORD": "hunter2wrong"}):
            done = self.with_login(**changes)
            text = str(done)
            for secret in ("demo-pw", "hunter2wrong", "gAAAA"):
                self.assertNotIn(secret, text)
            self.assertIn("HTTP: ", done.stderr)  # the log was on
            self.service.clear()

    def test_other_users_files(self):
        path = self.written("clouds: {c: {auth: {auth_url: NAME, username: demo, password: "
                            "demo-pw, project_name: demo, domain_id: default}}}")
        os.chmod(path, 0o644)
        done = self.with_cloud("c", OS_CLIENT_CONFIG_FILE=path)
        self.assert_stored(done)
        self.assertIn("other users may read", done.stderr)

    # ---- Tokens

    def test_refused_token_is_replaced(self):
        """Each request once meets a service that has forgotten the token."""
        proxy = FaultProxy(self.service.port)
        self.addCleanup(proxy.close)
        for method, path in (("POST", "/v2/images$"), ("PATCH", "/v2/images/"),
                             ("PUT", "/file$"), ("GET", "/v2/images/[0-9a-f-]+$")):
            with self.subTest(method=method):
                proxy.set(Rule(method, path, "status", status=401))
                done = self.with_login(OS_IMAGE_ENDPOINT_OVERRIDE=proxy.url)
                self.assert_stored(done)
                self.assertEqual(done.stderr.count("logging in"), 2, done.stderr)
                self.service.clear()

    def test_refused_token_at_the_deletion(self):
        """Of the record of an upload that failed."""
        proxy = FaultProxy(self.service.port)
        self.addCleanup(proxy.close)
        proxy.set(Rule("PUT", "/file$", "status", times=FOREVER, status=403),
                  Rule("DELETE", "/v2/images/", "status", status=401))
        done = self.with_login(OS_IMAGE_ENDPOINT_OVERRIDE=proxy.url)
        self.assert_refused(done)
        self.assertEqual(done.stderr.count("logging in"), 2, done.stderr)

    def test_service_never_takes_the_token(self):
        proxy = FaultProxy(self.service.port)
        self.addCleanup(proxy.close)
        proxy.set(Rule("POST", "/v2/images$", "status", status=401, times=FOREVER))
        done = self.with_login(OS_IMAGE_ENDPOINT_OVERRIDE=proxy.url)
        self.assert_refused(done)
        self.assertEqual(len(proxy.log), 2)

    def test_keystone_fails_for_a_while(self):
        proxy = FaultProxy(self.service.exports["OS_AUTH_URL"].split(":")[2].split("/")[0])
        self.addCleanup(proxy.close)
        for fault in ({"fault": "status", "status": 503}, {"fault": "reset"}, {"fault": "lose"}):
            with self.subTest(**fault):
                # the first login works, so that it is known to be there
                proxy.set(Rule("POST", "/auth/tokens", skip=1, times=2, **fault))
                other = FaultProxy(self.service.port)
                other.set(Rule("PUT", "/file$", "status", status=401))
                done = self.with_login(OS_AUTH_URL=proxy.url + "/v3",
                                       OS_IMAGE_ENDPOINT_OVERRIDE=other.url)
                other.close()
                self.assert_stored(done)
                self.service.clear()

    # ---- Records

    def test_record(self):
        status, body = self.service.call("POST", "/v2/images", BASE.encode())
        self.assertEqual(status, 201, body)
        base = self.service.images()[0]["id"]
        done = self.with_login("--base-image", base, "--tag", "a", "--tag", "b", "--protected",
                               "--visibility", "shared", "--store", "slow", "--property",
                               "os_distro=mine")
        record = self.assert_stored(done)
        for key, value in {"min_disk": 7, "min_ram": 512, "os_distro": "mine",
                           "hw_disk_bus": "scsi", "os_type": "linux", "base_image_ref": base,
                           "image_type": "snapshot", "visibility": "shared", "protected": True,
                           "stores": "slow"}.items():
            self.assertEqual(record[key], value, key)
        self.assertEqual(sorted(record["tags"]), ["a", "b"])
        for key in NOT_INHERITED:
            self.assertNotEqual(record.get(key), "theirs", key)
        self.assertNotIn("kernel_id", record)

    def test_base_is_not_there(self):
        done = self.with_login("--base-image", "01234567-89ab-4def-8123-456789abcdef")
        self.assert_refused(done)
        self.assertIn("--base-image", done.hint)

    def test_import(self):
        record = self.assert_stored(self.with_login("--import", "--store", "slow"))
        self.assertEqual(record["stores"], "slow")

    def import_by(self, *rules):
        """The Glance without Keystone imports nothing."""
        proxy = FaultProxy(self.service.port)
        self.addCleanup(proxy.close)
        proxy.set(*rules)
        return {**self.service.login(), "OS_IMAGE_ENDPOINT_OVERRIDE": proxy.url}

    def test_import_and_faults(self):
        for (method, path), faults in IMPORT_FAULTS.items():
            for fault in faults:
                with self.subTest(path=path, **fault):
                    rule = Rule(method, path, **fault)
                    done = self.with_login("--import", **self.import_by(rule))
                    self.assertEqual(rule.times, 0)
                    self.assert_stored(done)
                    if method == "POST":
                        self.assertEqual(done.readers, 1, "all was sent again")
                    self.service.clear()

    def test_import_is_refused(self):
        rule = Rule("POST", "/import$", "status", times=FOREVER, status=403)
        done = self.with_login("--import", **self.import_by(rule))
        self.assert_refused(done)
        self.assertEqual(done.detail, 403)

    def test_deleted_before_its_import(self):
        rule = Rule("POST", "/import$", "stall", seconds=3)
        child = kit.start_upload("glance:", SIZE, *QUICK, "--import", env=self.import_by(rule))
        deadline = time.monotonic() + 30
        while rule.times > 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        for image in self.service.images():
            self.service.call("DELETE", f"/v2/images/{image['id']}")
        out, errors = child.communicate(timeout=60)
        done = kit.Uploaded(subprocess.CompletedProcess([], child.returncode, out, errors))
        self.assert_refused(done, code=130)

    def test_unknown_store(self):
        done = self.with_login("--store", "medium")
        self.assert_refused(done)
        self.assertIn("medium", done.message)

    def test_sized(self):
        self.assert_stored(self.with_login("--sized"))

    def test_public_is_forbidden(self):
        done = self.with_login("--visibility", "public", "--protected")
        self.assert_refused(done)
        self.assertEqual(done.detail, 403)


class ShortTokens(kit.ServiceTest):
    """Tokens that live shorter than the upload takes.

    Glance's own token, with which it has ours checked, must live for over 30 s: keystonemiddleware
    takes one that ends sooner for stale."""

    @classmethod
    def setUpClass(cls):
        cls.service = kit.Service("--keystone", "--token-ttl", "40")

    @classmethod
    def tearDownClass(cls):
        cls.service.close()

    def test_upload_outlives_the_token(self):
        began = time.monotonic()
        done = kit.upload("glance:", 4 << 20, *QUICK, "--delay", "2900",
                          env=self.service.login())
        self.assertGreater(time.monotonic() - began, 43, done.stderr)
        self.assert_stored(done)
        self.assertGreaterEqual(done.stderr.count("logging in"), 2)


class Uwsgi(kit.ServiceTest):
    @classmethod
    def setUpClass(cls):
        cls.service = kit.Service("--uwsgi")

    @classmethod
    def tearDownClass(cls):
        cls.service.close()

    def test_upload(self):
        for options in ((), ("--sized",)):
            with self.subTest(options=options):
                self.assert_stored(kit.upload(f"glance:{self.service.url}", SIZE, *options))

    def test_broken_connection(self):
        proxy = FaultProxy(self.service.port)
        self.addCleanup(proxy.close)
        for fault in ("cut", "reset", "half-close"):
            with self.subTest(fault=fault):
                proxy.set(Rule("PUT", "/file$", fault, at=1500000))
                self.assert_stored(kit.upload(f"glance:{proxy.url}", SIZE, *QUICK))


class Limits(kit.ServiceTest):
    @classmethod
    def setUpClass(cls):
        cls.service = kit.Service("--keystone", "--set", "DEFAULT.user_storage_quota=2000000",
                                  "--set", "DEFAULT.image_size_cap=5000000")

    @classmethod
    def tearDownClass(cls):
        cls.service.close()

    def test_quota_and_cap(self):
        """Over the quota Glance leaves the image in `saving`: it is deleted all the same."""
        for size in (SIZE, 2 * SIZE):
            for options in ((), ("--sized",)):
                with self.subTest(size=size, options=options):
                    done = kit.upload("glance:", size, *QUICK, *options, env=self.service.login())
                    self.assert_refused(done)
                    self.assertEqual(done.detail, 413)
                    self.assertIn("quota", done.hint)


class Tls(kit.ServiceTest):
    @classmethod
    def setUpClass(cls):
        cls.service = kit.Service()
        cls.certificates = kit.Certificates()

    @classmethod
    def tearDownClass(cls):
        cls.certificates.close()
        cls.service.close()

    def proxy(self, name):
        proxy = FaultProxy(self.service.port, *self.certificates.of(name))
        self.addCleanup(proxy.close)
        return proxy

    def upload(self, url, *options, ca="ca.pem", **env):
        if ca:
            env["OS_CACERT"] = str(self.certificates.folder / ca)
        return kit.upload(f"glance:{url}", SIZE, *QUICK, *options, env=env)

    def test_known_authority(self):
        done = self.upload(self.proxy("good").url)
        self.assert_stored(done)
        self.assertNotIn("aren't verified", done.stderr)

    def test_not_trusted(self):
        for name, ca in (("good", None), ("name", "ca.pem"), ("old", "ca.pem"), ("self", "ca.pem"),
                         ("good", "good.csr")):
            with self.subTest(name=name, ca=ca):
                proxy = self.proxy(name)
                done = self.upload(proxy.url, ca=ca)
                self.assert_refused(done)
                self.assertIn("certificate", (done.message + done.hint).lower())
                self.assertEqual(proxy.log, [], "something was sent")

    def test_certificate_of_the_client(self):
        """The service wants one that its authority has signed: `cert` and `key` of clouds.yaml."""
        folder, authority = self.certificates.folder, self.certificates.authority
        proxy = FaultProxy(self.service.port, *self.certificates.of("good"), clients=authority)
        self.addCleanup(proxy.close)
        both = f"{folder}/both.pem"
        pathlib.Path(both).write_bytes(b"".join(path.read_bytes()
                                                for path in self.certificates.of("good")))
        os.chmod(both, 0o600)
        os.chmod(folder / "good.key", 0o600)
        for settings, well in (({"cert": f"{folder}/good.pem", "key": f"{folder}/good.key"}, True),
                               ({"cert": both}, True), ({}, False),
                               ({"cert": f"{folder}/self.pem", "key": f"{folder}/self.key"}, False),
                               ({"cert": f"{folder}/good.pem", "key": f"{folder}/none.key"},
                                False)):
            with self.subTest(settings=settings):
                proxy.set()
                config = folder / "clouds.yaml"
                config.write_text(json.dumps({"clouds": {"c": {
                    "auth_type": "none", "auth": {"endpoint": proxy.url}, "cacert": authority,
                    **settings}}}), "ascii")
                done = kit.upload("glance:", SIZE, *QUICK,
                                  env={"OS_CLIENT_CONFIG_FILE": str(config)})
                if well:
                    self.assert_stored(done)
                    self.service.clear()
                    continue
                self.assert_refused(done)
                self.assertEqual(done.hint, "check the files that cacert, cert and key name")
                self.assertNotIn("trying again", done.stderr)
                self.assertEqual(proxy.log, [], "something was sent")

    def test_insecure(self):
        for name in ("good", "name", "old", "self"):
            with self.subTest(name=name):
                done = self.upload(self.proxy(name).url, "--insecure", ca=None)
                self.assert_stored(done)
                self.assertIn("aren't verified", done.stderr)
                self.assertTrue(done.spec.endswith("?insecure"))

    def test_old_tls(self):
        proxy = self.proxy("good")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python, too, warns of them
            proxy.context.minimum_version = ssl.TLSVersion.TLSv1
            proxy.context.maximum_version = ssl.TLSVersion.TLSv1_1
        proxy.context.set_ciphers("ALL:@SECLEVEL=0")
        # It must be our own limit, not the host's.
        conf = self.certificates.folder / "lax.cnf"
        conf.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
                        "MinProtocol = TLSv1\nCipherString = ALL:@SECLEVEL=0\n", "ascii")
        done = self.upload(proxy.url, "--insecure", OPENSSL_CONF=str(conf))
        self.assert_refused(done)
        self.assertEqual(proxy.log, [])


if __name__ == "__main__":
    unittest.main()

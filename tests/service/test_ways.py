# SPDX-License-Identifier: Apache-2.0
"""The way to a service leads over a proxy: http_proxy, https_proxy and no_proxy."""
import unittest

import kit
from fault_proxy import FOREVER, FaultProxy, Rule

SIZE = 3000001
QUICK = ("--wait", "20", "--settle", "3000", "--tries", "4")
GLANCE, KEYSTONE = "glance.cloud.example:9292", "keystone.cloud.example:5000"


class Proxies(kit.ServiceTest):
    """The services' names are known to the proxy alone."""

    @classmethod
    def setUpClass(cls):
        cls.service = kit.Service("--keystone")
        cls.certificates = kit.Certificates()
        keystone = cls.service.exports["OS_AUTH_URL"].split(":")[2].split("/")[0]
        cls.secure = FaultProxy(cls.service.port, *cls.certificates.of("good"))
        cls.expired = FaultProxy(cls.service.port, *cls.certificates.of("old"))
        cls.ports = {GLANCE: cls.service.port, KEYSTONE: keystone,
                     "secure.cloud.example:443": cls.secure.port,
                     "elsewhere.example.net:443": cls.secure.port,
                     "expired.cloud.example:443": cls.expired.port}
        cls.env = {**cls.service.login(), "OS_AUTH_URL": f"http://{KEYSTONE}/v3",
                   "OS_IMAGE_ENDPOINT_OVERRIDE": f"http://{GLANCE}",
                   "OS_CACERT": cls.certificates.authority}

    @classmethod
    def tearDownClass(cls):
        cls.secure.close()
        cls.expired.close()
        cls.certificates.close()
        cls.service.close()

    def setUp(self):
        self.proxy = FaultProxy(self.ports)
        self.addCleanup(self.proxy.close)
        self.secure.set()

    def upload(self, *options, **env):
        env = {key: value for key, value in {**self.env, **env}.items() if value is not None}
        return kit.upload("glance:", SIZE, *QUICK, *options, env=env)

    def through(self, *options, **env):
        return self.upload(*options, http_proxy=self.proxy.url, **env)

    def hosts(self):
        return {path.split("/")[2] if "//" in path else path for _, path, _ in self.proxy.log}

    def test_all_go_through(self):
        for options in ((), ("--sized",), ("--tag", "a")):
            with self.subTest(options=options):
                self.proxy.set()
                self.assert_stored(self.through(*options))
                self.assertEqual(self.hosts(), {GLANCE, KEYSTONE})

    def test_bytes_break(self):
        for fault in ({"fault": "cut", "at": 1000000}, {"fault": "lose"},
                      {"fault": "status", "status": 502}, {"fault": "status", "status": 504}):
            with self.subTest(**fault):
                rule = Rule("PUT", "/file$", **fault)
                self.proxy.set(rule)
                self.assert_stored(self.through())
                self.assertEqual(rule.times, 0)
                self.service.clear()

    def test_proxy_refuses(self):
        """407: it wants a login of its own; 403: it may not go there."""
        for status in (407, 403):
            with self.subTest(status=status):
                self.proxy.set(Rule("POST", "/v2/images$", "status", status=status,
                                    times=FOREVER))
                done = self.through()
                self.assert_refused(done)
                self.assertIn(str(status), done.message)
                self.assertEqual(sum(fault is not None for *_, fault in self.proxy.log), 1)

    def test_no_proxy(self):
        for value in ("*", "cloud.example", ".cloud.example",
                      "keystone.cloud.example,glance.cloud.example"):
            with self.subTest(no_proxy=value):
                done = self.through(no_proxy=value)
                self.assert_refused(done)
                self.assertIn("resolve", done.message)
                self.assertEqual(self.proxy.log, [])
        self.assert_stored(self.through(no_proxy="elsewhere.example"))

    def test_never_for_this_host(self):
        dead = "http://127.0.0.1:9"
        self.assert_stored(self.upload(
            http_proxy=dead, https_proxy=dead, all_proxy=dead,
            OS_AUTH_URL=self.service.exports["OS_AUTH_URL"],
            OS_IMAGE_ENDPOINT_OVERRIDE=self.service.url))

    def test_no_proxy_there(self):
        done = self.upload(http_proxy="http://127.0.0.1:9")
        self.assert_refused(done)
        self.assertIn("127.0.0.1", done.message)

    def secured(self, host, *options, **env):
        return self.through(*options, https_proxy=self.proxy.url,
                            OS_IMAGE_ENDPOINT_OVERRIDE=f"https://{host}", **env)

    def test_tls_goes_through_unseen(self):
        self.assert_stored(self.secured("secure.cloud.example"))
        self.assertEqual(self.hosts(), {KEYSTONE, "secure.cloud.example:443"})
        self.assertEqual({method for method, path, _ in self.proxy.log if "secure" in path},
                         {"CONNECT"})
        self.assertIn("PUT", [method for method, *_ in self.secure.log])

    def test_tls_is_verified(self):
        for host, env in (("elsewhere.example.net", {}), ("expired.cloud.example", {}),
                          ("secure.cloud.example", {"OS_CACERT": None})):
            with self.subTest(host=host):
                done = self.secured(host, **env)
                self.assert_refused(done)
                self.assertIn("certificate", (done.message + done.hint).lower())
                self.assertEqual(self.secure.log + self.expired.log, [])


if __name__ == "__main__":
    unittest.main()

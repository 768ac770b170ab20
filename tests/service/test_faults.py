# SPDX-License-Identifier: Apache-2.0
"""A faulty way to a real Glance: each fault at each request ends in an equal, published image, or
in none and a message."""
import os
import signal
import subprocess
import time
import unittest

import kit
from fault_proxy import FOREVER, FaultProxy, Rule

SIZE = 3000001
QUICK = ("--wait", "20", "--settle", "3000", "--quiet", "1500", "--tries", "5")
REQUESTS = {  # a word of the request's own, the method, the path, how many come before
    "create": ("POST", "/v2/images$", 0),
    "instant": ("PATCH", "/v2/images/", 0),
    "digest": ("GET", "limit=1", 0),
    "bytes": ("PUT", "/file$", 0),
    "look": ("GET", "/v2/images/[0-9a-f-]+$", 0),
    "publish": ("PATCH", "/v2/images/", 1),
}
SMALL_FAULTS = (
    {"fault": "cut"}, {"fault": "reset"}, {"fault": "lose"}, {"fault": "shorten", "at": 20},
    {"fault": "status", "status": 500}, {"fault": "status", "status": 502},
    {"fault": "status", "status": 503, "headers": "Retry-After: 1\r\n"},
    {"fault": "status", "status": 429, "headers": "Retry-After: 1\r\n"},
)
BYTES_FAULTS = SMALL_FAULTS + (
    {"fault": "cut", "at": 1}, {"fault": "cut", "at": 2000000}, {"fault": "reset", "at": 1},
    {"fault": "reset", "at": 2000000}, {"fault": "half-close", "at": 2000000},
    {"fault": "stall", "at": 2000000}, {"fault": "slow", "rate": 2000000},
    {"fault": "status", "status": 503, "after_body": True},
    {"fault": "status", "status": 409},
)
FINAL = {400: "purpose", 401: "login", 403: "policy", 413: "larger", 415: "format"}


class Faults(kit.ServiceTest):
    @classmethod
    def setUpClass(cls):
        cls.service = kit.Service()
        cls.proxy = FaultProxy(cls.service.port)

    @classmethod
    def tearDownClass(cls):
        cls.proxy.close()
        cls.service.close()

    def upload(self, *options):
        return kit.upload(f"glance:{self.proxy.url}", SIZE, *QUICK, *options)

    def rule(self, request, **fault):
        method, path, skip = REQUESTS[request]
        return Rule(method, path, skip=skip, **fault)

    def test_once(self):
        for request in REQUESTS:
            for fault in BYTES_FAULTS if request == "bytes" else SMALL_FAULTS:
                with self.subTest(request=request, **fault):
                    self.proxy.set(self.rule(request, **fault))
                    done = self.upload()
                    self.assertIn(fault["fault"], [entry[2] for entry in self.proxy.log])
                    self.assert_stored(done)
                    self.service.clear()

    def test_each_request_stands_still(self):
        """All of them in one upload: the second PATCH, which is no other, is the repeated one."""
        for fault in ({"fault": "stall", "seconds": 0.3}, {"fault": "slow", "rate": 3000000}):
            with self.subTest(**fault):
                rules = [self.rule(request, **fault) for request in REQUESTS]
                rules[-1].skip = 1 if fault["fault"] == "stall" else 0
                self.proxy.set(*rules)
                self.assert_stored(self.upload())
                self.assertEqual([rule.times for rule in rules], [0] * len(rules))
                self.service.clear()

    def test_each_request_half_closed(self):
        """A body that seems to be whole may be refused."""
        for request in REQUESTS:
            with self.subTest(request=request):
                rule = self.rule(request, fault="half-close")
                self.proxy.set(rule)
                done = self.upload()
                self.assertEqual(rule.times, 0)
                if done.code == 0:
                    self.assert_stored(done)
                else:
                    self.assert_refused(done)
                self.service.clear()

    def test_sized(self):
        for fault in ({"fault": "cut", "at": 2000000}, {"fault": "half-close", "at": 2000000},
                      {"fault": "lose"}):
            with self.subTest(**fault):
                self.proxy.set(self.rule("bytes", **fault))
                self.assert_stored(self.upload("--sized"))
                self.service.clear()

    def test_twice_then_well(self):
        self.proxy.set(self.rule("bytes", fault="cut", at=1000000, times=2))
        done = self.upload()
        self.assert_stored(done)
        self.assertEqual(done.readers, 3)

    def test_for_ever(self):
        for request in REQUESTS:
            for fault in ({"fault": "reset"}, {"fault": "status", "status": 503}):
                with self.subTest(request=request, **fault):
                    self.proxy.set(self.rule(request, times=FOREVER, **fault))
                    done = self.upload()
                    if request == "digest" and fault["fault"] == "status":
                        self.assert_stored(done)  # it can be done without
                        self.service.clear()
                    else:
                        self.assert_refused(done)

    def test_refusals_are_final(self):
        for request in ("create", "instant", "bytes", "publish"):
            for status, word in FINAL.items():
                with self.subTest(request=request, status=status):
                    self.proxy.set(self.rule(request, fault="status", status=status,
                                             times=FOREVER))
                    done = self.upload()
                    self.assert_refused(done)
                    self.assertEqual(done.detail, status)
                    self.assertIn("on purpose (request req-proxy)", done.message)
                    self.assertIn(word, done.message + done.hint)
                    struck = [entry for entry in self.proxy.log if entry[2]]
                    self.assertEqual(len(struck), 1, "tried again blindly")

    def test_retry_after_is_kept(self):
        self.proxy.set(self.rule("bytes", fault="status", status=503,
                                 headers="Retry-After: 2\r\n"))
        began = time.monotonic()
        self.assert_stored(self.upload())
        self.assertGreater(time.monotonic() - began, 2)

    def test_deletion_fails_at_first(self):
        self.proxy.set(self.rule("bytes", fault="status", status=413),
                       Rule("DELETE", "/v2/images/", "status", times=2, status=503),
                       Rule("DELETE", "/v2/images/", "lose"))
        self.assert_refused(self.upload())

    def test_deletion_fails_for_ever(self):
        self.proxy.set(self.rule("bytes", fault="status", status=413),
                       Rule("DELETE", "/v2/images/", "status", times=FOREVER, status=503))
        done = self.upload()
        self.assertEqual(done.detail, 413)
        self.assertIn("503", done.undo)

    def test_protected_is_deleted_when_it_must_be(self):
        # published, but none of the answers said so
        self.proxy.set(self.rule("publish", fault="lose", times=5))
        self.assert_refused(self.upload("--protected"))

    def test_redirected(self):
        self.proxy.set(self.rule("create", fault="status", status=301, times=FOREVER,
                                 headers="Location: http://127.0.0.1:9/\r\n"))
        done = self.upload()
        self.assert_refused(done)
        self.assertIn("redirects", done.hint)

    def test_deleted_by_somebody(self):
        self.proxy.set(self.rule("bytes", fault="slow", rate=1 << 20))
        child = kit.start_upload(f"glance:{self.proxy.url}", SIZE, *QUICK)
        deadline = time.monotonic() + 30
        while not any(image["status"] == "saving" for image in self.service.images()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        for image in self.service.images():
            self.service.call("DELETE", f"/v2/images/{image['id']}")
        out, errors = child.communicate(timeout=60)
        done = kit.Uploaded(subprocess.CompletedProcess([], child.returncode, out, errors))
        self.assert_refused(done, code=130)
        self.assertIn("deleted", done.message)


class Killed(kit.ServiceTest):
    """A Glance that is killed in the middle of an upload, and comes again."""

    def setUp(self):
        self.service = kit.Service()
        self.proxy = FaultProxy(self.service.port)

    def tearDown(self):
        self.proxy.close()
        self.service.close()

    def restart(self):
        """The same Glance, on the same port and state."""
        conf = self.service.state / "etc" / "glance-api.conf"
        code = ("import sys; sys.argv[0] = 'glance-api'\n"
                "from glance.cmd.api import main\nsys.exit(main())")
        with open(self.service.state / "glance.log", "ab") as log:
            child = subprocess.Popen(["/usr/bin/python3", "-P", "-c", code, "--config-file", conf],
                                     stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     start_new_session=True, env={
                                         "PATH": os.environ["PATH"],
                                         "HOME": str(self.service.state / "home")})
        with open(self.service.state / "pids", "a", encoding="ascii") as pids:
            pids.write(f"{child.pid} glance\n")
        self.addCleanup(child.wait)  # what tearDown ends

    def await_saving(self):
        deadline = time.monotonic() + 60
        while True:
            images = self.service.images()
            if any(image["status"] == "saving" for image in images):
                return images[0]["id"]
            self.assertLess(time.monotonic(), deadline, images)
            time.sleep(0.05)

    def test_killed_in_the_middle(self):
        """The record stays in `saving` for ever: another one takes its place."""
        # So slow that a busy machine, too, sees it in the middle.
        self.proxy.set(Rule("PUT", "/file$", "slow", rate=100000))
        child = kit.start_upload(f"glance:{self.proxy.url}", SIZE, "--wait", "500", "--settle",
                                 "1500", "--tries", "12")
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        first = self.await_saving()
        pid = int((self.service.state / "pids").read_text().split()[0])
        os.killpg(pid, signal.SIGKILL)
        time.sleep(0.5)
        self.restart()
        out, errors = child.communicate(timeout=240)
        done = kit.Uploaded(subprocess.CompletedProcess([], child.returncode, out, errors))
        self.assert_stored(done)
        self.assertNotEqual(done.id, first)
        self.assertEqual([image["id"] for image in self.service.images()], [done.id])
        # Another process knows all ids that it may have.
        left = kit.upload(f"glance:{self.service.url}", 0, "--discard-left", first)
        self.assertEqual(left.code, 0, str(left))
        self.assertEqual(self.service.images(), [])


if __name__ == "__main__":
    unittest.main()

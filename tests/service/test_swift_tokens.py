# SPDX-License-Identifier: Apache-2.0
"""Swift, with tokens of Keystone and of version 1 that expire in the middle of an upload."""
import hashlib
import json
import subprocess
import time
import unittest
import urllib.request

import kit
from fault_proxy import FOREVER, FaultProxy, Rule
from real_swift import KeystoneAccount, Swift

PART = 1 << 20
SIZE = 6 * PART + 12345
# Swift's own token, with which it has Keystone's checked, must live for over 30 s:
# keystonemiddleware takes one that ends sooner for stale.
TTL = 40
QUICK = ("--wait", "20", "--tries", "5", "--part", str(PART))
SLOW = (*QUICK, "--delay", "1400")
SEGMENT = r"pics_segments/.*\.raw/"


def setUpModule():
    global swift, accounts
    swift = Swift("--keystone", "--token-ttl", str(TTL))
    accounts = {"OS_": KeystoneAccount(swift.exports), "ST_": swift}


def tearDownModule():
    swift.close()


class Tokens(unittest.TestCase):
    def setUp(self):
        self.proxy = FaultProxy(swift.url.rsplit(":", 1)[1])

    def tearDown(self):
        self.proxy.close()
        for account in accounts.values():
            account.clear()

    def env(self, login, through_proxy=False):
        env = {key: value for key, value in swift.exports.items() if key.startswith(login)}
        if through_proxy and login == "ST_":
            env["ST_AUTH"] = env["ST_AUTH"].replace(swift.url, self.proxy.url)
        elif through_proxy:
            accounts[login].call("HEAD", "")
            env["OS_OBJECT_STORE_ENDPOINT_OVERRIDE"] = accounts[login].account.replace(
                swift.url, self.proxy.url)
        return env

    def assert_stored(self, done, account):
        """All of it, and nothing else."""
        self.assertEqual((done.status, done.code), (0, 0), str(done))
        name = f"/pics/web_1-{done.id}"
        segments = {f"/pics_segments/web_1-{done.id}.raw/{n:08}" for n in range(1, 8)}
        self.assertEqual(account.objects(), {name + ".raw", name + ".json"} | segments)
        status, data = account.call("GET", urllib.request.quote(name + ".raw"))
        self.assertEqual((status, hashlib.sha512(data).hexdigest()), (200, done.sha512))
        record = json.loads(account.call("GET", urllib.request.quote(name + ".json"))[1])
        self.assertEqual(record["qmpsnap_verified"], "true")

    @staticmethod
    def ended(child):
        out, errors = child.communicate(timeout=240)
        return kit.Uploaded(subprocess.CompletedProcess(child.args, child.returncode, out, errors))

    def test_uploads_outlive_their_tokens(self):
        """Four at once, as they take long: by each login one that is published, and one that fails
        at its end, whose segments are deleted."""
        self.proxy.set(Rule("PUT", r"\.json$", "status", times=FOREVER, status=403))
        began = time.monotonic()
        children = {(login, fails): kit.start_upload("swift:pics", SIZE, *SLOW,
                                                     env=self.env(login, fails))
                    for login in accounts for fails in (False, True)}
        all_done = {key: self.ended(child) for key, child in children.items()}
        self.assertGreater(time.monotonic() - began, TTL + 3)
        for (login, fails), done in all_done.items():
            with self.subTest(login=login, fails=fails):
                if fails:
                    self.assertEqual((done.status, done.code, done.detail), (1, 5, 403), str(done))
                    self.assertNotIn("undo", done.result, str(done))
                else:
                    self.assert_stored(done, accounts[login])
                logins = "/auth/tokens" if login == "OS_" else "/auth/v1.0"
                self.assertGreaterEqual(done.stderr.count(logins), 2, done.stderr)

    def test_refused_at_once(self):
        """Several segments on their way lose their token."""
        for login, account in accounts.items():
            with self.subTest(login=login):
                self.proxy.set(*[Rule("PUT", f"{SEGMENT}0000000{n}", "status", status=401)
                                 for n in (1, 2, 3)])
                done = kit.upload("swift:pics", SIZE, *QUICK, env=self.env(login, True))
                self.assert_stored(done, account)
                self.assertEqual([rule.times for rule in self.proxy.rules], [0, 0, 0])
                account.clear()

    def test_refused_for_ever(self):
        for login, account in accounts.items():
            with self.subTest(login=login):
                self.proxy.set(Rule("PUT", SEGMENT, "status", times=FOREVER, status=401))
                done = kit.upload("swift:pics", SIZE, *QUICK, env=self.env(login, True))
                self.assertEqual((done.status, done.code, done.detail), (1, 5, 401), str(done))
                self.assertIn("token", done.hint)
                self.assertEqual(account.objects(), set())


if __name__ == "__main__":
    unittest.main()

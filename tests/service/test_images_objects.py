# SPDX-License-Identifier: Apache-2.0
"""The life of images in a bucket and in a container of a real Swift."""
import concurrent.futures
import json
import pathlib
import unittest
import urllib.request

from fault_proxy import FaultProxy, Rule
from shelf import ShelfTest, same
from real_swift import BUCKET, Swift

SWIFT = None


def setUpModule():
    global SWIFT  # pylint: disable=global-statement
    SWIFT = Swift()


def tearDownModule():
    SWIFT.close()


class ObjectShelf:
    def setUp(self):
        super().setUp()
        SWIFT.make(BUCKET)
        self.addCleanup(SWIFT.clear)

    def test_life(self):
        first = self.snapshot("--name", "a b/1")
        second = self.snapshot("--format", "raw", guest="db")
        SWIFT.call("PUT", f"/{BUCKET}/no-image.json")
        self.assertEqual(self.sets(), [first["set"], second["set"]])
        self.assertEqual(self.sets("--guest", "db"), [second["set"]])
        image, = self.images("show", "a b/1").images
        self.assertEqual(image["location"], first["images"][0]["location"])
        self.images("download", first["set"], "-o", "x.qcow2")
        self.assertTrue(same(self.folder / "x.qcow2", "qcow2", self.disk, "qcow2"))
        self.images("verify")
        self.images("verify", "--deep")
        self.images("restore", second["set"], "--target", "y.raw")
        self.assertTrue(same(self.folder / "y.raw", "raw", self.disk, "qcow2"))
        self.assertEqual(self.images("delete", first["set"]).ids, [first["images"][0]["id"]])
        self.assertEqual(self.sets(), [second["set"]])
        self.images("delete", second["set"])
        self.assertEqual(SWIFT.objects(), {f"/{BUCKET}/no-image.json"})
        self.assert_no_files("x.qcow2", "y.raw")

    def test_pages(self):
        """Images on either side of more names than a page has."""
        sets = [self.snapshot(guest=guest) for guest in ("a", "z")]
        folder = self.image_path(sets[0]["images"][0]).rpartition("/")[0]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            made = pool.map(lambda n: SWIFT.call("PUT", f"{folder}/m{n:04}")[0], range(505))
            self.assertEqual(set(made), {201})
        self.assertEqual(self.sets(), [one["set"] for one in sets])

    def test_damaged(self):
        image = self.snapshot("--format", "raw")["images"][0]
        name = self.image_path(image)
        status, data = SWIFT.call("GET", urllib.request.quote(name))
        self.assertEqual(status, 200)
        request = urllib.request.Request(
            SWIFT.account + urllib.request.quote(name), data[:-1] + b"\x55", method="PUT",
            headers={"X-Auth-Token": SWIFT.token, "Content-Type": "application/octet-stream"})
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)
        self.images("download", image["id"], code=5)
        done = self.images("verify", code=5)
        self.assertIn("ETag", done.result["error"]["message"])
        self.images("verify", "--deep", code=5)
        # a JSON whose image is gone is none's, which is said
        other = self.snapshot()["set"]
        SWIFT.call("DELETE", urllib.request.quote(name))
        self.assertEqual(self.sets(), [other])
        self.assertIn(f"{image['id']}.json is there, its image isn't",
                      self.run_tool("images", "list", "--from", self.store).errors)
        self.images("verify", image["id"], code=5)
        self.images("download", image["id"], code=5)
        self.assert_no_files()

    def test_metadata(self):
        """The same JSON as in a folder, and the service's ETag."""
        image = self.snapshot("--backup-type", "daily", "--property", "os_type=linux")["images"][0]
        status, data = SWIFT.call("GET", urllib.request.quote(
            self.image_path(image).removesuffix("qcow2") + "json"))
        self.assertEqual(status, 200)
        there, self.store = json.loads(data), f"dir:{self.folder}/store"
        image = self.snapshot("--backup-type", "daily", "--property", "os_type=linux")["images"][0]
        here = json.loads(pathlib.Path(image["location"]).with_suffix(".json").read_text())
        self.assertEqual(set(there), {*here, "qmpsnap_etag"})
        changing = {"id", "name", "created_at", "qmpsnap_image", "qmpsnap_run", "qmpsnap_set",
                    "qmpsnap_instant"}
        self.assertEqual({key: there[key] for key in here if key not in changing},
                         {key: here[key] for key in here if key not in changing})

    def test_download_goes_on(self):
        image = self.snapshot("--format", "raw")["images"][0]
        proxy = FaultProxy(SWIFT.url.rsplit(":", 1)[1])
        self.addCleanup(proxy.close)
        proxy.set(Rule("GET", r"\.raw$", "shorten", at=5 << 20, times=2))
        self.images("download", image["id"], "-o", "x.raw", env=self.through(proxy.url))
        self.assertTrue(same(self.folder / "x.raw", "raw", self.disk, "qcow2"))
        self.assertEqual([fault for *_, fault in proxy.log].count("shorten"), 2)

    def test_rotation(self):
        sets = [self.snapshot("--backup-type", "daily", "--rotation", "2")["set"]
                for _ in range(3)]
        self.assertEqual(self.sets(), sets[1:])


class S3(ObjectShelf, ShelfTest):
    store = f"s3://{BUCKET}/some/prefix"

    @property
    def variables(self):
        return {key: value for key, value in SWIFT.exports.items() if key.startswith("AWS_")}

    @staticmethod
    def image_path(image):
        return image["location"].removeprefix("s3:/")

    @staticmethod
    def through(url):
        return {"AWS_ENDPOINT_URL": url}

    def test_only_the_prefix(self):
        image = self.snapshot()["images"][0]
        for store in (f"s3://{BUCKET}", f"s3://{BUCKET}/some", f"s3://{BUCKET}/some/pre"):
            done = self.run_tool("images", "list", "--json", "--from", store)
            self.assertEqual(done.images, [], str(done))
        self.assertEqual(self.images("list").ids, [image["id"]])


class SwiftV1(ObjectShelf, ShelfTest):
    store = f"swift:{BUCKET}"

    @property
    def variables(self):
        return {key: value for key, value in SWIFT.exports.items() if key.startswith("ST_")}

    @staticmethod
    def image_path(image):
        return "/" + image["location"].removeprefix("swift:")

    @staticmethod
    def through(url):
        return {"ST_AUTH": f"{url}/auth/v1.0"}


if __name__ == "__main__":
    unittest.main()

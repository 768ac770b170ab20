# SPDX-License-Identifier: Apache-2.0
"""What the tests of the method cold have in common."""
from lab import KIB, LabTest


class ColdTest(LabTest):
    def fill(self, guest, disk, size):
        step = 512 * KIB
        for i in range(0, size // step, 2):
            guest.write(disk, i * step, step, 1 + i % 100)
        guest.write(disk, 0, 96 * KIB, 0)
        guest.write(disk, size - 512, 512, 0x7f)

    def cold(self, guest, *args, **options):
        return guest.snapshot("--method", "cold", *args, **options)

    def assert_no_image(self, guest):
        self.assertEqual(list(guest.store.iterdir()) if guest.store.exists() else [], [])

    def assert_refused(self, guest, started, *words):
        self.assertEqual(started.wait(), 3, started.describe())
        for word in words:
            self.assertIn(word, started.result["error"]["message"])
        self.assert_no_image(guest)

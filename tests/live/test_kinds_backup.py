# SPDX-License-Identifier: Apache-2.0
"""Every kind of disk by the method backup."""
import unittest

import test_kinds


class KindsByBackup(test_kinds.Kinds):
    METHOD = ("--method", "backup")


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""Every kind of disk by the method mirror."""
import unittest

import test_kinds


class KindsByMirror(test_kinds.Kinds):
    METHOD = ("--method", "mirror")


if __name__ == "__main__":
    unittest.main()

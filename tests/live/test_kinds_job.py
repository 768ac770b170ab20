# SPDX-License-Identifier: Apache-2.0
"""Every kind of disk by the job flavour of stream."""
import unittest

import test_kinds


class KindsByJob(test_kinds.Kinds):
    METHOD = ("--method", "stream", "--flavour", "job")


if __name__ == "__main__":
    unittest.main()

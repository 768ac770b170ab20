# SPDX-License-Identifier: Apache-2.0
"""What the tests of the methods backup and mirror have in common."""
import builds

SPEED = "12M"
IOTHREAD = ("-object", "iothread,id=io0")


def copying(event):
    """QEMU's job is at work."""
    return event["event"] == "progress" and event.get("step") == "copy" and event["done_bytes"] > 0


def copied(event):
    """It has ended."""
    return event["event"] == "step" and event["step"] == "copy" and event["phase"] == "end"


def uploading(event):
    return event["event"] == "progress" and "step" not in event and event["done_bytes"] > 0


def wait_writable(started, method):
    """From then on the test may write, and what it writes isn't in the image."""
    started.wait_instant()
    if "backup" in method and builds.monitor_writes_wait_for_backup():
        started.wait_for(copied)

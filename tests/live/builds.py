# SPDX-License-Identifier: Apache-2.0
"""What the QEMU under test can do, by the version that it prints itself: what a test expects of it
mustn't come from what the tool found out."""
import functools
import os
import subprocess

QEMU = os.environ.get("QMPSNAP_TEST_QEMU", "qemu-system-x86_64")


@functools.lru_cache
def _printed(program):
    text = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=True).stdout
    return tuple(map(int, text.split("version ")[1].split()[0].split("(")[0].split(".")))


def version():
    """(major, minor, micro)"""
    return _printed(QEMU)


def has_filter():
    """copy-before-write with on-cbw-error, and snapshot-access; else it is the job flavour."""
    return version() >= (7, 2, 0)


def is_good_in_iothreads():
    """Seen to do well with the best flavour that it has, see blockops/dangers.c."""
    major, minor, micro = version()
    least = {(5, 2): 0, (10, 0): 13, (11, 1): 3}
    return micro >= least.get((major, minor), micro + 1)


def dies_of_mirror_ended_in_pause():
    """Of a virtio-blk disk in an iothread, when the job's end falls into a `stop`."""
    return version() < (7, 2, 0)


def migrates_in_spite_of_jobs():
    """And dies of it, when the job writes."""
    return version() < (7, 2, 0)


def dies_of_listing_nodes():
    """By query-named-block-nodes, while a backup job has concluded and wasn't dismissed."""
    return version() < (7, 2, 0)


def backup_copies_zeroes():
    """With copy_file_range, which detect-zeroes of the target doesn't see."""
    return version() < (6, 0, 0)


def monitor_writes_wait_for_backup():
    """For ever, now and then, when the job is slowed down: the event loop of HMP's qemu-io doesn't
    run the job's timer.  A guest's own writes don't (test_backup's booted guests)."""
    return version() < (6, 0, 0)

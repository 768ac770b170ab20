# SPDX-License-Identifier: Apache-2.0
"""The numbered blocks that tests/guest/guestjob.c writes, judged from outside."""
import array
import struct

BLOCK_BYTES = 4096
WORD = (1 << 64) - 1


def block(n):
    """The 4 KiB of block n."""
    words = array.array("Q", struct.unpack("<Q", b"QSNAPBLK"))
    words.append(n)
    state = n
    for _ in range(BLOCK_BYTES // 8 - 2):
        state ^= (state << 13) & WORD
        state ^= state >> 7
        state ^= (state << 17) & WORD
        words.append(state)
    return words.tobytes()


def verify(path, slots):
    """(n, bad) of a raw disk: the highest number on it, and how many slots contradict it."""
    found = []
    with open(path, "rb") as disk:
        for _ in range(slots):
            data = disk.read(BLOCK_BYTES)
            number = struct.unpack_from("<Q", data, 8)[0]
            if data == bytes(BLOCK_BYTES):
                found.append(0)
            else:
                found.append(number if data == block(number) else None)
    highest = max(number or 0 for number in found)
    bad = 0
    for slot, number in enumerate(found):
        want = highest - (highest - 1 - slot) % slots if highest > slot else 0
        bad += number != want
    return highest, bad

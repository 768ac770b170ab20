# SPDX-License-Identifier: Apache-2.0
"""The server's side of one NBD connection: newstyle negotiation, structured replies and
base:allocation, as far as libnbd asks for them (NBD's doc/proto.md)."""
import struct

MAGIC, OPTION_MAGIC, REPLY_MAGIC = 0x4e42444d41474943, 0x49484156454F5054, 0x3e889045565a9
REQUEST_MAGIC, CHUNK_MAGIC = 0x25609513, 0x668e33ef
ABORT, INFO, GO, STRUCTURED, LIST_META, SET_META = 2, 6, 7, 8, 9, 10
ACK, REPLY_INFO, REPLY_META = 1, 3, 4
UNSUPPORTED, UNKNOWN = (1 << 31) + 1, (1 << 31) + 6
READ, DISCONNECT, STATUS = 0, 2, 7
EIO = 5


class Ended(Exception):
    """The connection is over."""


class Connection:
    """Takes bytes, gives bytes. `find(name)` returns the size of an export, or None; `blocks` are
    (length, has data) from the start of the disk."""

    def __init__(self, find, blocks):
        self.find, self.blocks = find, blocks
        self.name = None
        self.contexts = []
        self.structured = False
        self.input = b""
        self.unsent = b""
        self.output = struct.pack(">QQH", MAGIC, OPTION_MAGIC, 3)  # fixed newstyle, no zeroes
        self.state = self.take_flags
        self.broken = False  # reads fail

    def feed(self, data):
        """How many messages it took."""
        self.input += data
        taken = 0
        while self.state():
            taken += 1
        return taken

    def is_farewell(self, data):
        """It comes when nobody waits for it any more."""
        whole = self.input + data
        if self.state == self.take_request:
            return len(whole) >= 8 and struct.unpack(">H", whole[6:8])[0] == DISCONNECT
        return self.state == self.take_option and len(whole) >= 12 and \
            struct.unpack(">I", whole[8:12])[0] == ABORT

    def pull(self, length):
        if len(self.input) < length:
            return None
        data, self.input = self.input[:length], self.input[length:]
        return data

    def take_flags(self):
        if self.pull(4) is None:
            return False
        self.state = self.take_option
        return True

    def take_option(self):
        if len(self.input) < 16:
            return False
        magic, option, length = struct.unpack(">QII", self.input[:16])
        if magic != OPTION_MAGIC or length > 65536:
            raise Ended
        if len(self.input) < 16 + length:
            return False
        data = self.pull(16 + length)[16:]
        self.answer_option(option, data)
        return True

    def reply(self, option, kind, data=b""):
        self.output += struct.pack(">QIII", REPLY_MAGIC, option, kind, len(data)) + data

    def answer_option(self, option, data):
        if option == ABORT:
            raise Ended
        if option == STRUCTURED:
            self.structured = True
            self.reply(option, ACK)
        elif option in (LIST_META, SET_META):
            self.answer_contexts(option, data)
        elif option in (INFO, GO):
            length = struct.unpack(">I", data[:4])[0]
            name = data[4:4 + length].decode()
            size = self.find(name)
            if size is None:
                self.reply(option, UNKNOWN)
                return
            # has flags, read-only, may send DF, may be several connections
            self.reply(option, REPLY_INFO, struct.pack(">HQH", 0, size, 1 | 2 | 128 | 256))
            self.reply(option, REPLY_INFO, struct.pack(">HIII", 3, 1, 65536, 32 << 20))
            self.reply(option, ACK)
            if option == GO:
                self.name = name
                self.state = self.take_request
        else:
            self.reply(option, UNSUPPORTED)

    def answer_contexts(self, option, data):
        length = struct.unpack(">I", data[:4])[0]
        at = 4 + length
        count = struct.unpack(">I", data[at:at + 4])[0]
        at += 4
        self.contexts = []
        for _ in range(count):
            length = struct.unpack(">I", data[at:at + 4])[0]
            query = data[at + 4:at + 4 + length]
            at += 4 + length
            if query == b"base:allocation":
                self.contexts.append(query)
                self.reply(option, REPLY_META, struct.pack(">I", 1) + query)
        self.reply(option, ACK)

    def take_request(self):
        data = self.pull(28)
        if data is None:
            return False
        magic, _flags, kind, cookie, offset, length = struct.unpack(">IHHQQI", data)
        if magic != REQUEST_MAGIC or kind == DISCONNECT:
            raise Ended
        if kind == READ and not self.broken:
            body = struct.pack(">Q", offset) + self.content(offset, length)
            self.chunk(cookie, 1, body)
        elif kind == STATUS and not self.broken:
            self.chunk(cookie, 5, struct.pack(">I", 1) + self.extents(offset, length))
        else:
            self.fail(cookie)
        return True

    def fail(self, cookie):
        self.chunk(cookie, (1 << 15) + 1, struct.pack(">IH", EIO, 0))

    def chunk(self, cookie, kind, body):
        self.output += struct.pack(">IHHQI", CHUNK_MAGIC, 1, kind, cookie, len(body)) + body

    def content(self, offset, length):
        data = self.blocks[0][0]
        full = max(min(offset + length, data) - offset, 0)
        return b"\xd5" * full + bytes(length - full)

    def extents(self, offset, length):
        answer, at = b"", 0
        for size, has_data in self.blocks:
            start, end = max(at, offset), min(at + size, offset + length)
            if start < end:
                answer += struct.pack(">II", end - start, 0 if has_data else 3)
            at += size
        return answer

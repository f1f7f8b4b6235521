"""A disk that remembers each write and each barrier: a file system of one file, /dev/fuse's other end.

A loop device over that file makes a block device of it. What the kernel writes there arrives here in
its order, and a flush arrives as an fsync. The protocol is that of linux/fuse.h, spoken without a library.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from enum import IntEnum
from typing import NamedTuple

REQUEST = 1 << 20  # bytes: more than a header and the most that one write may carry
MOST = 1 << 17  # bytes of one write
ROOT, DISK = 1, 2  # the nodes
HEAD = struct.Struct("=IIQQIIIHH")  # struct fuse_in_header
PLACE = struct.Struct("=QQI")  # how fuse_read_in and fuse_write_in begin: handle, offset, size
WRITE_HEAD = 40  # bytes of a fuse_write_in, before the data
BIG_WRITES = 1 << 5


class Op(IntEnum):
    """What the kernel asks for."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    INTERRUPT = 36
    BATCH_FORGET = 42


SILENT = (Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT)  # what gets no answer


class Write(NamedTuple):
    """Bytes that arrived."""

    offset: int
    data: bytes


class Barrier(NamedTuple):
    """What arrived before it is on the disk, whatever happens then."""


class Mark(NamedTuple):
    """Something that happened elsewhere between two writes."""

    name: str


Record = list[Write | Barrier | Mark]


class Recorder:
    """The disk. The process that makes it serves it; others may open it from then on.

    Args:
        content: what the disk holds at first.
        directory: where the disk appears, as `disk`. A look at any other name there is a `Mark`.
    """

    def __init__(self, content: bytes, directory: str) -> None:
        self.content = bytearray(content)
        self.record: Record = []
        self.fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.fuse},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0"
        libc = ctypes.CDLL(None, use_errno=True)
        words = (b"recorder", os.fsencode(directory), b"fuse")
        if libc.mount(*words, ctypes.c_ulong(0), options.encode()):
            raise OSError(ctypes.get_errno(), "cannot mount the recorder", directory)

    def serve(self) -> None:
        """Answer the kernel until the disk is unmounted."""
        while True:
            try:
                request = os.read(self.fuse, REQUEST)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue
                raise
            _, op, unique, node, *_ = HEAD.unpack_from(request)
            if op in SILENT:
                continue
            answer = self.answer(op, node, request[HEAD.size :])
            code, body = (answer, b"") if isinstance(answer, int) else (0, answer)
            os.write(self.fuse, struct.pack("=IiQ", 16 + len(body), -code, unique) + body)

    def answer(self, op: int, node: int, body: bytes) -> bytes | int:
        """Return the body of the answer to a request, or an error number."""
        match op:
            case Op.INIT:
                head = (7, 31, MOST, BIG_WRITES, 12, 9, MOST, 1)  # of version 7.31
                return struct.pack("=IIIIHHII", *head).ljust(64, b"\0")
            case Op.LOOKUP:
                name = body.rstrip(b"\0").decode()
                if name != "disk":
                    self.record.append(Mark(name))
                    return errno.ENOENT
                return struct.pack("=QQQQII", DISK, 0, 60, 60, 0, 0) + self.attributes(DISK)
            case Op.GETATTR | Op.SETATTR:
                return struct.pack("=QII", 60, 0, 0) + self.attributes(node)
            case Op.OPEN:
                return bytes(16)
            case Op.READ:
                _, offset, size = PLACE.unpack_from(body)
                return bytes(self.content[offset : offset + size])
            case Op.WRITE:
                _, offset, size = PLACE.unpack_from(body)
                data = body[WRITE_HEAD : WRITE_HEAD + size]
                self.content[offset : offset + size] = data
                self.record.append(Write(offset, data))
                return struct.pack("=II", size, 0)
            case Op.FSYNC:
                self.record.append(Barrier())
                return b""
            case Op.STATFS:
                return bytes(80)
            case Op.RELEASE | Op.FLUSH:
                return b""
        return errno.ENOSYS

    def attributes(self, node: int) -> bytes:
        """Return the struct fuse_attr of a node."""
        size = 0 if node == ROOT else len(self.content)
        mode = stat.S_IFDIR | 0o700 if node == ROOT else stat.S_IFREG | 0o600
        numbers = (node, size, size // 512, 0, 0, 0)
        return struct.pack("=6Q10I", *numbers, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

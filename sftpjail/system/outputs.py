"""The output of a program: kept in full, or only its beginning and end if it may be endless."""

from __future__ import annotations

import os
from typing import Protocol

PIECE = 1 << 18  # bytes
# A hundred times the longest answer on a host with 10,000 accounts.
MOST = 256 << 20


class Output(Protocol):
    """The output of a program to one of its streams.

    `theirs` is the program's descriptor. `ours` is the one to wait for, or None.
    """

    theirs: int
    ours: int | None

    def take(self) -> None:
        """Read what has been written so far."""

    def is_full(self) -> bool:
        """Return whether the output exceeds its limit."""

    def read(self) -> bytes:
        """Return the output, after the program has ended."""

    def close(self) -> None:
        """Close both descriptors."""


class WholeOutput:
    """The whole output, in memory.

    It is not a pipe, because a process that the program leaves behind could keep that open.
    """

    def __init__(self) -> None:
        self.theirs = os.memfd_create("output")
        self.ours: int | None = None

    def take(self) -> None:
        """Do nothing: the kernel keeps the output."""

    def is_full(self) -> bool:
        """Return whether it is longer than any answer that we expect."""
        return os.fstat(self.theirs).st_size > MOST

    def read(self) -> bytes:
        """Return the whole output."""
        os.lseek(self.theirs, 0, os.SEEK_SET)
        with open(self.theirs, "rb", closefd=False) as output:
            return output.read()

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.theirs)


class Ends:
    """The beginning and the end of the output, through a pipe.

    Args:
        keep: bytes to keep of each.
    """

    def __init__(self, keep: int) -> None:
        reading, self.theirs = os.pipe()
        os.set_blocking(reading, False)
        self.ours: int | None = reading
        self._open = [reading, self.theirs]
        self._keep, self._head, self._tail, self._left_out = keep, b"", b"", 0

    def take(self) -> None:
        """Read one piece, because a process that the program leaves behind may write for ever."""
        if self.theirs in self._open:  # the program has its own copy by now
            self._open.remove(self.theirs)
            os.close(self.theirs)
        if self.ours is None:
            return
        try:
            piece = os.read(self.ours, PIECE)
        except BlockingIOError:
            return
        if not piece:
            self.ours = None
        room = self._keep - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:]
        self._left_out += max(0, len(self._tail) - self._keep)
        self._tail = self._tail[-self._keep :]

    def is_full(self) -> bool:
        """Return False: there is no limit."""
        return False

    def read(self) -> bytes:
        """Return both ends, with a note between them of how much is left out."""
        self.take()
        note = ""
        if self._left_out:
            note = f"\n[{self._left_out} bytes are left out]\n"
        return self._head + note.encode() + self._tail

    def close(self) -> None:
        """Close the open descriptors."""
        while self._open:
            os.close(self._open.pop())

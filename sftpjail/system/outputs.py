"""Where a program writes: all of it is kept, or of one that may write without end both ends."""

from __future__ import annotations

import os
from typing import Protocol

PIECE = 1 << 18  # bytes
# A hundred times the longest answer on a host with 10,000 accounts.
MOST = 256 << 20


class Output(Protocol):
    """What a program writes to one of its streams.

    `theirs` is the descriptor that it gets; `ours` one to wait for, None if there is none.
    """

    theirs: int
    ours: int | None

    def take(self) -> None:
        """Take what has come by now."""

    def is_full(self) -> bool:
        """Return whether more has come than may."""

    def read(self) -> bytes:
        """Return what is kept, when the program has ended."""

    def close(self) -> None:
        """Close both descriptors."""


class Whole:
    """All of it, in memory.

    Not through a pipe: a process that the program leaves behind could hold that open for ever.
    """

    def __init__(self) -> None:
        self.theirs = os.memfd_create("output")
        self.ours: int | None = None

    def take(self) -> None:
        """Do nothing: the kernel keeps it."""

    def is_full(self) -> bool:
        """Return whether it is more than any program has to say that we ask."""
        return os.fstat(self.theirs).st_size > MOST

    def read(self) -> bytes:
        """Return all of it."""
        os.lseek(self.theirs, 0, os.SEEK_SET)
        with open(self.theirs, "rb", closefd=False) as output:
            return output.read()

    def close(self) -> None:
        """Close it."""
        os.close(self.theirs)


class Ends:
    """The beginning and the end of it, through a pipe.

    Args:
        keep: bytes of each.
    """

    def __init__(self, keep: int) -> None:
        reading, self.theirs = os.pipe()
        os.set_blocking(reading, False)
        self.ours: int | None = reading
        self._open = [reading, self.theirs]
        self._keep, self._head, self._tail, self._left_out = keep, b"", b"", 0

    def take(self) -> None:
        """Take a piece, and no more: what the program leaves behind may write for ever."""
        if self.theirs in self._open:  # the program has its own by now
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
        """Return False: it may go on."""
        return False

    def read(self) -> bytes:
        """Return both ends, and between them how much is left out."""
        self.take()
        note = f"\n[{self._left_out} bytes are left out]\n" if self._left_out else ""
        return self._head + note.encode() + self._tail

    def close(self) -> None:
        """Close what is open."""
        while self._open:
            os.close(self._open.pop())

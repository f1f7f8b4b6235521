"""Waits that explain themselves: after one second, they report what they wait for."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from itertools import dropwhile

from ..errors.escapes import one_line

PATIENCE = 1.0  # seconds before a wait is reported
_LOCKS = "/proc/locks"


class Wait:
    """A wait that begins now.

    Args:
        whom: called after a second; returns what it waits for, or "" if not worth reporting yet.
    """

    def __init__(self, whom: Callable[[], str]) -> None:
        self._whom, self._told = whom, time.monotonic() + PATIENCE

    def goes_on(self) -> None:
        """Report on standard error what this waits for, once. Call this repeatedly."""
        if time.monotonic() < self._told:
            return
        whom = self._whom()
        if not whom:
            return
        self._told = float("inf")
        with contextlib.suppress(OSError, ValueError):  # nobody reads it
            print(one_line(f"sftpjail: waiting for {whom}"), file=sys.stderr, flush=True)


def holder(path: str, waiting: int = 0) -> str:
    """Return the holder of a lock on a file for a message: its pid and command line.

    Args:
        path: the file; proc_locks(5) has its inode, and the holder's descriptors its name.
        waiting: the process that wants the lock; "" is returned if no other holder is found.
    """
    known = known_holder(path, waiting)
    if known:
        return f"{known}, which holds {path}"
    if waiting:
        return ""
    return f"whoever holds {path}"


def known_holder(path: str, waiting: int = 0) -> str:
    """Return the holder of a lock, as `holder`, or "" if that cannot be told.

    It may be in another mount namespace, where the file has another path.

    Args:
        path: the file or directory.
        waiting: a process that is not meant.
    """
    with contextlib.suppress(OSError):
        found = os.stat(path)
        with open(_LOCKS, encoding="ascii") as handle:
            locks = [line.split() for line in handle]
        for fields in locks:
            # "1: FLOCK ADVISORY WRITE 123 00:1a:456 0 EOF"; a waiter has "->" after its number.
            if "->" not in fields and fields[5].rpartition(":")[2] == str(found.st_ino):
                pid = int(fields[4])
                if pid != waiting and _has_open(pid, found, os.path.basename(path)):
                    return f"pid {pid} ({_command(pid)})"
    return ""


def _has_open(pid: int, wanted: os.stat_result, name: str) -> bool:
    """Return whether a process has a file open; only those of that NAME are looked at."""
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            link = f"/proc/{pid}/fd/{fd}"
            with contextlib.suppress(OSError):
                if os.path.basename(os.readlink(link)) != name:
                    continue
                if os.path.samestat(os.stat(link), wanted):
                    return True
    return False


def _command(pid: int) -> str:
    """Return the command line of a process; that of a script without the interpreter."""
    with open(f"/proc/{pid}/cmdline", "rb") as handle:
        words = os.fsdecode(handle.read()).rstrip("\0").split("\0")
    if os.path.basename(words[0]).startswith("python") and len(words) > 1:
        script = list(dropwhile(lambda word: word.startswith("-"), words[1:]))
        if script and os.path.isfile(script[0]):
            words = script
    return " ".join([os.path.basename(words[0]), *words[1:]])[:80]

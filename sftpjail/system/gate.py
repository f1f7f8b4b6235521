"""The gate that holds useradd(8) and userdel(8) up for a moment, while their hooks come or go."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Iterator

from .processes import of_name


@contextlib.contextmanager
def no_useradd(path: str) -> Iterator[None]:
    """A moment for a hook of shadow's, or its directory, to go.

    useradd fails if it sees and then misses it (run_part.c). Whoever opens the directory stands
    still until the moment is over, and we wait, for two seconds at most, until each useradd and
    userdel from before does so or has ended. Where the kernel stops nobody for us (a container),
    until none runs.
    """
    directory = path if os.path.isdir(path) else os.path.dirname(path)
    if os.path.dirname(directory) != "/etc/shadow-maint" or not os.path.lexists(path):
        yield
        return
    door, deadline, names = _shut(directory), time.monotonic() + 2, ("useradd", "userdel")
    try:
        awaited = of_name(names)
        while awaited and time.monotonic() < deadline:
            time.sleep(0.001)
            awaited = (awaited - _stopped(door)) & of_name(names) if door else of_name(names)
        yield
    finally:
        if door:
            os.close(door)  # which lets everybody in


def _shut(directory: str) -> int:
    """Stop everybody who opens DIRECTORY, by a descriptor that is to be closed.

    It is 0 where we may not (fanotify_init(2)).
    """
    import ctypes

    # FAN_OPEN_PERM | FAN_ONDIR
    libc, opening = ctypes.CDLL(None), ctypes.c_uint64(0x10000 | 0x40000000)
    flags = 0x4 | 0x2 | 0x1  # FAN_CLASS_CONTENT, FAN_NONBLOCK, FAN_CLOEXEC
    door: int = libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC)
    if door < 0:
        return 0
    # FAN_MARK_ADD, AT_FDCWD
    if libc.fanotify_mark(door, 0x1, opening, -100, os.fsencode(directory)) < 0:
        os.close(door)
        return 0
    return door


_EVENT = struct.Struct("=IBBHQii")  # struct fanotify_event_metadata


def _stopped(door: int) -> set[int]:
    """Return the pids of those who were stopped since this was asked last."""
    try:
        events = os.read(door, _EVENT.size * 100)
    except BlockingIOError:
        return set[int]()
    stopped = set[int]()
    for *_, opened, pid in _EVENT.iter_unpack(events):
        os.close(opened)
        stopped.add(pid)
    return stopped

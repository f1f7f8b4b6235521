"""Hold up useradd(8) and userdel(8) while their hooks are removed."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Iterator

from .processes import of_name

_HOOKS = "/etc/shadow-maint"


@contextlib.contextmanager
def useradd_blocked(path: str) -> Iterator[None]:
    """Hold up useradd(8) and userdel(8) while a hook of theirs, or its directory, is removed.

    useradd fails if it lists a hook and then cannot find it (run_part.c). Any process that opens
    the directory is blocked until the removal is done. Before it, we wait for up to two seconds
    until each useradd and userdel that already runs is blocked or has ended. If the kernel does not
    let us block processes (in a container), we wait until none runs.
    """
    if not path.startswith(f"{_HOOKS}/") or not os.path.lexists(path):  # as nearly always
        yield
        return
    if os.path.isdir(path):
        directory = path
    else:
        directory = os.path.dirname(path)
    if os.path.dirname(directory) != _HOOKS:
        yield
        return
    door, deadline, names = _shut(directory), time.monotonic() + 2, ("useradd", "userdel")
    try:
        awaited = of_name(names)
        while awaited and time.monotonic() < deadline:
            time.sleep(0.001)
            if door:
                awaited = (awaited - _stopped(door)) & of_name(names)
            else:
                awaited = of_name(names)
        yield
    finally:
        if door:
            os.close(door)  # lets the blocked processes go on


def _shut(directory: str) -> int:
    """Block every process that opens DIRECTORY, until the returned descriptor is closed.

    Return 0 if this is not permitted (fanotify_init(2)).
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
    """Return the pids of the processes that were blocked since the last call."""
    try:
        events = os.read(door, _EVENT.size * 100)
    except BlockingIOError:
        return set[int]()
    stopped = set[int]()
    for *_, opened, pid in _EVENT.iter_unpack(events):
        os.close(opened)
        stopped.add(pid)
    return stopped

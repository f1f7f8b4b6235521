"""Accounts that another program is still creating, and the waiters that then make their jails.

adduser(8) makes the home and extra groups after useradd(8) and its hooks. So we leave a waiter,
`hooks/waiter`, which writes its pid and start time into a file in WAITING.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from collections.abc import Collection, Iterator
from typing import NamedTuple

from ..paths import RUN_DIR, WAITER
from . import programs
from .processes import after_name
from .waits import Wait

WAITING = f"{RUN_DIR}/waiting"
PATIENCE = 10.0  # seconds that a command waits for a waiter
_PERL = re.compile(r"perl[\d.]*(?: \(deleted\))?")


class Arrival(NamedTuple):
    """An account whose jail is made when another process has ended.

    Args:
        name: the account.
        maker: the pid of the process that creates it or has created it.
        waiter: the pid of its waiter.
    """

    name: str
    maker: int
    waiter: int

    @property
    def pid(self) -> int:
        """The process to wait for: the maker, or the waiter if the maker has ended."""
        if _start(self.maker):
            return self.maker
        return self.waiter


def adduser() -> int | None:
    """Return the pid of the nearest adduser(8) among our ancestors, or None."""
    return next((pid for pid in _ancestors() if _is_adduser(pid)), None)


def lock_holder(*paths: str) -> int | None:
    """Return the pid of an ancestor that holds one of some locks, and so waits for us, or None.

    Args:
        paths: lock files and directories; proc_pid_fdinfo(5) shows flock(2) locks.
    """
    return next((pid for pid in _ancestors() if _locks(pid, paths)), None)


def leave_waiter(name: str, pid: int, new: bool = False) -> None:
    """Start a waiter that has an account's jail made when a process has ended.

    Args:
        name: the account.
        pid: the process.
        new: useradd's hook has done nothing yet, and runs again then.

    Raises:
        SftpJailError: the waiter could not be started.
    """
    programs.must([WAITER, "leave", "--new" if new else "--unit", name, str(pid)])


def arriving() -> dict[str, Arrival]:
    """Return the accounts that have a waiter now, by name."""
    found = {}
    with contextlib.suppress(OSError):
        for entry in os.listdir(WAITING):
            name, _, maker = entry.rpartition(":")
            with contextlib.suppress(OSError, ValueError), open(f"{WAITING}/{entry}") as handle:
                pid, start = handle.read().split()
                if _start(int(pid)) == start:
                    found[name] = Arrival(name, int(maker), int(pid))
    return found


def wait_for(name: str) -> Arrival | None:
    """Wait until an account has no waiter; return one that still runs after PATIENCE, or None."""
    deadline = time.monotonic() + PATIENCE
    maker = 0
    wait = Wait(lambda: f"pid {maker}, which is still creating {name}")
    while arrival := arriving().get(name):
        left = deadline - time.monotonic()
        if left <= 0:
            return arrival
        maker = arrival.pid
        with programs.pidfds([arrival.waiter]) as fds:
            select.select(fds, [], [], min(left, 1.0))
        wait.goes_on()
    return None


def _ancestors() -> Iterator[int]:
    pid = os.getppid()
    while pid > 0:
        yield pid
        try:
            pid = int(after_name(pid)[1])
        except OSError:
            return


def _start(pid: int) -> str:
    """Return the start time of a process as in proc_pid_stat(5), or "" if it has ended."""
    try:
        fields = after_name(pid)
    except OSError:
        return ""
    if fields[0] in (b"Z", b"X"):
        return ""
    return fields[19].decode()


def _is_adduser(pid: int) -> bool:
    """Return whether a process is root's, has our root directory, and runs adduser(8).

    adduser is a Perl program that replaces its command line with its bare name.
    """
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            words = [os.fsdecode(word) for word in handle.read().split(b"\0")]
        exe = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        ours = os.stat(f"/proc/{pid}").st_uid == 0 and os.path.samefile(f"/proc/{pid}/root", "/")
    except OSError:
        return False
    names = [os.path.basename(word) for word in words if word and not word.startswith("-")]
    if names and _PERL.fullmatch(names[0]):
        del names[0]
    return ours and bool(_PERL.fullmatch(exe)) and names[:1] == ["adduser"]


def _locks(pid: int, paths: Collection[str]) -> bool:
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}") in paths:
                    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as handle:
                        if re.search(r"^lock:.*FLOCK", handle.read(), re.MULTILINE):
                            return True
    return False

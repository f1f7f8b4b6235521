"""The one lock, which every run that may change something holds, and that of passwd(5)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from functools import partial

from ..errors import SftpJailError
from ..escapes import look_at
from .files import keep_private
from .waits import Wait, holder

ACCOUNTS = "/etc/.pwd.lock"  # of lckpwdf(3)


@contextlib.contextmanager
def lock(path: str, timeout: float) -> Iterator[None]:
    """Hold the one lock.

    Every run that may change something does so before it reads its first fact.

    Args:
        path: the lock file; its directory is made, root's alone.
        timeout: seconds to wait for another run.

    Raises:
        SftpJailError: another run holds it all that time, or it cannot be made.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        keep_private(os.path.dirname(path))
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SftpJailError(
            f"cannot lock {path}: {error.strerror}", advice="run sftpjail as root"
        ) from error
    try:
        if not _taken(fcntl.flock, path, fd, timeout, 0.02):
            raise SftpJailError(
                f"another sftpjail has held {path} for {timeout:.0f} seconds",
                look_at(f"fuser -v {path}"),
            )
        yield
    finally:
        os.close(fd)


def _taken(
    take: Callable[[int, int], object], path: str, fd: int, timeout: float, pause: float
) -> bool:
    """Return whether a lock could be taken in that time, trying again after each pause."""
    deadline = time.monotonic() + timeout
    wait = Wait(partial(holder, path))
    while True:
        with contextlib.suppress(BlockingIOError):
            take(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        if time.monotonic() > deadline:
            return False
        wait.goes_on()
        time.sleep(pause)


@contextlib.contextmanager
def accounts_still() -> Iterator[bool]:
    """Keep useradd and its kin waiting, as they do each other: lckpwdf(3).

    They are patient for 15 seconds, and so are we; then yield False, as where /etc is read-only.
    """
    try:
        fd = os.open(ACCOUNTS, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # a read-only /etc changes under nobody
        yield False
        return
    try:
        yield _taken(fcntl.lockf, ACCOUNTS, fd, 15.0, 0.005)
    finally:
        os.close(fd)


@contextlib.contextmanager
def unlocked(path: str) -> Iterator[bool]:
    """Yield whether no run holds the lock, and let none begin meanwhile; wait for nobody.

    Args:
        path: the lock file; where there is none, nobody can hold it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        free = True
    except BlockingIOError:
        free = False
    try:
        yield free
    finally:
        os.close(fd)

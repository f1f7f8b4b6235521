"""The lock of every run that may change something, and the lock of passwd(5)."""

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
    """Hold the lock of this program.

    Every run that may change something takes it before it reads its first fact.

    Args:
        path: the lock file. Its directory is made, for root only.
        timeout: seconds to wait for another run.

    Raises:
        SftpJailError: another run held it all that time, or it cannot be created.
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
    """Try to take a lock until the timeout, with a pause between attempts; return whether taken."""
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
def passwd_locked() -> Iterator[bool]:
    """Hold the lock of passwd(5), for which useradd(8) and related programs wait (lckpwdf(3)).

    Like them, wait for up to 15 seconds. Yield whether the lock was taken; it never is if /etc is
    read-only.
    """
    try:
        fd = os.open(ACCOUNTS, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # nobody can change a read-only /etc
        yield False
        return
    try:
        yield _taken(fcntl.lockf, ACCOUNTS, fd, 15.0, 0.005)
    finally:
        os.close(fd)


@contextlib.contextmanager
def unlocked(path: str) -> Iterator[bool]:
    """Yield whether no run holds the lock, and let none begin meanwhile. This does not wait.

    Args:
        path: the lock file; if it does not exist, nobody can hold it.
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

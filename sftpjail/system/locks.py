"""The one lock: every run that may change something holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from ..errors import SftpJailError
from .files import keep_private


@contextlib.contextmanager
def lock(path: str, timeout: float) -> Iterator[None]:
    """Hold the one lock.

    Every run that may change something does so before it reads its first fact.

    Args:
        path: the lock file; its folder is made, root's alone.
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
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SftpJailError(
                        f"another sftpjail has held {path} for {timeout:.0f} seconds",
                        f"fuser -v {path}",
                    ) from None
                time.sleep(0.02)
        yield
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

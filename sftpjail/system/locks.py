"""The locks of every run that may change something, and the lock of passwd(5)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from functools import partial

from ..errors import SftpJailError
from ..errors.escapes import look_at
from .files import DIRECTORY, keep_private, parent, resolve
from .waits import Wait, holder, known_holder

ACCOUNTS = "/etc/.pwd.lock"  # of lckpwdf(3)
# What flock(2) answers where a file system has no such locks; NFS wants a descriptor for writing,
# which a directory has not.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF)


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
            raise _held(path, timeout)
        yield
    finally:
        os.close(fd)


def _held(path: str, timeout: float) -> SftpJailError:
    message = f"another sftpjail has held {path} for {timeout:.0f} seconds"
    known = known_holder(path)
    if known:
        message += f": {known}"
    return SftpJailError(message, look_at(f"fuser -v {path}"))


class DirectoryLock:
    """A lock on a directory itself, which may not exist yet, and may be removed meanwhile.

    It is for runs that do not see each other's lock file, in a container or another mount
    namespace, but do see the directory. It leaves no file behind. Programs that are started do not
    inherit it (O_CLOEXEC), so that none of them keeps it.

    Where the file system has no flock(2), nothing is locked.

    Args:
        path: the directory; root's own links to it are followed.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def take(self, timeout: float) -> bool:
        """Lock the directory, unless it is locked or does not exist.

        Args:
            timeout: seconds to wait for another run.

        Returns:
            whether this has locked it now.

        Raises:
            SftpJailError: another run held it all that time, or it cannot be opened.
        """
        while os.path.isdir(self.path) and not self._is_mine():
            self.release()
            try:
                with parent(resolve(self.path), self.path) as (above, name):
                    self._fd = os.open(name, DIRECTORY, dir_fd=above)
            except SftpJailError:
                if os.path.isdir(self.path):
                    raise
                return False
            try:
                free = _taken(fcntl.flock, self.path, self._fd, timeout, 0.02)
            except OSError as error:
                self.release()
                if error.errno in _NO_LOCKS:
                    return False
                raise SftpJailError(f"cannot lock {self.path}: {error.strerror}") from error
            if not free:
                self.release()
                raise _held(self.path, timeout)
            if self._is_mine():  # and not one that the other run has removed
                return True
        return False

    def _is_mine(self) -> bool:
        if self._fd < 0:
            return False
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self.path))
        except OSError:
            return False

    def release(self) -> None:
        """Unlock the directory, if this has locked it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


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
        path: the lock file, or the directory of a `DirectoryLock`; if it does not exist, or its
            file system has no locks, nobody can hold it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    free = True
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield free
    finally:
        os.close(fd)

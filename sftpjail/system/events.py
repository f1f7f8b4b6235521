"""The files of `watch` in /var/lib/sftpjail/events: segments, marks and events, for root only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ..errors import SftpJailError
from ..paths import EVENTS, WATCHING
from . import files
from .locks import lock

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
ASIDE = "aside"
AGAIN = "again"


@contextlib.contextmanager
def one_watcher() -> Iterator[None]:
    """Keep other instances of `watch` from starting. The locked file has our pid.

    Raises:
        SftpJailError: another one is running.
    """
    with lock(WATCHING, 0.0):
        _overwrite(WATCHING, b"%d\n" % os.getpid())
        try:
            yield
        finally:
            _overwrite(WATCHING, b"")


def _overwrite(path: str, text: bytes) -> None:
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, "wb") as handle:
            handle.write(text)


class Appended:
    """A file that grows; `size` is in bytes.

    Args:
        path: it may exist.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, _APPEND, 0o600)
            self.size = os.fstat(self._fd).st_size
        except OSError as error:
            raise _unwritable(path, error) from error

    def append(self, data: bytes, sync: bool) -> None:
        """Append DATA.

        Args:
            data: what to write. On an error, part of it may be written.
            sync: wait until it is on disk.

        Raises:
            SftpJailError: it cannot be written.
        """
        try:
            rest = memoryview(data)
            while rest:  # a disk that is nearly full writes a part and reports no error
                rest = rest[os.write(self._fd, rest) :]
            if sync:
                os.fdatasync(self._fd)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self.size += len(data)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)


def _unwritable(path: str, error: OSError) -> SftpJailError:
    return SftpJailError(f"cannot write {path}: {error.strerror}")


def make_place(directory: str = EVENTS) -> None:
    """Make the directory, and those in it, for root only.

    Raises:
        SftpJailError: one cannot be made.
    """
    for path in (directory, f"{directory}/{ASIDE}", f"{directory}/{AGAIN}"):
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
            files.keep_private(path)
        except OSError as error:
            raise _unwritable(path, error) from error


def put(path: str, content: bytes) -> None:
    """Write a whole file and wait until it is on disk. Raises SftpJailError."""
    try:
        files.write_staged(path, content, False, 0o600, os.geteuid(), os.getegid())
        files.move(files.stage_name(path), path)
    except OSError as error:
        raise _unwritable(path, error) from error
    settle(os.path.dirname(path))


def put_behind(path: str, hole: int, content: bytes) -> None:
    """Replace a file by one that begins with a hole, and wait until it is on disk.

    Args:
        path: an existing file.
        hole: the size of the hole in bytes. It takes no space on disk.
        content: what follows the hole.

    Raises:
        SftpJailError: it cannot be written; the old file is unchanged.
    """
    staged = files.stage_name(path)
    try:
        with open(os.open(staged, _APPEND & ~os.O_APPEND | os.O_TRUNC, 0o600), "wb") as handle:
            os.ftruncate(handle.fileno(), hole)
            handle.seek(hole)
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        files.move(staged, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(staged)
        raise _unwritable(path, error) from error
    settle(os.path.dirname(path))


def settle(directory: str) -> None:
    """Wait until the names in a directory are on disk."""
    files.sync_dirs({directory})


def remove(path: str) -> None:
    """Remove a file, if it exists. Raises SftpJailError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SftpJailError(f"cannot remove {path}: {error.strerror}") from error


def move(source: str, target: str) -> bool:
    """Rename a file; return whether it existed. Raises SftpJailError."""
    try:
        os.rename(source, target)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unwritable(target, error) from error
    return True

"""Temporary files, sockets and directories of root's that a test needs."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket

from ..errors import SftpJailError
from .files import DIRECTORY, create, is_there, parent


def new_file(path: str, content: bytes, mode: int) -> None:
    """Create a file that belongs to root and has exactly this mode."""
    with create(path) as fd, open(fd, "wb", closefd=False) as handle:
        os.fchmod(fd, mode)
        handle.write(content)


def listen(path: str) -> socket.socket:
    """Return a socket that listens at PATH, to which everybody may connect."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o777)
    listener.listen()
    return listener


def remove_tree(path: str) -> None:
    """Remove a directory of root's with its contents, if it exists."""
    if is_there(path):
        shutil.rmtree(path)


class Times:
    """The times of a directory, to restore them after something was made and removed in it.

    Args:
        path: the directory; if it does not exist or is a link, nothing is done.
    """

    def __init__(self, path: str) -> None:
        self._fd = -1
        with (
            contextlib.suppress(OSError, SftpJailError),
            parent(f"{path.rstrip('/')}/.") as (directory, _),
        ):
            self._fd = os.open(".", DIRECTORY, dir_fd=directory)
            self._before = os.fstat(directory)

    def put_back(self) -> None:
        """Restore the directory's times."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # a read-only file system has not changed
                os.utime(self._fd, ns=(self._before.st_atime_ns, self._before.st_mtime_ns))
            os.close(self._fd)
            self._fd = -1

"""Files, sockets and directories of root's own that a test needs for a moment."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket

from ..errors import SftpJailError
from .files import DIRECTORY, create, parent


def new_file(path: str, content: bytes, mode: int) -> None:
    """Make a file that is not there yet, of root's and with exactly that mode."""
    with create(path) as fd, open(fd, "wb", closefd=False) as handle:
        os.fchmod(fd, mode)
        handle.write(content)


def listen(path: str) -> socket.socket:
    """Return a socket on which everybody may connect by PATH."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o777)
    listener.listen()
    return listener


def remove_tree(path: str) -> None:
    """Remove a directory of root's with all that is in it; it may be gone already."""
    if os.path.lexists(path):
        shutil.rmtree(path)


class Times:
    """The times of a directory, to be put back when what came into it has gone again.

    Args:
        path: the directory; where there is none, or a link, nothing is done.
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
        """Give the directory its times back."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # a read-only file system has not changed
                os.utime(self._fd, ns=(self._before.st_atime_ns, self._before.st_mtime_ns))
            os.close(self._fd)
            self._fd = -1

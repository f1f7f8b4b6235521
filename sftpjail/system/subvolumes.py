"""Subvolumes of btrfs(5)."""

from __future__ import annotations

import os

from ..errors import SftpJailError
from . import programs
from .files import DIRECTORY, is_there, make_dir, opened, parent

ROOT_INODE = 256  # of a subvolume: BTRFS_FIRST_FREE_OBJECTID of linux/btrfs_tree.h


def make(path: str, mode: int, uid: int, gid: int) -> None:
    """Make one directory as a subvolume, with exactly this owner and mode. Its parents must exist.

    If a directory of that owner exists, it stays as it is.

    Raises:
        SftpJailError: as `make_dir`, or btrfs(8) failed.
    """
    if is_there(path):
        make_dir(path, mode, uid, gid)
        return
    with parent(path) as (directory, name):
        # By the directory that was judged, whatever has its name by now.
        place = f"/proc/{os.getpid()}/fd/{directory}/{name}"
        answer = programs.run(["btrfs", "subvolume", "create", place])
        if answer.failed:
            raise SftpJailError(f"cannot make the subvolume {path}: {answer.words}")
        with opened(name, DIRECTORY, directory) as fd:
            found = os.fstat(fd)
            if (found.st_uid, found.st_ino) != (os.geteuid(), ROOT_INODE) or os.listdir(fd):
                raise SftpJailError(
                    f"somebody else put a directory in place of {path} while it was made"
                )
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)

"""Open what a client has uploaded, without going where the client could lead root.

The client owns the directories on the way and may exchange anything at any time. So the path is
walked by descriptor from a directory that only the administrator chose, no symbolic link is
followed, and what was opened is judged by its descriptor.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection

from ..errors import SftpJailError
from ..model import frozen
from . import safe_path
from .files import PLACE

_THERE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NotHanded(SftpJailError):
    """What lies there is not handed to anybody; the message says why, without the path."""


@frozen
class Place:
    """Where a file of a jail is on the host.

    Attributes:
        source: a directory that the administrator chose: a bind's, or the jail's root.
        below: the components from there on: the client's words, none of them `.` or `..`.
        deep: mounts below the source are seen in the jail too (rbind).
    """

    source: str
    below: tuple[str, ...]
    deep: bool = False

    @property
    def path(self) -> str:
        """The path on the host."""
        return "/".join((self.source.rstrip("/"), *self.below))


@frozen
class Uploader:
    """Whose files an upload may be, as the source has them: its uid, and all its groups."""

    uid: int
    gids: Collection[int]


class Upload:
    """An uploaded file, open for reading, and the directory that it lay in.

    Attributes:
        descriptor: the file.
        directory: where it lay (O_PATH).
        name: its name there.
        found: its fstat(2) when it was opened, or last looked at.
    """

    def __init__(self, descriptor: int, directory: int, name: str) -> None:
        self.descriptor, self.directory, self.name = descriptor, directory, name
        self.found = os.fstat(descriptor)

    def close(self) -> None:
        """Close both descriptors."""
        os.close(self.descriptor)
        os.close(self.directory)

    def is_unchanged(self) -> bool:
        """Return whether nobody has written to it, changed its mode or moved it since `found`."""
        return same(os.fstat(self.descriptor), self.found)

    def look_again(self) -> None:
        """Take the file for what it is now, before it is scanned again."""
        self.found = os.fstat(self.descriptor)


def same(now: os.stat_result, then: os.stat_result) -> bool:
    """Return whether two fstat(2) are of one file in one state; a rename is a change too."""
    names = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    return all(getattr(now, name) == getattr(then, name) for name in names)


def open_upload(place: Place, uploader: Uploader) -> Upload:
    """Open an uploaded file for reading.

    Args:
        place: where it is.
        uploader: whose it is.

    Raises:
        NotHanded: there is none, it cannot be reached without a link, or it is not a file that this
            account can have uploaded.
    """
    try:
        directory, name, mount = _walk(place)
    except OSError as error:
        raise NotHanded(_words(error)) from error
    try:
        return Upload(_opened(directory, name, mount, uploader), directory, name)
    except BaseException as error:
        os.close(directory)
        if isinstance(error, OSError):
            raise NotHanded(_words(error)) from error
        raise


def _words(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ESTALE):
        return "there is no such file any more"
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return "part of its path is not a directory, or is a symbolic link"
    return f"it cannot be opened: {error.strerror}"


def _walk(place: Place) -> tuple[int, str, str]:
    """Return a descriptor of the directory that a file lies in, its name there, and its mount.

    The mount is a number, "" where any will do. The source itself may be reached through links of
    root's, as when it was mounted.
    """
    if not place.below:
        raise NotHanded("it is a directory")
    try:
        above = safe_path.open_path(place.source, follow=True)
    except safe_path.PathRefused as error:
        raise NotHanded(str(error)) from error
    try:
        mount = ""
        if not place.deep:
            mount = _mount_of(above)
        for name in place.below[:-1]:
            below = os.open(name, PLACE, dir_fd=above)
            os.close(above)
            above = below
    except BaseException:
        os.close(above)
        raise
    return above, place.below[-1], mount


def _opened(directory: int, name: str, mount: str, uploader: Uploader) -> int:
    """Return a descriptor for reading of a file that was judged by another one of the same file."""
    there = os.open(name, _THERE, dir_fd=directory)
    try:
        _judge(os.fstat(there), uploader)
        if mount and _mount_of(there) != mount:
            raise NotHanded("another file system is mounted there on the host")
        # Not by its name: somebody may have exchanged it.
        return os.open(f"/proc/self/fd/{there}", _READ)
    finally:
        os.close(there)


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _judge(found: os.stat_result, uploader: Uploader) -> None:
    """Refuse what is no plain file, and what the account cannot have written.

    Where several accounts write to one directory, one of them can rename a file of another's to the
    name that it has just uploaded, or link it there, without a right to read it.
    """
    kind = _KINDS.get(stat.S_IFMT(found.st_mode))
    if kind:
        raise NotHanded(f"it is {kind} by now")
    if found.st_uid == uploader.uid:
        return
    by_group = found.st_gid in uploader.gids and found.st_mode & 0o060 == 0o060
    if found.st_uid == 0 or not (by_group or found.st_mode & 0o006 == 0o006):
        raise NotHanded("it is another owner's, and the account may not write to it")
    if found.st_nlink > 1:
        raise NotHanded("it is another owner's, and has several names")


def _mount_of(descriptor: int) -> str:
    """Return the number of the mount that a descriptor was opened through: proc(5), fdinfo."""
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:
        return next((line.split()[1] for line in lines if line.startswith("mnt_id:")), "")

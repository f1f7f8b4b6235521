"""Take an uploaded file away from everybody: the very file that a hook script was given.

First the file itself is closed, through its descriptor: it becomes root's, with no mode. So it does
not matter whether the client renames it meanwhile. Then it is moved into a directory of root's, or,
from another file system, copied there and deleted. What somebody has put under its name instead
goes back. A record beside it, which is on disk before anything happens, has what it was.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from enum import Enum

from ..errors import SftpJailError
from ..paths import QUARANTINE
from . import safe_path
from .files import NEW, PLACE
from .uploads import Upload, same

_NOREPLACE = 1  # linux/fs.h
_ID = r"[A-Za-z0-9][A-Za-z0-9-]*"
_PIECE = 1 << 20  # bytes
_BLOCK = 512  # bytes, of st_blocks: stat(2)


class Taken(Enum):
    """What became of a file that is to be quarantined."""

    MOVED = "moved"
    COPIED = "copied"  # and deleted where it was
    CLOSED = "closed"  # it is root's where it is now: nobody knows its name, or there is no room
    CHANGED = "changed"  # since it was opened; nothing was done


def take(upload: Upload, name: str, about: Mapping[str, object], changed: bool = False) -> Taken:
    """Put an upload into quarantine, if it is still what was opened.

    Args:
        upload: the file, as a script was given it.
        name: what it is called there: the event's id; with a number behind it, if that is taken.
        about: what else the record has to say: JSON.
        changed: do so even if it has changed meanwhile.

    Raises:
        SftpJailError: the file could not be closed, or there is no record of it; it stays.
    """
    if not re.fullmatch(_ID, name):
        raise SftpJailError(f"{name!r} is not a valid name for a file in {QUARANTINE}")
    try:
        with contextlib.ExitStack() as opened:
            into = _directory()
            opened.callback(os.close, into)
            return _take(upload, _free(name, into), into, about, changed)
    except (OSError, safe_path.PathRefused) as error:
        words = f"{QUARANTINE}: {error}"
        raise SftpJailError(f"a file cannot be quarantined: {words}") from error


def _directory() -> int:
    """Return a descriptor of the quarantine, which is made if it is not there."""
    above, name, _ = safe_path.walk(QUARANTINE, strict=True)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=above)
        made = os.open(name, PLACE, dir_fd=above)
    finally:
        os.close(above)
    found = os.fstat(made)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        os.close(made)
        raise safe_path.PathRefused("it is not root's alone")
    return made


def _free(name: str, into: int) -> str:
    """Return a name that neither a file nor a record has: an event can be handed out again."""
    taken = set(os.listdir(f"/proc/self/fd/{into}"))
    names = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3)))
    return next(free for free in names if not {free, f"{free}.json"} & taken)


def _take(
    upload: Upload, name: str, into: int, about: Mapping[str, object], changed: bool
) -> Taken:
    if changed:
        upload.look_again()
    was = upload.found
    record = {
        **dict(about),
        "uid": was.st_uid,
        "gid": was.st_gid,
        "mode": f"{stat.S_IMODE(was.st_mode):04o}",
        "size": was.st_size,
        "modified": int(was.st_mtime),
        "device": was.st_dev,
        "inode": was.st_ino,
    }
    _write(into, name, record | {"state": "begun"})
    closed = False
    try:
        closed = _close(upload, changed)
    finally:
        if not closed:
            os.unlink(f"{name}.json", dir_fd=into)
    if not closed:
        return Taken.CHANGED
    taken = _move(upload, name, into)
    _write(into, name, record | {"state": taken.value})
    return taken


def _write(into: int, name: str, record: Mapping[str, object]) -> None:
    """Write the record as a whole: a crash leaves the one before it."""
    temporary = f".{name}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=into)
    with open(os.open(temporary, NEW, 0o600, dir_fd=into), "w", encoding="ascii") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, f"{name}.json", src_dir_fd=into, dst_dir_fd=into)


def _close(upload: Upload, changed: bool) -> bool:
    """Take the file from its owner, unless it has changed; return whether it is taken."""
    was = upload.found
    if not changed and not upload.is_unchanged():
        return False
    os.fchown(upload.descriptor, 0, 0)
    os.fchmod(upload.descriptor, 0)
    now = os.fstat(upload.descriptor)
    # Our own changes are in its ctime; what others wrote before them is in these.
    if changed or (now.st_size, now.st_mtime_ns) == (was.st_size, was.st_mtime_ns):
        return True
    os.fchown(upload.descriptor, was.st_uid, was.st_gid)
    os.fchmod(upload.descriptor, stat.S_IMODE(was.st_mode))
    return False


def _move(upload: Upload, name: str, into: int) -> Taken:
    """Move the closed file by its name; whatever else has that name by now goes back."""
    try:
        os.rename(upload.name, name, src_dir_fd=upload.directory, dst_dir_fd=into)
    except FileNotFoundError:
        return Taken.CLOSED
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return _copy(upload, name, into)
    if _is(upload, name, into):
        return Taken.MOVED
    _put_back(name, into, upload)
    return Taken.CLOSED


def _is(upload: Upload, name: str, directory: int) -> bool:
    there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return (there.st_dev, there.st_ino) == (upload.found.st_dev, upload.found.st_ino)


def _put_back(name: str, directory: int, upload: Upload) -> None:
    """Give back what was moved by mistake; under another name, where its own is taken by now."""
    own, other = os.fsencode(upload.name), b".%s" % os.urandom(4).hex().encode()
    for to in (own, own[: 255 - len(other)] + other):  # NAME_MAX of linux/limits.h
        words = os.fsencode(name), to
        renamed = safe_path.libc().renameat2(
            directory, words[0], upload.directory, words[1], _NOREPLACE
        )
        if renamed == 0:
            return
    raise SftpJailError(f"{name} in {QUARANTINE} belongs where {upload.name!r} was uploaded")


def _copy(upload: Upload, name: str, into: int) -> Taken:
    """Copy the closed file from its file system, and delete it there.

    It is moved aside first, into a directory of root's beside it: between a look at a name and its
    deletion the client could put something else there.
    """
    closed = os.fstat(upload.descriptor)
    there = os.fstatvfs(into)
    if closed.st_blocks * _BLOCK > there.f_bavail * there.f_frsize:
        return Taken.CLOSED  # rather than fill up the host's disk first
    try:
        _write_copy(upload.descriptor, name, into)
        if not same(os.fstat(upload.descriptor), closed):
            raise OSError(errno.EAGAIN, "a program that has it open goes on writing")
    except OSError as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=into)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EAGAIN):
            return Taken.CLOSED
        raise
    if _delete(upload):
        return Taken.COPIED
    return Taken.CLOSED


def _write_copy(descriptor: int, name: str, into: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=into)  # of a run that was interrupted
    with open(os.open(name, NEW, 0o600, dir_fd=into), "wb", buffering=0) as copy:
        for begin, end in _written(descriptor):
            copy.seek(begin)
            while begin < end and (piece := os.pread(descriptor, min(_PIECE, end - begin), begin)):
                begin += copy.write(piece)
                copy.seek(begin)
        copy.truncate(os.fstat(descriptor).st_size)
        os.fsync(copy.fileno())


def _written(descriptor: int) -> Iterator[tuple[int, int]]:
    """Yield where what was written begins and ends: a client makes a hole of terabytes at once."""
    end = 0
    while True:
        try:
            begin = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole is behind
                raise
            return
        end = os.lseek(descriptor, begin, os.SEEK_HOLE)
        yield begin, end


def _delete(upload: Upload) -> bool:
    """Delete the file where it was uploaded; return whether it still had its name."""
    aside = f".sftpjail-{os.urandom(8).hex()}"
    os.mkdir(aside, 0o700, dir_fd=upload.directory)
    room, file = os.open(aside, PLACE, dir_fd=upload.directory), os.urandom(8).hex()
    try:
        if os.fstat(room).st_uid != os.geteuid():
            return False
        try:
            # To a name that nobody knows: the client may have put another directory there, of
            # root's too, and nothing in that is to be replaced.
            os.rename(upload.name, file, src_dir_fd=upload.directory, dst_dir_fd=room)
        except FileNotFoundError:
            return False
        if _is(upload, file, room):
            os.unlink(file, dir_fd=room)
            return True
        _put_back(file, room, upload)
        return False
    finally:
        os.close(room)
        with contextlib.suppress(OSError):
            os.rmdir(aside, dir_fd=upload.directory)

"""A home that useradd(8) has just made, and that is removed if the account does not stay."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from ..errors import SftpJailError
from ..model import number
from . import files
from .accounts import entries
from .mounts import holds_mount

_DEFAULTS = "/etc/default/useradd"


def sync(home: str) -> None:
    """Sync the files that useradd(8) has copied into a home, because useradd does not.

    Args:
        home: the directory, which need not exist.

    Raises:
        SftpJailError: it could not be written.
    """
    if not os.path.isdir(home):
        return
    with files.parent(home) as (above, name):
        for _, _, names, directory in os.fwalk(name, dir_fd=above):
            for file in names:
                if stat.S_ISREG(os.lstat(file, dir_fd=directory).st_mode):
                    with files.opened(file, files.PLAIN, directory) as fd:
                        os.fsync(fd)
            os.fsync(directory)


def is_untouched(home: str) -> bool:
    """Return whether a home has nothing that anybody could miss.

    It may have directories, empty files, and unchanged files of the skeleton directory, which
    useradd(8) copies.
    """
    return all(_is_copied(path, home) for path in _below(home))


def remove_home(home: str, uid: int | None, half: bool = False) -> bool:
    """Remove an untouched home; return whether it is gone.

    Args:
        home: the directory.
        uid: its owner; a home of another owner stays. None if the account was never made: then
            the owner must be a uid that no account has.
        half: it may still belong to root, as `new_accounts.make_homes` leaves an incomplete one.

    Raises:
        SftpJailError: it could not be removed.
    """
    if not files.is_there(home):
        return True
    if holds_mount(home) or not _belongs(home, uid, half) or not is_untouched(home):
        return False
    import shutil  # late: useradd waits, and never for this

    with files.parent(home) as (directory, name):
        try:
            shutil.rmtree(name, dir_fd=directory)
        except OSError as error:
            raise SftpJailError(f"cannot remove {home}: {error.strerror}") from error
    return True


def _belongs(home: str, uid: int | None, half: bool) -> bool:
    found = files.look(home)
    if not stat.S_ISDIR(found.st_mode):
        return False
    if half and found.st_uid == 0:
        return True
    if uid is not None:
        return found.st_uid == uid
    return found.st_uid not in {number(fields[2]) for fields in entries("/etc/passwd")}


def remove_spool(path: str) -> None:
    """Remove a mail spool that has no mail."""
    if files.read_file(path) == b"":
        files.unlink(path)


def _below(home: str) -> Iterator[str]:
    for directory, directories, names in os.walk(home):
        links = [name for name in directories if os.path.islink(f"{directory}/{name}")]
        yield from (os.path.relpath(f"{directory}/{name}", home) for name in (*names, *links))


def _is_copied(path: str, home: str) -> bool:
    found, model = f"{home}/{path}", f"{skeleton()}/{path}"
    if os.path.islink(found):
        return os.path.islink(model) and os.readlink(found) == os.readlink(model)
    what = os.lstat(found)
    if not stat.S_ISREG(what.st_mode):
        return False
    return what.st_size == 0 or files.read_file(found) == files.read_file(model)


def skeleton() -> str:
    """Return the skeleton directory, which useradd(8) copies into a new home."""
    text = (files.read_file(_DEFAULTS) or b"").decode("utf-8", "replace")
    named = re.search(r"^SKEL=(\S+)", text, re.MULTILINE)
    if not named:
        return "/etc/skel"
    return named[1]

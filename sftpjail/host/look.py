"""One look at the host: while a plan is made, each path is asked for once.

Nothing of ours changes the host meanwhile, and a plan is judged again when it is carried out. So
the answers are those of one moment, and an account costs a few system calls instead of a hundred.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from ..errors import SftpJailError

# The errors of a path whose server, device or FUSE daemon is gone.
_UNREACHABLE = (
    *(errno.ENOTCONN, errno.ENODEV, errno.ESTALE),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT),
)
# So many answers of a kind are kept: those about the account at hand, and about what lies above all
# accounts. More would be a gigabyte for a hundred thousand accounts.
_MOST = 512
_Key = TypeVar("_Key", bound=Hashable)
_Found = TypeVar("_Found")


class Look:
    """The answers of one look. Their number does not grow with that of the accounts."""

    def __init__(self) -> None:
        self._stats: dict[str, os.stat_result | None] = {}
        self._reals: dict[str, str] = {}
        self._names: dict[str, list[str]] = {}
        self._contents: dict[str, bytes | None] = {}
        self._others: dict[Hashable, Any] = {}

    def lstat(self, path: str) -> os.stat_result | None:
        """Return `look_at` of a path, links not followed."""
        if path in self._stats:  # most of all calls, and no other is worth that
            return self._stats[path]
        return self._kept(self._stats, path, lambda: look_at(path, follow=False))

    def stat(self, path: str) -> os.stat_result | None:
        """Return `look_at` of a path, links followed."""
        found = self.lstat(path)
        is_link = found is not None and stat.S_ISLNK(found.st_mode)
        if is_link:
            return look_at(path, follow=True)
        return found

    def realpath(self, path: str, find: Callable[[], str]) -> str:
        """Return what `find` has returned for a path."""
        return self._kept(self._reals, path, find)

    def read(self, path: str, find: Callable[[], bytes | None]) -> bytes | None:
        """Return what `find` has returned for a file."""
        return self._kept(self._contents, path, find)

    def listdir(self, path: str, find: Callable[[], list[str]]) -> list[str]:
        """Return a copy of what `find` has returned for a directory."""
        return [*self._kept(self._names, path, find)]

    def once(self, key: Hashable, find: Callable[[], _Found]) -> _Found:
        """Return what `find` has returned for a key."""
        found: _Found = self._kept(self._others, key, find)
        return found

    def _kept(self, known: dict[_Key, _Found], key: _Key, find: Callable[[], _Found]) -> _Found:
        if key not in known:
            found = find()
            if len(known) >= _MOST:
                known.clear()
            known[key] = found
        return known[key]


class NoLook(Look):
    """Between two looks nothing is kept: each question is asked anew."""

    def lstat(self, path: str) -> os.stat_result | None:
        return look_at(path, follow=False)

    def stat(self, path: str) -> os.stat_result | None:
        return look_at(path, follow=True)

    def _kept(self, known: dict[_Key, _Found], key: _Key, find: Callable[[], _Found]) -> _Found:
        return find()


def look_at(path: str, follow: bool) -> os.stat_result | None:
    """Return stat(2) or lstat(2) of a path, or None if it does not exist.

    A link to itself and a dead mount count as missing.

    Raises:
        SftpJailError: the kernel does not say.
    """
    try:
        return os.stat(path, follow_symlinks=follow)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP or error.errno in _UNREACHABLE:
            return None
        raise SftpJailError(f"cannot look at {path}: {error.strerror}") from error

"""The files of the host, read-only."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import stat
import struct
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from typing import TypeVar

from ..errors import SftpJailError
from ..formats.acl import ACCESS, DEFAULT, Access
from ..formats.tagged_lines import Style, tagged
from ..model import OTHERS_WRITE, components, normal
from .look import Look, NoLook

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK
_PART = 1 << 16  # bytes that are read at once
_DEEPEST = 64  # directories, each of which is open meanwhile
_MANY = 1 << 12  # directories whose real paths are remembered
_Found = TypeVar("_Found")


class _Walk:
    """A count of the things in a directory, and the directory itself, that are of a kind."""

    def __init__(self, path: str, is_one: Callable[[os.stat_result], bool], most: int) -> None:
        self.count, self.is_whole = 0, True
        self._is_one, self._left = is_one, most
        top = os.open(path, _FLAGS)
        try:
            found = os.fstat(top)
            self._device = found.st_dev
            self.count += is_one(found)
            self._enter(top, 0)
        finally:
            os.close(top)

    def _enter(self, directory: int, depth: int) -> None:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not self._left:
                    self.is_whole = False
                    return
                self._left -= 1
                try:
                    found = entry.stat(follow_symlinks=False)
                    self.count += self._is_one(found)
                    if not stat.S_ISDIR(found.st_mode) or found.st_dev != self._device:
                        continue
                    below = os.open(entry.name, _FLAGS | os.O_NOFOLLOW, dir_fd=directory)
                except OSError:  # gone, or exchanged
                    continue
                try:
                    if depth < _DEEPEST:
                        self._enter(below, depth + 1)
                    else:
                        self.is_whole = False
                finally:
                    os.close(below)


class Files:
    """The host's file systems. Links are followed as the kernel follows them.

    Args:
        root: the directory that stands for `/`; tests put a fake host there.
    """

    def __init__(self, root: str = "") -> None:
        self.root = root.rstrip("/")
        self._tagged: dict[tuple[str, Style], Mapping[str, tuple[str, ...]]] = {}
        self._directories: dict[str, str] = {}
        self._flaws: dict[str, str] = {}
        self._gone: frozenset[str] = frozenset()
        self._look: Look = NoLook()

    def anew(self) -> Files:
        """Return a copy that has read nothing yet."""
        return type(self)(self.root)

    @contextlib.contextmanager
    def one_look(self) -> Iterator[None]:
        """Look at each path once while a plan is made: nothing of ours changes the host meanwhile.

        A look within another one begins anew, as it may be for another configuration.
        """
        before, self._look = self._look, Look()
        try:
            yield
        finally:
            self._look = before

    def once(self, key: Hashable, find: Callable[[], _Found]) -> _Found:
        """Return what FIND returns, which it is asked once in a look for the same KEY."""
        return self._look.once(key, find)

    def without(self, directories: Iterable[str]) -> None:
        """From now on, answer as if these directories (real paths) did not exist."""
        self._gone = frozenset(map(normal, directories))

    def is_going(self, path: str) -> bool:
        """Return whether PATH is at or below a directory passed to `without`."""
        if not self._gone:
            return False
        directory, name = posixpath.split(path)
        place = posixpath.join(self.realpath(directory), name)
        return not self._gone.isdisjoint(components(normal(place)))

    def lstat(self, path: str) -> os.stat_result | None:
        """Return lstat(2) of PATH, or None if it does not exist."""
        if self._gone and self.is_going(path):
            return None
        return self._lstat(path)

    def _lstat(self, path: str) -> os.stat_result | None:
        """Return the same, whatever is going."""
        return self._look.lstat(self.root + path)

    def stat(self, path: str) -> os.stat_result | None:
        """Return stat(2) of PATH, links followed, or None if it does not exist.

        A directory of automount(8) is walked into: stat(2) of itself mounts nothing there, and
        tells of the bare directory. It does not exist while nothing can be mounted.
        """
        if self._gone and self.is_going(self.realpath(path)):
            return None
        found = self._look.stat(self.root + path)
        if found and stat.S_ISDIR(found.st_mode) and found.st_dev in self._automounts:
            return self._look.stat(f"{self.root}{path}/.")
        return found

    @cached_property
    def _automounts(self) -> frozenset[int]:
        """The devices of the host's autofs file systems; see proc_pid_mountinfo(5)."""
        lines = self.text("/proc/self/mountinfo").splitlines()
        numbers = (line.split()[2].split(":") for line in lines if " - autofs " in line)
        return frozenset(os.makedev(int(major), int(minor)) for major, minor in numbers)

    def is_dir(self, path: str) -> bool:
        """Return whether PATH is a directory or a link to one."""
        found = self.stat(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def read(self, path: str) -> bytes | None:
        """Return the content of PATH, or None if it does not exist.

        Raises:
            SftpJailError: it exists and cannot be read.
        """
        return self._look.read(path, partial(self._read, path))

    def _read(self, path: str) -> bytes | None:
        try:
            # A file object would cost three more system calls for each account's files.
            descriptor = os.open(self.root + path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                parts = [os.read(descriptor, _PART)]
                while parts[-1]:
                    parts.append(os.read(descriptor, _PART))
                return b"".join(parts)
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SftpJailError(
                f"cannot read {path}: {error.strerror}", advice="run sftpjail as root"
            ) from error

    def text(self, path: str) -> str:
        """Return the text of PATH, or "" if it does not exist.

        Bytes that are not UTF-8 become surrogates.
        """
        return (self.read(path) or b"").decode("utf-8", "surrogateescape")

    def tagged(self, path: str, style: Style) -> Mapping[str, tuple[str, ...]]:
        """Return the tagged lines of a shared file, by tag. The file is read once."""
        if (path, style) not in self._tagged:
            self._tagged[path, style] = tagged(self.text(path), style)
        return self._tagged[path, style]

    def holds_any(self, directory: str) -> bool:
        """Return whether there is anything in a directory, and a directory at all."""
        try:
            with os.scandir(self.root + directory) as entries:
                return any(True for _ in entries)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _unlisted(directory, error) from error

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a directory, or none if there is no such directory."""
        names = self._look.listdir(path, partial(self._listed, path))
        if not self._gone:
            return names
        return [name for name in names if not self.is_going(f"{path}/{name}")]

    def _listed(self, path: str) -> list[str]:
        try:
            return sorted(os.listdir(self.root + path))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unlisted(path, error) from error

    def count_others(self, path: str, owner: tuple[int, int], most: int) -> tuple[int, bool]:
        """Return how many things in a directory have another owner or group, and whether all.

        No link is followed, and no mount entered. What users do meanwhile makes no difference but
        to the number.

        Args:
            path: the directory, which counts too.
            owner: a uid and a gid.
            most: after so many things the rest is left out, and so is what lies too deep.
        """

        def is_others(found: os.stat_result) -> bool:
            return (found.st_uid, found.st_gid) != owner

        return self._count(path, is_others, most)

    def count_old(self, path: str, days: int, most: int) -> tuple[int, bool]:
        """Return how many files in a directory are older than so many days, and whether all.

        What counts is when they were last written. Directories do not count. Links are files, and
        are not followed. No mount is entered.

        Args:
            path: the directory.
            days: the age.
            most: after so many things the rest is left out, and so is what lies too deep.
        """
        limit = time.time() - days * 86400

        def is_old(found: os.stat_result) -> bool:
            return found.st_mtime < limit and not stat.S_ISDIR(found.st_mode)

        return self._count(path, is_old, most)

    def count_not_shared(self, path: str, gid: int, most: int) -> tuple[int, bool]:
        """Return how many things in a directory a group may not change, and whether all.

        No link is followed, and no mount entered. A link has no mode.

        Args:
            path: the directory, which counts too.
            gid: the group.
            most: after so many things the rest is left out, and so is what lies too deep.
        """

        def is_not(found: os.stat_result) -> bool:
            link = stat.S_ISLNK(found.st_mode)
            return not link and (found.st_gid != gid or not found.st_mode & stat.S_IWGRP)

        return self._count(path, is_not, most)

    def _count(
        self, path: str, is_one: Callable[[os.stat_result], bool], most: int
    ) -> tuple[int, bool]:
        try:
            walk = _Walk(self.root + path, is_one, most)
        except OSError:
            return 0, False
        return walk.count, walk.is_whole

    def realpath(self, path: str) -> str:
        """Return PATH with every symbolic link resolved."""
        return self._look.realpath(path, partial(self._realpath, path))

    def _realpath(self, path: str) -> str:
        directory, name = posixpath.split(path)
        if name in ("", ".", "..") or not directory.startswith("/"):
            return self._resolved(path)
        if directory not in self._directories:
            if len(self._directories) >= _MANY:
                self._directories.clear()
            self._directories[directory] = self._resolved(directory)
        real = posixpath.join(self._directories[directory], name)
        found = self._lstat(real)
        if found and stat.S_ISLNK(found.st_mode):
            return self._resolved(real)
        return real

    def _resolved(self, path: str) -> str:
        return os.path.realpath(self.root + path).removeprefix(self.root) or "/"

    def flaw(self, path: str) -> str:
        """Return why safely_chroot() would refuse one component of a path, or "".

        safely_chroot() is in OpenSSH's session.c. It uses stat(2), so a link counts as its target,
        and the group bits of a mode with an ACL are the ACL's mask.
        """
        found = self.stat(path)
        if found is None:
            return ""
        return self.flaw_of(path, found)

    def flaw_of(self, path: str, found: os.stat_result) -> str:
        """Return the same for a path whose stat(2) is known."""
        if not stat.S_ISDIR(found.st_mode):
            return "is not a directory"
        if found.st_uid != 0:
            return f"belongs to uid {found.st_uid} and not to root"
        if found.st_mode & OTHERS_WRITE:
            acl = self.acl(path)
            if acl:
                by = f"access list {acl}"
            else:
                by = f"mode {stat.S_IMODE(found.st_mode):04o}"
            return f"can be written by others than root ({by})"
        return ""

    def acl(self, path: str) -> str:
        """Return the named entries of a directory's access ACL (acl(5)), or "".

        The form is `user:1000:rw-,group:33:r-x`.
        """
        try:
            data = os.getxattr(self.root + path, ACCESS)
        except OSError:
            return ""
        # struct posix_acl_xattr_entry of linux/posix_acl_xattr.h: tag, permissions, id. The tags
        # 2 and 8 are named users and groups.
        kinds = {2: "user", 8: "group"}
        entries = struct.iter_unpack("<HHI", data[4:])
        return ",".join(
            f"{kinds[tag]}:{number}:{_rwx(permissions)}"
            for tag, permissions, number in entries
            if tag in kinds
        )

    def access(self, path: str) -> Access | None:
        """Return the group, the mode and the access lists of a directory; None if it is none."""
        found = self.lstat(path)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return None
        lists = (self._attribute(path, name) for name in (ACCESS, DEFAULT))
        return Access(found.st_gid, stat.S_IMODE(found.st_mode), *lists)

    def has_access_lists(self, path: str) -> bool:
        """Return whether the file system of a directory has access lists."""
        try:
            os.getxattr(self.root + path, DEFAULT)
        except OSError as error:
            return error.errno == errno.ENODATA
        return True

    def _attribute(self, path: str, name: str) -> bytes:
        try:
            return os.getxattr(self.root + path, name, follow_symlinks=False)
        except OSError:
            return b""

    def loose_parent(self, path: str, trusted: Collection[str] = ()) -> str:
        """Return the first directory above PATH in which others than root can replace it, or "".

        Links are resolved first.

        Args:
            path: the path to protect.
            trusted: directories to accept, because the same plan gives them to root.
        """
        above = components(self.realpath(posixpath.dirname(path)))
        return next((part for part in above if part not in trusted and self._flaw_above(part)), "")

    def _flaw_above(self, directory: str) -> str:
        """Return `flaw` of a directory that lies above many paths, asked once."""
        if directory not in self._flaws:
            self._flaws[directory] = self.flaw(directory)
        return self._flaws[directory]

    def trusted_path(self, path: str, uid: int = 0, follow: bool = True) -> str:
        """Return the real path of PATH, or "" if others than root and UID can redirect it.

        Each directory on the way, also through a link, must belong to root or UID and not be
        writable by others, so that no name in it can be replaced. Each link must belong to root or
        UID. The last component itself is not checked.

        Args:
            path: absolute.
            uid: the account that will use PATH. It may redirect itself.
            follow: follow a link at the end.
        """
        todo, real, links = _parts(path), "", 0
        while todo:
            name = todo.pop(0)
            if not self._is_trusted(real or "/", uid):
                return ""
            if name == "..":
                real = posixpath.dirname(real).rstrip("/")
            if name in (".", ".."):
                continue
            found = self.lstat(f"{real}/{name}")
            if found is None or not stat.S_ISLNK(found.st_mode) or not (todo or follow):
                real = f"{real}/{name}"
                continue
            links += 1
            if found.st_uid not in (0, uid) or links > 40:
                return ""
            target = os.readlink(f"{self.root}{real}/{name}").removeprefix(self.root)
            if target.startswith("/"):
                real = ""
            todo = _parts(target) + todo
        return real or "/"

    def _is_trusted(self, directory: str, uid: int) -> bool:
        found = self.stat(directory)
        return found is None or (found.st_uid in (0, uid) and not found.st_mode & OTHERS_WRITE)

    def same_file(self, one: str, other: str) -> bool:
        """Return whether two paths lead to the same file or directory."""
        a, b = self.stat(one), self.stat(other)
        return a is not None and b is not None and (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)

    def fstat(self, descriptor: int) -> os.stat_result:
        """Return fstat(2) of an open file."""
        return os.fstat(descriptor)

    def read_only(self, path: str) -> bool:
        """Return whether PATH lies on a file system or mount that is read-only (statvfs(3))."""
        found = self._statvfs(path)
        return bool(found and found.f_flag & os.ST_RDONLY)

    def full(self, path: str) -> bool:
        """Return whether PATH's file system has no block or inode left for users (statvfs(3))."""
        found = self._statvfs(path)
        if found is None:
            return False
        counts = (found.f_blocks, found.f_bavail), (found.f_files, found.f_favail)
        return any(total > 0 and free == 0 for total, free in counts)

    def _statvfs(self, path: str) -> os.statvfs_result | None:
        try:
            if self.root:
                return None
            return os.statvfs(path)
        except OSError:
            return None


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _rwx(permissions: int) -> str:
    """Return permissions as in acl(5), such as `r-x`."""
    return stat.filemode(permissions << 6)[1:4]


def _unlisted(path: str, error: OSError) -> SftpJailError:
    words = f"cannot list {path}: {error.strerror}"
    return SftpJailError(words, advice="run sftpjail as root")

"""Change files and directories, at once or staged.

These are primitives; what to do and undo is decided elsewhere.

Paths are walked by file descriptor, component by component (safe_path.py). A symbolic link is
followed only if root alone could have made it, so that users cannot redirect root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from shlex import quote

from ..errors import LinkRefused, SftpJailError
from ..errors.escapes import Advice, look_at
from ..formats.acl import ACCESS, DEFAULT, Access
from ..model import components
from . import safe_path
from .gate import useradd_blocked

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PLAIN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # to reach what is in it
_BLOCK = 1 << 16  # bytes that are written at once


# -- directories and files -----------------------------------------------------------------------


def is_there(path: str) -> bool:
    """Return whether a path names something, if only a symbolic link that leads nowhere."""
    return os.path.lexists(path)


def open_parent(path: str) -> tuple[int, str]:
    """Return a descriptor of the directory that really contains PATH, and PATH's last component.

    A link in the last component is not followed.

    Raises:
        LinkRefused: a component is a symbolic link that others than root made or can change.
        OSError: a component is missing or not a directory.
    """
    directory, _, name = path.rpartition("/")
    if _kept is not None and directory and name not in ("", ".", ".."):
        return _kept.open(directory), name
    with _refusing():
        fd, name, _ = safe_path.walk(path)
    return fd, name


class _Directories:
    """The directories that were used last, root's alone with all above them, held open.

    Each is judged once. It is used again while its path leads to the same one, and that one is
    still root's alone.
    """

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def open(self, directory: str) -> int:
        """Return a descriptor of DIRECTORY, which the caller closes; as `open_parent`."""
        known = self._open.get(directory)
        if known is not None:
            found = os.fstat(known)
            with contextlib.suppress(OSError):
                if os.path.samestat(found, os.stat(directory)) and not safe_path.flaw(found):
                    return os.dup(known)
            self._forget(directory)
        with _refusing():
            try:
                fd, _, _ = safe_path.walk(f"{directory}/.", strict=True)
            except safe_path.PathRefused:
                return safe_path.walk(f"{directory}/.")[0]
        if len(self._open) >= _MOST_OPEN:
            self._forget(next(iter(self._open)))
        self._open[directory] = os.dup(fd)
        return fd

    def _forget(self, directory: str) -> None:
        os.close(self._open.pop(directory))

    def close(self) -> None:
        """Hold none any more."""
        for directory in list(self._open):
            self._forget(directory)


_MOST_OPEN = 16
_kept: _Directories | None = None


@contextlib.contextmanager
def directories_kept() -> Iterator[None]:
    """Reach the directories of many files with fewer system calls.

    Meanwhile nothing can be unmounted, for what is open is in use.
    """
    global _kept
    _kept = _Directories()
    try:
        yield
    finally:
        kept, _kept = _kept, None
        kept.close()


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turn PathRefused into LinkRefused."""
    try:
        yield
    except safe_path.PathRefused as error:
        raise LinkRefused(str(error)) from error


def resolve(path: str) -> str:
    """Return PATH with all links resolved, also at its end.

    Raises:
        LinkRefused: as `open_parent`, also for the last component.
    """
    try:
        with _refusing():
            fd, name, directory = safe_path.walk(path, follow=True)
    except FileNotFoundError:
        return path
    except OSError as error:
        raise SftpJailError(f"cannot reach {path}: {error.strerror}") from error
    os.close(fd)
    return f"{directory}/{name}"


@contextlib.contextmanager
def parent(path: str, about: str = "") -> Iterator[tuple[int, str]]:
    """Yield the result of `open_parent` and close its descriptor.

    Errors name the path, or the file ABOUT if it is given.

    Raises:
        LinkRefused: as `open_parent`, or something is gone that others than root can remove.
    """
    about = about or path
    try:
        fd, name = open_parent(path)
    except OSError as error:
        kind = SftpJailError
        if _is_taken(path, error):
            kind = LinkRefused
        raise kind(f"cannot reach {about}: {error.strerror}") from error
    try:
        yield fd, name
    except OSError as error:
        if _is_taken(path, error):
            raise LinkRefused(f"cannot change {about}: {error.strerror}") from error
        fix: str = ""
        if error.errno == errno.EPERM:
            fix = look_at(f"lsattr -d {quote(about)}")
        elif error.errno in (errno.ENOSPC, errno.EROFS):
            fix = look_at(f"df {quote(os.path.dirname(about))}")
        elif error.errno == errno.EDQUOT:
            fix = _used_up(os.path.dirname(about))
        raise SftpJailError(f"cannot change {about}: {error.strerror}", fix) from error
    finally:
        os.close(fd)


def _used_up(directory: str) -> Advice:
    """Return the advice about a quota that is used up, which df(1) need not show."""
    words = f"a quota is used up there, and `df {quote(directory)}` may show space that is left"
    return Advice(f"{words}: see `repquota -a`, or `btrfs qgroup show {quote(directory)}`")


@contextlib.contextmanager
def _parent_if_there(path: str) -> Iterator[tuple[int, str] | None]:
    """As `parent`, but yield None where the directory is missing.

    It may also go meanwhile, as in /run/user when a session ends.
    """
    above = os.path.dirname(path)
    with contextlib.ExitStack() as stack:
        found = None
        try:
            if os.path.isdir(above):
                found = stack.enter_context(parent(path))
        except SftpJailError:
            if os.path.isdir(above):
                raise
        yield found


def _is_taken(path: str, error: OSError) -> bool:
    """Return whether others than root can have caused an error, by removing a component of PATH.

    A component that has just been replaced by a link fails in the same way.
    """
    if error.errno not in (errno.ENOENT, errno.ENOTDIR):
        return False
    for directory in components(os.path.dirname(path)):
        try:
            found = os.stat(directory)
        except OSError:
            return False
        if safe_path.flaw(found) and not safe_path.is_sticky(found):
            return True
    return False


@contextlib.contextmanager
def opened(name: str, flags: int, directory: int) -> Iterator[int]:
    """Open NAME in DIRECTORY, yield its descriptor, and close it."""
    fd = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def look(path: str) -> os.stat_result:
    """Return lstat(2) of the file that a change of PATH would affect."""
    with parent(path) as (directory, name):
        return os.stat(name, dir_fd=directory, follow_symlinks=False)


def read_file(path: str) -> bytes | None:
    """Return the content of a regular file, found with `open_parent`.

    The result is None if there is none, or for anything else, including a link.
    """
    with parent(path) as (directory, name):
        try:
            fd = os.open(name, PLAIN, dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):  # missing, link, socket
                return None
            raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            return None
        with open(fd, "rb") as handle:
            return handle.read()


def make_dir(path: str, mode: int, uid: int, gid: int) -> None:
    """Make one directory with exactly this owner and mode. Its parents must exist.

    If a directory of that owner exists, it stays as it is.

    Raises:
        LinkRefused: a user's symbolic link has its name.
        SftpJailError: somebody else has made a directory there since it was planned.
    """
    with parent(path) as (directory, name):
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
        except FileExistsError:
            _judge_dir(path, uid)
            return
        with opened(name, DIRECTORY, directory) as fd:
            # In a user's directory, something else may have its name by now.
            if os.fstat(fd).st_uid != os.geteuid() or os.listdir(fd):
                raise SftpJailError(
                    f"somebody else put a directory in place of {path} while it was made"
                )
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)


def _judge_dir(path: str, uid: int) -> None:
    """Check that a directory made since the plan belongs to the right user.

    Raises:
        SftpJailError: it is another user's, who would control what is made or mounted below.
    """
    with _refusing():
        fd = safe_path.open_path(path, follow=True)
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (uid, os.geteuid()):
        raise SftpJailError(
            f"{path} is in the way: it belongs to uid {found.st_uid}"
            " and appeared while sftpjail was running"
        )


def keep_private(path: str) -> None:
    """Give a directory of ours mode 0700.

    An earlier version made it with mode 0755. Its contents and times would show an attacker which
    step root takes now.

    Raises:
        SftpJailError: its mode cannot be changed.
    """
    if not os.path.isdir(path):
        return
    with parent(resolve(path), path) as (directory, name), opened(name, DIRECTORY, directory) as fd:
        found = os.fstat(fd)
        if found.st_uid == os.geteuid() and found.st_mode & 0o077:
            os.fchmod(fd, 0o700)


def set_owner(path: str, uid: int, gid: int, mode: int) -> None:
    """Set the owner and mode of a directory, or of a file with a single name.

    A symbolic link is not followed.

    Raises:
        SftpJailError: it is anything else.
    """
    with parent(path) as (directory, name), opened(name, PLAIN, directory) as fd:
        found = os.fstat(fd)
        single = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        if not single and not stat.S_ISDIR(found.st_mode):
            raise SftpJailError(
                f"will not change the owner of {path}: "
                "it is neither a directory nor a file with one name"
            )
        os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)


def access_of(path: str) -> Access:
    """Return the group, the mode and the access lists of a directory.

    Raises:
        SftpJailError: as `set_access`.
    """
    with _directory(path) as fd:
        return _access(fd)


def set_access(path: str, wanted: Callable[[Access], Access]) -> None:
    """Set the group, the mode and the access lists of a directory, and of nothing in it.

    A symbolic link is not followed. What it is to have is decided by what the directory has that
    was reached, whatever PATH has led to before. The order is that of `acl.stages`.

    Args:
        path: the directory.
        wanted: returns what it is to have.

    Raises:
        SftpJailError: it is no directory, or its file system has no access lists.
    """
    with _directory(path) as fd:
        now = _access(fd)
        to = wanted(now)
        os.fchown(fd, -1, to.gid)
        _set_list(fd, ACCESS, now.access, to.access)
        os.fchmod(fd, to.mode)
        _set_list(fd, DEFAULT, now.default, to.default)
        os.fsync(fd)


@contextlib.contextmanager
def _directory(path: str) -> Iterator[int]:
    with parent(path) as (directory, name), opened(name, DIRECTORY, directory) as fd:
        yield fd


def _access(fd: int) -> Access:
    found = os.fstat(fd)
    lists = (_list(fd, name) for name in (ACCESS, DEFAULT))
    return Access(found.st_gid, stat.S_IMODE(found.st_mode), *lists)


def _list(fd: int, name: str) -> bytes:
    try:
        return os.getxattr(fd, name)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return b""
        raise


def _set_list(fd: int, name: str, now: bytes, to: bytes) -> None:
    if to and to != now:
        os.setxattr(fd, name, to)
    elif now and not to:
        os.removexattr(fd, name)


def remove_dir(path: str, inode: int = 0) -> bool:
    """Remove a directory if it is empty; return whether it is gone.

    Args:
        path: the directory.
        inode: remove it only if it has this inode, in case it was replaced; 0 for any.
    """
    with _parent_if_there(path) as found:
        if found is None:
            return True
        directory, name = found
        try:
            if inode and os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino != inode:
                return False
            with useradd_blocked(path):
                os.rmdir(name, dir_fd=directory)
        except FileNotFoundError:
            return True
        except OSError as error:
            # It is in use or a mount point, so not ours.
            if error.errno in (errno.ENOTEMPTY, errno.EBUSY, errno.ENOTDIR):
                return False
            raise
    return True


def _beside(path: str, suffix: str) -> str:
    directory, name = os.path.split(path)
    if os.path.dirname(directory) == "/etc/shadow-maint":
        # useradd runs every regular file in there, even a half-written one, so they are staged one
        # directory up.
        directory, name = os.path.dirname(directory), f"{os.path.basename(directory)}-{name}"
    return f"{directory}/.{name}.{suffix}"


_OLD = "sftpjail-old~"


def backup_name(path: str) -> str:
    """Return the path for PATH's old version. No daemon's include pattern matches its name."""
    return _beside(path, _OLD)


def is_backup(name: str) -> bool:
    """Return whether a file name is that of an old version; see `backup_name`."""
    return name.startswith(".") and name.endswith(f".{_OLD}")


def stage_name(path: str) -> str:
    """Return the path for PATH's new version before it is renamed into place."""
    return _beside(path, "sftpjail-new~")


def write_staged(
    path: str, content: bytes, like: bool, mode: int, uid: int, gid: int, sync: bool = True
) -> None:
    """Write and sync the new version of PATH beside it.

    Args:
        path: the file that will be replaced.
        content: the whole content.
        like: copy owner, mode and extended attributes from the existing file.
        mode, uid, gid: the mode and owner otherwise.
        sync: the file is on the disk when this returns; else the caller calls `sync_systems`.
    """
    attributes: dict[str, bytes] = {}
    if like:
        with parent(path) as (directory, name), opened(name, PLAIN, directory) as fd:
            found, attributes = os.fstat(fd), _attributes(fd)
        uid, gid, mode = found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)
    with parent(stage_name(path), path) as (directory, name):
        _take_away(name, directory)
        with opened(name, NEW, directory) as fd:
            _fill(fd, content)
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
            _set_attributes(fd, attributes)
            if sync:
                os.fsync(fd)


@contextlib.contextmanager
def create(path: str, about: str = "") -> Iterator[int]:
    """Create a new file for root only, and yield its descriptor; see `parent`."""
    with parent(path, about) as (directory, name), opened(name, NEW, directory) as fd:
        yield fd


def _fill(fd: int, data: bytes) -> None:
    while data:  # a disk that is nearly full writes a part and reports no error
        data = data[os.write(fd, data) :]


def _attributes(fd: int) -> dict[str, bytes]:
    return {name: os.getxattr(fd, name) for name in os.listxattr(fd)}


def _set_attributes(fd: int, attributes: dict[str, bytes]) -> None:
    for name, value in attributes.items():
        os.setxattr(fd, name, value)


def move(source: str, target: str) -> None:
    """Rename SOURCE to TARGET, replacing it. A link at the end of either is not followed."""
    directory, name = os.path.split(target)
    if name not in (".", "..") and os.path.dirname(source) == directory:
        with parent(source, target) as (old, old_name), useradd_blocked(source):
            os.rename(old_name, name, src_dir_fd=old, dst_dir_fd=old)
        return
    with (
        parent(source, target) as (old, old_name),
        parent(target) as (new, new_name),
        useradd_blocked(source),
    ):
        os.rename(old_name, new_name, src_dir_fd=old, dst_dir_fd=new)


def move_or_copy(source: str, target: str) -> None:
    """Rename SOURCE to TARGET, or copy it if they are on different file systems.

    Owner, mode, times and attributes are kept. A program that watches the mtime of either
    directory, as cron(8) does in whole seconds, notices the change (`_touch`).
    """
    with parent(source, target) as (old, old_name), parent(target) as (new, new_name):
        try:
            os.rename(old_name, new_name, src_dir_fd=old, dst_dir_fd=new)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(source, target)
            os.unlink(old_name, dir_fd=old)
        moved = os.path.dirname(source) != os.path.dirname(target)
        for directory in (new, old):
            with opened(".", DIRECTORY, directory) as fd:
                if moved:
                    _touch(fd)
                os.fsync(fd)


def _touch(directory: int) -> None:
    """Set a directory's mtime one second ahead, so that programs that compare seconds notice."""
    found = os.fstat(directory)
    os.utime(directory, ns=(found.st_atime_ns, max(found.st_mtime_ns, time.time_ns() + 10**9)))


def _copy(source: str, target: str) -> None:
    """Copy a regular file to TARGET, which must not exist.

    The copy is on the disk before it gets its name.
    """
    with parent(source) as (directory, name), opened(name, PLAIN, directory) as fd:
        found, attributes = os.fstat(fd), _attributes(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise SftpJailError(f"will not move {source}: it is not a file with one name")
        with open(fd, "rb", closefd=False) as handle:
            content = handle.read()
    stage = stage_name(target)
    unlink(stage)
    with create(stage, target) as fd:
        _fill(fd, content)
        os.fchown(fd, found.st_uid, found.st_gid)
        os.fchmod(fd, stat.S_IMODE(found.st_mode))
        _set_attributes(fd, attributes)
        os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))
        os.fsync(fd)
    move(stage, target)


def keep(path: str) -> None:
    """Link the present version of PATH to its backup name, for a rollback."""
    unlink(backup_name(path))
    with parent(path) as (old, old_name), parent(backup_name(path), path) as (new, new_name):
        os.link(old_name, new_name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)


def unlink(path: str) -> None:
    """Remove a file if it exists. Its directory may be missing too."""
    with _parent_if_there(path) as found:
        if found is not None:
            directory, name = found
            with useradd_blocked(path):
                _take_away(name, directory)


def _take_away(name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def sync_dirs(paths: set[str]) -> None:
    """Make renames and removals in these directories durable."""
    for path in paths:
        with (
            parent(f"{path}/.", path) as (directory, name),
            opened(name, DIRECTORY, directory) as fd,
        ):
            os.fsync(fd)


def sync_systems(directories: Iterable[str]) -> None:
    """Make all that was written durable on the file systems of these directories, by syncfs(2).

    For many files and names that takes less than an fsync(2) for each.

    Raises:
        SftpJailError: a file system could not write.
    """
    import ctypes  # late: few runs have so much to write

    libc = ctypes.CDLL(None, use_errno=True)
    systems: dict[int, str] = {}
    for path in directories:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            systems.setdefault(os.stat(path).st_dev, path)
    for path in systems.values():
        with (
            parent(f"{path}/.", path) as (directory, name),
            opened(name, DIRECTORY, directory) as fd,
        ):
            if libc.syncfs(fd):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def append(path: str, parts: Iterable[str]) -> None:
    """Append a text to a file that only root can access, and sync it.

    Args:
        path: the file.
        parts: of the text, which as a whole may be large.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        waiting = bytearray()
        for part in parts:
            waiting += part.encode("utf-8", "surrogateescape")
            if len(waiting) >= _BLOCK:
                _fill(fd, bytes(waiting))
                waiting.clear()
        _fill(fd, bytes(waiting))
        os.fsync(fd)
    except OSError as error:
        raise SftpJailError(f"cannot write {path}: {error.strerror}") from error
    finally:
        os.close(fd)
    sync_dirs({os.path.dirname(path)})


def cut(path: str, size: int) -> None:
    """Truncate a file that only root can access, and sync it."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise SftpJailError(f"cannot shorten {path}: {error.strerror}") from error

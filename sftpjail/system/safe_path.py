"""Paths that others could change are reached by descriptor, and mounts are made by descriptors.

Whoever can write a directory on the way of a path can put a symbolic link into the place of what
was judged a moment ago. So a path is walked: each component is opened in the one above it without
following links (open(2), O_PATH and O_NOFOLLOW), what is open is judged by fstat(2), and the change
is made through that descriptor. mount(8) takes paths alone, and loses its options when it is given
/proc/self/fd/N; hence open_tree(2), mount_setattr(2) and move_mount(2), by which a mount has its
flags before anybody sees it (Linux 5.12).

Nothing of ours is imported here: this text is also a part of the one file that PAM runs when a
session opens; see openssh/pam_session.py, program().
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from ctypes import CDLL

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANYTHING = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS = 40  # as the kernel's MAXSYMLINKS

# linux/fcntl.h, linux/mount.h
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_EMPTY_PATHS = 0x04 | 0x40
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_FLAGS = {"ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8}
_MORE_FLAGS = {"nodiratime": 0x80, "nosymfollow": 0x200000}
_ATIME_MASK, _ATIMES = 0x70, {"relatime": 0x0, "noatime": 0x10, "strictatime": 0x20}
_PRIVATE = 1 << 18
_PROPAGATIONS = {"private": _PRIVATE, "slave": 1 << 19, "shared": 1 << 20, "unbindable": 1 << 17}
# Of mount(8): what is so anyway, or is for those who read fstab.
_NO_FLAGS = frozenset(
    [
        *("bind", "rbind", "rw", "suid", "dev", "exec", "defaults", "async", "atime", "diratime"),
        *("auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "group", "owner"),
    ]
)


class PathRefused(Exception):
    """A path leads through what others than root can change, or a mount is none that we make."""


def flaw(found: os.stat_result) -> str:
    """Return why others than root can write a directory, or "".

    Args:
        found: its fstat(2). Where it has an access list, the group's bits are the list's mask.
    """
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to uid {found.st_uid} and not to root"
    if found.st_mode & 0o022:
        return f"can be written by others than root (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def is_sticky(found: os.stat_result) -> bool:
    """Return whether a directory is root's, and what root has in it stays so, as in /tmp."""
    return found.st_uid in (0, os.geteuid()) and bool(found.st_mode & stat.S_ISVTX)


def _link(directory: int, name: str) -> os.stat_result | None:
    """Return lstat(2) of a symbolic link, or None where there is none of that name."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found if stat.S_ISLNK(found.st_mode) else None


def walk(path: str, follow: bool = False, strict: bool = False) -> tuple[int, str, str]:
    """Return a descriptor of the directory that really holds PATH, PATH's last name, and its path.

    The name is one in that directory, and the path is the directory's.

    Args:
        path: an absolute path.
        follow: a link at the end is followed as well.
        strict: refuse a directory that others than root can write, the last one included.

    Raises:
        PathRefused: a component is a symbolic link that root did not make in a directory that, with
            all above it, is root's alone; or STRICT, and a directory is not root's alone.
        OSError: a component is missing or no directory.
    """
    todo, real = [part for part in path.split("/") if part], [""]
    directory, links, alone = os.open("/", _DIRECTORY), 0, True
    try:
        while True:
            found = os.fstat(directory)
            wrong = flaw(found)
            if strict and wrong:
                raise PathRefused(f"{'/'.join(real) or '/'} {wrong}")
            name = todo.pop(0) if todo else "."
            link = _link(directory, name) if todo or follow else None
            if link is None and not todo:
                return directory, name, "/".join(real)
            if link:
                links += 1
                # Who owns a directory above could have put another one of root's
                # here, with its links.
                if not alone or wrong or link.st_uid not in (0, os.geteuid()) or links > _LINKS:
                    raise PathRefused(
                        f"{path}: {name} is a symbolic link"
                        " that others than root made or can change"
                    )
                target = os.readlink(name, dir_fd=directory)
                todo = [part for part in target.split("/") if part] + todo
                if target.startswith("/"):
                    # A signal may end this behind a close: nothing is closed twice.
                    above, directory = directory, os.open("/", _DIRECTORY)
                    os.close(above)
                    real, alone = [""], True
                continue
            alone = alone and (not wrong or is_sticky(found))
            above, directory = directory, os.open(name, _DIRECTORY, dir_fd=directory)
            os.close(above)
            if name == "..":
                real = real[: max(1, len(real) - 1)]
            elif name != ".":
                real = [*real, name]
    except BaseException:
        os.close(directory)
        raise


def open_path(path: str, follow: bool = False, strict: bool = False) -> int:
    """Return a descriptor (O_PATH) of what is at PATH.

    The arguments and errors are those of `walk`.

    Raises:
        PathRefused: also where it is a symbolic link.
    """
    try:
        directory, name, _ = walk(path, follow, strict)
        try:
            opened = os.open(name, _ANYTHING, dir_fd=directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise type(error)(error.errno, f"{path}: {error.strerror}") from error
    if stat.S_ISLNK(os.fstat(opened).st_mode):
        os.close(opened)
        raise PathRefused(f"{path} is a symbolic link, and root would go wherever it leads")
    return opened


def libc() -> CDLL:
    """Return the C library, whose errors can be asked for; loaded late, since few runs mount."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    """Call a function of the C library; numbers are passed as long, as the kernel takes them.

    Raises:
        OSError: it failed, or this C library (glibc before 2.36) does not have it.
    """
    import ctypes

    function = getattr(libc(), name, None)
    if function is None:
        raise OSError(errno.ENOSYS, f"this C library has no {name}(2)")
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result: int = function(*words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def missing() -> str:
    """Return which system call for mounts we do not have, or may not use; or "".

    It is this kernel or C library that does not have it, or lets us not use it.
    """
    try:
        os.close(_call("open_tree", -100, b"/", os.O_CLOEXEC))  # AT_FDCWD
        tree = os.open("/", _DIRECTORY)
        try:
            _set_attributes(tree, 0, 0, 0, size=0)
        finally:
            os.close(tree)
    except OSError as error:
        # A kernel that has mount_setattr(2) knows no attributes of no size.
        return "" if error.errno == errno.EINVAL else str(error.strerror or error)
    return ""


def _set_attributes(tree: int, on: int, off: int, propagation: int, size: int = 32) -> None:
    import ctypes

    attributes = (ctypes.c_uint64 * 4)(on, off, propagation, 0)  # struct mount_attr
    _call("mount_setattr", tree, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), size)


def attributes(options: Sequence[str]) -> tuple[int, int, int]:
    """Return what mount_setattr(2) is to set, to clear, and the propagation.

    They are for options of mount(8).

    Raises:
        PathRefused: an option is none that this module can give to a mount.
    """
    on, off, propagation = 0, 0, 0
    for option in options:
        if option in _FLAGS or option in _MORE_FLAGS:
            on |= _FLAGS.get(option, 0) | _MORE_FLAGS.get(option, 0)
        elif option in _ATIMES:
            on, off = on & ~_ATIME_MASK | _ATIMES[option], off | _ATIME_MASK
        elif option.removeprefix("r") in _PROPAGATIONS:
            propagation = _PROPAGATIONS[option.removeprefix("r")]
        elif option not in _NO_FLAGS and not option.startswith(("x-", "comment=")):
            raise PathRefused(f"sftpjail does not mount with the option {option}")
    return on, off if on & _FLAGS["ro"] else off | _FLAGS["ro"], propagation


def mount(source: str, target: str, options: Sequence[str], loose: bool = False) -> None:
    """Show SOURCE at TARGET: what both are is judged now.

    The mount is made through what was judged.

    Args:
        source: a directory or file; links of root's are followed.
        target: an existing directory or file; not a link.
        options: as mount(8) takes them; it has them before anybody sees the mount.
        loose: the source may lie in a directory that others can write; no link of
            theirs is followed.

    Raises:
        PathRefused: see `walk` and `attributes`.
        OSError: one of the two is missing, or the kernel refuses.
    """
    on, off, propagation = attributes(options)
    shown = open_path(source, follow=True, strict=not loose)
    try:
        recursive = _AT_RECURSIVE if "rbind" in options else 0
        cloexec = os.O_CLOEXEC
        tree = _call(
            "open_tree", shown, b"", _OPEN_TREE_CLONE | cloexec | _AT_EMPTY_PATH | recursive
        )
    finally:
        os.close(shown)
    try:
        _set_attributes(tree, on, off, propagation or _PRIVATE)
        point = open_path(target, strict=True)
        try:
            _call("move_mount", tree, b"", point, b"", _MOVE_MOUNT_EMPTY_PATHS)
        finally:
            os.close(point)
        # Where the mount above is shared, this one has become so.
        _set_attributes(tree, 0, 0, propagation or _PRIVATE)
    finally:
        os.close(tree)


def remount(target: str, options: Sequence[str]) -> None:
    """Give what is mounted at TARGET these flags of mount(8).

    Of `ro nosuid nodev noexec` it has no others.

    Raises:
        PathRefused, OSError: as `mount`.
    """
    on, off, _ = attributes(options)
    off |= sum(bit for bit in _FLAGS.values() if not on & bit)
    point = open_path(target)
    try:
        _set_attributes(point, on, off, 0)
    finally:
        os.close(point)


def unmount(target: str, lazy: bool = False) -> bool:
    """Unmount the topmost mount at exactly TARGET; return whether there was one.

    Args:
        target: its mount point; a link there is not followed.
        lazy: also one that is busy, which then goes with its last user (umount2(2), MNT_DETACH).

    Raises:
        PathRefused: as `walk`.
        OSError: it is busy, or the kernel refuses.
    """
    directory, name, _ = walk(target)
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
    try:
        _call("umount2", os.fsencode(f"/proc/self/fd/{directory}/{name}"), flags)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise
    finally:
        os.close(directory)
    return True

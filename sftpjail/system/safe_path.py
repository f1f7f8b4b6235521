"""Safe access to paths that others could change, and mounts made through file descriptors.

A user who can write in a directory on the way of a path can replace what was checked a moment ago
with a symbolic link. So a path is walked: each component is opened relative to the one above it
without following links (O_PATH and O_NOFOLLOW of open(2)), the open file is checked with fstat(2),
and the change is made through its descriptor. mount(8) accepts only paths, and loses its options if
it is given /proc/self/fd/N. So mounts are made with open_tree(2), mount_setattr(2) and
move_mount(2), which set the flags before the mount becomes visible (Linux 5.12).

This module imports nothing of ours, because its text is also a part of the program that PAM runs
when a session opens; see program() in openssh/pam_session.py.
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
_LINKS = 40  # like the kernel's MAXSYMLINKS

# linux/fcntl.h, linux/mount.h
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_EMPTY_PATHS = 0x04 | 0x40
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_FLAGS = {"ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8}
_MORE_FLAGS = {"nodiratime": 0x80, "nosymfollow": 0x200000}
_ATIME_MASK, _ATIMES = 0x70, {"relatime": 0x0, "noatime": 0x10, "strictatime": 0x20}
_IDMAP, _CLONE_NEWUSER = 0x100000, 0x10000000
# What mount(8) calls a map of owners, since util-linux 2.39.
MAP = "X-mount.idmap="
_PRIVATE = 1 << 18
_PROPAGATIONS = {"private": _PRIVATE, "slave": 1 << 19, "shared": 1 << 20, "unbindable": 1 << 17}
# Options of mount(8) that are the default, or only matter to programs that read fstab.
_NO_FLAGS = frozenset(
    [
        *("bind", "rbind", "rw", "suid", "dev", "exec", "defaults", "async", "atime", "diratime"),
        *("auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "group", "owner"),
    ]
)


# What mount_setattr(2) says where owners cannot be mapped.
_NO_MAP = (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP)


class PathRefused(Exception):
    """Others than root can change a path, or a mount has an option that we do not support."""


def flaw(found: os.stat_result) -> str:
    """Return why others than root can write in a directory, or "".

    Args:
        found: its fstat(2). If it has an access list, the group bits are the list's mask.
    """
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to uid {found.st_uid} and not to root"
    if found.st_mode & 0o022:
        return f"can be written by others than root (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def is_sticky(found: os.stat_result) -> bool:
    """Return whether a directory is root's and sticky, so that root's files in it are safe."""
    return found.st_uid in (0, os.geteuid()) and bool(found.st_mode & stat.S_ISVTX)


def _link(directory: int, name: str) -> os.stat_result | None:
    """Return lstat(2) of a symbolic link, or None if there is no link of that name."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        return found
    return None


def _opened(directory: int, name: str) -> int:
    """Return a descriptor of a directory in another one, or -1 where NAME is none, or a link.

    Nearly always it is one, and then nothing more has to be asked.
    """
    try:
        return os.open(name, _DIRECTORY, dir_fd=directory)
    except (NotADirectoryError, FileNotFoundError):
        return -1


def _others_link(path: str, name: str) -> PathRefused:
    words = "is a symbolic link that others than root made or can change"
    return PathRefused(f"{path}: {name} {words}")


def walk(path: str, follow: bool = False, strict: bool = False) -> tuple[int, str, str]:
    """Walk PATH and return where it really is.

    Args:
        path: an absolute path.
        follow: follow a link at the end, too.
        strict: refuse any directory on the way in which others than root can write.

    Returns:
        a descriptor of the directory that contains it, its name in that directory, and the real
        path of that directory.

    Raises:
        PathRefused: a component is a symbolic link that is not root's, or that lies below a
            directory in which others than root can write; or STRICT, and there is such a directory.
        OSError: a component is missing or not a directory.
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
            below = _opened(directory, name) if todo else -1
            link = _link(directory, name) if below < 0 and (todo or follow) else None
            if link is None and not todo:
                return directory, name, "/".join(real)
            if link:
                links += 1
                # Whose directory is above could have put another one of root's here.
                if not alone or wrong or link.st_uid not in (0, os.geteuid()) or links > _LINKS:
                    raise _others_link(path, name)
                target = os.readlink(name, dir_fd=directory)
                todo = [part for part in target.split("/") if part] + todo
                if target.startswith("/"):
                    # A signal may interrupt this after close(2): nothing may be closed twice.
                    above, directory = directory, os.open("/", _DIRECTORY)
                    os.close(above)
                    real, alone = [""], True
                continue
            alone = alone and (not wrong or is_sticky(found))
            if below < 0:
                below = os.open(name, _DIRECTORY, dir_fd=directory)
            above, directory = directory, below
            os.close(above)
            if name == "..":
                real = real[: max(1, len(real) - 1)]
            elif name != ".":
                real = [*real, name]
    except BaseException:
        os.close(directory)
        raise


def open_path(path: str, follow: bool = False, strict: bool = False) -> int:
    """Return a descriptor (O_PATH) of PATH. The arguments are those of `walk`.

    Raises:
        PathRefused: as `walk`, or it is a symbolic link.
        OSError: as `walk`, or it does not exist.
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
    """Return the C library with access to errno. It is loaded late, because few runs mount."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    """Call a function of the C library. Numbers are passed as long, as the kernel expects.

    Raises:
        OSError: it failed, or the C library (glibc before 2.36) does not have it.
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
    """Return which system call for mounts the kernel or C library lacks or forbids, or ""."""
    try:
        os.close(_call("open_tree", -100, b"/", os.O_CLOEXEC))  # AT_FDCWD
        tree = os.open("/", _DIRECTORY)
        try:
            _set_attributes(tree, 0, 0, 0, size=0)
        finally:
            os.close(tree)
    except OSError as error:
        # A kernel that has mount_setattr(2) refuses attributes of size 0 with EINVAL.
        if error.errno == errno.EINVAL:
            return ""
        return str(error.strerror or error)
    return ""


def _set_attributes(
    tree: int, on: int, off: int, propagation: int, size: int = 32, namespace: int = 0
) -> None:
    import ctypes

    attributes = (ctypes.c_uint64 * 4)(on, off, propagation, namespace)  # struct mount_attr
    _call("mount_setattr", tree, b"", _AT_EMPTY_PATH, ctypes.byref(attributes), size)


def id_maps(options: Sequence[str]) -> tuple[str, str] | None:
    """Return the map of owners that options of mount(8) ask for, or None.

    It is one line of uid_map and one of gid_map, user_namespaces(7): id on disk, id in the jail, 1.

    Args:
        options: with at most one of the form that we write: X-mount.idmap=u:33:1000:1 g:33:1000:1,
            its blank as in fstab(5) or as it is.

    Raises:
        PathRefused: it is of another form, or maps root.
    """
    given = [option for option in options if option.startswith(MAP)]
    if not given:
        return None
    words = given[0].removeprefix(MAP).replace("\\040", " ").split(" ")
    fields = [word.split(":") for word in words]
    numbers = [number for field in fields for number in field[1:]]
    if (
        len(given) > 1
        or [(field[0], len(field)) for field in fields] != [("u", 4), ("g", 4)]
        or not all(n.isascii() and n.isdecimal() and 0 < int(n) < 0xFFFFFFFF for n in numbers)
        or {field[3] for field in fields} != {"1"}
    ):
        raise PathRefused(f"sftpjail does not map owners by {given[-1]}")
    users, groups = (" ".join(field[1:]) for field in fields)
    return users, groups


def _user_namespace(maps: tuple[str, str]) -> int:
    """Return a descriptor of a user namespace with these maps.

    A child makes it, which waits until it is filled, and ends; only the descriptor keeps it.

    Raises:
        OSError: the kernel refuses one.
    """
    library = libc()
    told, tell = os.pipe()
    wait, go = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(go)
            made = library.unshare(_CLONE_NEWUSER) == 0
            os.write(tell, bytes([0 if made else _errno()]))
            os.read(wait, 1)
        finally:
            os._exit(0)
    try:
        os.close(tell)
        said = os.read(told, 1)
        if said != b"\0":
            code = said[0] if said else errno.EPERM
            raise OSError(code, f"no user namespace can be made: {os.strerror(code)}")
        for name, text in zip(("uid_map", "gid_map"), maps, strict=True):
            opened = os.open(f"/proc/{child}/{name}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(opened, text.encode("ascii"))
            finally:
                os.close(opened)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for end in (told, wait, go):
            os.close(end)
        _reap(child)


def _reap(child: int) -> None:
    try:
        os.waitpid(child, 0)
    except ChildProcessError:  # whoever started us ignores SIGCHLD
        return


def _errno() -> int:
    import ctypes

    return ctypes.get_errno() & 0xFF


def _map_owners(tree: int, maps: tuple[str, str]) -> None:
    """Show the files of a detached mount with the owners of a map, before anybody sees it.

    Raises:
        OSError: its file system, or this kernel, cannot.
    """
    namespace = _user_namespace(maps)
    try:
        _set_attributes(tree, _IDMAP, 0, 0, namespace=namespace)
    except OSError as error:
        if error.errno not in _NO_MAP:
            raise
        words = "its file system, or this kernel, cannot show files with other owners"
        raise OSError(
            error.errno, f"{words} (mount_setattr: {os.strerror(error.errno)})"
        ) from error
    finally:
        os.close(namespace)


def unmappable(source: str) -> str:
    """Return why the files at SOURCE cannot be shown with other owners, or "".

    A mount of it that nobody sees is mapped, and dropped.

    Raises:
        PathRefused, OSError: as `open_path`.
    """
    shown = open_path(source, follow=True)
    try:
        tree = _clone(shown)
    finally:
        os.close(shown)
    try:
        _map_owners(tree, ("1 1 1", "1 1 1"))
    except OSError as error:
        return str(error.strerror or error)
    finally:
        os.close(tree)
    return ""


def _clone(shown: int, flags: int = 0) -> int:
    """Return a descriptor of a detached mount of what a descriptor is."""
    flags |= _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH
    return _call("open_tree", shown, b"", flags)


def attributes(options: Sequence[str]) -> tuple[int, int, int]:
    """Return the flags that mount_setattr(2) is to set and to clear, and the propagation.

    Args:
        options: those of mount(8).

    Raises:
        PathRefused: an option is not supported here.
    """
    on, off, propagation = 0, 0, 0
    for option in options:
        if option in _FLAGS or option in _MORE_FLAGS:
            on |= _FLAGS.get(option, 0) | _MORE_FLAGS.get(option, 0)
        elif option in _ATIMES:
            on, off = on & ~_ATIME_MASK | _ATIMES[option], off | _ATIME_MASK
        elif option.removeprefix("r") in _PROPAGATIONS:
            propagation = _PROPAGATIONS[option.removeprefix("r")]
        elif option not in _NO_FLAGS and not option.startswith(("x-", "comment=", MAP)):
            raise PathRefused(f"sftpjail does not mount with the option {option}")
    return on, off if on & _FLAGS["ro"] else off | _FLAGS["ro"], propagation


def mount(source: str, target: str, options: Sequence[str], loose: bool = False) -> None:
    """Mount SOURCE on TARGET through descriptors of both, after checking them.

    Args:
        source: a directory or file; root's links are followed.
        target: an existing directory or file, not a link.
        options: those of mount(8). They are set before the mount becomes visible.
        loose: others may be able to write in a directory above the source; their links are still
            not followed. Ignored with a map of owners.

    Raises:
        PathRefused: see `walk` and `attributes`.
        OSError: one of the two is missing, or the kernel refuses.
    """
    on, off, propagation = attributes(options)
    maps = id_maps(options)
    shown = open_path(source, follow=True, strict=not loose or maps is not None)
    try:
        tree = _clone(shown, _AT_RECURSIVE if "rbind" in options else 0)
    finally:
        os.close(shown)
    try:
        _set_attributes(tree, on, off, propagation or _PRIVATE)
        if maps:
            _map_owners(tree, maps)
        point = open_path(target, strict=True)
        try:
            _call("move_mount", tree, b"", point, b"", _MOVE_MOUNT_EMPTY_PATHS)
        finally:
            os.close(point)
        # If the parent mount is shared, this one has become shared too.
        _set_attributes(tree, 0, 0, propagation or _PRIVATE)
    finally:
        os.close(tree)


def remount(target: str, options: Sequence[str]) -> None:
    """Set the flags of the mount at TARGET to these options of mount(8).

    Those of `ro nosuid nodev noexec` that are not given are cleared.

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
        target: the mount point; a link there is not followed.
        lazy: detach it even if it is busy (MNT_DETACH of umount2(2)).

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

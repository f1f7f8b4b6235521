"""Bind mounts, made and removed through file descriptors of both ends."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

from ..errors import LinkRefused, SftpJailError
from ..errors.escapes import Advice, look_at, shown
from ..formats import fixes
from ..formats.fstab import MountPoint, parse_mountinfo
from . import safe_path
from .processes import holders


@contextlib.contextmanager
def _mounting(what: str, target: str) -> Iterator[None]:
    """Turn PathRefused and OSError into errors of ours."""
    try:
        yield
    except safe_path.PathRefused as error:
        raise LinkRefused(f"{what}: {error}") from error
    except OSError as error:
        raise SftpJailError(
            f"{what}: {error.strerror}", look_at(f"findmnt {quote(target)}")
        ) from error


def mounts_missing() -> str:
    """Return which system call for mounts this host lacks or forbids, or ""."""
    return safe_path.missing()


def unmappable(source: str) -> str:
    """Return why the files of a directory cannot be shown with other owners, or "".

    That is for its file system, this kernel, or what we may do here. What cannot be reached at all
    is nobody's to judge here.
    """
    try:
        return safe_path.unmappable(source)
    except (safe_path.PathRefused, OSError):
        return ""


def mount(source: str, target: str, options: Sequence[str]) -> None:
    """Mount SOURCE on TARGET in the host's mount namespace, through descriptors of both.

    Args:
        source: a directory or file. Only root may be able to write in the directories above it.
        target: likewise.
        options: those of mount(8).

    Raises:
        LinkRefused: others than root could replace one of the two.
        SftpJailError: one of them is missing, or the kernel refuses.
    """
    with _mounting(f"cannot mount {source} on {target}", target):
        safe_path.mount(source, target, options)


def remount(target: str, options: Sequence[str]) -> None:
    """Change the flags of a bind mount.

    Raises:
        SftpJailError: as `mount`.
    """
    with _mounting(f"cannot change the mount {target}", target):
        safe_path.remount(target, options)


# How often to retry if a mount is busy although no process uses it: a system call of another
# process was in progress there. With the pauses, this takes one second.
_ATTEMPTS = 40
_PAUSE_S = 0.025
_LAYERS = 100  # of mounts on one mount point


def unmount(target: str) -> None:
    """Unmount every layer of TARGET.

    If one were left, `userdel -r` would delete the files behind it.

    Raises:
        SftpJailError: it is busy (the error names the processes), or the kernel refuses.
    """
    users = _unmount_idle(target)
    if users:
        fix = fixes.ending({pid: uid for pid, uid, _ in users})
        raise SftpJailError(
            f"{target} is in use by {_listed(users)}",
            fix or Advice("it is root's: check whether it may be ended"),
        )


def unmount_busy(target: str) -> str:
    """Unmount every layer of TARGET at once, even if it is in use.

    This is for a rollback, which must not depend on users. Their processes keep the files that they
    have open.

    Returns:
        a sentence that names the processes that still use it, or "".

    Raises:
        SftpJailError: something else is mounted below it and would be unmounted too, or the kernel
            refuses.
    """
    users = []
    with contextlib.suppress(SftpJailError):
        users = _unmount_idle(target)
        if not users:
            return ""
    point = _real_point(target)
    below = next((other for other in mount_points() if other.startswith(f"{point}/")), "")
    if below:
        what = f"cannot unmount {target}: {below} is mounted below it"
        raise SftpJailError(what, look_at(f"findmnt -R {quote(target)}"))
    with _mounting(f"cannot unmount {target}", target):
        for _ in range(_LAYERS):
            if not safe_path.unmount(target, lazy=True):
                break
    if not users:
        return ""
    return f"{target} is unmounted, and still in use by {_listed(users)}"


def _unmount_idle(target: str) -> list[tuple[int, int, str]]:
    """Unmount every layer of TARGET; return the processes that use a busy one."""
    attempts = 0
    with _mounting(f"cannot unmount {target}", target):
        for _ in range(_LAYERS):
            try:
                if not safe_path.unmount(target):
                    return []
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                users = holders(target)[:8]
                if users:
                    return users
                attempts += 1
                if attempts == _ATTEMPTS:
                    break
                time.sleep(_PAUSE_S)
        else:
            raise SftpJailError(
                f"{target} is mounted again and again", look_at(f"findmnt {quote(target)}")
            )
    raise SftpJailError(
        f"cannot unmount {target}: it is in use", look_at(f"findmnt -R {quote(target)}")
    )


def _listed(users: Sequence[tuple[int, int, str]]) -> str:
    return ", ".join(f"{shown(name)} (pid {pid} of uid {uid})" for pid, uid, name in users)


def mount_points() -> dict[str, MountPoint]:
    """Return the present mount table."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as handle:
        return parse_mountinfo(handle.read())


def identity(path: str) -> list[int] | None:
    """Return an identifier of the file at a path, or None if there is none.

    It is valid until the next boot. A mount has the identifier of its source.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_dev, found.st_ino]


def point_at(points: Mapping[str, MountPoint], target: str) -> MountPoint | None:
    """Return the mount at exactly TARGET. Links on the way are resolved, as by mount(8)."""
    return points.get(target) or points.get(_real_point(target))


def holds_mount(target: str) -> bool:
    """Return whether something is mounted at or below TARGET."""
    point = _real_point(target)
    return any(f"{other}/".startswith(f"{point}/") for other in mount_points())


def _real_point(target: str) -> str:
    """Return a mount point as the mount table names it, with links on the way resolved."""
    directory, name = os.path.split(target.rstrip("/"))
    if name in ("", ".", ".."):
        return os.path.realpath(target)
    return os.path.join(os.path.realpath(directory), name)

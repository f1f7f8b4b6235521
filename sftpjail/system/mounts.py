"""Bind mounts, made and taken through descriptors of what both ends are now."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

from .. import fixes
from ..errors import LinkRefused, SftpJailError
from ..escapes import Advice, look_at, shown
from ..formats.fstab import MountPoint, parse_mountinfo
from . import safe_path
from .processes import holders


@contextlib.contextmanager
def _mounting(what: str, target: str) -> Iterator[None]:
    """Turn the errors of safe_path into ours."""
    try:
        yield
    except safe_path.PathRefused as error:
        raise LinkRefused(f"{what}: {error}") from error
    except OSError as error:
        raise SftpJailError(
            f"{what}: {error.strerror}", look_at(f"findmnt {quote(target)}")
        ) from error


def mounts_missing() -> str:
    """Return which system call for mounts this host does not have, or does not allow; or ""."""
    return safe_path.missing()


def mount(source: str, target: str, options: Sequence[str]) -> None:
    """Show SOURCE at TARGET in the host's mount table, through descriptors of what both are now.

    Args:
        source: a directory or file in a directory that is root's alone, with all above.
        target: a directory or file in such a directory.
        options: of mount(8).

    Raises:
        LinkRefused: others than root could put something else into the place of one of the two.
        SftpJailError: one of them is missing, or the kernel refuses.
    """
    with _mounting(f"cannot mount {source} on {target}", target):
        safe_path.mount(source, target, options)


def remount(target: str, options: Sequence[str]) -> None:
    """Give a bind mount other flags.

    Raises:
        SftpJailError: as `mount`.
    """
    with _mounting(f"cannot change the mount {target}", target):
        safe_path.remount(target, options)


# How often a mount is asked again that is busy and that no process holds: a system call of somebody
# else was under way in it. With the pauses a second in all.
_ATTEMPTS = 40
_PAUSE_S = 0.025
_LAYERS = 100  # of mounts on one mount point


def unmount(target: str) -> None:
    """Unmount TARGET, every layer of it.

    One that is left is what somebody's `userdel -r` deletes through.

    Raises:
        SftpJailError: it is busy, with who holds it, or the kernel's own words.
    """
    users = _unmount_idle(target)
    if users:
        fix = fixes.ending({pid: uid for pid, uid, _ in users})
        raise SftpJailError(
            f"{target} is in use by {_listed(users)}",
            fix or Advice("it is root's: check whether it may be ended"),
        )


def unmount_busy(target: str) -> str:
    """Unmount TARGET, every layer of it, even one that is in use: it is out of reach at once.

    For a rollback, which must not depend on a user's leaving. Who is inside keeps what is open.

    Returns:
        Who still uses it, as a sentence, or "".

    Raises:
        SftpJailError: something else is mounted below it, which would go along; or the kernel's
            own words.
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
    return f"{target} is unmounted, and still in use by {_listed(users)}" if users else ""


def _unmount_idle(target: str) -> list[tuple[int, int, str]]:
    """Unmount TARGET, every layer of it; return who holds the one that is busy."""
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
    """Return the mount table as it is this moment."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as handle:
        return parse_mountinfo(handle.read())


def identity(path: str) -> list[int] | None:
    """Return what tells what shows at a path from all else until the host boots; None for nothing.

    A mount shows what its source is.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_dev, found.st_ino]


def point_at(points: Mapping[str, MountPoint], target: str) -> MountPoint | None:
    """Return what is mounted on exactly TARGET; links on the way are resolved, as by mount(8)."""
    return points.get(target) or points.get(_real_point(target))


def holds_mount(target: str) -> bool:
    """Return whether something is mounted on TARGET or below it."""
    point = _real_point(target)
    return any(f"{other}/".startswith(f"{point}/") for other in mount_points())


def _real_point(target: str) -> str:
    """Return how the mount table names a mount point: with the links on the way resolved."""
    directory, name = os.path.split(target.rstrip("/"))
    if name in ("", ".", ".."):
        return os.path.realpath(target)
    return os.path.join(os.path.realpath(directory), name)

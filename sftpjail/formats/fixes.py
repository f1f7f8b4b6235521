"""The commands that we print.

Root pastes them later, when a user may have exchanged whatever a user can.

`mv …/files …/files.old` moves *into* a link that a user has made at the second name, `chmod go-w`
changes what a link leads to, and both work at whatever lies at the first name by then. So a command
on a path is printed only where none but root can make that path lead elsewhere
(`Host.trusted_path`); where a path lies in what is a user's own, it is run as that user, who can
only do what that user can; else "" is returned, and `advice` says in words what is to be done.

setsid(1): a program of a user's on root's terminal could otherwise put words into root's mouth
(ioctl_tty(2), TIOCSTI).
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping, Sequence
from itertools import count
from shlex import join, quote
from typing import Protocol

from ..errors.escapes import Advice, shown
from ..model import components

NOGROUP = 65534


class Paths(Protocol):
    """What is asked of the host: `host.Host` and `view.View` are such."""

    def lstat(self, path: str) -> os.stat_result | None: ...
    def trusted_path(self, path: str, uid: int = 0, follow: bool = True) -> str: ...
    def owner_name(self, path: str) -> str: ...


def on(path: str, host: Paths, *commands: str, follow: bool = True) -> str:
    """Return commands that root can run on a path, joined, or "".

    They are "" where somebody else could lead them elsewhere.

    Args:
        path: absolute; the commands get the place that it leads to.
        host: the facts.
        commands: each with one {} where the path stands in it, or none.
        follow: they follow a link at the end, as chmod(1) does; rm(1) and umount(8) -c do not.
    """
    real = host.trusted_path(path, follow=follow)
    if not real:
        return ""
    parts = (command.rpartition("{}") for command in commands)
    return " && ".join(
        f"{before}{quote(real) if mark else ''}{after}" for before, mark, after in parts
    )


def on_or_why(path: str, host: Paths, *commands: str) -> str:
    """Return what `on` returns, or `advice` where it has no command."""
    return on(path, host, *commands) or advice(path, host)


def as_user(name: str, *argv: str) -> str:
    """Return a command that acts as an account, and can do nothing that the account could not."""
    return f"setsid -w runuser -u {quote(name)} -- {join(argv)}"


def as_owner(path: str, host: Paths, *argv: str) -> str:
    """Return a command that works on a path as its owner, or "".

    It is "" where somebody else could lead it elsewhere.
    """
    name, found = host.owner_name(path), host.lstat(path)
    if not name or found is None or not host.trusted_path(path, found.st_uid):
        return ""
    return as_user(name, *argv)


def free_name(path: str, host: Paths) -> str:
    """Return a name beside PATH that nothing has: PATH.old, or with a number behind it."""
    names = (f"{path}.old{number or ''}" for number in count())
    return next(name for name in names if host.lstat(name) is None)


def hide(path: str, host: Paths) -> str:
    """Return the command that puts a file out of use and keeps it, or "" where none is safe.

    In directories that are read by the names of accounts no name that begins with a dot is one.
    """
    directory, name = posixpath.split(path)
    return move(path, free_name(f"{directory}/.{name}", host), host)


def aside(path: str, host: Paths) -> str:
    """Return the command that gives what is in the way, whatever it is, another name, or "".

    It is "" where none is safe.

    -T: never into a directory, nor into one that a link leads to; -n: nothing that has come there
    since is lost.
    """
    real = _in_roots_directory(path, host)
    if real:
        return join(["mv", "-nT", real, free_name(real, host)])
    directory = posixpath.dirname(path)
    owner, found = host.owner_name(directory), host.lstat(directory)
    if not owner or found is None or not host.trusted_path(path, found.st_uid, follow=False):
        return ""
    return as_user(owner, "mv", "-nT", path, free_name(path, host))


def aside_or_why(path: str, host: Paths, *then: str) -> str:
    """Return what `aside` returns, with commands that follow, or `advice` where it has none."""
    command = aside(path, host)
    if command:
        return " && ".join((command, *then))
    return advice(path, host)


def move(path: str, to: str, host: Paths) -> str:
    """Return the command that renames PATH, or "".

    There is one only where both directories are root's alone, with all above them.
    """
    pair = _in_roots_directory(path, host), _in_roots_directory(to, host)
    if not all(pair):
        return ""
    return join(["mv", "-nT", *pair])


def remove_trees(paths: Sequence[str], host: Paths) -> str:
    """Return the command that deletes directories with all that is in them, asking first, or ""."""
    real = [_in_roots_directory(path, host) for path in paths]
    if real and all(real):
        return f"rm -rI --one-file-system {join(real)}"
    return ""


def _in_roots_directory(path: str, host: Paths) -> str:
    """Return the place of a name, itself not followed, in a directory of root's alone, or "".

    Only root can rename or make a name in that directory.
    """
    return host.trusted_path(path, follow=False)


def advice(path: str, host: Paths) -> Advice:
    """Return in words why no command on a path is printed."""
    directories = components(posixpath.dirname(path))
    directory = next(
        (directory for directory in directories if not host.trusted_path(f"{directory}/.")),
        directories[-1],
    )
    return Advice(
        f"no command on {shown(path)} is safe for root: "
        "others than root can put something else in its place, "
        f"because of {shown(directory)}; look at it with `namei -l`, and go on when only root can"
    )


def by_hand(point: str) -> Advice:
    """Return what to do about a mount that is not ours to take away.

    Unmounting it may be the end of what is in it, as of a tmpfs.
    """
    return Advice(
        f"somebody has mounted {shown(point)}, and unmounting it may lose its files: look at it "
        "with `findmnt`, unmount it when it is not needed, then run sftpjail apply"
    )


def ending(holders: Mapping[int, int]) -> str:
    """Return the command that ends processes, each as its owner.

    A number that is another's by then is left alone.

    Args:
        holders: pid to uid. Root's processes are not among what is ended.
    """
    users: dict[int, list[str]] = {}
    for pid, uid in holders.items():
        users.setdefault(uid, []).append(str(pid))
    return "; ".join(
        f"setsid -w setpriv --reuid={uid} --regid={NOGROUP} --clear-groups"
        f" sh -c 'kill \"$@\"' kill {' '.join(pids)}"
        for uid, pids in users.items()
        if uid != 0
    )

"""Mounts of the host below a directory that a jail shows.

A bind mount shows only one file system. If another one is mounted below its source, the jail has
the bare mount point, and files uploaded there are hidden on the host.
"""

from __future__ import annotations

from shlex import join

from ..config import Config
from ..errors import SftpJailError
from ..errors.escapes import shown
from ..host import Host
from ..model import Account, Bind, Problem, inside
from .homes import source_problem


def hidden(account: Account, bind: Bind, host: Host, config: Config) -> list[Problem]:
    """Return the mounts below the source of a bind that no other bind of the jail shows.

    Args:
        account: with its profile.
        bind: a bind of its jail.
        host, config: the facts.
    """
    if bind.role == "log":
        return []
    below = host.mount_tables.mounts_below(bind.source)
    if not below:
        return []
    real = host.realpath(bind.source).rstrip("/")
    known = {one.target for one in host.binds(account.name)}
    found: dict[str, Problem] = {}
    for point in below:
        target = bind.target + point.removeprefix(real)
        # A mount inside one that cannot be shown can wait.
        waits = any(not found[outer].fix and inside(point, outer) for outer in found)
        if target not in known and not waits and _is_dir(point, host):
            inner = Bind(point, target, bind.read_only)
            found[point] = _problem(account, bind, inner, host, config)
    return list(found.values())


def _is_dir(point: str, host: Host) -> bool:
    try:
        return host.is_dir(point)
    except SftpJailError:
        return False  # a user's FUSE mount, which even root cannot access


def _problem(account: Account, outer: Bind, inner: Bind, host: Host, config: Config) -> Problem:
    """Return the problem of a mount that the jail does not show, and the command that shows it."""
    place = inner.target.removeprefix(account.jail)
    what = f"{inner.source} is a mount below {outer.source}, and {place} does not show it"
    why = "the jail has its bare mount point"
    if not inner.read_only:
        why += ", and what is uploaded there is not in it"
    severity = "broken"
    if inner.read_only:
        severity = "advice"
    advice = _obstacle(account, outer, inner, host, config)
    words = ["sftpjail", "mount"]
    if inner.read_only:
        words.append("--read-only")
    if account.profile and account.profile.in_home:
        words.append("--under-home")
    fix = ""
    if not advice:
        fix = join([*words, account.name, inner.source, place])
    return Problem(what, why, fix, advice, severity)


def _obstacle(account: Account, outer: Bind, inner: Bind, host: Host, config: Config) -> str:
    """Return advice if `mount` would refuse to show it there, or ""."""
    point = shown(inner.source)
    if outer.map:
        return (
            "nothing can be mounted in a mount with --as: "
            f"show {point} at another place, by `sftpjail mount {account.name} SRC DST`"
        )
    loose = host.files.loose_parent(inner.source)
    if loose:
        return (
            f"others than root can write in {shown(loose)}, so nothing can be mounted below it: "
            f"mount the file system of {point} in a directory of root's, and show that by "
            f"`sftpjail mount {account.name} SRC DST`"
        )
    reason = source_problem(account, inner.source, "mount", host, config)
    if reason and inner.source not in config.allow_sources:
        return f"no jail shows it: {reason}; choose another directory for the jail, or for {point}"
    if host.listdir(inner.target):
        return (
            f"there are files below the mount point, in {shown(inner.target)}: "
            "move them away, and this becomes a command"
        )
    return ""

"""The bind that an administrator asks for."""

from __future__ import annotations

import os

from ..errors import SftpJailError, UsageError
from ..formats.fstab import escape
from ..model import Account, Bind, normal


def target_in(account: Account, target: str) -> str:
    """Return the host's path of a path inside a jail.

    Raises:
        UsageError: it is relative, climbs, is the jail itself, or fstab(5) cannot hold it.
    """
    if not target.startswith("/") or ".." in target.split("/"):
        raise UsageError(
            f"{target!r} is not a path inside the jail; give one that begins with / and has no .."
        )
    path = normal(f"{account.jail}/{target}")
    if path == account.jail:
        raise UsageError("the mount needs a directory of its own inside the jail, as /web")
    escape(path)
    return path


def make_bind(
    account: Account, source: str, target: str, read_only: bool, under_home: bool
) -> Bind:
    """Return the bind that an administrator asked for.

    Raises:
        UsageError: a path that cannot be.
        SftpJailError: the target lies below the home, or behind a link.
    """
    path = target_in(account, target)
    profile = account.profile
    if profile and profile.in_home and not under_home:
        raise SftpJailError(
            f"{target} lies below the home of {account.name}: "
            "`deluser --remove-home` and `rm -r` would delete what is mounted there",
            advice="give --under-home if you accept that, or a profile with chroot = /DIRECTORY/%u",
        )
    if not source:
        raise UsageError("SRC is empty; give a directory of the host")
    try:
        source = normal(os.path.abspath(source))
    except OSError as error:
        raise UsageError(
            f"{source} is relative, and the working directory is gone: {error.strerror}"
        ) from error
    escape(source)
    return Bind(source, path, read_only)

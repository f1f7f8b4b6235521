"""Binds with `mounts = session`: stored in the account's table, and mounted in each session.

They are neither in the host's mount table nor in fstab, and cannot delay a boot. Our script mounts
them when a session opens; see `openssh.pam_session`.
"""

from __future__ import annotations

from ...actions import Action, SetLines
from ...formats.tagged_lines import Style, fstab_head
from ...host import Host
from ...model import Account, Bind
from ...openssh.pam_session import table
from .fstab import line, tag


def keep(account: Account, bind: Bind, options: tuple[str, ...], host: Host) -> list[Action]:
    """Return the actions that store a bind. Without nofail, a failed mount ends the session."""
    lines = (line(account, bind, options),)
    return [SetLines(table(account.name), tag(account, bind), lines, Style.FSTAB, own=True)]


def drop(account: Account, bind: Bind, host: Host) -> list[Action]:
    """Return the actions that drop a bind that is now stored elsewhere; open sessions keep it."""
    if not any(known.kept == "session" for known in host.binds(account.name)):
        return []
    return [SetLines(table(account.name), tag(account, bind), (), Style.FSTAB, own=True)]


def begin(name: str) -> SetLines:
    """Return the action that gives an account a table, also if nothing is to be mounted.

    The login of an account without one makes its jail, by a run that first recovers what was
    interrupted. A whole jail needs neither, so it has a table before its account is jailed.
    """
    return SetLines(table(name), name, (fstab_head(name),), Style.FSTAB, own=True)


def end(name: str, host: Host) -> list[Action]:
    """Return the action that takes the table away, once its last mount is gone."""
    if host.lstat(table(name)) is None:
        return []
    return [SetLines(table(name), name, (), Style.FSTAB, own=True)]

"""Binds with `mounts = session`: stored in the account's table, and mounted in each session.

They are neither in the host's mount table nor in fstab, and cannot delay a boot. Our script mounts
them when a session opens; see `openssh.pam_session`.
"""

from __future__ import annotations

from ...actions import Action, SetLines
from ...formats.tagged_lines import Style
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

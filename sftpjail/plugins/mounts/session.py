"""Binds of `mounts = session`: in the account's own table, and made when one of its sessions opens.

Nothing of them is in the host's mount table, in fstab or in the way of a boot:
hooks/pam-session mounts them.
"""

from __future__ import annotations

from ...actions import Action, SetLines
from ...formats.tagged_lines import Style
from ...host import Host
from ...model import Account, Bind
from ...openssh.pam_session import table
from .fstab import line, tag


def keep(account: Account, bind: Bind, options: tuple[str, ...], host: Host) -> list[Action]:
    """Return what keeps a bind. Without `nofail`: what cannot be mounted closes the session."""
    lines = (line(account, bind, options),)
    return [SetLines(table(account.name), tag(account, bind), lines, Style.FSTAB, own=True)]


def drop(account: Account, bind: Bind, host: Host) -> list[Action]:
    """Return what forgets a bind that is kept elsewhere from now on.

    The sessions that have it keep it.
    """
    if not any(known.kept == "session" for known in host.binds(account.name)):
        return []
    return [SetLines(table(account.name), tag(account, bind), (), Style.FSTAB, own=True)]

"""The number of sessions that an account may have at once.

Our step at each login counts running processes. It reads one list with the limits of single
accounts, and one that `setup` writes for profiles; see system/login_step.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import SftpJailError
from ..formats.tagged_lines import Read, Style
from ..host import Host
from ..model import Account, number
from ..openssh.pam_session import at_login
from ..paths import CONNECTIONS

if TYPE_CHECKING:
    from ..actions import Action


def listed(host: Host) -> Mapping[str, int]:
    """Return the limits of the accounts that have their own, by name."""
    lines = host.tagged(CONNECTIONS, Style.USER)
    return Read(lines, lambda found: number(found[0].split()[-1]) or 0)


def allowed(account: Account, host: Host) -> int:
    """Return the limit of an account; 0 for none."""
    profile = 0
    if account.profile:
        profile = account.profile.connections
    return listed(host).get(account.name, profile)


def limit(name: str, most: int, host: Host) -> list[Action]:
    """Return the action that gives an account its own limit; 0 removes it."""
    from ..actions import SetLines  # late: list needs no actions

    if not most and name not in listed(host):
        return []
    lines = (f"user {name} {most}",) if most else ()
    return [SetLines(CONNECTIONS, name, lines, Style.USER)]


def refuse_uncounted(account: Account, host: Host) -> None:
    """Refuse a limit if no step of ours runs at a login. Raises SftpJailError."""
    profile = account.profile
    if profile is None or at_login(profile, host):
        return
    raise SftpJailError(
        f"nothing counts the sessions of {account.name}: "
        f"no step of sftpjail runs at a login of profile {profile.name}",
        advice="give the profile a limit, such as connections = 100, and run sftpjail setup",
    )


def rename(old: str, new: str, host: Host) -> list[Action]:
    """Return the actions that move an account's limit to its new name."""
    most = listed(host).get(old, 0)
    if not most or old == new:
        return []
    gone = []
    if not host.account(old):
        gone = limit(old, 0, host)
    return [*limit(new, most, host), *gone]

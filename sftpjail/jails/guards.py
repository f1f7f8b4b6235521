"""Which accounts must not be jailed."""

from __future__ import annotations

from ..errors import SftpJailError
from ..host import Host
from ..model import Account

ADMIN_GROUPS = ("sudo", "wheel", "admin")


def administrator(account: Account, host: Host) -> str:
    """Return why a jail, or an expiry, would lock out an administrator, or ""."""
    if account.uid == 0:
        return "it has uid 0; root would be locked out"
    if account.exists and account.name in host.invoker:
        return "it is you; you would lock yourself out"
    for group in ADMIN_GROUPS:
        if host.in_group(account.name, group):
            return f"it is in the group {group}; an administrator would be locked out"
    return ""


def why_not(account: Account, host: Host) -> str:
    """Return why this account must not be jailed without --force, or ""."""
    if account.forced or host.origin(account.name).forced:
        return ""
    system = account.exists and host.is_system(account)
    return administrator(account, host) or (
        f"it is a system account (uid {account.uid})" if system else ""
    )


def guard(account: Account, host: Host, advice: str = "") -> None:
    """Refuse an account whose jail would lock out an administrator.

    Args:
        account: the account.
        host: the facts.
        advice: how to insist, if not by `adopt --force`.

    Raises:
        SftpJailError: see `why_not`.
    """
    reason = why_not(account, host)
    if reason:
        insist = ("if you are sure", f"sftpjail adopt --force {account.name}")
        raise SftpJailError(
            f"will not jail {account.name}: {reason}",
            choices=() if advice else (insist,),
            advice=advice,
        )


def is_namesake(account: Account, host: Host) -> bool:
    """Return whether our record for an account's name has a different uid.

    It is from an earlier account, or from before `usermod -u`. The host cannot tell which.
    """
    kept = host.origin(account.name).uid
    return account.exists and kept >= 0 and kept != account.uid

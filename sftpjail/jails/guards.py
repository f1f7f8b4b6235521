"""Which accounts must not be jailed, and which directories must not become jails."""

from __future__ import annotations

from shlex import quote

from ..errors import SftpJailError
from ..host import Host
from ..model import Account, inside
from ..paths import ACCOUNTS

ADMIN_GROUPS = ("sudo", "wheel", "admin")
# These, and everything below SYSTEM, are never treated as homes, whoever owns them.
SYSTEM = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
)
TOPS = (
    "/",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/srv",
    "/tmp",
    "/var",
    "/var/lib",
    "/var/mail",
    "/var/tmp",
)


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
    """Return why this account must not be jailed unless somebody forces it, or ""."""
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


def refuse_namesake(account: Account, host: Host) -> None:
    """Refuse to give an account the jail, keys and mounts of another uid.

    Raises:
        SftpJailError: see `is_namesake`; its choices cover both cases.
    """
    if not is_namesake(account, host):
        return
    name, kept = quote(account.name), host.origin(account.name).uid
    same = f"""sed -i 's/"uid": {kept}/"uid": {account.uid}/' {ACCOUNTS}/{name} && sftpjail apply"""
    raise SftpJailError(
        f"what sftpjail keeps of {account.name} is of uid {kept}, "
        f"and {account.name} has uid {account.uid}: "
        "its keys and mounts may be another person's",
        choices=(
            ("if it is another person", f"sftpjail remove {name} && sftpjail adopt {name}"),
            ("only if it is the same one", same),
        ),
    )


def home_flaw(account: Account, home: str, host: Host) -> str:
    """Return why `chroot = %h` may not turn a home into a jail, or "".

    No other account may have a home there.
    """
    if home in TOPS or any(inside(home, directory) for directory in SYSTEM):
        return "is a directory of the system"
    found = host.stat(home)
    if found is not None and found.st_uid not in (account.uid, 0):
        return f"belongs to uid {found.st_uid}"
    others = [
        name for name in host.people.dwellers(home)[1] if host.accounts[name].uid != account.uid
    ]
    return f"is or holds the home of {others[0]} too" if others else ""

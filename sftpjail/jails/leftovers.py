"""Accounts that have left parts of a jail behind."""

from __future__ import annotations

from dataclasses import replace

from ..config import Config
from ..errors import SftpJailError, UsageError
from ..host import Host
from ..model import Account, inside, valid_name
from ..paths import ACCOUNTS
from .directory import unseen
from .guards import is_namesake
from .membership import find, is_valid


def has_remains(name: str, host: Host) -> bool:
    """Return whether a name has a record or binds.

    Keys alone do not count. An administrator may have put them there, or the account's directory
    service may be down.
    """
    return host.lstat(f"{ACCOUNTS}/{name}") is not None or bool(host.binds(name))


def left_names(config: Config, host: Host, jails: dict[str, Account]) -> list[str]:
    """Return the names that have parts of a jail but are no longer jailed.

    Invalid names are left to `check`. While a directory service does not answer, accounts that may
    still exist and be members are left out.
    """
    names = [
        n
        for n in host.records.known
        if n not in jails and is_valid(n) and not host.people.is_silent(n)
    ]
    return [name for name in names if host.account(name) is None] if unseen(config, host) else names


def leftovers(config: Config, host: Host, jails: dict[str, Account]) -> dict[str, Account]:
    """Return the accounts, deleted ones included, that have parts of a jail but are not jailed.

    Raises:
        SftpJailError: a record is damaged.
    """
    return {name: leftover(name, config, host) for name in left_names(config, host, jails)}


def leftover(name: str, config: Config, host: Host) -> Account:
    """Return what is known of an account, with its profile or the one that its remains suggest."""
    try:
        valid_name(name)
    except UsageError as error:
        raise SftpJailError(
            f"a record or fstab line of ours names {name!r}, which is no account's name"
        ) from error
    if host.account(name) is None:
        account = Account(name, -1, -1, home=f"/nonexistent/{name}", local=False)
    else:
        account = find(name, config, host)
        if account.profile is not None:
            return account
        if is_namesake(account, host):
            account = replace(
                account, local=False
            )  # do not restore another account's shell and home
    targets = [bind.target for bind in host.binds(name)]
    origin = host.origin(name)
    for profile in config.profiles:
        jail = replace(account, profile=profile).jail
        if jail in origin.made or jail in origin.owners or any(inside(t, jail) for t in targets):
            return replace(account, profile=profile)
    return replace(account, profile=config.profiles[0])

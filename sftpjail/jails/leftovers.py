"""Accounts that have left parts of a jail behind, or that have another name or uid now."""

from __future__ import annotations

from dataclasses import replace

from ..config import Config
from ..errors import SftpJailError, UsageError
from ..host import Host
from ..model import Account, inside, valid_name
from ..paths import ACCOUNTS, TABLES
from .directory import unseen
from .former_names import account_with_recorded_uid, former_name
from .guards import is_namesake
from .membership import find, is_valid


def has_remains(name: str, host: Host) -> bool:
    """Return whether a name has a record, binds or a table of mounts.

    Keys alone do not count. An administrator may have put them there, or the account's directory
    service may be down.
    """
    kept = (f"{ACCOUNTS}/{name}", f"{TABLES}/{name}")
    return any(host.lstat(path) is not None for path in kept) or bool(host.binds(name))


def in_question(account: Account, host: Host, thorough: bool = True) -> bool:
    """Return whether it is uncertain which of our records belongs to an account; see `renames`.

    Args:
        account, host, thorough: as in `former_name`.
    """
    return is_namesake(account, host) or former_name(account, host, thorough) != ""


def is_regrouped(name: str, config: Config, host: Host) -> bool:
    """Return whether an account left no group: the one that has jailed it is gone or another now.

    By its record it was in a profile's group with another gid. That group was removed, or renamed,
    or both and made anew: nobody has said that this account is no longer to be jailed.
    """
    try:
        origin = host.origin(name)
    except SftpJailError:  # a damaged record is reported elsewhere
        return False
    if origin.gid < 0 or not any(origin.group == one.group for one in config.profiles):
        return False
    account, group = host.account(name), host.group(origin.group)
    mine = account is not None and origin.uid in (-1, account.uid)
    return mine and (group is None or group.gid != origin.gid)


def left_names(config: Config, host: Host, jails: dict[str, Account]) -> list[str]:
    """Return the names that have parts of a jail but are no longer jailed.

    Invalid names are left to `check`. While a directory service does not answer, accounts that may
    still exist and be members are left out. Another account may have the uid by now; see `heir`.
    """
    names = [
        n
        for n in host.records.known
        if n not in jails and is_valid(n) and not host.people.is_silent(n)
    ]
    if unseen(config, host):
        return [name for name in names if host.account(name) is None]
    return names


def leftovers(config: Config, host: Host, jails: dict[str, Account]) -> dict[str, Account]:
    """Return the accounts, including deleted ones, that have parts of a jail but are not jailed.

    Those whose uid another account has now are left out; see `heir`.

    Raises:
        SftpJailError: a record is damaged.
    """
    names = [
        name
        for name in left_names(config, host, jails)
        if account_with_recorded_uid(name, host) is None
    ]
    return {name: leftover(name, config, host) for name in names}


def leftover(name: str, config: Config, host: Host) -> Account:
    """Return an account, perhaps deleted, with its profile or the one that its remains suggest."""
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
        jail = host.records.made_as(replace(account, profile=profile).jail, name)
        if jail in origin.made or jail in origin.owners or any(inside(t, jail) for t in targets):
            return replace(account, profile=profile)
    return replace(account, profile=config.profiles[0])

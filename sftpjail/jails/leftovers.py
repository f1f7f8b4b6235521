"""Accounts that have left parts of a jail behind, or have them under another name or uid."""

from __future__ import annotations

from dataclasses import replace

from ..config import Config
from ..errors import SftpJailError, UsageError
from ..host import Host
from ..model import Account, Origin, inside, valid_name
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


def heir(name: str, host: Host) -> Account | None:
    """Return the account that has the uid of our record of NAME now, under another name, or None.

    It is the same account after `usermod -l`, or another that was given the uid again. What has a
    living uid is nobody's leftover, so no command is printed that deletes it as one.
    """
    uid = host.records.uid_of(name)  # of a damaged record, which is reported elsewhere, none
    if uid <= 0 or not _is_not_of(name, uid, host):
        return None
    return host.accounts.get(host.people.name_of(uid) or "")


def _is_not_of(name: str, uid: int, host: Host) -> bool:
    """Return whether there is surely no account of that name with that uid."""
    account = host.account(name)
    return host.people.is_gone(name) if account is None else account.uid != uid


def former_name(account: Account, host: Host, thorough: bool = True) -> str:
    """Return the name by which our record knows an account that has another one now, or "".

    The record has the account's uid, and whoever has its name by now has another one. An account
    with a record of its own was not renamed.

    Args:
        account: the account.
        host: the facts.
        thorough: find a name that somebody else has by now, too. That reads every record.
    """
    if not account.exists or not account.local or _has_own(account, host):
        return ""
    if host.people.name_of(account.uid) != account.name:
        return ""  # of two with one uid nobody knows
    records = host.records
    if thorough:
        found = records.by_uid.get(account.uid, ())
    else:
        gone = (name for name in records.recorded() if name not in host.accounts)
        found = tuple(name for name in gone if records.uid_of(name) == account.uid)
    return found[0] if len(found) == 1 and _is_not_of(found[0], account.uid, host) else ""


def _has_own(account: Account, host: Host) -> bool:
    """Return whether our record of an account's name is this account's.

    One of another uid is not, nor one with nothing but what a deleted account of that name left, or
    that this one is shut out.
    """
    own = host.origin(account.name)
    if own.uid >= 0:
        return own.uid == account.uid
    return replace(own, made=(), closed=None) != Origin()


def in_question(account: Account, host: Host, thorough: bool = True) -> bool:
    """Return whether it is open which of our records is an account's own: see `renames`.

    Args:
        account, host, thorough: as in `former_name`.
    """
    return is_namesake(account, host) or former_name(account, host, thorough) != ""


def left_names(config: Config, host: Host, jails: dict[str, Account]) -> list[str]:
    """Return the names that have parts of a jail but are no longer jailed.

    Invalid names are left to `check`. While a directory service does not answer, accounts that may
    still exist and be members are left out. Somebody else may have the uid by now: see `heir`.
    """
    names = [
        n
        for n in host.records.known
        if n not in jails and is_valid(n) and not host.people.is_silent(n)
    ]
    return [name for name in names if host.account(name) is None] if unseen(config, host) else names


def leftovers(config: Config, host: Host, jails: dict[str, Account]) -> dict[str, Account]:
    """Return the accounts, deleted ones included, that have parts of a jail but are not jailed.

    None whose uid somebody has under another name: see `heir`.

    Raises:
        SftpJailError: a record is damaged.
    """
    names = [name for name in left_names(config, host, jails) if heir(name, host) is None]
    return {name: leftover(name, config, host) for name in names}


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
        jail = host.records.made_as(replace(account, profile=profile).jail, name)
        if jail in origin.made or jail in origin.owners or any(inside(t, jail) for t in targets):
            return replace(account, profile=profile)
    return replace(account, profile=config.profiles[0])

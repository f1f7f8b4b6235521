"""Accounts that have left parts of a jail behind, or that have another name or uid now."""

from __future__ import annotations

from dataclasses import replace

from ..config import Config
from ..errors import SftpJailError, UsageError
from ..host import Host
from ..model import Account, Origin, inside, valid_name
from ..paths import ACCOUNTS, TABLES
from .directory import unseen
from .guards import is_namesake
from .membership import find, is_valid


def has_remains(name: str, host: Host) -> bool:
    """Return whether a name has a record, binds or a table of mounts.

    Keys alone do not count. An administrator may have put them there, or the account's directory
    service may be down.
    """
    kept = (f"{ACCOUNTS}/{name}", f"{TABLES}/{name}")
    return any(host.lstat(path) is not None for path in kept) or bool(host.binds(name))


def account_with_recorded_uid(name: str, host: Host) -> Account | None:
    """Return the account of another name that now has the uid of our record of NAME, or None.

    It is the same account after `usermod -l`, or another one with a reused uid. As the uid is in
    use, no command is printed that deletes the files as leftovers.
    """
    uid = host.records.uid_of(name)  # a damaged record has none, and is reported elsewhere
    if uid <= 0 or not _is_not_of(name, uid, host):
        return None
    return host.accounts.get(host.people.name_of(uid) or "")


def _is_not_of(name: str, uid: int, host: Host) -> bool:
    """Return whether there is certainly no account with this name and uid."""
    account = host.account(name)
    if account is None:
        return host.people.is_gone(name)
    return account.uid != uid


def former_name(account: Account, host: Host, thorough: bool = True) -> str:
    """Return the former name of a renamed account, under which we have its record, or "".

    The record has the account's uid, and no account has its name with that uid. An account with a
    record under its present name was not renamed.

    Args:
        account: the account.
        host: the facts.
        thorough: also find a name that another account has by now. This reads every record.
    """
    if not account.exists or not account.local or _has_own(account, host):
        return ""
    if thorough:
        names = host.records.by_uid
    else:
        names = host.people.departed
    found = names.get(account.uid, ())
    if len(found) != 1 or host.people.name_of(account.uid) != account.name:
        return ""  # if two accounts share the uid, nobody knows
    if not _is_not_of(found[0], account.uid, host):
        return ""
    return found[0]


def _has_own(account: Account, host: Host) -> bool:
    """Return whether our record under an account's name is about this account.

    It is not if it has another uid, or lists only files that a deleted account of that name has
    left, or only says that this account is shut out.
    """
    own = host.origin(account.name)
    if own.uid >= 0:
        return own.uid == account.uid
    return replace(own, made=(), closed=None) != Origin()


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

"""Which account a record is about: after usermod(8) it may have another name or uid."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace

from ..host import Host
from ..model import Account, Origin, number
from ..paths import ACCOUNTS

_DAY = 86400  # seconds
# The name that `make_way` gives to a record. It rewrites the record, so its mtime proves nothing.
_MADE_WAY = re.compile(r"\.uid\d+\Z")


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
    found = [name for name in names.get(account.uid, ()) if name != account.name]
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
    if only_says_shut(own):
        return False
    if own.uid >= 0:
        return own.uid == account.uid
    return replace(own, made=(), closed=None) != Origin()


def only_says_shut(origin: Origin) -> bool:
    """Return whether a record says only that an account is shut out, and by which group."""
    rest = replace(origin, closed=None, uid=-1, group="", gid=-1)
    return origin.closed is not None and rest == Origin()


def is_same_person(account: Account, old: str, host: Host) -> bool:
    """Return whether an account is certainly the one that had the name OLD.

    useradd(8) may reuse the uid of a deleted account. It is the same account if it has the home in
    our record and mounts, or if it is older than the last change of the record. shadow(5) has the
    day of its last password change, which is not before its creation. The age proves nothing if
    another account has the old name now, because that one may have got a new uid since.
    """
    homes = {bind.source for bind in host.binds(old) if bind.role == "home"}
    # A home inside the jail, which an account can have only from a profile.
    if posixpath.dirname(account.home) == "/":
        made = host.origin(old).made
        homes |= {account.home for path in made if path.endswith(account.home)}
    if account.home in homes or host.realpath(account.home) in host.origin(old).owners:
        return True
    record = host.lstat(f"{ACCOUNTS}/{old}")
    day = number(host.shadow(account.name).changed)
    if record is None or day is None or old in host.accounts or _MADE_WAY.search(old):
        return False
    return 0 < day < record.st_mtime // _DAY

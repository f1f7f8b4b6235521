"""Accounts whose name (usermod -l) or uid (usermod -u) differs from our record.

Few hosts have any; see `leftovers.in_question`.
"""

from __future__ import annotations

import posixpath
import re
from shlex import quote

from ..errors import SftpJailError
from ..host import Host
from ..model import Account, number
from ..paths import ACCOUNTS
from .guards import is_namesake
from .leftovers import account_with_recorded_uid, former_name

DAY = 86400  # seconds
# The name that `make_way` gives to a record. It rewrites the record, so its mtime proves nothing.
_MADE_WAY = re.compile(r"\.uid\d+\Z")
APPLY = "sftpjail apply"


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
    return 0 < day < record.st_mtime // DAY


def refuse_other(account: Account, host: Host) -> None:
    """Refuse to make a jail for an account while it is uncertain which of our records is its own.

    Raises:
        SftpJailError: its fix or choices decide this.
    """
    refuse_renamed(account, host)
    if not is_namesake(account, host):
        return
    kept = host.origin(account.name).uid
    raise SftpJailError(
        f"what sftpjail keeps of {account.name} is of uid {kept}, "
        f"and {account.name} has uid {account.uid}: "
        "its keys and mounts may be another person's",
        choices=(another(account.name), same(account.name)),
    )


def refuse_renamed(account: Account, host: Host) -> None:
    """Refuse to change an account that was renamed, or that has the former name of one that was.

    Raises:
        SftpJailError: as `refuse_other`.
    """
    old = former_name(account, host)
    if old:
        raise _renamed(account, old, host)
    other = account_with_recorded_uid(account.name, host)
    if other is not None and former_name(other, host) == account.name:
        raise _renamed(other, account.name, host)


def _renamed(account: Account, old: str, host: Host) -> SftpJailError:
    """Return why no jail is made for a renamed account, or for the one with its former name."""
    name, uid = account.name, account.uid
    if is_same_person(account, old, host):
        return SftpJailError(
            f"{old} was renamed: its uid {uid} is that of {name} now, "
            "and its jail, keys and mounts have the old name",
            APPLY,
        )
    if host.account(old) is None:
        return SftpJailError(
            f"{name} has the uid {uid}, which {old} had, who is gone: "
            f"the keys and mounts of {old} may be another person's",
            choices=(another(name), same(name)),
        )
    # Each choice says whose record it is, so that nothing stays uncertain.
    return SftpJailError(
        f"what sftpjail keeps of {old} is of uid {uid}, which {name} has now, "
        f"and {old} has another: its keys and mounts may be either's, or another person's",
        choices=(
            (f"only if {name} is the one who was {old}", same(name)[1]),
            (f"only if {old} is the same person as before", f"{same(old)[1]} && {APPLY}"),
            ("if neither is", f"{another(old)[1]} && {APPLY}"),
        ),
    )


def another(name: str) -> tuple[str, str]:
    """Return the choice that removes what we keep of an account's former uid or name."""
    return "if it is another person", f"sftpjail adopt --another-person {quote(name)}"


def same(name: str) -> tuple[str, str]:
    """Return the choice that keeps it for the account."""
    return "only if it is the same one", f"sftpjail adopt --same-person {quote(name)}"

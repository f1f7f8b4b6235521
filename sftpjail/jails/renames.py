"""Accounts that have another name (usermod -l) or another uid (usermod -u) than our record has.

Few hosts have one: see `leftovers.in_question`.
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
from .leftovers import former_name, heir

DAY = 86400  # seconds
# As `make_way` names a record. It writes that anew, so that its time tells nothing.
_MADE_WAY = re.compile(r"\.uid\d+\Z")
APPLY = "sftpjail apply"


def is_same_person(account: Account, old: str, host: Host) -> bool:
    """Return whether an account is for certain the one that had another name.

    useradd(8) gives the uid of a deleted account again. The same one has the home that our record
    and mounts know, or has been there since before that record was last written: shadow(5) has the
    day of its last password, which is never before its first. The latter tells nothing where
    somebody else has the old name, who may have got another uid since.
    """
    homes = {bind.source for bind in host.binds(old) if bind.role == "home"}
    # A home inside its jail, which nobody has whom no profile gave it.
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
    """Refuse to make a jail for an account while it is open which of our records is its own.

    Raises:
        SftpJailError: its fix or its choices decide that.
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
    """Refuse to change anything for an account that was renamed, or has the name of one that was.

    Raises:
        SftpJailError: as `refuse_other`.
    """
    old = former_name(account, host)
    if old:
        raise _renamed(account, old, host)
    other = heir(account.name, host)
    if other is not None and former_name(other, host) == account.name:
        raise _renamed(other, account.name, host)


def _renamed(account: Account, old: str, host: Host) -> SftpJailError:
    """Return why no other jail is made for who was renamed, nor for who has the old name now."""
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
    # Each says whose the record is, so that nothing is open any more.
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
    """Return the choice that gives it to the account."""
    return "only if it is the same one", f"sftpjail adopt --same-person {quote(name)}"

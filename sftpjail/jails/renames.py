"""Accounts whose name (usermod -l) or uid (usermod -u) differs from our record.

Few hosts have any; see `leftovers.in_question`.
"""

from __future__ import annotations

from shlex import quote

from ..errors import SftpJailError
from ..host import Host
from ..model import Account
from .former_names import account_with_recorded_uid, former_name, is_same_person
from .guards import is_namesake
from .membership import lost

APPLY = "sftpjail apply"


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
        raise lost(account, host) or _renamed(account, old, host)
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

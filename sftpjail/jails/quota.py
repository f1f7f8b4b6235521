"""How much an account may store in its own directory: `quota` of a profile, and `set --quota`.

This is its home, or the jail's own directory, without what is mounted there. A list has the quotas
that were set, so that they can be removed again. The limits in force are those of the file system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import SftpJailError
from ..formats.quotas import own_size, quota_line
from ..formats.tagged_lines import Style
from ..host import Host
from ..model import Account, in_units, normal
from ..paths import QUOTAS
from .quota_systems import Lack, System, is_btrfs, system_of

if TYPE_CHECKING:
    from ..actions import Action


class Use(NamedTuple):
    """The quota of an account and its use in bytes, and who has set it.

    `used` is None if it is not known. `by` is "account" or "profile". `lack` says why the quota is
    not enforced, or is "".
    """

    size: int
    used: int | None
    by: str
    lack: str


def is_listed(name: str, host: Host) -> bool:
    """Return whether an account has or had a quota."""
    return name in host.tagged(QUOTAS, Style.USER)


def own(name: str, host: Host) -> int | None:
    """Return the quota that an account has of its own; 0 for none, None if its profile decides."""
    return own_size(host.tagged(QUOTAS, Style.USER).get(name, ()))


def wanted(account: Account, host: Host) -> int:
    """Return how many bytes an account may store; 0 for any number."""
    size = own(account.name, host)
    profile = 0
    if account.profile:
        profile = account.profile.quota
    if size is None:
        return profile
    return size


def storage(account: Account) -> str:
    """Return the directory on the host that is the account's own, or "" if it has none."""
    profile = account.profile
    if profile is None or not profile.is_filled:
        return ""
    if profile.in_home or profile.home == "inside":
        return account.files
    return normal(account.home)


def system(account: Account, host: Host) -> System:
    """Return the file system of an account's own directory. Raises Lack."""
    path = storage(account)
    if not path:
        raise Lack(f"with home = none {account.name} has no directory of its own")
    real = host.mount_tables.place(path)
    if host.files.loose_parent(real):
        raise Lack(f"others than root can replace {real}")
    return system_of(account, real, host)


def store(name: str, size: int | None, by_profile: bool, host: Host) -> list[Action]:
    """Return the action that records a quota; a size of None removes it."""
    from ..actions import SetLines  # late: list needs no actions

    lines = () if size is None else (quota_line(name, size, by_profile=by_profile),)
    if host.tagged(QUOTAS, Style.USER).get(name, ()) == lines:
        return []
    return [SetLines(QUOTAS, name, lines, Style.USER)]


def enforced(account: Account, size: int, host: Host) -> list[Action]:
    """Return the actions that make the file system enforce a quota; 0 for none.

    Raises:
        SftpJailError: it cannot; says why.
    """
    try:
        found = system(account, host)
        if size:
            found.judge()
        now = found.state()
    except SftpJailError as error:
        if not size and isinstance(error, Lack):
            return []  # then it enforces nothing anyway
        raise SftpJailError(
            f"{account.name} cannot have a quota of {in_units(size)}: {error.message}",
            choices=error.choices,
            advice=error.advice,
        ) from error
    if now.limit == size:
        return []
    return list(found.enforce(size, now.limit))


def use(account: Account, host: Host) -> Use | None:
    """Return the quota of an account and how much of it is used, or None if it has none."""
    size = wanted(account, host)
    if not size:
        return None
    by = "account"
    if own(account.name, host) is None:
        by = "profile"
    try:
        found = system(account, host)
        found.judge()
        now = found.state()
    except SftpJailError as error:
        return Use(size, None, by, error.message)
    lack = ""
    if now.limit != size:
        lack = "the file system does not enforce it yet"
    return Use(size, now.used, by, lack)


def makes_subvolume(account: Account, path: str, host: Host) -> bool:
    """Return whether the directory of a new account must be a subvolume."""
    return bool(wanted(account, host)) and is_btrfs(path, host) and bool(host.which("btrfs"))

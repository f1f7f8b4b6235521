"""How much an account may store in its own directory."""

from __future__ import annotations

from ... import Account, Fact, Problem, Remove, SetLines, SftpJailError, Style
from ...actions import Action
from ...host import Host
from ...jails import quota
from ...model import in_units
from ...paths import QUOTAS


def on_user_create(account: Account, new: bool, host: Host) -> list[Action]:
    size, kept = quota.wanted(account, host), []
    if quota.own(account.name, host) is None:
        kept = quota.store(account.name, size or None, True, host)
    try:
        return [*kept, *quota.enforced(account, size, host)]
    except SftpJailError:
        if new:
            raise
        return []  # its jail stays open, and on_check reports it


def on_user_quota(account: Account, size: int | None, host: Host) -> list[Action]:
    if size is not None:
        kept = quota.store(account.name, size, False, host)
        return [*kept, *quota.enforced(account, size, host)]
    limit = 0
    if account.profile:
        limit = account.profile.quota
    if not limit and not quota.is_listed(account.name, host):
        return []  # what an administrator has set there is not ours
    kept = quota.store(account.name, limit or None, True, host)
    return [*kept, *quota.enforced(account, limit, host)]


def on_user_remove(account: Account, deleted: bool, host: Host) -> list[Action]:
    if deleted and account.exists:  # userdel may still refuse
        return []
    kept = quota.store(account.name, None, True, host)
    if account.exists:
        return kept + quota.enforced(account, 0, host)
    return kept


def on_user_rename(account: Account, old: str, host: Host) -> list[Action]:
    lines = host.tagged(QUOTAS, Style.USER).get(old, ())
    if not lines or old == account.name:
        return []
    words = [line.split(" ", 2) for line in lines]
    moved = tuple(f"user {account.name} {rest}" for _, _, rest in words)
    actions: list[Action] = [SetLines(QUOTAS, account.name, moved, Style.USER)]
    if host.account(old) is None:
        actions.append(SetLines(QUOTAS, old, (), Style.USER))
    return actions


def on_teardown(host: Host) -> list[Action]:
    names = host.tagged(QUOTAS, Style.USER)  # our file is removed with its last line
    lines: list[Action] = [SetLines(QUOTAS, name, (), Style.USER) for name in names]
    return lines or [Remove(QUOTAS)]


def on_check(account: Account, host: Host) -> list[Problem]:
    size = quota.wanted(account, host)
    try:
        quota.enforced(account, size, host)
    except SftpJailError as error:
        return [Problem.of(error, f"{account.name} can store any number of bytes")]
    return []


def on_explain(account: Account, host: Host) -> list[Fact]:
    found = quota.use(account, host)
    if found is None:
        return []
    if found.used is None:
        used = "?"
    else:
        used = in_units(found.used)
    note = found.lack or f"{used} used in {quota.storage(account)}; set by its {found.by}"
    return [Fact("account", "quota", in_units(found.size), note, bool(found.lack))]

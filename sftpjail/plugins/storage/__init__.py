"""What accounts may store, and for how long: `quota`, and `set --quota` and `--retention`.

Each of the two is imported when somebody has it: useradd waits for what is imported here.
"""

from __future__ import annotations

from ... import Account, Bind, Fact, Problem, Style, hookimpl
from ...actions import Action
from ...host import Host
from ...paths import QUOTAS, RETENTION


def _has_quota(name: str, host: Host, account: Account | None = None) -> bool:
    """Return whether an account has a quota, or had one."""
    profile = None
    if account:
        profile = account.profile
    return bool(profile and profile.quota) or name in host.tagged(QUOTAS, Style.USER)


def _has_retention(name: str, host: Host) -> bool:
    return name in host.tagged(RETENTION, Style.BLOCK)


@hookimpl
def on_user_create(account: Account, new: bool, host: Host) -> list[Action]:
    actions: list[Action] = []
    if _has_quota(account.name, host, account):
        from . import quota

        actions += quota.on_user_create(account, new, host)
    if _has_retention(account.name, host):
        from . import retention

        actions += retention.on_user_create(account, host)
    return actions


@hookimpl
def on_user_quota(account: Account, size: int | None, host: Host) -> list[Action]:
    from . import quota

    return quota.on_user_quota(account, size, host)


@hookimpl
def on_user_retention(
    account: Account, ages: tuple[tuple[str, int], ...], host: Host
) -> list[Action]:
    from . import retention

    return retention.on_user_retention(account, ages, host)


@hookimpl
def on_user_remove(account: Account, deleted: bool, host: Host) -> list[Action]:
    actions: list[Action] = []
    if account.name in host.tagged(QUOTAS, Style.USER):
        from . import quota

        actions += quota.on_user_remove(account, deleted, host)
    if _has_retention(account.name, host):
        from . import retention

        actions += retention.on_user_remove(account, deleted, host)
    return actions


@hookimpl
def on_user_rename(account: Account, old: str, host: Host) -> list[Action]:
    actions: list[Action] = []
    if _has_quota(old, host):
        from . import quota

        actions += quota.on_user_rename(account, old, host)
    if _has_retention(old, host):
        from . import retention

        actions += retention.on_user_rename(account, old, host)
    return actions


@hookimpl
def on_teardown(host: Host) -> list[Action]:
    from . import quota, retention

    return [*quota.on_teardown(host), *retention.on_teardown(host)]


@hookimpl
def on_detach(host: Host) -> list[Action]:
    from . import retention

    return retention.on_detach(host)


@hookimpl
def on_mount(account: Account, bind: Bind, host: Host) -> list[Action]:
    if not host.tagged(RETENTION, Style.BLOCK):
        return []
    from . import retention

    return retention.on_mount(account, bind, host)


@hookimpl
def on_check(account: Account | None, host: Host) -> list[Problem]:
    problems: list[Problem] = []
    if account is not None and _has_quota(account.name, host, account):
        from . import quota

        problems += quota.on_check(account, host)
    if account is not None and _has_retention(account.name, host):
        from . import retention

        problems += retention.on_check(account, host)
    elif account is None and host.tagged(RETENTION, Style.BLOCK):
        from . import retention

        problems += retention.judge_host(host)
    return problems


@hookimpl
def on_explain(account: Account, host: Host) -> list[Fact]:
    facts: list[Fact] = []
    if _has_quota(account.name, host, account):
        from . import quota

        facts += quota.on_explain(account, host)
    if _has_retention(account.name, host):
        from . import retention

        facts += retention.on_explain(account, host)
    return facts

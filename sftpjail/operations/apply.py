"""Plans for many jails: who is left out, who is shut out, and what a silent directory forbids."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence

from ..engine.engine import Engine
from ..engine.plan import Event, OnSetup, Plan
from ..errors import SftpJailError
from ..host import Host
from ..jails.closing import list_after
from ..jails.directory import lost_groups, silent, unseen
from ..jails.guards import why_not
from ..jails.leftovers import leftovers
from ..model import Account
from ..paths import HOST_RECORD
from .events import closing, create_events

# So many accounts may fail one after the other before apply takes it for something
# that is wrong with the host.
PATIENCE = 20


def plan_all(
    engine: Engine,
    first: Sequence[Event],
    accounts: Iterable[Account],
    last: Sequence[Event],
    by: str = "apply",
    failed: Mapping[str, SftpJailError] | None = None,
) -> Plan:
    """Return one plan for many jails.

    An account that cannot be planned for is left out, with its error in the plan. Whom sshd would
    let in all the same is shut out, until a later plan can make its jail.

    Args:
        engine: with the facts.
        first, last: what is to happen before and after the jails are made.
        accounts: whose jails.
        by: the command, for the record of who is shut out.
        failed: whose jail cannot be made is known already.
    """
    chosen = {account.name: account for account in accounts}
    events: list[Event] = []
    errors = dict(failed or {})
    for name, account in chosen.items():
        try:
            events += (
                create_events(account, engine.host, engine.manager) if name not in errors else []
            )
        except SftpJailError as error:
            errors[name] = error
    preparing = any(isinstance(event, OnSetup) for event in [*first, *last])
    host = engine.host.for_plan(preparing)
    plan = engine.plan([*first, *events, *last], tolerant=True)
    errors |= {name: error for name, error in plan.errors.items() if name not in errors}
    shut: list[Event] = []
    for name in [name for name in errors if name in chosen]:
        needed, errors[name] = closing(chosen[name], errors[name], by, host)
        shut += needed
    willing = [account for name, account in chosen.items() if name not in errors]
    listed = list_after(willing, [event.about for event in shut if event.about], host)
    if shut or (first and listed is not None):
        good = [event for event in events if event.about and event.about.name not in errors]
        plan = engine.plan([*first, *good, *shut, *last], tolerant=True, listed=listed)
    plan.errors |= errors
    return plan


def refuse_unknown(engine: Engine) -> None:
    """Refuse a teardown that would make an ordinary account of someone whom only a directory knows.

    Raises:
        SftpJailError: it does not answer or does not tell, or members of it have not been here yet.
    """
    config, host = engine.config, engine.host
    missing = unseen(config, host)
    doubts = unanswered(host) + [f"there is no group {group}" for group in missing]
    if doubts and (
        host.records.recorded() or any(host.people.is_silent_group(group) for group in missing)
    ):
        raise SftpJailError(
            f"it is not known who is still jailed: {'; '.join(doubts)}",
            advice="when it answers again, run sftpjail teardown",
        )
    for group in [profile.group for profile in config.profiles if profile.group]:
        names = host.people.newcomers(group)
        if names == []:
            continue
        who = "its members"
        if names:
            who = ", ".join(names[:8]) + (" and others" if len(names) > 8 else "")
        services = ", ".join(host.people.directory_services)
        raise SftpJailError(
            f"the directory service ({services}) has {who} in {group}: "
            "without its Match block these would be ordinary accounts",
            advice=f"take them out of {group} there"
            + (", and the group out of the directory service" if names is None else ""),
        )


def unanswered(host: Host) -> list[str]:
    """Return in words who cannot be looked after, because a directory service does not answer."""
    names = silent(host)
    if not names:
        return []
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return [
        f"the directory service ({', '.join(host.people.directory_services)}) does not answer; "
        f"skipped: {shown}"
    ]


def prunable(engine: Engine, jails: dict[str, Account]) -> tuple[list[Account], list[str]]:
    """Return the departed accounts whose remains may go, and in words whose may not.

    An SSSD that is offline and has lost its cache says of everybody that there is no such account.
    So on a host with a directory, who is gone counts only while somebody that it brought is still
    found.
    """
    host = engine.host
    accounts = list(leftovers(engine.config, host, jails).values())
    if not host.people.directory_services or any(
        host.account(name) for name in host.records.known if name not in host.accounts
    ):
        return accounts, []
    doubts = [account.name for account in accounts if not account.exists]
    words = [
        f"{name}: is it gone, or is the directory service down? "
        f"If it is gone: sftpjail remove {name}"
        for name in doubts
    ]
    return [account for account in accounts if account.exists], words


def plan_with_setup(
    engine: Engine,
    first: Sequence[Event],
    accounts: list[Account],
    last: Sequence[Event],
    failed: Mapping[str, SftpJailError] | None = None,
) -> tuple[Plan, list[SftpJailError]]:
    """Return a plan that brings a host which is set up to its configuration as well.

    Also return why that cannot be: then the jails are planned for without it.
    """
    if first and engine.host.lstat(HOST_RECORD) is not None:
        lost = lost_groups(engine.config, engine.host)
        if lost:
            why = (
                f"setup is not done: the group {lost[0]} is gone, "
                "and who was in it may be in another one now"
            )
            return plan_all(engine, [], accounts, last, failed=failed), [
                SftpJailError(why, "sftpjail check")
            ]
        try:
            return plan_all(engine, first, accounts, last, failed=failed), []
        except SftpJailError as error:
            plan = plan_all(engine, [], accounts, last, failed=failed)
            return plan, [error.saying(f"setup cannot be done: {error.message}")]
    return plan_all(engine, [], accounts, last, failed=failed), []


def guarded(engine: Engine, accounts: dict[str, Account]) -> dict[str, str]:
    """Return whom apply does not touch, and why.

    Somebody put an administrator into a jail group, or deletes it now.
    """
    reasons = {}
    for name, account in accounts.items():
        with contextlib.suppress(SftpJailError):
            # A damaged record, which is told when its jail is planned.
            reasons[name] = _passing(name, engine.host) or why_not(account, engine.host)
    return {name: reason for name, reason in reasons.items() if reason}


def _passing(name: str, host: Host) -> str:
    """Return why an account is left alone for a moment, or ""."""
    maker = host.people.maker(name)
    if maker is not None:
        return f"pid {maker} is still creating it"
    return "userdel is deleting it" if host.people.is_leaving(name) else ""

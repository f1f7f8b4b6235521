"""Plans for many jails: who is left out, who is shut out, and what a silent directory forbids."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from shlex import quote

from ..config import Config
from ..engine.engine import Engine
from ..engine.manager import Manager
from ..engine.plan import Event, OnSetup, OnUserCreate, Plan
from ..errors import SftpJailError
from ..escapes import look_at, shown, some
from ..host import Host
from ..jails.closing import list_after
from ..jails.directory import lost_groups, silent, unseen
from ..jails.guards import why_not
from ..jails.leftovers import leftovers
from ..jails.membership import is_valid, refuse_name, untaken
from ..model import Account
from ..openssh.match_blocks import with_former_methods
from ..paths import HOST_RECORD
from .events import closing, create_events
from .keys import FirstKeys
from .limits import limited_by

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
        by: the command, for the record of who is shut out; "" for one that only judges.
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
    new = [event.account for event in events if isinstance(event, OnUserCreate) and event.new]
    keys = FirstKeys(engine, new if by else ())
    events += [event for name in keys.events for event in keys.events[name]]
    preparing = any(isinstance(event, OnSetup) for event in [*first, *last])
    host = engine.host.for_plan(preparing)
    _, limited = limited_by([*first, *events, *last], engine.host)
    plan = engine.plan([*first, *events, *last], tolerant=True, limited=limited)
    errors |= {name: error for name, error in plan.errors.items() if name not in errors}
    shut: list[Event] = []
    for name in [name for name in errors if name in chosen]:
        needed, errors[name] = closing(chosen[name], errors[name], by, host)
        shut += needed
    willing = [account for name, account in chosen.items() if name not in errors]
    listed = list_after(willing, [event.about for event in shut if event.about], host)
    if shut or (first and listed is not None):
        good = [event for event in events if event.about and event.about.name not in errors]
        plan = engine.plan([*first, *good, *shut, *last], True, listed, limited=limited)
    plan.errors |= errors
    plan.said = {name: words for name, words in keys.said.items() if name not in errors}
    making = plan.owners - errors.keys()  # where a jail is really made
    plan.behind = [problem for problem in keys.behind if problem.about in making]
    return plan


def refusals(accounts: Mapping[str, Account]) -> dict[str, SftpJailError]:
    """Return why those get no jail whose names sftpjail does not take; see `untaken`."""
    return {name: refuse_name(one) for name, one in accounts.items() if not is_valid(name)}


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


def refuse_untaken(engine: Engine) -> None:
    """Refuse a teardown while sshd jails somebody whose name sftpjail does not take.

    Raises:
        SftpJailError: names one of them.
    """
    for account in untaken(engine.config, engine.host).values():
        raise refuse_name(account).saying(
            f"{shown(account.name)} would be an ordinary account without its Match block"
        )


def still_jailed(names: list[str]) -> SftpJailError:
    """Return why nothing is torn down while somebody is jailed, and the commands that help."""
    listed = some(names, 8)
    choices = [("to expire these accounts", "sftpjail teardown --close-accounts")]
    if len(names) <= 8:
        removals = " && ".join(f"sftpjail remove {quote(name)}" for name in names)
        choices.append(("to make them ordinary accounts first", f"{removals} && sftpjail teardown"))
    return SftpJailError(
        f"still jailed: {listed}; without their Match block these would be ordinary accounts",
        choices=choices,
    )


def unanswered(host: Host) -> list[str]:
    """Return in words who cannot be looked after, because a directory service does not answer."""
    names = silent(host)
    if not names:
        return []
    return [
        f"the directory service ({', '.join(host.people.directory_services)}) does not answer; "
        f"skipped: {some(names, 8)}"
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
                SftpJailError(why, look_at("sftpjail check"))
            ]
        try:
            return plan_all(engine, first, accounts, last, failed=failed), []
        except SftpJailError as error:
            plan = plan_all(engine, [], accounts, last, failed=failed)
            return plan, [error.saying(f"setup cannot be done: {error.message}")]
    return plan_all(engine, [], accounts, last, failed=failed), []


def for_config(engine: Engine, config: Config) -> Engine:
    """Return an engine for another configuration; both know of each other's commits."""
    other = copy(engine)
    other.config, other.manager = config, Manager(config)
    return other


def kept_methods(
    engine: Engine,
    first: Sequence[Event],
    accounts: list[Account],
    last: Sequence[Event],
    failed: Mapping[str, SftpJailError],
) -> tuple[Engine, Plan] | None:
    """Return a plan with the login methods of jails as they were, and the engine that made it.

    Whom new methods would shut out is its administrator's to decide, and keeps no jail from being
    repaired or made.

    Args:
        engine, first, accounts, last, failed: as for `plan_with_setup`, which could not.

    Returns:
        None where the methods do not change, or that is not what is in the way.
    """
    config = with_former_methods(engine.config, engine.host)
    if not first or config == engine.config:
        return None
    known = {profile.name: profile for profile in config.profiles}
    former = [
        replace(account, profile=known[account.profile.name])
        for account in accounts
        if account.profile
    ]
    other = for_config(engine, config)
    plan, veto = plan_with_setup(other, first, former, last, failed)
    return None if veto else (other, plan)


def guarded(engine: Engine, accounts: dict[str, Account]) -> dict[str, str]:
    """Return whom apply does not touch, and why.

    Somebody put an administrator into a jail group, or deletes it now.
    """
    reasons = {}
    for name, account in accounts.items():
        with contextlib.suppress(SftpJailError):
            # A damaged record, which is told when its jail is planned.
            reasons[name] = passing(name, engine.host) or why_not(account, engine.host)
    return {name: reason for name, reason in reasons.items() if reason}


def passing(name: str, host: Host) -> str:
    """Return why an account is left alone for a moment, or ""."""
    maker = host.people.maker(name)
    if maker is not None:
        return f"pid {maker} is still creating it"
    return "userdel is deleting it" if host.people.is_leaving(name) else ""

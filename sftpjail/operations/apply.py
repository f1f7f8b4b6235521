"""Plans for many jails: who is left out or shut out, and what an unavailable directory forbids."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from shlex import quote

from ..config import Config
from ..engine.engine import Engine, interrupted
from ..engine.manager import Manager
from ..engine.plan import OURS, Event, OnSetup, OnUserCreate, Plan
from ..errors import SftpJailError
from ..errors.escapes import Choice, look_at, shown, some
from ..host import Host
from ..jails.closing import list_after
from ..jails.directory import lost_groups, silent, unseen
from ..jails.guards import is_namesake, why_not
from ..jails.leftovers import is_regrouped, leftovers
from ..jails.membership import is_valid, jailed, name_now, refuse_name, untaken
from ..model import Account, Problem
from ..openssh.match_blocks import with_former_methods
from ..paths import HOST_RECORD
from ..system import departures
from .events import closing, create_events
from .keys import FirstKeys, old_place
from .limits import limited_by
from .renames import next_renaming

PRUNE = "sftpjail apply --prune"
# If this many accounts fail in a row, apply assumes that something is wrong with the host.
PATIENCE = 20


def plan_all(
    engine: Engine,
    first: Sequence[Event],
    accounts: Iterable[Account],
    last: Sequence[Event],
    by: str = "apply",
    failed: Mapping[str, SftpJailError] | None = None,
    released: Mapping[str, SftpJailError] | None = None,
) -> Plan:
    """Return one plan for many jails.

    If planning fails for an account, the account is left out, with its error in the plan. If sshd
    would let it in nevertheless, it is shut out until a later plan can make its jail.

    Args:
        engine: with the facts.
        first, last: the events before and after the jails are made.
        accounts: the accounts to jail.
        by: the command, for the records of accounts that are shut out; "" if it only checks.
        failed: the errors of accounts whose jail is known to fail.
        released: those that sshd lets in without their jail, and why.
    """
    chosen = {account.name: account for account in accounts}
    events: list[Event] = []
    errors = {**(released or {}), **(failed or {})}
    with engine.host.files.one_look():
        for name in [name for name in chosen if name not in errors]:
            try:
                events += create_events(chosen[name], engine.host, engine.manager)
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
    shut = _closing_all(chosen, errors, by, host, released or {})
    willing = [account for name, account in chosen.items() if name not in errors]
    listed = list_after(willing, [event.about for event in shut if event.about], host)
    if shut or (first and listed is not None):
        good = [event for event in events if event.about and event.about.name not in errors]
        plan = engine.plan([*first, *good, *shut, *last], True, listed, limited=limited)
    plan.errors |= errors
    plan.said = {name: words for name, words in keys.said.items() if name not in errors}
    making = plan.owners - errors.keys()  # the accounts whose jail is really made
    plan.behind = [problem for problem in keys.behind if problem.about in making]
    return plan


def _closing_all(
    chosen: Mapping[str, Account],
    errors: dict[str, SftpJailError],
    by: str,
    host: Host,
    released: Container[str],
) -> list[Event]:
    """Return the events that shut out whom sshd would let in, and say in ERRORS who is shut out.

    Args:
        chosen, errors, by, released: as in `plan_all`.
        host: the facts, as of the plan.
    """
    shut: list[Event] = []
    with host.files.one_look():
        for name in [name for name in errors if name in chosen]:
            needed, errors[name] = closing(chosen[name], errors[name], by, host, name in released)
            shut += needed
    return shut


def refusals(accounts: Mapping[str, Account]) -> dict[str, SftpJailError]:
    """Return the errors of accounts whose names sftpjail does not accept; see `untaken`."""
    return {name: refuse_name(one) for name, one in accounts.items() if not is_valid(name)}


def refuse_unknown(engine: Engine) -> None:
    """Refuse a teardown that could turn a directory service's account into an ordinary one.

    Raises:
        SftpJailError: the directory service does not answer or does not report its members, or it
            has members that have never been used here.
    """
    config, host = engine.config, engine.host
    missing = unseen(config, host)
    doubts = unanswered(host) + [f"there is no group {group}" for group in missing]
    if doubts and (
        host.records.recorded or any(host.people.is_silent_group(group) for group in missing)
    ):
        raise SftpJailError(
            f"it is not known who is still jailed: {'; '.join(doubts)}",
            advice="when it answers again, run sftpjail teardown",
        )
    for group in [profile.group for profile in config.profiles if profile.group]:
        names = host.people.unseen_members(group)
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
    """Refuse a teardown while sshd jails an account whose name sftpjail does not accept.

    Raises:
        SftpJailError: names one of them.
    """
    for account in untaken(engine.config, engine.host).values():
        raise refuse_name(account).saying(
            f"{shown(account.name)} would be an ordinary account without its Match block"
        )


def still_jailed(names: list[str]) -> SftpJailError:
    """Return the error that accounts are still jailed, so that nothing is torn down."""
    listed = some(names, 8)
    choices = [("to expire these accounts", "sftpjail teardown --close-accounts")]
    if len(names) <= 8:
        removals = " && ".join(f"sftpjail remove {quote(name)}" for name in names)
        choices.append(("to make them ordinary accounts first", f"{removals} && sftpjail teardown"))
    return SftpJailError(
        f"still jailed: {listed}; without their Match block these would be ordinary accounts",
        choices=choices,
    )


def outstanding(engine: Engine) -> set[str] | None:
    """Return the accounts whose jails `apply` would make, change, skip or report.

    Args:
        engine: with the facts; it need not hold the lock, as nothing is changed.

    Returns:
        their names, or None if apply must look at everything: the host itself needs a change,
        an account was renamed, or a directory service does not answer.
    """
    host, jails = engine.host, jailed(engine.config, engine.host)
    if interrupted(host) or departures.stopped() or unanswered(host):
        return None
    if next_renaming(engine) is not None or untaken(engine.config, host):
        return None
    skipped = guarded(engine, jails)
    willing = [account for name, account in jails.items() if name not in skipped]
    plan, veto = plan_with_setup(engine, [OnSetup()], willing, [])
    # Records are written by no event, so that they are not among the owners.
    owners = {*plan.owners, *(step.owner for step in plan.steps if step.plugin == OURS)}
    if veto or plan.behind or "" in owners:
        return None
    return {*owners, *plan.errors, *skipped}


def unanswered(host: Host) -> list[str]:
    """Return a sentence that names the accounts skipped because a directory service is down."""
    names = silent(host)
    if not names:
        return []
    return [
        f"the directory service ({', '.join(host.people.directory_services)}) does not answer; "
        f"skipped: {some(names, 8)}"
    ]


def prunable(
    engine: Engine, jails: Mapping[str, Account], agreed: Container[str] | None
) -> tuple[list[Account], list[str | Problem]]:
    """Return the accounts whose remains may be removed, and what to say about the doubtful ones.

    An offline SSSD that has lost its cache denies that any account exists. So on a host with a
    directory service, a missing account counts as deleted only if another known account of the
    directory service is found. Whose group is gone, or another one by now, has not left it, and
    stays as it is: an administrator must say whether it is an ordinary account. So do accounts
    that exist and are in no jail group. Whether somebody has taken them out, or has made the group
    anew with the gid that it had, nothing on the host tells.

    Args:
        engine: with the facts.
        jails: the accounts that are jailed.
        agreed: those that an administrator wants to be ordinary accounts; None for all.
    """
    host = engine.host
    found = list(leftovers(engine.config, host, dict(jails)).values())
    regrouped = [one.name for one in found if is_regrouped(one.name, engine.config, host)]
    others, doubts = _gone_or_silent([one for one in found if one.name not in regrouped], host)
    accounts: list[Account] = []
    left: list[Problem] = []
    for one in others:
        problem = None
        if agreed is not None and one.name not in agreed:
            problem = departed(one, engine, jails)
        if problem is None:
            accounts.append(one)
        else:
            every = Choice("to make all such accounts ordinary ones", f"{PRUNE} --yes")
            choices = (*problem.choices, every)
            left.append(replace(problem, what="is not pruned", choices=choices))
    kept = [
        f"{name} is not pruned: it left no group, but {host.origin(name).group}, which has jailed "
        f"it, is gone or another group now. To jail it again: sftpjail adopt {quote(name)}; "
        f"to make it an ordinary account: sftpjail remove {quote(name)}"
        for name in regrouped
    ]
    return accounts, [*doubts, *kept, *left]


def reopened(engine: Engine, jails: Mapping[str, Account]) -> dict[str, str]:
    """Return the accounts that `apply --prune` makes ordinary ones if it may, and how they get in.

    Raises:
        SftpJailError: a record is damaged.
    """
    _, doubts = prunable(engine, jails, ())
    found = [one for one in doubts if isinstance(one, Problem)]
    return {one.about: _ways_in(engine.host.account(one.about), engine.host) for one in found}


def departed(account: Account, engine: Engine, jails: Mapping[str, Account]) -> Problem | None:
    """Return the problem of an account that is in no jail group any more, with both its remedies.

    Args:
        account: with the profile that its remains suggest.
        engine: with the facts.
        jails: the accounts that are jailed.

    Returns:
        None if there is no such account, or if what is left was another one's of its name: nobody
        is let in when that goes.
    """
    host, name = engine.host, account.name
    if host.account(name) is None or is_namesake(account, host):
        return None
    why = "it left its profile's group"
    group = host.origin(name).group
    if group and not any(_was_jailed_by(group, one, host) for one in jails.values()):
        why = f"nobody whom {group} has jailed is in it, as when it was removed and made anew"
    ordinary = f"to make it an ordinary account with {_ways_in(host.account(name), host)}"
    choices = [Choice(ordinary, f"sftpjail remove {quote(name)}")]
    if not why_not(account, host):
        choices.insert(0, Choice("to jail it again", f"sftpjail adopt {quote(name)}"))
    what = "left something of a jail behind"
    return Problem(what, why, choices=tuple(choices), about=name)


def _was_jailed_by(group: str, account: Account, host: Host) -> bool:
    """Return whether a jailed account is in a group, and has been before by its record."""
    if account.profile is None or account.profile.group != group:
        return False
    with contextlib.suppress(SftpJailError):  # a damaged record is reported elsewhere
        return host.origin(account.name).group == group
    return False


def _ways_in(account: Account | None, host: Host) -> str:
    """Return what an account has outside of its jail: the shell, a password, and keys."""
    from ..jails.states import has_password  # late, as in `released_by`

    if account is None:
        return "nothing"
    was = host.origin(account.name).was
    ways = [f"the shell {shown(was.get('shell', account.shell) or '/bin/sh')}"]
    if has_password(host.shadow(account.name)):
        ways.append("its password")
    keys = old_place(replace(account, home=was.get("home", account.home)))
    if host.lstat(keys) is not None:
        ways.append(f"the keys in {shown(keys)}")
    return " and ".join(ways)


def _gone_or_silent(accounts: list[Account], host: Host) -> tuple[list[Account], list[str]]:
    """Return those of some left accounts that are gone or no longer jailed, and the doubts."""
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
    """Return a plan that, on a host that is set up, also brings the host to its configuration.

    If that is not possible, also return why, unless a jail's error says so too, and a plan for
    the jails only.
    """
    if first and engine.host.lstat(HOST_RECORD) is not None:
        lost = lost_groups(engine.config, engine.host)
        if lost:
            plan = plan_all(engine, [], accounts, last, failed=failed)
            if any(name_now(one, engine.host) for one in accounts if one.name in plan.errors):
                return plan, []  # that says so
            why = (
                f"setup is not done: the group {lost[0]} is gone, "
                "and who was in it may be in another one now"
            )
            return plan, [SftpJailError(why, look_at("sftpjail check"))]
        try:
            return plan_all(engine, first, accounts, last, failed=failed), []
        except SftpJailError as error:
            released = released_by(engine, accounts, error)
            plan = plan_all(engine, [], accounts, last, failed=failed, released=released)
            if any(other.message == error.message for other in plan.errors.values()):
                return plan, []  # one cause is reported once
            return plan, [error.saying(f"setup cannot be done: {error.message}")]
    return plan_all(engine, [], accounts, last, failed=failed), []


def released_by(
    engine: Engine, accounts: Iterable[Account], error: SftpJailError
) -> dict[str, SftpJailError]:
    """Return the accounts that sshd lets in without their jail while setup is not possible.

    Their jails cannot be put in force, and no login without a jail is to be.

    Args:
        engine: with the facts.
        accounts: those with a profile.
        error: why setup cannot be done.
    """
    from ..jails.states import States  # late: setup can hardly ever not be done

    states = States(engine.config, engine.host)
    try:
        names = [account.name for account in accounts if states.is_released(account)]
    except SftpJailError:
        return {}  # sshd refuses its configuration, which is ERROR, and does not start with it
    return dict.fromkeys(names, error)


def for_config(engine: Engine, config: Config) -> Engine:
    """Return an engine for another configuration. Both share the list of commits."""
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
    """Return a plan that keeps the former login methods of jails, and the engine that made it.

    An administrator must decide whether new methods may shut accounts out. Meanwhile, jails can
    still be made and repaired.

    Args:
        engine, first, accounts, last, failed: as for `plan_with_setup`, which has failed.

    Returns:
        None if the methods do not change, or if they are not the reason.
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
    if veto:
        return None
    return (other, plan)


def guarded(engine: Engine, accounts: dict[str, Account]) -> dict[str, str]:
    """Return the accounts that apply does not touch, and why.

    An administrator was put into a jail group, or the account is being created or deleted now.
    """
    reasons = {}
    for name, account in accounts.items():
        with contextlib.suppress(SftpJailError):
            # A damaged record is reported when its jail is planned.
            reasons[name] = passing(name, engine.host) or why_not(account, engine.host)
    return {name: reason for name, reason in reasons.items() if reason}


def passing(name: str, host: Host) -> str:
    """Return why an account must be left alone for now, or ""."""
    maker = host.people.maker(name)
    if maker is not None:
        return f"pid {maker} is still creating it"
    if host.people.is_leaving(name):
        return "userdel is deleting it"
    return ""

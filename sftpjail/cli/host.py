"""The host as a whole: setup, teardown, apply, check, plugins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote

from ..engine.engine import Engine
from ..engine.manager import BUNDLED, Manager, strangers
from ..engine.plan import Event, Plan
from ..errors import SftpJailError, UsageError
from ..host import Host
from ..jails import activity
from ..jails.closing import former_expiry, list_after, spared
from ..jails.directory import lost_groups, silent, unseen
from ..jails.guards import guard, why_not
from ..jails.leftovers import leftovers
from ..jails.membership import jailed
from ..model import Account, valid_name
from ..operations.events import closing, create_events, remove_events
from ..paths import HOST_RECORD
from .context import Command, Context

# So many accounts may fail one after the other before apply takes it for something that is wrong with the host.
PATIENCE = 20


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("setup", "prepare the host: groups, folders, Match blocks, hooks, log socket")
    parser.add_argument("--force", action="store_true", help="even if an administrator is in a jail group")
    parser.set_defaults(run=setup)
    parser = add_parser("teardown", "take back what setup did, byte for byte")
    parser.add_argument(
        "--close-accounts", action="store_true", help="expire accounts that are still jailed, instead of refusing"
    )
    parser.add_argument(
        "--keep-jails", action="store_true", help="only the hooks and units go, as when the package is removed"
    )
    parser.set_defaults(run=teardown)
    parser = add_parser("apply", "bring every jail to what the configuration says")
    parser.add_argument("file", nargs="?", metavar="FILE", help="only the accounts that FILE lists, one a line")
    parser.add_argument("--prune", action="store_true", help="also clear away what departed accounts left")
    parser.set_defaults(run=apply)
    parser = add_parser("plugins", "what is loaded, from where, with which hooks")
    parser.set_defaults(run=plugins)


def setup(context: Context) -> int:
    """Fire on_setup, and make the jails of whoever is in the groups already: the Match blocks will hold them."""
    with context.engine() as engine:
        jails = jailed(engine.config, engine.host)
        for account in jails.values():
            guard(replace(account, forced=context.arguments.force), engine.host)
        plan = plan_all(engine, [Event("on_setup")], jails.values(), [], "setup")
        context.finish(engine, plan, "this host is ready for jails", "this host is ready for jails")
        reports = activity.reports(_changed(plan, jails), engine.host)
    context.warn([*_problems(plan.errors), *reports])
    return context.close(1 if plan.errors else 0)


def plan_all(
    engine: Engine,
    first: list[Event],
    accounts: Iterable[Account],
    last: list[Event],
    by: str = "apply",
    failed: Mapping[str, SftpJailError] | None = None,
) -> Plan:
    """Return one plan for many jails; an account that cannot be planned for is left out, with its error in the plan.

    Whom sshd would let in all the same is shut out, until a later plan can make its jail.

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
            events += create_events(account, engine.host, engine.manager) if name not in errors else []
        except SftpJailError as error:
            errors[name] = error
    engine.host.listed = None
    plan = engine.plan([*first, *events, *last], tolerant=True)
    errors |= {name: error for name, error in plan.errors.items() if name not in errors}
    shut: list[Event] = []
    for name in [name for name in errors if name in chosen]:
        needed, errors[name] = closing(chosen[name], errors[name], by, engine.host)
        shut += needed
    willing = [account for name, account in chosen.items() if name not in errors]
    listed = list_after(willing, [event.account for event in shut if event.account], engine.host)
    if shut or (first and listed != engine.host.listed):
        engine.host.listed = listed
        good = [event for event in events if event.account and event.account.name not in errors]
        plan = engine.plan([*first, *good, *shut, *last], tolerant=True)
    plan.errors |= errors
    return plan


def _changed(plan: Plan, accounts: Mapping[str, Account]) -> list[Account]:
    """Return the accounts whose jails a plan makes or changes."""
    owners = {step.owner for step in plan.steps}
    return [account for name, account in accounts.items() if name in owners]


def _problems(errors: dict[str, SftpJailError]) -> list[SftpJailError]:
    return [SftpJailError(f"{name}: {error.message}", error.hint) for name, error in errors.items()]


def teardown(context: Context) -> int:
    """Fire on_teardown. Jailed accounts would become ordinary ones, so they go first or are closed."""
    if context.arguments.keep_jails:
        with context.engine(tolerant=True) as engine:
            done = "useradd, adduser and systemd call sftpjail no more; every jail is as it was"
            context.carry_out(engine, [Event("on_detach")], done)
        return context.close(0)
    with context.engine() as engine:
        jails = jailed(engine.config, engine.host)
        _refuse_unknown(engine)
        if jails and not context.arguments.close_accounts:
            names = ", ".join(list(jails)[:8]) + (f" and {len(jails) - 8} more" if len(jails) > 8 else "")
            raise SftpJailError(
                f"still jailed: {names}; without their Match block these would be ordinary accounts",
                "sftpjail remove USER for each, or: sftpjail teardown --close-accounts",
            )
        events = [event for account in jails.values() for event in remove_events(account, engine.host, deleted=True)]
        for account in leftovers(engine.config, engine.host, jails).values():
            events += remove_events(account, engine.host, deleted=False)
        done = "this host is as it was before setup"
        free = [
            f"{account.name} is NOT shut out: {why}"
            for account in jails.values()
            if (why := spared(account, engine.host))
        ]
        if jails:
            count = len(jails) - len(free)
            done = f"the jails are gone, and their {count} accounts are expired: usermod -e '' USER opens one"
        context.warn([*free, *_former(jails.values(), engine.host)])
        context.carry_out(engine, [*events, Event("on_teardown")], done)
    return context.close(0)


def _former(accounts: Iterable[Account], host: Host) -> list[str]:
    """Return in words which accounts had an expiry of their own, which is the one to give back."""
    days = {account.name: former_expiry(account, host) for account in accounts}
    return [
        f"{name} had an expiry: usermod -e {quote(day)} {quote(name)} opens it" for name, day in days.items() if day
    ]


def _refuse_unknown(engine: Engine) -> None:
    """Refuse a teardown that would make an ordinary account of somebody whom only a directory knows.

    Raises:
        SftpJailError: it does not answer or does not tell, or members of it have not been here yet.
    """
    config, host = engine.config, engine.host
    missing = unseen(config, host)
    doubts = unanswered(host) + [f"there is no group {group}" for group in missing]
    if doubts and (host.recorded() or any(host.is_silent_group(group) for group in missing)):
        raise SftpJailError(
            f"who is still jailed cannot be told: {'; '.join(doubts)}", "when it answers again: sftpjail teardown"
        )
    for group in [profile.group for profile in config.profiles if profile.group]:
        names = host.newcomers(group)
        if names == []:
            continue
        who = "its members" if names is None else ", ".join(names[:8]) + (" and others" if len(names) > 8 else "")
        raise SftpJailError(
            f"the directory ({', '.join(host.directories)}) has {who} in {group}: without its Match block these would "
            "be ordinary accounts",
            f"take them out of {group} there" + (", and the group out of the directory" if names is None else ""),
        )


def apply(context: Context) -> int:
    """Make and mend jails. One that cannot be made is told, and keeps no other from being made."""
    with context.engine() as engine:
        jails = jailed(engine.config, engine.host)
        chosen = dict(jails)
        if context.arguments.file:
            wanted = _names(context.arguments.file)
            missing = [name for name in wanted if name not in jails]
            if missing:
                raise SftpJailError(f"not jailed: {', '.join(missing[:8])}", f"sftpjail adopt {missing[0]}")
            chosen = {name: jails[name] for name in wanted}
        skipped = guarded(engine, chosen)
        last: list[Event] = []
        unknown = unanswered(engine.host)
        if context.arguments.prune:
            departed, doubts = prunable(engine, jails)
            unknown += doubts
            for account in departed:
                last += remove_events(account, engine.host, deleted=False)
        willing = {name: account for name, account in chosen.items() if name not in skipped}
        first = [] if context.arguments.file else [Event("on_setup")]
        plan, veto = _apply_for(context, engine, first, willing, last)
        reports = activity.reports(_changed(plan, willing), engine.host)
    left = [f"{name} is left alone: {reason}" for name, reason in skipped.items()]
    problems = [*map(SftpJailError, unknown), *veto, *_problems(plan.errors), *map(SftpJailError, left)]
    context.answers["problems"] = [problem.message for problem in problems]
    context.answers["hints"] = [problem.hint for problem in problems]
    context.warn([*problems, *reports])
    return context.close(1 if plan.errors or veto or unknown else 0)


def _apply_for(
    context: Context, engine: Engine, first: list[Event], accounts: dict[str, Account], last: list[Event]
) -> tuple[Plan, list[SftpJailError]]:
    """Apply what `plan_with_setup` plans; if a step fails that is one account's, all is put back and done without it.

    Returns:
        the plan that was applied, with the error of everybody who was left out, and what `plan_with_setup` says.
    """
    failed: dict[str, SftpJailError] = {}
    while True:
        plan, veto = plan_with_setup(engine, first, list(accounts.values()), last, failed)
        changed = {step.owner for step in plan.steps if step.owner}
        names = ", ".join(sorted(changed)[:8]) + (f" and {len(changed) - 8} more" if len(changed) > 8 else "")
        good = len(accounts) - len(plan.errors)
        try:
            context.finish(engine, plan, f"applied: {names or 'the host'}", f"{good} jails are as they should be")
            return plan, veto
        except SftpJailError as error:
            if error.owner not in accounts or error.owner in failed or len(failed) == PATIENCE:
                raise
            failed[error.owner] = error
            context.answers.pop("actions", None)


def unanswered(host: Host) -> list[str]:
    """Return in words who cannot be looked after, because a directory does not answer."""
    names = silent(host)
    if not names:
        return []
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return [f"the directory ({', '.join(host.directories)}) does not answer; {shown}: left as they are"]


def prunable(engine: Engine, jails: dict[str, Account]) -> tuple[list[Account], list[str]]:
    """Return the departed accounts whose remains may go, and in words whose may not.

    An SSSD that is offline and has lost its cache says of everybody that there is no such account. So on a host with a
    directory, who is gone counts only while somebody that it brought is still found.
    """
    host = engine.host
    accounts = list(leftovers(engine.config, host, jails).values())
    if not host.directories or any(host.account(name) for name in host.known() if name not in host.accounts):
        return accounts, []
    doubts = [account.name for account in accounts if not account.exists]
    words = [f"{name}: is it gone, or is the directory down? If it is gone: sftpjail remove {name}" for name in doubts]
    return [account for account in accounts if account.exists], words


def plan_with_setup(
    engine: Engine,
    first: list[Event],
    accounts: list[Account],
    last: list[Event],
    failed: Mapping[str, SftpJailError] | None = None,
) -> tuple[Plan, list[SftpJailError]]:
    """Return a plan that brings a host which is set up to its configuration as well, and why that cannot be: then the
    jails are planned for without it.
    """
    if first and engine.host.lstat(HOST_RECORD) is not None:
        lost = lost_groups(engine.config, engine.host)
        if lost:
            why = f"setup is not done: the group {lost[0]} is gone, and who was in it may be in another one now"
            return plan_all(engine, [], accounts, last, failed=failed), [SftpJailError(why, "sftpjail check")]
        try:
            return plan_all(engine, first, accounts, last, failed=failed), []
        except SftpJailError as error:
            plan = plan_all(engine, [], accounts, last, failed=failed)
            return plan, [SftpJailError(f"setup cannot be done: {error.message}", error.hint)]
    return plan_all(engine, [], accounts, last, failed=failed), []


def guarded(engine: Engine, accounts: dict[str, Account]) -> dict[str, str]:
    """Return whom apply does not touch, and why: somebody put an administrator into a jail group, or deletes it now."""
    reasons = {}
    for name, account in accounts.items():
        with contextlib.suppress(SftpJailError):  # a damaged record, which is told when its jail is planned
            leaving = "userdel is deleting it" if engine.host.is_leaving(name) else ""
            reasons[name] = leaving or why_not(account, engine.host)
    return {name: reason for name, reason in reasons.items() if reason}


def _names(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return [valid_name(line.strip()) for line in lines if line.strip() and not line.startswith("#")]


def plugins(context: Context) -> int:
    """List the plugins: bundled, allowed, and found but not allowed."""
    config = context.config()
    manager = Manager(config, tolerant=True)
    rows = []
    states = dict.fromkeys(config.plugins_packaged, "packaged") | dict.fromkeys(config.plugins_allow, "allowed")
    states |= dict.fromkeys(BUNDLED, "bundled")
    for name, plugin in manager.plugins.list_name_plugin():
        hooks = [caller.name for caller in manager.plugins.get_hookcallers(plugin) or []]
        rows.append((name, states[name], ", ".join(sorted(hooks))))
    rows += [(name, "disabled", "") for name in config.plugins_disable]
    rows += [("?", "failed", error.message) for error in manager.failures]
    for name, entry in strangers().items():
        if name not in states and name not in config.plugins_disable:
            rows.append((name, "not allowed", entry.value))
    context.answers["plugins"] = [dict(zip(("name", "state", "hooks"), row, strict=True)) for row in rows]
    context.table(("NAME", "STATE", "HOOKS"), rows)
    return context.close(0)

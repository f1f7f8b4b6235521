"""The host as a whole: setup, teardown and apply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote

from ..engine.engine import Engine
from ..engine.plan import Event, OnDetach, OnSetup, OnTeardown, Plan
from ..errors import SftpJailError, Unsafe, UsageError
from ..host import Host
from ..jails import activity
from ..jails.closing import former_expiry, spared
from ..jails.guards import guard
from ..jails.leftovers import leftovers
from ..jails.membership import jailed
from ..model import Account, Problem, valid_name
from ..operations.apply import (
    PATIENCE,
    guarded,
    plan_all,
    plan_with_setup,
    prunable,
    refuse_unknown,
    unanswered,
)
from ..operations.events import remove_events
from .context import Command, Context, counted


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser(
        "setup", "prepare the host: groups, directories, Match blocks, hooks, log socket"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="continue even if an administrator or a system account is in a jail group",
    )
    parser.set_defaults(run=setup)
    parser = add_parser("teardown", "undo what setup did, byte for byte")
    parser.add_argument(
        "--close-accounts",
        action="store_true",
        help="expire accounts that are still jailed, instead of refusing",
    )
    parser.add_argument(
        "--keep-jails",
        action="store_true",
        help="remove only the hooks and units, as when the package is removed",
    )
    parser.set_defaults(run=teardown)
    parser = add_parser("apply", "create and repair every jail as configured")
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="only the accounts that FILE lists, one per line"
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="also remove what is left of accounts that are gone or no longer jailed",
    )
    parser.set_defaults(run=apply)


def setup(context: Context) -> int:
    """Fire on_setup, and make the jails of anyone who is in the groups already.

    The Match blocks will hold them.
    """
    with context.engine() as engine:
        jails = jailed(engine.config, engine.host)
        for account in jails.values():
            guard(replace(account, forced=context.arguments.force), engine.host)
        plan = plan_all(engine, [OnSetup()], jails.values(), [], "setup")
        context.finish(engine, plan, "this host is ready for jails", "this host is ready for jails")
        reports = activity.reports(_changed(plan, jails), engine.host)
    context.answer_problems([*_problems(plan.errors), *reports])
    return context.close(1 if plan.errors else 0)


def _changed(plan: Plan, accounts: Mapping[str, Account]) -> list[Account]:
    """Return the accounts whose jails a plan makes or changes."""
    owners = {step.owner for step in plan.steps}
    return [account for name, account in accounts.items() if name in owners]


def _problems(errors: dict[str, SftpJailError]) -> list[Problem]:
    return [Problem.of(error, about=name) for name, error in errors.items()]


def teardown(context: Context) -> int:
    """Fire on_teardown.

    Jailed accounts would become ordinary ones, so they go first or are closed.
    """
    if context.arguments.keep_jails:
        with context.engine(tolerant=True) as engine:
            done = "useradd, adduser and systemd call sftpjail no more; every jail is as it was"
            context.answer_problems([])
            context.carry_out(engine, [OnDetach()], done)
        return context.close(0)
    with context.engine() as engine:
        jails = jailed(engine.config, engine.host)
        refuse_unknown(engine)
        if jails and not context.arguments.close_accounts:
            raise _still_jailed(list(jails))
        events = [
            event
            for account in jails.values()
            for event in remove_events(account, engine.host, deleted=True)
        ]
        for account in leftovers(engine.config, engine.host, jails).values():
            events += remove_events(account, engine.host, deleted=False)
        done = "this host is as it was before setup"
        free = [
            Unsafe(f"{account.name} is NOT shut out: {why}")
            for account in jails.values()
            if (why := spared(account, engine.host))
        ]
        if jails:
            expired = counted(len(jails) - len(free), "account")
            done = f"the jails are gone; {expired} expired; to reopen one: usermod -e '' USER"
        context.answer_problems(free)
        context.warn(_former(jails.values(), engine.host))
        context.carry_out(engine, [*events, OnTeardown()], done)
    return context.close(0)


def _still_jailed(names: list[str]) -> SftpJailError:
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    choices = [("to expire these accounts", "sftpjail teardown --close-accounts")]
    if len(names) <= 8:
        removals = " && ".join(f"sftpjail remove {quote(name)}" for name in names)
        choices.append(("to make them ordinary accounts first", f"{removals} && sftpjail teardown"))
    return SftpJailError(
        f"still jailed: {listed}; without their Match block these would be ordinary accounts",
        choices=choices,
    )


def _former(accounts: Iterable[Account], host: Host) -> list[str]:
    """Return in words which accounts had an expiry of their own, which is the one to give back."""
    days = {account.name: former_expiry(account, host) for account in accounts}
    return [
        f"{name} had an expiry: usermod -e {quote(day)} {quote(name)} opens it"
        for name, day in days.items()
        if day
    ]


def apply(context: Context) -> int:
    """Make and fix jails. One that cannot be made is told, and keeps no other from being made."""
    with context.engine() as engine:
        jails = jailed(engine.config, engine.host)
        chosen = dict(jails)
        if context.arguments.file:
            wanted = _names(context.arguments.file)
            missing = [name for name in wanted if name not in jails]
            if missing:
                raise SftpJailError(
                    f"not jailed: {', '.join(missing[:8])}", f"sftpjail adopt {missing[0]}"
                )
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
        first = [] if context.arguments.file else [OnSetup()]
        plan, veto = _apply_for(context, engine, first, willing, last)
        reports = activity.reports(_changed(plan, willing), engine.host)
    left = [f"{name} is skipped: {reason}" for name, reason in skipped.items()]
    context.answer_problems([*unknown, *veto, *_problems(plan.errors), *left, *reports])
    return context.close(1 if plan.errors or veto or unknown else 0)


def _apply_for(
    context: Context,
    engine: Engine,
    first: Sequence[Event],
    accounts: dict[str, Account],
    last: Sequence[Event],
) -> tuple[Plan, list[SftpJailError]]:
    """Apply what `plan_with_setup` plans.

    If a step fails that is one account's, all is put back and done without it.

    Returns:
        the plan that was applied, with the error of everybody who was left out,
        and what `plan_with_setup` says.
    """
    failed: dict[str, SftpJailError] = {}
    while True:
        plan, veto = plan_with_setup(engine, first, list(accounts.values()), last, failed)
        changed = {step.owner for step in plan.steps if step.owner}
        names = ", ".join(sorted(changed)[:8]) + (
            f" and {len(changed) - 8} more" if len(changed) > 8 else ""
        )
        none = f"{counted(len(accounts) - len(plan.errors), 'jail')} checked"
        if not plan.errors and not veto:
            none += ", all is as it should be"
        try:
            context.finish(engine, plan, f"applied: {names or 'the host'}", none)
            return plan, veto
        except SftpJailError as error:
            if error.owner not in accounts or error.owner in failed or len(failed) == PATIENCE:
                raise
            failed[error.owner] = error
            context.answers.pop("actions", None)


def _names(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return [valid_name(line.strip()) for line in lines if line.strip() and not line.startswith("#")]

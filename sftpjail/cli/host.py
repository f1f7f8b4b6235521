"""The host as a whole: setup, teardown and apply."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from shlex import quote

from ..actions import Check
from ..engine.engine import Engine
from ..engine.plan import OURS, Event, OnDetach, OnSetup, OnTeardown, OnUserCreate, Plan
from ..engine.summary import is_unit
from ..errors import SftpJailError, Unsafe, UsageError
from ..errors.escapes import counted, some
from ..host import Host
from ..jails import activity
from ..jails.closing import former_expiry, why_spared
from ..jails.guards import guard
from ..jails.membership import jailed, untaken
from ..model import Account, Problem
from ..openssh.auto_mounts import has_lost_records
from ..operations.apply import (
    PATIENCE,
    for_config,
    guarded,
    kept_methods,
    outstanding,
    plan_all,
    plan_with_setup,
    prunable,
    refusals,
    refuse_unknown,
    refuse_untaken,
    reopened,
    still_jailed,
    unanswered,
)
from ..operations.auto_mounts import after_trial
from ..operations.daemons import reload_stale, start_watcher, unfinished
from ..operations.events import left_events, remove_events
from ..operations.imports import seen_by_setup
from ..paths import ACCOUNTS
from .accounts_file import add_options, apply_file, read_accounts, refuse_options
from .context import Command, Context, printable
from .renames import rename_all


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
    parser.add_argument(
        "--yes",
        action="store_true",
        help="shut out members whom the configuration leaves no way to log in",
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
    _register_apply(add_parser)


def _register_apply(add_parser: Command) -> None:
    parser = add_parser("apply", "create and repair every jail as configured")
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="accounts as FILE describes them, see sftpjail-accounts(5), or names, one per line;"
        " - is standard input",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="also remove what is left of accounts that are gone, and with --yes of those that are "
        "no longer jailed",
    )
    add_options(parser)
    parser.set_defaults(run=apply)


def setup(context: Context) -> int:
    """Fire on_setup, and make the jails of accounts that are in the groups already.

    The new Match blocks will apply to them.
    """
    with context.engine() as engine:
        if context.arguments.yes:
            engine = for_config(engine, replace(engine.config, agreed=True))
        try:
            code, problems = _setup(context, engine)
        except SftpJailError as error:
            other, problem = after_trial(engine, error)
            code, problems = _setup(context, other)
            problems.append(problem)
    context.answer_problems(problems)
    return context.close(code)


def _setup(context: Context, engine: Engine) -> tuple[int, list[Problem | SftpJailError]]:
    """Set the host up, and return the exit code and the problems to report."""
    jails = jailed(engine.config, engine.host)
    for account in jails.values():
        guard(replace(account, forced=context.arguments.force), engine.host)
    by_hand = seen_by_setup(engine.host, engine.config, context.arguments.config)
    strange = untaken(engine.config, engine.host)
    members = [*jails.values(), *strange.values()]
    lost = []
    if has_lost_records(engine.config, engine.host):
        lost = [LOST]
    plan = plan_all(engine, [OnSetup()], members, [], "setup", refusals(strange))
    left = _set_up(context, engine, plan)
    reports = _reports(plan, jails, engine.host)
    found = [*_problems(plan.errors), *left, *plan.behind, *by_hand, *lost]
    return (1 if plan.errors else unfinished(left)), [*found, *reports]


LOST = Problem(
    "/etc has files of sftpjail, but /var/lib/sftpjail has no record of the state before them",
    "remove and teardown leave everything without a record as it is",
    advice="restore /var/lib/sftpjail too, if the backup has it",
    severity="advice",
)
READY = "this host is ready for jails"


def _set_up(context: Context, engine: Engine, plan: Plan) -> list[Problem]:
    """Show or apply the plan of setup, make sshd follow, and return the problems still open."""
    if context.dry_run:
        context.finish(engine, plan, READY, READY)
        return []
    notices = engine.apply(plan)
    left = reload_stale(engine)
    notices += start_watcher(engine.config)
    done = READY
    if left:
        done = "the files are as configured, but this host is not ready for jails"
    context.report(plan, notices, [done, *plan.said.values()], done)
    return left


def _changed(plan: Plan, accounts: Mapping[str, Account]) -> list[Account]:
    """Return the accounts whose jails a plan makes or changes."""
    owners = {step.owner for step in plan.steps}
    return [account for name, account in accounts.items() if name in owners]


def _reports(plan: Plan, accounts: Mapping[str, Account], host: Host) -> list[SftpJailError]:
    """Return warnings about what goes on outside of the jails that a plan makes or changes."""
    created = (event for event in plan.events if isinstance(event, OnUserCreate))
    newcomers = {event.account.name for event in created if event.new}
    return activity.reports(_changed(plan, accounts), host, newcomers=newcomers)


def _problems(errors: dict[str, SftpJailError]) -> list[Problem]:
    """Return the errors of accounts as problems, merged if they have the same cause."""
    if not errors:
        return []
    from ..operations.diagnosis import once  # late: the path unit rarely has any

    return once(Problem.of(error, about=name) for name, error in errors.items())


def teardown(context: Context) -> int:
    """Fire on_teardown.

    Jailed accounts would become ordinary ones, so they must be removed or shut out first.
    """
    if context.arguments.keep_jails:
        with context.engine(tolerant=True) as engine:
            done = "useradd, adduser and systemd no longer call sftpjail; every jail is as it was"
            context.answer_problems([])
            context.carry_out(engine, [OnDetach()], done)
        return context.close(0)
    with context.engine() as engine:
        jails = jailed(engine.config, engine.host)
        refuse_unknown(engine)
        refuse_untaken(engine)
        lost = has_lost_records(engine.config, engine.host)
        if jails and not context.arguments.close_accounts:
            return _without_jails(context, engine, list(jails), lost)
        engine, _ = rename_all(context, engine)
        events = [
            event
            for account in jails.values()
            for event in remove_events(account, engine.host, deleted=True)
        ]
        events += left_events(engine, jails)
        done = "this host is as it was before setup"
        if lost:
            done = "the jails are gone; files of sftpjail without a record stay in /etc"
        free = [
            Unsafe(f"{account.name} is NOT shut out: {why}")
            for account in jails.values()
            if (why := why_spared(account, engine.host))
        ]
        if jails:
            expired = counted(len(jails) - len(free), "account")
            done = f"the jails are gone; {expired} expired; to reopen one: usermod -e '' USER"
        context.answer_problems(free)
        context.warn(_former(jails.values(), engine.host))
        context.carry_out(engine, [*events, OnTeardown()], done)
    return context.close(0)


def _without_jails(context: Context, engine: Engine, names: list[str], lost: bool) -> int:
    """Refuse a teardown while accounts are jailed; return 0 where nothing of ours jails them.

    Then an earlier --close-accounts has shut them out, and they stay so.
    """
    if engine.host.records.is_set_up or lost:
        raise still_jailed(names)
    context.answer_problems([])
    context.carry_out(engine, [], "no jail is left")
    return context.close(0)


def _former(accounts: Iterable[Account], host: Host) -> list[str]:
    """Return sentences that name the accounts with their own expiry date and how to restore it."""
    days = {account.name: former_expiry(account, host) for account in accounts}
    return [
        f"{name} had an expiry: usermod -e {quote(day)} {quote(name)} opens it"
        for name, day in days.items()
        if day
    ]


def apply(context: Context) -> int:
    """Make and repair jails. A failure is reported and does not stop the others."""
    given = context.arguments
    source = None
    if given.file is not None:
        source = read_accounts(given.file, given.format)
    if source and source.form:
        if given.prune:
            raise UsageError("--prune is not for a file of accounts")
        return apply_file(context, source)
    refuse_options(given)
    return _apply(context, source.names() if source else None)


def _apply(context: Context, wanted: Sequence[str] | None) -> int:
    """Make and repair the jails of some accounts, or for None of all, and update the host."""
    among = None
    if wanted is None:
        among = _outstanding(context)
    if among == set():
        context.say(["nothing to do: all is as it should be"])
        _keep_hourly(context)
        return context.close(0)
    agreed = _agreed(context)
    with context.engine() as engine:
        engine, renamed = rename_all(context, engine)
        jails = jailed(engine.config, engine.host)
        chosen = _chosen(jails, wanted, among)
        skipped = guarded(engine, chosen)
        last: list[Event] = []
        unknown: list[str | Problem] = [*unanswered(engine.host)]
        if context.arguments.prune:
            departed, doubts = prunable(engine, jails, agreed)
            unknown += doubts
            for account in departed:
                last += remove_events(account, engine.host, deleted=False)
        left = skipped.keys() | renamed.keys()
        willing = {name: account for name, account in chosen.items() if name not in left}
        whole = wanted is None
        strange, first = {}, []
        if whole:
            strange, first = untaken(engine.config, engine.host), [OnSetup()]
        plan, veto = _apply_for(context, engine, first, willing | strange, last)
        reports = _reports(plan, willing, engine.host)
    _keep_hourly(context)
    told = [f"{name} is skipped: {reason}" for name, reason in skipped.items()]
    clashes = {name: error for name, error in renamed.items() if error}
    errors = clashes | plan.errors
    failed = [*_problems(errors), *plan.behind]
    context.answer_problems([*unknown, *veto, *failed, *told, *reports])
    return context.close(1 if errors or veto or unknown else 0)


def _agreed(context: Context) -> frozenset[str] | None:
    """Ask which accounts that left their groups `apply --prune` makes ordinary ones.

    This happens before the lock is taken, so that no useradd waits for a person at a terminal.

    Returns:
        their names; None for all.
    """
    given = context.arguments
    if given.yes:
        return None
    asking = given.prune and sys.stdin.isatty() and sys.stdout.isatty()
    if not asking or context.json or context.dry_run:
        return frozenset()
    with context.engine(reading=True, tolerant=False) as engine:
        found = reopened(engine, jailed(engine.config, engine.host))
    if not found:
        return frozenset()
    words = some([f"{name} with {ways}" for name, ways in found.items()], 8, "; ")
    print(f"No longer jailed: {printable(words)}. Ordinary accounts? [y/N] ", end="", flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return frozenset(found)
    return frozenset()


def _applied(plan: Plan) -> str:
    """Return what a plan changes: accounts by name, else the host, else nothing but our records."""
    steps = [step for step in plan.steps if not isinstance(step.action, Check)]
    others = [step for step in steps if step.plugin != OURS]
    names = {step.owner for step in others if step.owner}
    if others or not steps:
        return some(sorted(names), 8) or "the host"
    count = len({step.owner for step in steps if step.owner})
    if not count:
        return "the host"
    return f"{counted(count, 'record')} in {ACCOUNTS}, and no jail"


def _chosen(
    jails: Mapping[str, Account], wanted: Sequence[str] | None, among: set[str] | None
) -> dict[str, Account]:
    """Return the accounts to look at: the wanted ones, else those among some, else all.

    Raises:
        SftpJailError: a wanted one is not jailed.
    """
    if wanted is not None:
        missing = [name for name in wanted if name not in jails]
        if missing:
            raise SftpJailError(
                f"not jailed: {', '.join(missing[:8])}", f"sftpjail adopt {missing[0]}"
            )
        return {name: jails[name] for name in wanted}
    return {name: account for name, account in jails.items() if among is None or name in among}


def _outstanding(context: Context) -> set[str] | None:
    """Return which accounts systemd's unit has to look at with the lock held, or None for all.

    It runs after every useradd, and with ten thousand accounts it looks for seconds. The next
    useradd must not wait for that.
    """
    if context.dry_run or context.arguments.prune or not is_unit(Host()):
        return None
    try:
        with context.engine(reading=True, tolerant=False) as engine:
            return outstanding(engine)
    except SftpJailError:  # which it then reports
        return None


def _keep_hourly(context: Context) -> None:
    """Keep when keys were last used, if systemd's unit runs this."""
    engine = context.engines[-1]
    if is_unit(engine.host) and not context.dry_run:
        from ..operations.last_used import keep_hourly  # late: only systemd's units need it

        keep_hourly(engine.config, engine.host.anew())


def _apply_for(
    context: Context,
    engine: Engine,
    first: Sequence[Event],
    accounts: dict[str, Account],
    last: Sequence[Event],
) -> tuple[Plan, list[SftpJailError]]:
    """Apply the plan of `plan_with_setup`.

    If a step of an account fails, everything is rolled back and done again without that account.

    Returns:
        the plan that was applied, with the errors of the accounts left out, and the errors from
        `plan_with_setup`.
    """
    failed = refusals(accounts)
    known = len(failed)
    while True:
        chosen, using = list(accounts.values()), engine
        plan, veto = plan_with_setup(engine, first, chosen, last, failed)
        kept = None
        if veto:
            kept = kept_methods(engine, first, chosen, last, failed)
        if kept:
            using, plan = kept
        none = f"{counted(len(accounts) - len(plan.errors), 'jail')} checked"
        if not plan.errors and not veto:
            none += ", all is as it should be"
        try:
            done = [f"applied: {_applied(plan)}", *plan.said.values()]
            context.finish(using, plan, done, none)
            return plan, veto
        except SftpJailError as error:
            if (
                error.owner not in accounts
                or error.owner in failed
                or len(failed) - known == PATIENCE
            ):
                raise
            failed[error.owner] = error
            context.answers.pop("actions", None)

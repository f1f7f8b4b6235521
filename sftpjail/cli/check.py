"""check: report the problems of the host and its jails, and with --fix fix some of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from ..engine.engine import Engine
from ..engine.plan import OnSetup
from ..errors import SftpJailError, UsageError, denied
from ..errors.escapes import counted
from ..host import Host
from ..jails.directory import lost_groups
from ..model import Problem
from ..operations.apply import guarded, plan_all, released_by
from ..operations.daemons import reload_stale
from ..operations.diagnosis import chosen_jails, judge, wrong
from ..operations.imports import seen_by_setup
from ..reports import nagios
from .context import Command, Context, remedies, title, whom
from .renames import rename_all

if TYPE_CHECKING:
    from rich.console import Console


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("check", "report problems, and the commands that fix them")
    parser.add_argument("users", nargs="*", metavar="USER")
    parser.add_argument(
        "--fix", action="store_true", help="fix what is sftpjail's own, and report what is left"
    )
    parser.add_argument(
        "--format",
        choices=("text", "nagios"),
        default="text",
        help="nagios: one line with figures, and its exit codes",
    )
    parser.set_defaults(run=check)


def check(context: Context) -> int:
    """Check the host and the jails.

    With --fix, apply what `setup` and `apply` would change, and check again.
    """
    users, fix = context.arguments.users, context.arguments.fix
    if context.arguments.format == "nagios":
        return _for_nagios(context)
    with context.engine(reading=not fix, tolerant=not fix) as engine:
        problems = judge(engine, users)
        context.answers["problems"] = [problem.describe() for problem in problems]
        if not fix:
            _report(context, problems)
            summary = _summary(len(chosen_jails(engine, users)), problems)
            _conclude(context, summary, wrong(problems))
            return context.close(3 if wrong(problems) else 0)
        _fix(context, engine)
        if not context.dry_run:
            reload_stale(engine)
        engine = engine.on(Host())
        if context.dry_run:
            left = problems
        else:
            left = judge(engine, users)
    left_whats = {problem.what for problem in left}
    fixed = [problem for problem in problems if problem.what not in left_whats]
    context.answers |= {
        "fixed": [problem.describe() for problem in fixed],
        "left": [problem.describe() for problem in left],
    }
    context.say(f"fixed: {whom(problem)}: {problem.what}" for problem in fixed)
    if left and not context.dry_run:
        context.say(["left to you, because it is not sftpjail's own, or a decision:"])
        _report(context, left)
    return context.close(3 if wrong(left) else 0)


def _for_nagios(context: Context) -> int:
    """Check the host and the jails for a monitoring system, which also reads the exit code."""
    users = context.arguments.users
    if context.arguments.fix or context.json:
        raise UsageError("--format nagios cannot be combined with --fix or --json")
    try:
        with context.engine(reading=True, tolerant=True) as engine:
            problems = judge(engine, users)
            state, line = nagios.service(len(chosen_jails(engine, users)), problems)
    except (SftpJailError, OSError, MemoryError) as error:
        state, line = nagios.UNKNOWN, nagios.unknown(denied(error) or str(error))
    context.say([line])
    return state


def _report(context: Context, problems: Sequence[Problem]) -> None:
    """Print problems: one by one to a pipe, and grouped by account on a terminal."""
    if context.json:
        return
    if sys.stdout.isatty() and problems:
        context.draw(_drawn(problems))
        return
    for problem in problems:
        context.say([f"{whom(problem)}: {title(problem)}", *remedies(problem)])


def _drawn(problems: Sequence[Problem]) -> str:
    from .drawing import cell, draw_problem, picture  # late: only a terminal needs it

    def draw(console: Console) -> None:
        for names, group in groupby(problems, whom):
            console.print(cell(names, "bold"), soft_wrap=True)
            for problem in group:
                draw_problem(console, problem, "- ")
            console.print()

    return picture(draw)


def _conclude(context: Context, text: str, bad: bool) -> None:
    """Print the last line, which summarizes the result."""
    if context.json or not sys.stdout.isatty():
        context.say([text])
        return
    from .drawing import cell, picture

    style = "bold green"
    if bad:
        style = "bold red"
    context.draw(picture(lambda console: console.print(cell(text, style), soft_wrap=True)))


def _summary(jails: int, problems: list[Problem]) -> str:
    """Return the number of jails checked and of problems, without advice."""
    bad = sum(problem.severity != "advice" for problem in problems)
    return f"{counted(jails, 'jail')} checked, {counted(bad, 'problem') if bad else 'no problems'}"


def _fix(context: Context, engine: Engine) -> None:
    """Apply the plan of `setup` and `apply` in one transaction, or of `apply` if setup fails."""
    users = context.arguments.users
    if not users:
        engine, _ = rename_all(context, engine)
    chosen = chosen_jails(engine, users)
    skipped = guarded(engine, chosen)
    willing = [account for name, account in chosen.items() if name not in skipped]
    if not (users or engine.host.records.is_set_up):
        seen_by_setup(engine.host, engine.config, context.arguments.config)  # which may refuse
    try:
        narrow = users or lost_groups(engine.config, engine.host)
        plan = plan_all(engine, [] if narrow else [OnSetup()], willing, [], by="check --fix")
    except SftpJailError as error:
        released = released_by(engine, willing, error)
        plan = plan_all(engine, [], willing, [], by="check --fix", released=released)
    done = "made the changes of `sftpjail setup` and `sftpjail apply`"
    context.finish(engine, plan, [done, *plan.said.values()])
    context.warn(plan.behind)

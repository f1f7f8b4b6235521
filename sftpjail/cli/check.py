"""check: what is wrong with the host and its jails, and with --fix what is fixed at once."""

from __future__ import annotations

from collections.abc import Iterable

from ..engine.engine import Engine
from ..engine.plan import OnSetup
from ..errors import SftpJailError
from ..host import Host
from ..jails.directory import lost_groups
from ..model import Problem
from ..operations.apply import guarded, plan_all
from ..operations.diagnosis import chosen_jails, judge, wrong
from .context import Command, Context, counted, remedies, title


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("check", "report problems, and the commands that fix them")
    parser.add_argument("users", nargs="*", metavar="USER")
    parser.add_argument(
        "--fix", action="store_true", help="fix what is sftpjail's own, and report what is left"
    )
    parser.set_defaults(run=check)


def check(context: Context) -> int:
    """Judge the host and the jails.

    With --fix apply what `setup` and `apply` would change, and judge again.
    """
    users, fix = context.arguments.users, context.arguments.fix
    with context.engine(reading=not fix, tolerant=not fix) as engine:
        problems = judge(engine, users)
        context.answers["problems"] = [problem.describe() for problem in problems]
        if not fix:
            _report(context, problems)
            context.say([_summary(len(chosen_jails(engine, users)), problems)])
            return context.close(3 if wrong(problems) else 0)
        _fix(context, engine)
        engine = engine.on(Host())
        left = problems if context.dry_run else judge(engine, users)
    fixed = [problem for problem in problems if problem not in left]
    context.answers |= {
        "fixed": [problem.describe() for problem in fixed],
        "left": [problem.describe() for problem in left],
    }
    context.say(f"fixed: {problem.about}: {problem.what}" for problem in fixed)
    if left and not context.dry_run:
        context.say(["left to you, because it is not sftpjail's own, or a decision:"])
        _report(context, left)
    return context.close(3 if wrong(left) else 0)


def _report(context: Context, problems: Iterable[Problem]) -> None:
    for problem in problems:
        context.say([f"{problem.about}: {title(problem)}", *remedies(problem)])


def _summary(jails: int, problems: list[Problem]) -> str:
    """Return how many jails were looked at, and how many problems there are; advice is none."""
    bad = sum(problem.severity != "advice" for problem in problems)
    return f"{counted(jails, 'jail')} checked, {counted(bad, 'problem') if bad else 'no problems'}"


def _fix(context: Context, engine: Engine) -> None:
    """Apply the plan of `setup` and `apply` as one transaction.

    Where setup cannot be done, that of the jails.
    """
    users = context.arguments.users
    chosen = chosen_jails(engine, users)
    skipped = guarded(engine, chosen)
    willing = [account for name, account in chosen.items() if name not in skipped]
    try:
        narrow = users or lost_groups(engine.config, engine.host)
        plan = plan_all(engine, [] if narrow else [OnSetup()], willing, [], by="check --fix")
    except SftpJailError:
        plan = plan_all(engine, [], willing, [], by="check --fix")
    context.finish(engine, plan, "made the changes of `sftpjail setup` and `sftpjail apply`")

"""check: what is wrong with the host and its jails, and with --fix what is fixed at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from ..engine.engine import Engine
from ..engine.plan import Event
from ..errors import SftpJailError
from ..host import Host
from ..jails.directory import lost_groups
from ..operations.apply import guarded, plan_all
from ..operations.diagnosis import Fault, chosen_jails, judge, title, wrong
from .context import Command, Context, counted


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("check", "say what is wrong, and the command that fixes it")
    parser.add_argument("users", nargs="*", metavar="USER")
    parser.add_argument(
        "--fix", action="store_true", help="fix what can be fixed safely, and say what is left"
    )
    parser.set_defaults(run=check)


def check(context: Context) -> int:
    """Judge the host and the jails.

    With --fix apply what `setup` and `apply` would change, and judge again.
    """
    fix = context.arguments.fix
    with context.engine(reading=not fix, tolerant=True) as engine:
        problems = judge(engine, context.arguments.users)
        context.answers["problems"] = [asdict(problem) for problem in problems]
        if not fix:
            _tell(context, problems)
            if not wrong(problems):
                jails = counted(len(chosen_jails(engine, context.arguments.users)), "jail")
                context.say([f"{jails} checked, no problems"])
            return context.close(3 if wrong(problems) else 0)
        _fix(context, engine)
        engine = Engine(engine.config, Host(), engine.manager)
        left = problems if context.dry_run else judge(engine, context.arguments.users)
    fixed = [problem for problem in problems if problem not in left]
    context.answers |= {
        "fixed": [asdict(problem) for problem in fixed],
        "left": [asdict(problem) for problem in left],
    }
    context.say(f"fixed: {problem.about}: {problem.what}" for problem in fixed)
    if left and not context.dry_run:
        context.say(["left to you, because it is not sftpjail's own, or a decision:"])
        _tell(context, left)
    return context.close(3 if wrong(left) else 0)


def _tell(context: Context, problems: Iterable[Fault]) -> None:
    for problem in problems:
        context.say([f"{problem.about}: {title(problem)} ({problem.why})", *_remedy(problem)])


def _remedy(problem: Fault) -> list[str]:
    """Return the line below a problem: what fixes it, or what a person is to do."""
    if problem.fix:
        return [f"  fix: {problem.fix}"]
    return [f"  advice: {problem.advice}"] if problem.advice else []


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
        plan = plan_all(
            engine, [] if narrow else [Event("on_setup")], willing, [], by="check --fix"
        )
    except SftpJailError:
        plan = plan_all(engine, [], willing, [], by="check --fix")
    context.finish(engine, plan, "made the changes of `sftpjail setup` and `sftpjail apply`")

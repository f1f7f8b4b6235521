"""check: what is wrong with the host and its jails, and with --fix what is mended at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from ..engine.engine import Engine
from ..engine.plan import OnSetup
from ..errors import SftpJailError
from ..host import Host
from ..jails.directory import lost_groups
from ..operations.apply import guarded, plan_all
from ..operations.diagnosis import Fault, chosen_jails, judge, title, wrong
from .context import Command, Context


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("check", "say what is wrong, and the command that mends it")
    parser.add_argument("users", nargs="*", metavar="USER")
    parser.add_argument(
        "--fix", action="store_true", help="mend what can be mended safely, and say what is left"
    )
    parser.set_defaults(run=check)


def check(context: Context) -> int:
    """Judge the host and the jails.

    With --fix apply what `setup` and `apply` would change, and judge again.
    """
    fix = context.arguments.fix
    with context.engine(reading=not fix, tolerant=not fix) as engine:
        faults = judge(engine, context.arguments.users)
        context.answers["faults"] = [asdict(fault) for fault in faults]
        if not fix:
            _tell(context, faults)
            if not wrong(faults):
                context.say(
                    [f"{len(chosen_jails(engine, context.arguments.users))} jails, no faults"]
                )
            return context.close(3 if wrong(faults) else 0)
        _mend(context, engine)
        engine = Engine(engine.config, Host(), engine.manager)
        left = faults if context.dry_run else judge(engine, context.arguments.users)
    mended = [fault for fault in faults if fault not in left]
    context.answers |= {
        "mended": [asdict(fault) for fault in mended],
        "left": [asdict(fault) for fault in left],
    }
    context.say(f"mended: {fault.about}: {fault.what}" for fault in mended)
    if left and not context.dry_run:
        context.say(["left to you, because it is not sftpjail's own, or a decision:"])
        _tell(context, left)
    return context.close(3 if wrong(left) else 0)


def _tell(context: Context, faults: Iterable[Fault]) -> None:
    for fault in faults:
        context.say([f"{fault.about}: {title(fault)} ({fault.why})", *_remedy(fault)])


def _remedy(fault: Fault) -> list[str]:
    """Return the line below a fault: what mends it, or what a person is to do."""
    if fault.mend:
        return [f"  mend: {fault.mend}"]
    return [f"  advice: {fault.advice}"] if fault.advice else []


def _mend(context: Context, engine: Engine) -> None:
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

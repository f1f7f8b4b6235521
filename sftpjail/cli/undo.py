"""undo: undo one transaction."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from ..engine.engine import Engine
from ..engine.history import Entry, History
from ..engine.plan import Plan
from ..errors import SftpJailError, UsageError
from ..errors.escapes import one_line
from ..operations.undo import Inverse, chosen
from ..paths import HISTORY
from .context import Command, Context, printable

_MOST = 8  # accounts to name in a question


def register(add_parser: Command) -> None:
    """Add the command of this module."""
    parser = add_parser("undo", "put back what one transaction changed")
    parser.add_argument(
        "id", nargs="?", metavar="ID", type=int, help="its number in the history; default: the last"
    )
    parser.add_argument("--yes", action="store_true", help="let somebody in again without asking")
    parser.add_argument(
        "--force",
        action="store_true",
        help="delete an account though somebody has, or may have, logged in to it",
    )
    parser.set_defaults(run=undo)


def undo(context: Context) -> int:
    """Plan the inverse of a transaction, show it, and apply it.

    The plan to show and confirm is made before the lock is taken, so that no useradd waits for a
    person at a terminal.
    """
    with context.engine(reading=True, tolerant=False) as engine:
        inverse, entry = _opposite(context, context.arguments.id, engine)
        engine = inverse.on(engine)
        plan = _foreseen(inverse, engine)
        if context.dry_run:
            context.finish(engine, plan, "")
            return _close(context, inverse)
        context.say(plan.diff(engine.host))
        _ask(context, inverse.opened, entry["id"])
        agreed = frozenset(inverse.opened)
    with context.engine() as engine:
        inverse, entry = _opposite(context, entry["id"], engine)
        engine = inverse.on(engine)
        engine.reverts = entry["id"]

        def planned(later: Engine) -> Plan:
            found = inverse.plan(later)
            if not (agreed.issuperset(inverse.opened) or context.arguments.yes):
                raise SftpJailError("more would be let in than was confirmed; try again")
            return found

        done = f"transaction {entry['id']} is undone"
        if inverse.restore:
            plan = Plan([], list(inverse.restore))
            context.report(plan, context.apply(engine, plan, planned, inverse.plan_rest), done)
        else:
            plan = planned(engine)
            rest = []
            if inverse.is_staged:
                rest = [inverse.plan_rest]
            context.report(plan, context.apply(engine, plan, *rest), done)
    return _close(context, inverse)


def _close(context: Context, inverse: Inverse) -> int:
    stays = [f"left as it is: {words}" for words in dict.fromkeys(inverse.stays)]
    context.answers["notices"] = [*context.answers.get("notices", []), *map(one_line, stays)]
    context.warn(stays)
    return context.close(0)


def _opposite(context: Context, number: int | None, engine: Engine) -> tuple[Inverse, Entry]:
    entries = list(History(HISTORY).entries())
    entry = chosen(entries, number)
    return Inverse(entry, entries, engine, context.arguments.force), entry


def _foreseen(inverse: Inverse, engine: Engine) -> Plan:
    """Return the whole plan, as far as it is known before deleted accounts are restored."""
    later = engine
    if inverse.given:
        later = engine.on(engine.host.with_owners(inverse.given))
    plan = inverse.plan(later)
    plan.steps = [*inverse.restore, *plan.steps]
    return plan


def _ask(context: Context, opened: Sequence[str], number: int) -> None:
    """Ask for confirmation if an account would be let in again.

    Raises:
        UsageError: it was not confirmed.
    """
    given = context.arguments
    if not opened or given.yes:
        return
    more = []
    if len(opened) > _MOST:
        more = [f"and {len(opened) - _MOST} more"]
    words = "; ".join([*opened[:_MOST], *more])
    if sys.stdin.isatty() and sys.stdout.isatty() and not context.json:
        print(f"{printable(words)}. Undo? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
        raise UsageError("nothing was undone")
    command = ["sftpjail", "undo", "--yes", *["--force"] * given.force, str(number)]
    choice = ("to undo it all the same", shlex.join(command))
    raise UsageError(f"it reopens access: {words}", choices=(choice,))

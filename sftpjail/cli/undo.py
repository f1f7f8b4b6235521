"""undo: put one transaction back."""

from __future__ import annotations

import sys

from ..engine.history import History
from ..engine.plan import Event, OnKeyAdd
from ..errors import UsageError
from ..operations.undo import chosen, undo_events
from ..paths import HISTORY
from .context import Command, Context, printable


def register(add_parser: Command) -> None:
    """Add the command of this module."""
    parser = add_parser("undo", "put back what one transaction changed")
    parser.add_argument(
        "id", nargs="?", metavar="ID", type=int, help="its number in the history; default: the last"
    )
    parser.add_argument("--yes", action="store_true", help="let somebody in again without asking")
    parser.set_defaults(run=undo)


def undo(context: Context) -> int:
    """Plan the opposite of a transaction, show it, and apply it."""
    given = context.arguments
    with context.engine() as engine:
        entries = list(History(HISTORY).entries())
        entry = chosen(entries, given.id)
        events = undo_events(entry, entries, engine)
        plan = engine.plan(events)
        if not context.dry_run:
            context.say(plan.diff(engine.host))
            _ask(context, events)
        engine.reverts = entry["id"]
        context.finish(engine, plan, f"transaction {entry['id']} is undone")
    return context.close(0)


def _ask(context: Context, events: list[Event]) -> None:
    """Have somebody say yes where an account is let in again.

    Raises:
        UsageError: nobody does.
    """
    opened = [
        f"{event.account.name} can log in again with {event.key.fingerprint}"
        for event in events
        if isinstance(event, OnKeyAdd)
    ]
    if not opened or context.arguments.yes:
        return
    words = "; ".join(opened)
    if sys.stdin.isatty() and sys.stdout.isatty() and not context.json:
        print(f"{printable(words)}. Undo? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
        raise UsageError("nothing was undone")
    raise UsageError(f"it reopens access: {words}", "sftpjail undo --yes " + str(_number(context)))


def _number(context: Context) -> int:
    entries = list(History(HISTORY).entries())
    return int(chosen(entries, context.arguments.id)["id"])

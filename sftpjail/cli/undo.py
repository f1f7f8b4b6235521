"""undo: put one transaction back."""

from __future__ import annotations

import sys

from ..engine.engine import Engine
from ..engine.history import Entry, History
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
    """Plan the opposite of a transaction, show it, and apply it.

    What is shown and asked is planned before the lock is taken: nobody's useradd is to wait for
    somebody who has left a terminal.
    """
    number = context.arguments.id
    if not context.dry_run:
        with context.engine(reading=True, tolerant=False) as engine:
            entry, events = _opposite(number, engine)
            context.say(engine.plan(events).diff(engine.host))
            number = entry["id"]
            _ask(context, events, number)
    with context.engine() as engine:
        entry, events = _opposite(number, engine)
        engine.reverts = entry["id"]
        context.carry_out(engine, events, f"transaction {entry['id']} is undone")
    return context.close(0)


def _opposite(number: int | None, engine: Engine) -> tuple[Entry, list[Event]]:
    entries = list(History(HISTORY).entries())
    entry = chosen(entries, number)
    return entry, undo_events(entry, entries, engine)


def _ask(context: Context, events: list[Event], number: int) -> None:
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
    raise UsageError(f"it reopens access: {words}", f"sftpjail undo --yes {number}")

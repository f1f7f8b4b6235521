"""who: list the running sessions in jails, with their start, address and open files."""

from __future__ import annotations

from typing import Any

from ..engine.engine import Engine
from ..jails.membership import find_jailed, members
from ..model import valid_name
from ..system.logged_in import Session, owner, sessions
from .context import Command, Context, local_time

COLUMNS = ("USER", "SINCE", "FROM", "PID", "MOVES", "BYTES", "FILE")


def register(add_parser: Command) -> None:
    """Add the command of this module."""
    parser = add_parser("who", "show who is in a jail now, since when, and from where")
    parser.add_argument("users", metavar="USER", nargs="*", help="only the sessions of these")
    parser.set_defaults(run=who)


def who(context: Context) -> int:
    """Print one line for each session, and another one for each further open file."""
    with context.engine(reading=True) as engine:
        names = _names(engine, [valid_name(name) for name in context.arguments.users])
    found = [(name, one) for one in sessions() if (name := owner(one, names))]
    context.answers["sessions"] = [_facts(name, one) for name, one in found]
    if found:
        rows = [row for name, one in found for row in _rows(name, one)]
        context.table(COLUMNS, rows, yielding=(6, 0))
    else:
        context.say(["no session"])
    return context.close(0)


def _names(engine: Engine, wanted: list[str]) -> dict[int, list[str]]:
    """Return the wanted jailed accounts by uid, or all if none is named.

    Raises:
        SftpJailError: one is not jailed.
    """
    config, host = engine.config, engine.host
    accounts = [find_jailed(name, config, host) for name in wanted]
    found: dict[int, list[str]] = {}
    for account in accounts or members(config, host).values():
        found.setdefault(account.uid, []).append(account.name)
    return found


def _facts(name: str, session: Session) -> dict[str, Any]:
    return {
        "user": name,
        "since": int(session.since),
        "from": session.address or None,
        "port": session.port or None,
        "pid": session.pid,
        "sshd": session.monitor,
        "files": [
            {"path": file.path, "up": file.up, "position": file.position} for file in session.moving
        ],
    }


def _rows(name: str, session: Session) -> list[tuple[str, ...]]:
    begin = (name, local_time(int(session.since)), session.address or "-", str(session.pid))
    rows: list[tuple[str, ...]] = [
        (*begin, "put" if file.up else "get", str(file.position), file.path)
        for file in session.moving
    ]
    return rows or [(*begin, "-", "-", "-")]

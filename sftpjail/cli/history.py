"""history: show what was changed, when and by whom, and verify that the history is intact."""

from __future__ import annotations

from typing import Any

from ..engine.history import History
from ..errors import UsageError
from ..host import Host
from ..operations.history import in_words, shown
from ..paths import HISTORY
from .context import Command, Context, local_time
from .log import moment


def register(add_parser: Command) -> None:
    """Add the command of this module."""
    parser = add_parser("history", "show what was changed, when, by whom and how")
    parser.add_argument(
        "user", nargs="?", metavar="USER", help="only this account, which need not exist any more"
    )
    parser.add_argument(
        "--since", metavar="T", help="start at this time, in any form that date(1) understands"
    )
    parser.add_argument("--limit", metavar="N", type=int, help="only the newest N transactions")
    parser.add_argument(
        "--verify", action="store_true", help="only look whether the history fits together"
    )
    parser.add_argument(
        "--head", metavar="HASH", help="with --verify: and still has the line with this hash"
    )
    parser.set_defaults(run=history)


def history(context: Context) -> int:
    """Show the finished transactions, or verify the history; see sftpjail(8)."""
    given, kept = context.arguments, History(HISTORY)
    if given.verify:
        if given.user or given.since or given.limit is not None:
            raise UsageError("--verify always checks the whole history")
        return _verify(context, kept)
    if given.head:
        raise UsageError("--head requires --verify")
    if given.limit is not None and given.limit < 1:
        raise UsageError(f"--limit {given.limit}: must be 1 or more")
    since = moment(Host(), "--since", given.since)
    found = list(shown(kept.entries(), given.user or "", since or 0))
    if given.limit:
        found = found[-given.limit :]
    context.answers["transactions"] = found
    if found:
        context.table(("ID", "WHEN", "WHO", "BY", "WHAT"), [_row(about) for about in found])
    else:
        context.say(["no transaction"])
    return context.close(0)


def _row(about: dict[str, Any]) -> tuple[str, ...]:
    who = about["who"]
    login = who["name"] or ("-" if who["uid"] is None else f"uid {who['uid']}")
    if who["how"] == "command":
        way = about["command"]
    else:
        way = who["how"]
    return str(about["id"]), local_time(about["time"]), login, way, in_words(about)


def _verify(context: Context, kept: History) -> int:
    head, problems = kept.verify(context.arguments.head or "")
    context.answers["head"] = head
    context.answer_problems(problems)
    if not problems:
        context.say([f"the history fits together; its head is {head}" if head else "no history"])
    return context.close(3 if problems else 0)

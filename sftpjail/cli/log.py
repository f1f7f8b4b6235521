"""Who transferred what: `log`."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..host import Host
from ..transferlog import sources
from .context import Command, Context

if TYPE_CHECKING:
    from ..transferlog.records import Record


def register(add_parser: Command) -> None:
    """Add the command of this module."""
    parser = add_parser("log", "show who transferred what")
    parser.add_argument(
        "user", nargs="?", metavar="USER", help="only this account, which need not exist any more"
    )
    parser.add_argument(
        "--since", metavar="T", help="start at this time, in any form that date(1) understands"
    )
    parser.add_argument("--until", metavar="T", help="stop after this time")
    parser.add_argument("--follow", action="store_true", help="wait for new lines")
    parser.add_argument("--summary", action="store_true", help="one line for each user and day")
    parser.set_defaults(run=log)


def log(context: Context) -> int:
    """Show sessions, transfers and operations, or their sums; see sftpjail(8)."""
    from ..transferlog.parser import Reader
    from ..transferlog.timestamps import Clock  # late: other commands need none of it
    from .log_view import View, show_days, show_end

    arguments, config, host = context.arguments, context.config(), Host()
    if arguments.follow and (arguments.summary or arguments.until):
        raise UsageError("--follow has no end: it goes with neither --summary nor --until")
    os.environ.pop("TZ", None)  # the log daemon and date(1), as we call it, go by the host's zone
    time.tzset()
    since = moment(host, "--since", arguments.since)
    if arguments.follow and since is None:
        since = int(time.time())
    view = View(arguments.user or "", since, moment(host, "--until", arguments.until))
    reader = Reader(Clock(), host.people)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        for records in sources.read(host, config, reader, arguments.follow):
            _show(context, view.choose(records))
            if arguments.follow and not records and _gone():
                return 0
    except KeyboardInterrupt:
        if not arguments.follow:
            raise
    else:
        last = reader.finish(lambda pid, at: sources.alive(host, pid, at))
        _show(context, view.choose(last))
    if arguments.summary:
        show_days(context, view)
    show_end(context, view, reader, config.logs.file)
    sys.stdout.flush()  # a closed pipe is to be noticed here, and not when Python ends
    return 0


def _show(context: Context, chosen: Iterable[Record]) -> None:
    from .log_view import as_fields, as_json, as_row

    render = as_fields
    if context.json:
        render = as_json
    elif sys.stdout.isatty():
        render = as_row
    if not context.arguments.summary:
        sys.stdout.write("".join([f"{line}\n" for line in map(render, chosen) if line]))
    if context.arguments.follow:
        sys.stdout.flush()


def moment(host: Host, option: str, text: str | None) -> int | None:
    """Return a time in epoch seconds, as date(1) reads it. Raises UsageError."""
    if text is None:
        return None
    if text.strip() and "\0" not in text:
        answer = host.ask(["date", f"--date={text}", "+%s"])
        if answer.code == 0:
            return int(answer.out)
    raise UsageError(
        f"{option} {text!r} is no time that date(1) understands",
        advice=f"write it as {option} '2026-11-24 09:00'",
    )


def _gone() -> bool:
    """Whether nobody reads our output any more.

    Of a pipe, a poll says so even while there is nothing to write.
    """
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False

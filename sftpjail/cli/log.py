"""log: show who transferred what."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..config import keyfile
from ..errors import UsageError
from ..host import Host
from ..jails.membership import is_valid, members
from ..operations.keys import keys_in
from ..transferlog import sources, sshd_lines
from .context import Command, Context

if TYPE_CHECKING:
    from argparse import Namespace

    from ..config import Config
    from ..transferlog.matching import Matcher
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
    """Show sessions, transfers and operations, or their totals; see sftpjail(8)."""
    from ..transferlog.parser import Reader
    from ..transferlog.timestamps import Clock  # late: other commands need none of it
    from .log_view import View, show_days, show_end

    arguments, config, host = context.arguments, context.config(), Host()
    if arguments.follow and (arguments.summary or arguments.until):
        raise UsageError("--follow cannot be combined with --summary or --until")
    os.environ.pop("TZ", None)  # the log daemon and date(1), as we call it, go by the host's zone
    time.tzset()
    since = moment(host, "--since", arguments.since)
    if arguments.follow and since is None:
        since = int(time.time())
    view = View(arguments.user or "", since, moment(host, "--until", arguments.until))
    reader = Reader(Clock(), host.people)
    render = _renderer(context)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    names = _KeyNames(host)
    put = _of_logins(arguments, config, host)
    try:
        for records in sources.read(host, config, reader, arguments.follow):
            found = records
            if put:
                found = put.put(records)
            _show(context, render, map(names.add, view.choose(found)))
            if arguments.follow and not records and _gone():
                return 0
    except KeyboardInterrupt:
        if not arguments.follow:
            raise
    else:
        last = reader.finish(lambda pid, at: sources.alive(host, pid, at))
        found = [*put.put(last), *put.rest()] if put else last
        _show(context, render, map(names.add, view.choose(found)))
    if arguments.summary:
        show_days(context, view)
    show_end(context, view, reader, config.logs.file)
    sys.stdout.flush()  # notice a closed pipe here, and not when Python ends
    return 0


def _of_logins(arguments: Namespace, config: Config, host: Host) -> Matcher | None:
    """Return a matcher that adds logins to records, or None with --follow, which reads one log."""
    from ..transferlog.matching import Matcher

    if arguments.follow:
        return None
    names = {*members(config, host), arguments.user}
    found = (login for batch in sshd_lines.logins(host) for login in batch)
    return Matcher(login for login in found if login.user in names)


class _KeyNames:
    """The present names of keys in the accounts' key files."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[str, dict[str, str]] = {}

    def add(self, record: Record) -> Record:
        """Return a record with the name of its key."""
        from ..transferlog.records import Session

        if not isinstance(record, Session) or not record.key or not record.user:
            return record
        user = record.user
        if user not in self._known:
            keys = {}
            if is_valid(user):
                keys = keys_in(self._host.text(keyfile(user)), self._host)
            self._known[user] = {one.fingerprint: one.comment for one in keys.values()}
        return record._replace(key_name=self._known[user].get(record.key) or None)


def _renderer(context: Context) -> Callable[[Record], str]:
    """Return the function that formats a record, for a program or for a person."""
    from .log_view import Rows, as_fields, as_json
    from .terminal import width

    if context.json:
        return as_json
    if sys.stdout.isatty():
        return Rows(width()).row
    return as_fields


def _show(context: Context, render: Callable[[Record], str], chosen: Iterable[Record]) -> None:
    if not context.arguments.summary:
        sys.stdout.write("".join([f"{line}\n" for line in map(render, chosen) if line]))
    if context.arguments.follow:
        sys.stdout.flush()


def moment(host: Host, option: str, text: str | None) -> int | None:
    """Return a time in epoch seconds, parsed by date(1). Raises UsageError."""
    if text is None:
        return None
    if text.strip() and "\0" not in text:
        answer = host.ask(["date", f"--date={text}", "+%s"])
        if answer.code == 0:
            return int(answer.out)
    raise UsageError(
        f"{option} {text!r} is not a time that date(1) understands",
        advice=f"write it as {option} '2026-11-24 09:00'",
    )


def _gone() -> bool:
    """Return whether nobody reads our output any more.

    poll(2) reports this for a pipe even while there is nothing to write.
    """
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False

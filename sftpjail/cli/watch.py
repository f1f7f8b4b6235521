"""watch and events: what happens in jails is handed out, and what could not be handed out."""

from __future__ import annotations

import os
import shlex
import sys
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from .. import config as configuration
from ..errors import SftpJailError, UsageError
from ..host import Host
from ..paths import EVENTS, HOST_RECORD
from ..system import services, signals
from .context import Command, Context, local_time

if TYPE_CHECKING:
    from ..config import Config
    from ..watch.aside import Aside

COLUMNS = ("ID", "WHEN", "USER", "EVENT", "TRIES", "PATH", "WHY")


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("watch", "deliver events in jails to hook scripts and plugins")
    parser.set_defaults(run=watch)
    parser = add_parser("events", "show events that could not be delivered, or retry them")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="ID",
        help="after `retry`: the events to retry; default: all",
    )
    parser.set_defaults(run=events)


def watch(context: Context) -> int:
    """Follow the log until a signal comes; see sftpjail(8)."""
    from ..system.events import one_watcher
    from ..transferlog import sources

    if context.dry_run:
        raise UsageError("watch has no --dry-run", advice="see sftpjail log --follow")
    _as_root()
    os.environ.pop("TZ", None)  # the log daemon goes by the host's zone
    time.tzset()
    try:
        with one_watcher():
            while True:
                config, host = _checked(context), Host()
                sources.logged(host, config)
                _watch(context, config)
    except Exception:
        services.tell_ready()  # else whoever has started the service would fail with it
        raise
    except signals.Interrupted:
        pass
    return context.close(0)


def _as_root() -> None:
    if os.geteuid() != 0:
        raise SftpJailError("only root may do this", f"sudo {shlex.join(sys.argv)}")


def _checked(context: Context) -> Config:
    """Return the configuration. Raises SftpJailError where nothing could be handed out."""
    config, host = context.config(), Host()
    if host.lstat(HOST_RECORD) is None:
        raise SftpJailError("this host is not set up", "sftpjail setup")
    user = config.events.user
    if not user:
        raise UsageError(
            "no user is configured for events, so nothing would be run",
            advice=f"give user = NAME below [events] in {configuration.PATH}; see sftpjail.conf(5)",
        )
    if host.account(user) is None:
        raise SftpJailError(
            f"there is no account {user}, which [events] of the configuration names",
            advice=f"correct it in {configuration.PATH}; see sftpjail.conf(5)",
        )
    return config


def _watch(context: Context, config: Config) -> None:
    """Hand events out until the configuration changes, or a signal ends it."""
    from ..watch.handout import Worker, deliver
    from ..watch.watcher import Watcher

    wanted, path = config.events, context.arguments.config
    with ExitStack() as stack:
        numbers = range(1, wanted.workers + 1)
        workers = [Worker(number, wanted.user, wanted.timeout, path) for number in numbers]
        for worker in workers:
            stack.callback(worker.end)
        watcher = Watcher(
            config,
            lambda event, worker: deliver(event, config, worker),
            workers,
            lambda line: context.warn([line]),
            partial(_is_other, path, _written(path)),
        )
        try:
            watcher.run(services.tell_ready)
        finally:
            watcher.end()


def _written(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _is_other(path: str, before: tuple[int, int] | None) -> bool:
    """Return whether the configuration was changed."""
    return _written(path) != before


def events(context: Context) -> int:
    """Show what was put aside, or have it sent again."""
    from ..watch.aside import Spool

    verb, *ids = context.arguments.words or [""]
    if verb not in ("", "retry"):
        raise UsageError(f"events does not know {verb}", advice="see sftpjail events --help")
    _as_root()
    spool = Spool(EVENTS)
    found = spool.listed()
    if not verb:
        if found:
            context.table(COLUMNS, [_row(one) for one in found], yielding=(6, 5))
        else:
            context.say(["no event was put aside"])
        context.answers["events"] = [one.as_json() for one in found]
        return context.close(0)
    known = [one.event.id for one in found]
    missing = [name for name in ids if name not in known]
    if missing:
        raise SftpJailError(f"no event {' '.join(missing)} was put aside", "sftpjail events")
    sent = [one for one in found if not ids or one.event.id in ids]
    if not context.dry_run:
        spool.send_again([one.event.id for one in sent])
    word = "is sent"
    if context.dry_run:
        word = "would be sent"
    context.say([f"{one.event.id} {word} again" for one in sent] or ["no event was put aside"])
    context.answers["events"] = [one.as_json() for one in sent]
    return context.close(0)


def _row(one: Aside) -> tuple[str, ...]:
    event = one.event
    if event.to:
        path = f"{event.path} -> {event.to}"
    else:
        path = event.path
    return (
        event.id,
        local_time(event.at),
        event.user or "-",
        event.kind,
        str(one.tries),
        path or "-",
        one.why,
    )

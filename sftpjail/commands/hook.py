"""What the entry scripts call. They pass our errors on, to standard error and to syslog, and decide what may fail."""

from __future__ import annotations

import syslog
from dataclasses import replace

from ..config import keyfile
from ..errors import SftpJailError
from ..events import create_events, remove_events
from ..jails import find, find_jailed, guard, has_remains, leftover
from ..manager import Event
from ..model import valid_name
from .context import Command, Context

EVENTS = ("useradd-post", "adduser-local", "pam-session", "userdel-pre", "userdel-post")

ADDED = EVENTS[:3]


def register(add_parser: Command) -> None:
    """Add the command of this module."""
    parser = add_parser("hook", "what useradd, userdel and adduser call; not for people")
    parser.add_argument("event", choices=EVENTS)
    parser.add_argument("user", metavar="USER")
    parser.set_defaults(run=hook)


def hook(context: Context) -> int:
    """Make a new account's jail, or take a leaving one's away. Early, late and repeated calls do no harm."""
    name, event = valid_name(context.arguments.user), context.arguments.event
    try:
        if event == "useradd-post":
            _forget_namesake(context, name)
        with context.engine(timeout=300.0) as engine:
            events: list[Event] = []
            if event == "pam-session":
                engine.host.invoker = frozenset()  # pam_loginuid has made it the one who logs in
                find_jailed(name, engine.config, engine.host)  # a look-up that failed must not open an emptier jail
            if event in ADDED and engine.host.account(name) is not None:
                account = find(name, engine.config, engine.host)
                if account.profile is not None:
                    guard(account, engine.host)
                    events = create_events(account, engine.host, engine.manager)
            if event not in ADDED:
                # Until the account is really gone it keeps its keys and its lines in fstab: userdel may still refuse.
                live_only = event == "userdel-pre"
                # That very account is gone: here keys count that nobody has a record of.
                keys = not live_only and engine.host.lstat(keyfile(name)) is not None
                if has_remains(name, engine.host) or (keys and engine.host.account(name) is None):
                    account = leftover(name, engine.config, engine.host)
                    events = remove_events(account, engine.host, deleted=True, live_only=live_only)
            context.carry_out(engine, events, f"{event}: {name}")
    except SftpJailError as error:
        syslog.openlog("sftpjail", syslog.LOG_PID, syslog.LOG_AUTH)
        syslog.syslog(syslog.LOG_ERR, f"{event} {name}: {error.message}")
        raise
    return context.close(0)


def _forget_namesake(context: Context, name: str) -> None:
    """Take away what an earlier account of that name left when no hook heard of its end: its keys above all."""
    with context.engine(timeout=300.0) as engine:
        if has_remains(name, engine.host):
            account = replace(leftover(name, engine.config, engine.host), uid=-1)
            engine.apply(engine.plan(remove_events(account, engine.host, deleted=True)))

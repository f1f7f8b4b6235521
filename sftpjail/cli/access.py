"""disable, enable, set and kick: control whether accounts may log in, and end their sessions."""

from __future__ import annotations

import syslog
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from shlex import quote

from .. import model
from ..engine.engine import Engine
from ..engine.plan import (
    Event,
    OnSetup,
    OnUserConnections,
    OnUserDisable,
    OnUserEnable,
    OnUserExpire,
    OnUserKeep,
    OnUserLimit,
    OnUserQuota,
    OnUserRetention,
    Plan,
)
from ..errors import SftpJailError, UsageError
from ..errors.escapes import one_line
from ..formats.retention import age_of
from ..host import Host
from ..jails import retention
from ..jails.activity import namesakes
from ..jails.closing import (
    is_disabled,
    is_shut,
    list_with,
    own_expiry,
    reason,
    today,
)
from ..jails.membership import find_jailed
from ..jails.renames import refuse_other
from ..model import Account, Problem, free_text, size, stored, valid_name
from ..operations.events import create_events
from ..operations.limits import limited
from ..system.processes import in_jail
from ..system.programs import end_sessions
from ..system.syslog import tell
from .context import Command, Context
from .limits import add_limit_options, wanted_addresses
from .passwords import (
    PASSWORD_SET,
    add_password_options,
    of_passwords,
    password_steps,
    refuse_must_change,
    wanted_password,
)


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("disable", "shut an account out; its jail, keys and files stay")
    parser.add_argument("user", metavar="USER")
    parser.add_argument("--reason", metavar="TEXT", default="", help="show and explain display it")
    parser.add_argument(
        "--until", metavar="DATE", default="", help="let it in again from YYYY-MM-DD on (UTC)"
    )
    parser.add_argument("--now", action="store_true", help="end its sessions as well")
    parser.set_defaults(run=disable)
    parser = add_parser("enable", "let an account in again that disable has shut out")
    parser.add_argument("user", metavar="USER")
    parser.set_defaults(run=enable)
    _register_set(add_parser)
    parser = add_parser("kick", "end the sessions of an account; it may log in again")
    parser.add_argument("user", metavar="USER")
    parser.set_defaults(run=kick)


def _register_set(add_parser: Command) -> None:
    parser = add_parser("set", "change an account")
    parser.add_argument("user", metavar="USER")
    parser.add_argument(
        "--expires",
        metavar="DATE",
        help="the day from which it is shut out (YYYY-MM-DD, UTC), or never",
    )
    add_password_options(parser).add_argument(
        "--no-password", action="store_true", help="no password lets it in"
    )
    add_limit_options(parser)
    _add_storage_options(parser)
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument(
        "--keep-active",
        dest="keep",
        action="store_true",
        default=None,
        help="review --disable skips it",
    )
    keep.add_argument(
        "--no-keep-active",
        dest="keep",
        action="store_false",
        default=None,
        help="review --disable no longer skips it",
    )
    parser.set_defaults(run=set_account)


def _add_storage_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--quota",
        metavar="SIZE",
        type=_quota,
        help="let it store so much in its own directory: 500M, 10G, none, or profile",
    )
    parser.add_argument(
        "--retention",
        metavar="DIRECTORY=AGE",
        action="append",
        default=[],
        type=_retention,
        help="delete its files in DIRECTORY when they are so old: 30d, 12w, or never",
    )


def coming_date(text: str, option: str) -> str:
    """Return a future date as YYYY-MM-DD.

    Args:
        text: the value of the option.
        option: its name.

    Raises:
        UsageError: it is not a date, or not in the future.
    """
    import datetime  # late: few commands need it

    try:
        date = datetime.datetime.strptime(text, "%Y-%m-%d").date().isoformat()
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a date of the form YYYY-MM-DD") from None
    if date <= today():
        raise UsageError(f"{option} {date}: the date must be later than today, {today()} (UTC)")
    return date


def days(text: str, least: int = 0) -> int:
    """Return how many days the value of an option is: 90, 90d or 12w.

    Args:
        text: the value.
        least: the fewest days that make sense.

    Raises:
        ArgumentTypeError: it is neither, too few, or more than a century.
    """
    try:
        return model.days(text, least)
    except UsageError as error:
        raise ArgumentTypeError(error.message) from error


def _quota(text: str) -> tuple[int | None]:
    """Return the bytes of --quota: 0 for any number, None for what the profile says."""
    words: dict[str, int | None] = {"none": 0, "profile": None}
    try:
        return (words[text] if text in words else size(text),)
    except UsageError as error:
        raise ArgumentTypeError(error.message) from error


def _retention(text: str) -> tuple[str, int]:
    """Return the directory and the days of DIRECTORY=AGE; 0 for never.

    Raises:
        ArgumentTypeError: it has another form.
    """
    try:
        return age_of(text)
    except UsageError as error:
        raise ArgumentTypeError(error.message) from error


def day_in(days: int) -> str:
    """Return the date (YYYY-MM-DD) in so many days.

    Raises:
        UsageError: there are too many days for a date.
    """
    import datetime

    try:
        return (datetime.date.today() + datetime.timedelta(days=days)).isoformat()
    except OverflowError:
        raise UsageError(f"{days} days are too many") from None


def disable(context: Context) -> int:
    """Shut an account out, and end its sessions with --now."""
    given = context.arguments
    until = ""
    if given.until:
        until = coming_date(given.until, "--until")
    why = one_line(free_text(given.reason, "--reason"))
    with context.engine() as engine:
        account = find_jailed(valid_name(given.user), engine.config, engine.host)
        name = account.name
        refuse_other(account, engine.host)
        if given.now:
            _refuse_shared(account, engine.host)
        plan = _plan(engine, [OnUserDisable(account, why, until)], account, shut=True)
        end = ""
        if until:
            end = f" until {until}"
        done = f"{name} is disabled{end}; to let it in again: sftpjail enable {quote(name)}"
        context.finish(engine, plan, done, f"{name} is disabled{end}")
    # No further session can be opened now.
    context.answers["ended"] = 0
    if given.now:
        _end_sessions(account, context)
    else:
        context.look_after(lambda: [] if context.dry_run else _sessions(account))
    return context.close(0)


def _refuse_shared(account: Account, host: Host) -> None:
    """Refuse to end sessions that may belong to another account. Raises SftpJailError."""
    others = namesakes(account, host)
    if others:
        words = f"{account.name} has the uid {account.uid} of {others[0]}"
        advice = "without --now, their sessions continue"
        raise SftpJailError(f"{words}: it is not known whose sessions these are", advice=advice)


def _end_sessions(account: Account, context: Context) -> None:
    if in_jail(account.uid) and not context.dry_run:
        context.answers["ended"] = end_sessions(account.uid)
        context.say([f"ended the sessions of {account.name}"])
    context.answer_problems([])


def _sessions(account: Account) -> list[Problem]:
    """Return advice about sessions of a disabled account."""
    if not in_jail(account.uid):
        return []
    name = account.name
    command = f"sftpjail disable --now {quote(name)}"
    what = f"{name} has an open session, which continues"
    return [Problem(what, "sshd asks only at a login", command, severity="advice")]


def enable(context: Context) -> int:
    """Let an account in again, after repairing its jail."""
    problems = []
    with context.engine() as engine:
        host = engine.host
        account = find_jailed(valid_name(context.arguments.user), engine.config, host)
        name, events = account.name, list[Event]()
        if is_disabled(account, host):
            made = create_events(account, host, engine.manager)
            events = [*made, OnUserEnable(account)]
        elif is_shut(account, host):
            raise SftpJailError(f"{name} is not disabled; it is shut out: {reason(account, host)}")
        past = ""
        if events:
            past = own_expiry(account, host)
        if past:
            what = f"{name} is no longer disabled, but it expired on {past}"
            problems = [Problem(what, "sshd refuses every login", f"chage -E -1 {quote(name)}")]
        plan = _plan(engine, events, account, shut=False)
        context.finish(engine, plan, f"{name} is enabled", f"{name} is not disabled")
    context.answer_problems(problems)
    return context.close(0)


def set_account(context: Context) -> int:
    """Change an account's expiry date, password, addresses or connections."""
    given = context.arguments
    refuse_must_change(given)
    wanted = [given.expires, given.addresses, given.connections, given.keep]
    wanted += [given.quota, given.retention or None]
    if not any(one is not None for one in wanted) and not (given.password or given.no_password):
        raise UsageError("set needs at least one option", advice="see sftpjail set --help")
    name = valid_name(given.user)
    date = ""
    if given.expires not in (None, "never"):
        date = coming_date(given.expires, "--expires")
    addresses = wanted_addresses(given.addresses)
    hashed = wanted_password(name, context)
    with context.engine() as engine:
        account = find_jailed(name, engine.config, engine.host)
        refuse_other(account, engine.host)
        words, events = _wanted_events(account, given, date, addresses)
        if given.quota:
            (most,) = given.quota
            words += [f"{name} may store {stored(most)}"]
            events += [OnUserQuota(account, most)]
        if given.retention:
            retained = _of_retention(account, given.retention, engine.host)
            words, events = [*words, *retained[0]], [*events, retained[1]]
        if hashed:
            words += [f"{name} has no password" if given.no_password else PASSWORD_SET.format(name)]
        plan = limited(engine, events, password_steps(account, hashed, engine.host))
        context.finish(engine, plan, words, "; ".join(words))
    judged = hashed and not context.dry_run
    context.look_after(lambda: of_passwords(name, engine.config) if judged else [])
    return context.close(0)


def _wanted_events(
    account: Account, given: Namespace, date: str, addresses: tuple[str, ...] | None
) -> tuple[list[str], list[Event]]:
    """Return what `set` is to do, passwords aside, in words and as events.

    Args:
        account: whom it is about.
        given: the arguments.
        date: the day on which it expires, "" for never; counts with --expires alone.
        addresses: from which alone it may come, none for any; None where that stays.
    """
    name, words, events = account.name, list[str](), list[Event]()
    if given.expires is not None:
        words += [f"{name} expires on {date}" if date else f"{name} does not expire"]
        events += [OnUserExpire(account, date)]
    if addresses is not None:
        where = "any address"
        if addresses:
            where = f"{' '.join(addresses)} only"
        words += [f"{name} is let in from {where}"]
        events += [OnUserLimit(account, addresses)]
    if given.connections is not None:
        count = given.connections or "any number of"
        words += [f"{name} may have {count} sessions at once"]
        events += [OnUserConnections(account, given.connections)]
    if given.keep is not None:
        words += [f"review --disable {'skips' if given.keep else 'no longer skips'} {name}"]
        events += [OnUserKeep(account, given.keep)]
    return words, events


def _of_retention(
    account: Account, changes: Sequence[tuple[str, int]], host: Host
) -> tuple[list[str], Event]:
    """Return what --retention is to do, in words and as an event.

    Args:
        account: whom it is about.
        changes: each directory and after how many days a file goes, 0 for never.
        host: knows what is set.
    """
    ages, words = retention.ages(account.name, host), list[str]()
    for directory, age in changes:
        if age:
            words += [f"{account.name} keeps the files in {directory} for {age} days"]
            ages[directory] = age
        else:
            words += [f"{account.name} keeps all files in {directory}"]
            ages.pop(directory, None)
    return words, OnUserRetention(account, tuple(sorted(ages.items())))


def kick(context: Context) -> int:
    """End the sessions of an account."""
    with context.engine(reading=True) as engine:
        account = find_jailed(valid_name(context.arguments.user), engine.config, engine.host)
        refuse_other(account, engine.host)
        _refuse_shared(account, engine.host)
    name, there = account.name, in_jail(account.uid)
    ended = 0
    if there and not context.dry_run:
        ended = end_sessions(account.uid)
    if ended:
        tell(syslog.LOG_NOTICE, f"the sessions of {name} were ended by sftpjail kick")
    if there:
        words = f"ended the sessions of {name}"
    else:
        words = f"{name} has no session"
    context.say([f"would have {words}" if there and context.dry_run else words])
    context.answers |= {"dry_run": context.dry_run, "ended": ended}
    return context.close(0)


def _plan(engine: Engine, events: Sequence[Event], account: Account, *, shut: bool) -> Plan:
    """Return the plan, including sshd's configuration if only that can shut the account out.

    Args:
        engine: with the facts.
        events: what is to happen.
        account: the account concerned.
        shut: whether it will be shut out.
    """
    listed = None
    if events:
        listed = list_with(account, engine.host, shut=shut)
    first = []
    if listed is not None:
        first = [OnSetup()]
    return engine.plan([*first, *events], listed=listed)

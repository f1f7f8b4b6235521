"""review: who can get in, by what, since when, last when and from where; disable who has not."""

from __future__ import annotations

import csv
import sys
import time
from functools import partial
from shlex import join
from typing import Any

from ..accounts_file.formulas import guarded
from ..engine.engine import Engine
from ..engine.plan import OnSetup, OnUserDisable
from ..errors import SftpJailError, UsageError
from ..errors.escapes import counted, one_line, some
from ..host import Host
from ..jails.closing import known_expiry
from ..jails.membership import find_jailed, members
from ..model import Account, Key, Problem, valid_name
from ..openssh.public_keys import has_lapsed
from ..reports.review import (
    Review,
    Reviewed,
    date,
    list_of,
    refuse_young,
    review,
    to_disable,
)
from .access import days
from .context import Command, Context, printable
from .keys import key_facts, use_facts
from .listing import quota_facts

_SHOWN = 8
_COLUMNS = ("USER", "STATE", "BY", "SINCE", "LAST", "FROM", "IDLE")


def register(add_parser: Command) -> None:
    """Add the command of this module."""
    parser = add_parser("review", "show who can get in, by what, since when, and last when")
    parser.add_argument("users", metavar="USER", nargs="*", help="only these; default: all")
    parser.add_argument(
        "--inactive",
        metavar="DAYS",
        type=partial(days, least=1),
        help="only those whom nobody has used for so long: 90d, 12w or a number of days",
    )
    parser.add_argument(
        "--format", choices=("table", "csv", "json"), default="table", help="default: table"
    )
    parser.add_argument(
        "--disable", action="store_true", help="disable those that --inactive shows"
    )
    parser.add_argument("--yes", action="store_true", help="disable them without asking")
    parser.set_defaults(run=review_accounts)


def review_accounts(context: Context) -> int:
    """Print the review of each account, or disable those that are inactive."""
    given = context.arguments
    given.json = given.json or given.format == "json"
    if given.disable:
        return _disable(context)
    if given.yes:
        raise UsageError("--yes is for --disable")
    with context.engine(reading=True) as engine:
        found = review(engine, _accounts(engine, given.users))
        host = engine.host
    chosen = [
        one for one in found.accounts if given.inactive is None or one.is_inactive(given.inactive)
    ]
    _answer(context, found, chosen, host)
    if given.format == "csv" and not context.json:
        _write_csv([_facts(one, host) for one in chosen])
        return context.close(0)
    context.table(_COLUMNS, [_row(one, found) for one in chosen], yielding=(5, 0, 2))
    _sum_up(context, found, chosen)
    return context.close(0)


def _accounts(engine: Engine, names: list[str]) -> list[Account]:
    """Return the wanted jailed accounts by name. Raises SftpJailError if one is not jailed."""
    every = members(engine.config, engine.host)
    wanted = dict.fromkeys(map(valid_name, names)) or sorted(every)
    return [every.get(name) or find_jailed(name, engine.config, engine.host) for name in wanted]


def _answer(context: Context, found: Review, chosen: list[Reviewed], host: Host) -> None:
    context.answers |= {
        "records_since": found.records.since,
        "records_why": found.records.why or None,
        "inactive_days": context.arguments.inactive,
        "unlogged": found.unlogged,
    }
    if context.json:
        context.answers["accounts"] = [_facts(one, host) for one in chosen]


def _sum_up(context: Context, found: Review, chosen: list[Reviewed]) -> None:
    """Say what the table does not: where nobody is in it, and since when logins are known."""
    records, days = found.records, context.arguments.inactive
    if context.json:
        return
    if not found.accounts:
        context.warn(["no account is jailed"])
    elif records.since is None:
        why = records.why or "nothing records logins"
        words = f"when accounts were last used is not known: {one_line(why)}"
        context.warn([Problem(words, "so none counts as inactive", severity="advice")])
    elif not chosen and len(found.unlogged) < len(found.accounts):
        since = f"logins are known since {date(records.since)}"
        context.warn([f"no account has been inactive for {counted(days, 'day')}; {since}"])
    context.warn(_unlogged(found))
    if sys.stdout.isatty() and chosen and records.since is not None:
        kept = [one.account.name for one in chosen if one.keep]
        count = counted(len(chosen), "account")
        context.say([f"{count}; logins are known since {date(records.since)}"])
        context.say([f"review --disable skips {some(kept, _SHOWN)}"] if kept else [])


def _unlogged(found: Review) -> list[Problem]:
    """Return that sshd does not say when somebody came."""
    if not found.unlogged:
        return []
    whose = some(found.unlogged, _SHOWN)
    why = "sshd keeps their logins out of the log that is read, so none counts as inactive"
    advice = "see LogLevel and SyslogFacility in sshd_config(5), and -E, -e and -q in sshd(8)"
    what = f"when somebody last logged in is not known of {whose}"
    return [Problem(what, why, severity="advice", advice=advice)]


# -- what is shown -----------------------------------------------------------------------------


def _row(one: Reviewed, found: Review) -> tuple[str, ...]:
    granted, last = one.granted.made, one.last
    used = "-"
    if last:
        used = date(last[1])
    return (
        one.account.name,
        one.state.word,
        ", ".join(_means(one, found.now)) or "-",
        date(granted.at) if granted else "-",
        "now" if one.sessions else used,
        last[2] if last else "-",
        "?" if one.idle is None else str(one.idle),
    )


def _means(one: Reviewed, now: int) -> list[str]:
    """Return in words by what somebody could log in."""
    valid = [key for key in one.keys if not has_lapsed(key, now)]
    words = []
    if valid:
        words = [counted(len(valid), "key")]
    if one.methods is None:
        return words
    password = {True: ["password"], False: [], None: ["password?"]}[one.methods.password]
    words += [*password, *(["certificate"] if one.methods.certificate else [])]
    return [*words, *(["other keys"] if one.methods.keys else [])]


def _facts(one: Reviewed, host: Host) -> dict[str, Any]:
    account, granted, last, methods = one.account, one.granted, one.last, one.methods
    assert account.profile is not None
    mounts = [bind for bind in host.binds(account.name) if bind.role == "mount"]
    return {
        "user": account.name,
        "uid": account.uid,
        "profile": account.profile.name,
        "state": one.state.word,
        "why": one.state.why or None,
        "keys": [_key(key, one) for key in one.keys],
        "password": methods.password if methods else None,
        "certificate": methods.certificate if methods else None,
        "other_keys": methods.keys if methods else None,
        "expires": known_expiry(account, host) or None,
        "granted": granted.made.at if granted.made else None,
        "granted_by": granted.made.by if granted.made else None,
        "opened": granted.opened.at if granted.opened else None,
        "opened_by": granted.opened.by if granted.opened else None,
        "last_login": last[1] if last else None,
        "last_by": last[0] if last else None,
        "last_from": last[2] if last else None,
        "sessions": one.sessions,
        "active": one.active,
        "active_by": one.by or None,
        "idle_days": one.idle,
        "keep_active": one.keep,
        **quota_facts(account, host),
        "mounts": [
            {
                "source": bind.source,
                "target": bind.target.removeprefix(account.jail),
                "read_only": bind.read_only,
            }
            for bind in mounts
        ],
    }


def _key(key: Key, one: Reviewed) -> dict[str, Any]:
    granted, use = one.granted.keys.get(key.fingerprint), one.uses.get(key.fingerprint)
    return {**key_facts(key), **use_facts(granted, use)}


_MOMENTS = ("granted", "opened", "last_login", "active")


def _write_csv(accounts: list[dict[str, Any]]) -> None:
    """Write a line for each account; a cell with several things has them behind semicolons."""
    if not accounts:
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(accounts[0])
    for facts in accounts:
        cells = facts | {name: _moment(facts[name]) for name in _MOMENTS}
        cells["keys"] = "; ".join(f"{k['fingerprint']} {k['comment']}" for k in facts["keys"])
        cells["mounts"] = "; ".join(
            f"{m['target']} <- {m['source']} ({'read' if m['read_only'] else 'read, write'})"
            for m in facts["mounts"]
        )
        writer.writerow([guarded(one_line(_cell(value))) for value in cells.values()])


def _cell(value: object) -> str:
    if isinstance(value, bool):
        if value:
            return "yes"
        return "no"
    if value is None:
        return ""
    return str(value)


def _moment(at: int | None) -> str | None:
    """Return a moment as spreadsheets and people read it, in UTC."""
    if at is None:
        return None
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return str(at)


# -- --disable ---------------------------------------------------------------------------------


def _disable(context: Context) -> int:
    """Disable who is inactive, in one transaction."""
    given = context.arguments
    if given.inactive is None:
        raise UsageError("--disable wants --inactive", advice="as in --inactive 90d --disable")
    if given.format == "csv":
        raise UsageError("--format csv is not for --disable")
    agreed = _agreed(context)
    with context.engine() as engine:
        host, found, chosen, skipped = _judged(context, engine)
        names = [one.account.name for one in chosen]
        if agreed is not None and not agreed.issuperset(names):
            raise SftpJailError("more are inactive by now than were named; give it again")
        why = f"inactive for {counted(given.inactive, 'day')} or more"
        events = [OnUserDisable(one.account, why) for one in chosen]
        listed = None
        if chosen:
            listed = list_of([one.account for one in chosen], host)
        first = []
        if listed is not None:
            first = [OnSetup()]
        plan = engine.plan([*first, *events], listed=listed)
        done = [f"{one.account.name} is disabled: {_unused(one)}" for one in chosen]
        nothing = f"there is nobody to disable who has been {why}"
        _answer(context, found, chosen, host)
        context.finish(engine, plan, done, nothing)
    context.answers["disabled"] = names
    left = [
        Problem(f"skipped: {words}", "", about=name, severity="advice") for name, words in skipped
    ]
    context.answer_problems([*left, *_unlogged(found)])
    return context.close(0)


def _judged(
    context: Context, engine: Engine
) -> tuple[Host, Review, list[Reviewed], list[tuple[str, str]]]:
    """Return who is to be disabled and who is skipped. Raises SftpJailError: nobody can know."""
    given = context.arguments
    found = review(engine, _accounts(engine, given.users))
    refuse_young(found, given.inactive)
    return engine.host, found, *to_disable(found, given.inactive, engine.host)


def _agreed(context: Context) -> frozenset[str] | None:
    """Have somebody agree, before the lock is taken; return to whom, None for anybody.

    Raises:
        UsageError: nobody agrees.
        SftpJailError: as `refuse_young`.
    """
    given = context.arguments
    if given.yes or context.dry_run:
        return None
    with context.engine(reading=True, tolerant=False) as engine:
        _, _, chosen, _ = _judged(context, engine)
    if not chosen:
        return frozenset()
    words = some((f"{one.account.name} ({_unused(one)})" for one in chosen), _SHOWN, ", ")
    if sys.stdin.isatty() and sys.stdout.isatty() and not context.json:
        count = counted(len(chosen), "account")
        print(f"{printable(f'{count}: {words}')}. Disable? [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return frozenset(one.account.name for one in chosen)
        raise UsageError("nobody was disabled")
    command = ["sftpjail", "review", "--inactive", f"{given.inactive}d", "--disable", "--yes"]
    choice = ("to shut them out", join([*command, *given.users]))
    raise UsageError(f"it shuts out {words}", choices=(choice,))


_NOT_SINCE = {
    "login": "its last login",
    "creation": "it was jailed",
    "enable": "it was let in again",
    "records": "the records of logins begin",
}


def _unused(one: Reviewed) -> str:
    """Return for how long nobody has used an account, in words."""
    assert one.active is not None and one.idle is not None
    event = _NOT_SINCE.get(one.by, one.by)
    return f"{counted(one.idle, 'day')} since {event}, {date(one.active)}"

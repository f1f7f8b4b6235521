"""key add, replace, remove, list and migrate."""

from __future__ import annotations

import argparse
import os
import select
import stat
import sys
import time
from typing import Any

from ..config import Config
from ..engine.history import History
from ..engine.plan import Event, OnKeyAdd, OnKeyRemove
from ..errors import SftpJailError, UsageError, unreadable
from ..errors.escapes import one_line
from ..host import Host
from ..jails.membership import find, find_jailed, jailed
from ..jails.renames import refuse_renamed
from ..model import Account, Key, Problem
from ..openssh import public_keys
from ..operations import last_used
from ..operations.keys import add_events, chosen_keys, migrate_events, present, read_keys
from ..paths import HISTORY
from ..reports.grants import Grant, Grants, grants
from . import terminal
from .access import coming_date, day_in, days
from .context import Command, Context, local_time

Row = tuple[str, ...]


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("key", "manage the public keys of an account")
    verbs = parser.add_subparsers(
        dest="verb", metavar="add|replace|remove|list|migrate", required=True
    )
    _register_add(verbs)
    verb = verbs.add_parser(
        "remove", help="remove keys by fingerprint (SHA256:…), comment, or file as for add"
    )
    verb.add_argument("user", metavar="USER")
    verb.add_argument("keys", metavar="KEY", nargs="+")
    verb.set_defaults(run=remove)
    verb = verbs.add_parser(
        "list", help="list keys with type, bits, fingerprint, options and comment"
    )
    verb.add_argument("user", metavar="USER")
    verb.set_defaults(run=list_keys)
    verb = verbs.add_parser("migrate", help="take the keys in ~/.ssh/authorized_keys along")
    verb.add_argument("user", metavar="USER", nargs="?")
    verb.add_argument("--all", action="store_true", help="migrate the keys of every jailed account")
    verb.set_defaults(run=migrate)


def _register_add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("add", help="add keys from files, or - for standard input")
    verb.add_argument("user", metavar="USER")
    verb.add_argument("files", metavar="FILE", nargs="+")
    verb.add_argument("--name", metavar="TEXT", help="the key's comment; for a single key")
    verb.add_argument(
        "--from", metavar="ADDRESSES", dest="addresses", default="", help="where it may come from"
    )
    verb.add_argument(
        "--expires", metavar="DATE", help="the last day on which it lets in (YYYY-MM-DD)"
    )
    verb.set_defaults(run=add)
    verb = verbs.add_parser("replace", help="let in with a new key in place of an old one")
    verb.add_argument("user", metavar="USER")
    verb.add_argument("old", metavar="OLD", help="a fingerprint (SHA256:…), comment or file")
    verb.add_argument("new", metavar="NEW", help="a file, or - for standard input")
    verb.add_argument(
        "--overlap",
        metavar="DAYS",
        type=days,
        default=0,
        help="so long the old one still lets in: 7d, 2w or a number of days; default: 0",
    )
    verb.set_defaults(run=replace)


PATIENCE = 60.0  # seconds for a program that writes into a pipe given on the command line
_STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


def read_source(source: str) -> str:
    """Return the text of a key file, of a pipe such as `<(command)`, or of standard input for `-`.

    Call this before the lock is taken, because it may wait: for standard input, which may be a
    person, without limit, and for a pipe PATIENCE seconds.

    Raises:
        SftpJailError: it cannot be read, is something else, or is larger than
            `public_keys.MAX_BYTES`.
    """
    if source in _STDIN:
        return _bounded("standard input", sys.stdin.fileno(), None)
    try:
        fd = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(source, error) from error
    try:
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
        if kind == stat.S_IFIFO and os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:["):
            return _bounded(source, fd, PATIENCE)
        if kind != stat.S_IFREG:
            what = _KINDS.get(kind, "something else")
            raise UsageError(
                f"cannot read the key {source}: it is {what} and not a file; - reads standard input"
            )
        return _bounded(source, fd, PATIENCE)
    finally:
        os.close(fd)


def _unreadable(source: str, error: OSError) -> SftpJailError:
    """Return why a key file cannot be opened. Often the key itself is given by mistake."""
    if public_keys.looks_like_key(source):
        return UsageError(
            "this is a key, not the name of a key file",
            advice="printf '%s\\n' 'KEY' | sftpjail key add USER -",
        )
    return unreadable(f"the key {source}", error)


_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


def _bounded(source: str, fd: int, seconds: float | None) -> str:
    """Read FD to its end.

    Args:
        source: its name in errors.
        fd: the descriptor.
        seconds: the time limit, or None.

    Raises:
        SftpJailError: it has more than MAX_BYTES, did not end in time, or cannot be read.
    """
    data, end = b"", time.monotonic() + (seconds or 0)
    while True:
        left = None
        if seconds is not None:
            left = max(0.0, end - time.monotonic())
        if not select.select([fd], [], [], left)[0]:
            raise UsageError(
                f"cannot read the key {source}: it did not end within {seconds:.0f} seconds"
            )
        try:
            piece = os.read(fd, public_keys.MAX_BYTES + 1 - len(data))
        except BlockingIOError:  # somebody else has read it
            continue
        except OSError as error:
            raise unreadable(f"the key {source}", error) from error
        data += piece
        if len(data) > public_keys.MAX_BYTES:
            raise UsageError(
                f"cannot read the key {source}: it has more than {public_keys.MAX_BYTES} bytes"
            )
        if not piece:
            return data.decode("utf-8", "surrogateescape")


def _account(name: str, config: Config, host: Host) -> Account:
    """Return an account whose keys sshd reads in KEYS_DIR."""
    seek = find_jailed
    if config.scope == "everyone":
        seek = find
    account = seek(name, config, host)
    refuse_renamed(account, host)
    return account


def add(context: Context) -> int:
    """Fire on_key_add for each new key."""
    # Before the lock is taken: it may wait for a person, and ssh-keygen has to read every key.
    given = context.arguments
    expires = ""
    if given.expires is not None:
        expires = coming_date(given.expires, "--expires")
    keys = read_keys({file: read_source(file) for file in given.files}, Host())
    keys = [public_keys.limited(key, given.addresses, expires) for key in keys]
    if given.name is not None:
        if len(keys) != 1:
            raise UsageError(f"--name is for a single key, and {len(keys)} were given")
        keys = [public_keys.renamed(keys[0], given.name)]
    with context.engine() as engine:
        account = _account(context.arguments.user, engine.config, engine.host)
        events = add_events(account, keys, engine.host)
        done = [f"{account.name} {_lets_in(event.key)}" for event in events]
        context.carry_out(
            engine,
            events,
            done,
            f"{account.name} has {'this key' if len(keys) == 1 else 'these keys'} already",
        )
    return context.close(0)


def _lets_in(key: Key) -> str:
    """Return that a key lets in, unless it brings an end of its own that has come."""
    end = public_keys.expiry(key)
    if end is None or not public_keys.has_lapsed(key, time.time()):
        return f"can log in with {_name(key)}"
    day = time.strftime("%Y-%m-%d", time.localtime(end))
    return f"has the key {_name(key)}, which sshd has refused since {day} (expiry-time=)"


def _name(key: Key) -> str:
    return f"{key.fingerprint} {key.comment}".rstrip()


def replace(context: Context) -> int:
    """Fire on_key_add and on_key_remove in one transaction, so that there is no gap."""
    given = context.arguments
    handed_in = {}
    if os.path.isfile(given.old):
        handed_in = {given.old: read_source(given.old)}
    new = read_keys({given.new: read_source(given.new)}, Host())
    with context.engine() as engine:
        host = engine.host
        account = _account(given.user, engine.config, host)
        old = chosen_keys(account, [given.old], handed_in, host)
        events: list[Event] = list(add_events(account, new, host))
        done = [f"{account.name} {_lets_in(key)}" for key in new]
        for key in old:
            if public_keys.blob(key) in map(public_keys.blob, new):
                raise UsageError(
                    f"{given.new} has the key that is to be replaced, {key.fingerprint}"
                )
            changes, words = _replaced(account, key, given.overlap)
            events += changes
            done.append(f"{account.name} {words}")
        context.carry_out(engine, events, done, f"{account.name} has the new key already")
    return context.close(0)


def _replaced(account: Account, key: Key, overlap: int) -> tuple[list[Event], str]:
    """Return the events that end a key that has been replaced, and what it can do from now on.

    Its own end stays if that comes before the overlap is over: no replacement makes a key last.
    """
    if not overlap:
        return [OnKeyRemove(account, key)], f"can no longer log in with {_name(key)}"
    last = day_in(overlap)
    kept = public_keys.ended(key, last)
    if kept is key:
        return [], f"{_lets_in(key)}, whose own end comes before {last}"
    words = f"can log in with {_name(key)} until {last}"
    return [OnKeyRemove(account, key), OnKeyAdd(account, kept)], words


def remove(context: Context) -> int:
    """Fire on_key_remove for each named key: for all of them, or in case of an error for none."""
    words = context.arguments.keys
    handed_in = {
        word: read_source(word) for word in words if word in _STDIN or os.path.isfile(word)
    }
    with context.engine() as engine:
        account = _account(context.arguments.user, engine.config, engine.host)
        chosen = chosen_keys(account, words, handed_in, engine.host)
        events = [OnKeyRemove(account, key) for key in chosen]
        done = [f"{account.name} can no longer log in with {_name(key)}" for key in chosen]
        context.carry_out(engine, events, done)
    return context.close(0)


def list_keys(context: Context) -> int:
    """Print the keys, with what the history and the records have about each."""
    with context.engine(reading=True) as engine:
        host = engine.host
        account = _account(context.arguments.user, engine.config, host)
        keys = list(present(account, host).values())
        records = last_used.read(engine.config, host)
        kept = History(host.files.root + HISTORY).entries()
    granted = grants(kept).get(account.name, Grants()).keys
    seen = records.of(account.uid)
    found = [
        key_facts(key) | use_facts(granted.get(key.fingerprint), seen.get(key.fingerprint))
        for key in keys
    ]
    context.answers |= {"keys": found, "records_since": records.since}
    if not keys and not context.json:
        context.warn([f"{account.name} has no key"])
    rows = [_row(key) for key in found]
    columns = ("TYPE", "BITS", "FINGERPRINT", "OPTIONS", "COMMENT", "ADDED", "USED", "FROM")
    if context.json or not sys.stdout.isatty() or _fits(columns, rows):
        context.table(columns, rows)
    else:
        context.draw("\n".join(line for row in rows for line in _below(*row)))
    return context.close(0)


def key_facts(key: Key) -> dict[str, Any]:
    """Return what a key is, for --json."""
    return {
        "type": key.type,
        "bits": key.bits,
        "fingerprint": key.fingerprint,
        "comment": key.comment,
        "options": list(key.options),
        "expired": public_keys.has_lapsed(key, time.time()),
    }


def use_facts(granted: Grant | None, use: tuple[int, str, int] | None) -> dict[str, Any]:
    """Return who has added a key, and its last use, for --json.

    Args:
        granted: when it was added, if the history has it.
        use: its last use, if known; see `last_use.uses`.
    """
    return {
        "added": granted.at if granted else None,
        "added_by": granted.by if granted else None,
        "used": use[0] if use else None,
        "from": use[1] if use else None,
    }


def _row(key: dict[str, Any]) -> Row:
    options = ",".join(key["options"])
    if key["expired"]:
        options += " (expired)"
    first = (key["type"], str(key["bits"]), key["fingerprint"], options)
    used = local_time(key["used"])
    return (*first, key["comment"], local_time(key["added"]), used, key["from"] or "-")


def _fits(columns: Row, rows: list[Row]) -> bool:
    cells = [tuple(map(one_line, row)) for row in (columns, *rows)]
    return terminal.total(terminal.natural(cells)) <= terminal.width()


def _below(
    kind: str,
    bits: str,
    fingerprint: str,
    options: str,
    comment: str,
    added: str,
    used: str,
    address: str,
) -> list[str]:
    """Return a key as lines for a narrow terminal, with the whole fingerprint for `key remove`."""
    size = max(terminal.width(), terminal.NARROWEST)
    lines = [one_line(fingerprint)]
    last = f"added {added}, last used {used}" + ("" if address == "-" else f" from {address}")
    for text in (f"{kind} {bits} {comment}", options, last):
        if text:
            lines += terminal.wrapped(text, size, "    ", "    > ")
    return lines


def migrate(context: Context) -> int:
    """Move keys from homes to KEYS_DIR.

    The old file is renamed only after the new one is on the disk.
    """
    given = context.arguments
    if bool(given.user) == given.all:
        raise UsageError("key migrate needs one USER, or --all")
    with context.engine() as engine:
        config, host = engine.config, engine.host
        if given.all:
            accounts = list(jailed(config, host).values())
        else:
            accounts = [_account(given.user, config, host)]
        events: list[Event] = []
        problems: list[str | Problem] = []
        for account in accounts:
            try:
                more, refused = migrate_events(account, engine)
            except SftpJailError as error:
                problems.append(Problem.of(error, about=account.name))
                continue
            events += more
            problems += refused
        names = ", ".join(dict.fromkeys(event.about.name for event in events if event.about))
        context.carry_out(engine, events, f"migrated the keys of {names}", "no keys in homes")
    context.answer_problems(problems)
    return context.close(1 if problems else 0)

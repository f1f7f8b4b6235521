"""key add, remove, list and migrate."""

from __future__ import annotations

import os
import select
import stat
import sys
import time

from ..config import Config
from ..engine.plan import Event, OnKeyRemove
from ..errors import SftpJailError, UsageError
from ..host import Host
from ..jails.membership import find, find_jailed, jailed
from ..model import Account, Key, Problem
from ..openssh import public_keys
from ..operations.keys import add_events, migrate_events, present, read_keys
from .context import Command, Context


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("key", "manage the public keys of an account")
    verbs = parser.add_subparsers(dest="verb", metavar="add|remove|list|migrate", required=True)
    verb = verbs.add_parser("add", help="add keys from files, or - for standard input")
    verb.add_argument("user", metavar="USER")
    verb.add_argument("files", metavar="FILE", nargs="+")
    verb.set_defaults(run=add)
    verb = verbs.add_parser("remove", help="remove keys by fingerprint (SHA256:…) or comment")
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


PATIENCE = 60.0  # seconds for whatever writes into a pipe that is named on the command line
_STDIN = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


def read_source(source: str) -> str:
    """Return the text of a key file, of a pipe, or of standard input for `-`.

    A pipe is as the shell's `<(command)` gives it.

    Call it before the lock is taken. Nothing is waited for but what comes from standard input,
    which may be a person, and for PATIENCE seconds a pipe's.

    Raises:
        UsageError: it cannot be read, is something else, or is larger than `public_keys.MAX_BYTES`.
    """
    if source in _STDIN:
        return _bounded("standard input", sys.stdin.fileno(), None)
    try:
        fd = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"cannot read the key {source}: {error.strerror}") from error
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


_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


def _bounded(source: str, fd: int, seconds: float | None) -> str:
    """Return all that comes from FD, at most MAX_BYTES and for that many seconds.

    None: however long it takes.

    Raises:
        UsageError: there is more, it did not end in time, or cannot be read.
    """
    data, end = b"", time.monotonic() + (seconds or 0)
    while True:
        left = None if seconds is None else max(0.0, end - time.monotonic())
        if not select.select([fd], [], [], left)[0]:
            raise UsageError(
                f"cannot read the key {source}: it did not end within {seconds:.0f} seconds"
            )
        try:
            piece = os.read(fd, public_keys.MAX_BYTES + 1 - len(data))
        except BlockingIOError:  # somebody else has read it
            continue
        except OSError as error:
            raise UsageError(f"cannot read the key {source}: {error.strerror}") from error
        data += piece
        if len(data) > public_keys.MAX_BYTES:
            raise UsageError(
                f"cannot read the key {source}: it has more than {public_keys.MAX_BYTES} bytes"
            )
        if not piece:
            return data.decode("utf-8", "surrogateescape")


def _account(name: str, config: Config, host: Host) -> Account:
    """Return an account whose keys sshd reads in the new place."""
    return (
        find(name, config, host) if config.scope == "everyone" else find_jailed(name, config, host)
    )


def add(context: Context) -> int:
    """Fire on_key_add for each new key."""
    # Not under the lock: it may wait for a person, and ssh-keygen reads all that was handed in.
    keys = read_keys({file: read_source(file) for file in context.arguments.files}, Host())
    with context.engine() as engine:
        account = _account(context.arguments.user, engine.config, engine.host)
        events = add_events(account, keys, engine.host)
        done = [f"{account.name} can log in with {_name(event.key)}" for event in events]
        context.carry_out(
            engine,
            events,
            done,
            f"{account.name} has {'this key' if len(keys) == 1 else 'these keys'} already",
        )
    return context.close(0)


def _name(key: Key) -> str:
    return f"{key.fingerprint} {key.comment}".rstrip()


def remove(context: Context) -> int:
    """Fire on_key_remove for each key that is named."""
    with context.engine() as engine:
        account = _account(context.arguments.user, engine.config, engine.host)
        keys = list(present(account, engine.host).values())
        chosen: dict[str, Key] = {}
        for wanted in context.arguments.keys:
            found = [key for key in keys if wanted in (key.fingerprint, key.comment)]
            if len(found) > 1:
                prints = " ".join(key.fingerprint for key in found)
                raise SftpJailError(
                    f"{account.name} has {len(found)} keys called {wanted!r}: {prints}; "
                    "name one by that"
                )
            chosen |= {key.fingerprint: key for key in found}
        events = [OnKeyRemove(account, key) for key in chosen.values()]
        done = [f"{account.name} can no longer log in with {_name(key)}" for key in chosen.values()]
        context.carry_out(engine, events, done, f"{account.name} has no such key")
    return context.close(0)


def list_keys(context: Context) -> int:
    """Print the keys."""
    with context.engine(reading=True) as engine:
        account = _account(context.arguments.user, engine.config, engine.host)
        keys = list(present(account, engine.host).values())
    context.answers["keys"] = [
        {
            "type": k.type,
            "bits": k.bits,
            "fingerprint": k.fingerprint,
            "comment": k.comment,
            "options": list(k.options),
        }
        for k in keys
    ]
    if not keys:
        context.say([f"{account.name} has no key"])
    rows = [(k.type, str(k.bits), k.fingerprint, ",".join(k.options), k.comment) for k in keys]
    context.table(("TYPE", "BITS", "FINGERPRINT", "OPTIONS", "COMMENT"), rows)
    return context.close(0)


def migrate(context: Context) -> int:
    """Take keys from homes to the new place.

    The old file gets another name only after the new one is on the disk.
    """
    given = context.arguments
    if bool(given.user) == given.all:
        raise UsageError("key migrate wants one USER, or --all")
    with context.engine() as engine:
        config, host = engine.config, engine.host
        accounts = (
            list(jailed(config, host).values())
            if given.all
            else [_account(given.user, config, host)]
        )
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

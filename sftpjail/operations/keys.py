"""Which keys an account has, and the events that add and migrate some."""

from __future__ import annotations

from dataclasses import replace

from ..config import keyfile
from ..engine.engine import Engine
from ..engine.plan import Event, OnKeyAdd, OnKeyMigrate
from ..errors import SftpJailError
from ..host import Host
from ..model import Account, Key
from ..openssh import public_keys

SHOWN = 8  # bad lines of one file


def read_keys(texts: dict[str, str], host: Host) -> list[Key]:
    """Return the keys of all texts, by their source.

    One bad line refuses them all, so that nobody overlooks it.

    Raises:
        SftpJailError: a line is no key, or one that may not open a jail.
    """
    keys: dict[str, Key] = {}
    for source, text in texts.items():
        found, problems = public_keys.read(
            text, host, "standard input" if source == "-" else source
        )
        if problems:
            more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
            raise SftpJailError("no key was added: " + "; ".join([*problems[:SHOWN], *more]))
        if not found:
            raise SftpJailError(f"{source} has no key")
        for key in found:
            keys.setdefault(public_keys.blob(key), key)
    return list(keys.values())


def present(account: Account, host: Host) -> dict[str, Key]:
    """Return the keys in the account's file by what makes them the same key.

    Broken lines are skipped.
    """
    text = host.text(keyfile(account.name))
    lines = text.split("\n")
    (entries,) = public_keys.survey([text], host)
    # With the line exactly as it stands there, by which it is found again.
    return {
        public_keys.blob(e.key): replace(e.key, line=lines[e.number - 1]) for e in entries if e.key
    }


def add_events(account: Account, keys: list[Key], host: Host) -> list[OnKeyAdd]:
    """Return the events that add the keys that are not there yet.

    Raises:
        SftpJailError: a key is there with other options.
    """
    there = present(account, host)
    for key in keys:
        known = there.get(public_keys.blob(key))
        if known and known.options != key.options:
            raise SftpJailError(
                f"{account.name} has the key {key.fingerprint} already, with other options",
                f"sftpjail key remove {account.name} {key.fingerprint}",
            )
    return [OnKeyAdd(account, key) for key in keys if public_keys.blob(key) not in there]


def old_place(account: Account) -> str:
    """Return where the account's keys are by default."""
    return f"{account.home.rstrip('/')}/.ssh/authorized_keys"


def migrate_events(account: Account, engine: Engine) -> tuple[list[Event], list[str]]:
    """Return the events that move an account's keys, and what is wrong with those that stay behind.

    Raises:
        SftpJailError: the old file cannot safely be read.
    """
    path = old_place(account)
    data = engine.host.owned.read(path, account.uid, account.home)
    if data is None:
        return [], []
    keys, problems = public_keys.read(data.decode("utf-8", "surrogateescape"), engine.host, path)
    events: list[Event] = [*add_events(account, keys, engine.host)]
    if account.profile is not None and not problems:
        events.append(OnKeyMigrate(account, path))
    return events, problems

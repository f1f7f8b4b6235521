"""The events that put one transaction back, or why none do.

They are planned as any other, from what the host is now: nothing is replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engine.engine import Engine
from ..engine.history import Entry, undone_by
from ..engine.plan import Event, OnKeyAdd, OnKeyRemove, OnMount, OnUnmount, OnUserRemove
from ..errors import SftpJailError
from ..jails.membership import find_jailed
from ..model import Account, Bind, inside
from ..openssh.public_keys import read
from .keys import present

# What is undone by another command, and by which.
INSTEAD = {
    "add": "sftpjail remove --delete-account USER",
    "adopt": "sftpjail remove USER",
    "remove": "sftpjail adopt USER",
    "setup": "sftpjail teardown",
    "teardown": "sftpjail setup",
}
_UNDONE = {"mount", "umount", "key add", "key remove", "undo"}


def chosen(entries: Sequence[Entry], number: int | None) -> Entry:
    """Return the transaction that is to be undone.

    Args:
        entries: the history.
        number: its id; None for the last one.

    Raises:
        SftpJailError: there is none, it is undone already, or it cannot be undone.
    """
    found = [entry for entry in entries if number in (None, entry["id"])]
    if not found:
        words = "the history is empty" if number is None else f"there is no transaction {number}"
        raise SftpJailError(words, "sftpjail history")
    entry = found[-1]
    later = undone_by(entries).get(entry["id"])
    if later is not None:
        raise SftpJailError(f"transaction {entry['id']} is undone already, by {later}")
    if entry["command"] not in _UNDONE:
        instead = INSTEAD.get(entry["command"], "")
        raise SftpJailError(
            f"transaction {entry['id']} is of {entry['command'] or 'no command'},"
            " which undo does not put back",
            advice=f"what does: {instead}" if instead else "",
        )
    return entry


def undo_events(entry: Entry, entries: Sequence[Entry], engine: Engine) -> list[Event]:
    """Return the events that put a transaction back.

    Args:
        entry: from `chosen`.
        entries: the history.
        engine: with the facts of now.

    Raises:
        SftpJailError: a later transaction builds on it, or what it made was changed since.
    """
    _refuse_later(entry, entries)
    events: list[Event] = []
    for kept in reversed(entry["undo"]):
        account = find_jailed(kept["account"], engine.config, engine.host)
        if account.uid != kept["uid"]:
            raise SftpJailError(
                f"{account.name} has the uid {account.uid} now, and had {kept['uid']}"
            )
        about = _of_bind if "bind" in kept else _of_key
        events.append(about(kept, account, engine))
    return events


def _refuse_later(entry: Entry, entries: Sequence[Entry]) -> None:
    """Refuse what a later transaction that is still in force builds on."""
    undone = undone_by(entries)
    for later in entries:
        if later["id"] <= entry["id"] or later["id"] in undone or "reverts" in later:
            continue
        for kept in entry["undo"]:
            if any(_builds_on(other, kept) for other in later["undo"]):
                raise SftpJailError(
                    f"transaction {later['id']} came later and builds on {entry['id']}",
                    f"sftpjail history {kept['account']}",
                )


def _builds_on(later: dict[str, Any], kept: dict[str, Any]) -> bool:
    if later.get("account") != kept["account"]:
        return False
    if "bind" in later and "bind" in kept:
        return inside(later["bind"]["target"], kept["bind"]["target"])
    if "key" in later and "key" in kept:
        return bool(later["key"] == kept["key"])
    return bool(later["event"] == OnUserRemove.hook)


def _of_bind(kept: dict[str, Any], account: Account, engine: Engine) -> Event:
    was = Bind(**kept["bind"] | {"options": tuple(kept["bind"]["options"])})
    there = [bind for bind in engine.host.binds(account.name) if inside(bind.target, was.target)]
    now = next((bind for bind in there if bind.target == was.target), None)
    if kept["event"] == OnUnmount.hook:
        if now is not None:
            raise SftpJailError(f"{now.source} is mounted at {was.target} now")
        return OnMount(account, was)
    if now is None or (now.source, now.read_only) != (was.source, was.read_only):
        raise SftpJailError(f"the mount at {was.target} was changed or removed since")
    if len(there) > 1:
        raise SftpJailError(f"there is a mount below {was.target}")
    return OnUnmount(account, now)


def _of_key(kept: dict[str, Any], account: Account, engine: Engine) -> Event:
    there = {key.line: key for key in present(account, engine.host).values()}
    key = there.get(kept["key"])
    if kept["event"] == OnKeyAdd.hook:
        if key is None:
            raise SftpJailError(f"the key of {account.name} was changed or removed since")
        return OnKeyRemove(account, key)
    if key is not None:
        raise SftpJailError(f"{account.name} has this key again already")
    keys, problems = read(kept["key"], engine.host, "the history")
    if problems or len(keys) != 1:
        raise SftpJailError(f"the key of {account.name} is none that would be added now")
    return OnKeyAdd(account, keys[0])

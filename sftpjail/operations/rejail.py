"""Restore a jail that a transaction removed, from the data in the history."""

from __future__ import annotations

from dataclasses import replace
from shlex import quote
from typing import Any

from ..actions import Action, CloseAccount
from ..engine.engine import Engine
from ..engine.plan import (
    Event,
    OnKeyAdd,
    OnKeyMigrate,
    OnMount,
    OnUserConnections,
    OnUserKeep,
    OnUserLimit,
    OnUserQuota,
    Step,
)
from ..errors import SftpJailError
from ..errors.escapes import look_at
from ..jails import activity
from ..jails.closing import JAIL, close
from ..jails.guards import guard
from ..model import Account, Bind, Closed, frozen, outer_first
from ..openssh.public_keys import blob
from .events import create_events
from .keys import keys_in, migrate_events, old_place, present


@frozen
class Rejail:
    """The events and additional steps that restore a jail.

    `opened` and `stays` are sentences: who is let in, and who stays shut out.
    """

    events: list[Event]
    also: list[Step]
    opened: list[str]
    stays: list[str]


def jail_again(account: Account, item: dict[str, Any], engine: Engine, with_setup: bool) -> Rejail:
    """Return what restores a jail.

    Args:
        account: as it is now, or as it will be when it is restored.
        item: the history's data of the jail; see memory.py.
        engine: with the facts.
        with_setup: the same plan sets the host up.

    Raises:
        SftpJailError: it is jailed already, or may not be jailed.
    """
    host, name = engine.host, account.name
    if account.profile is not None and not item["deleted"]:
        raise SftpJailError(f"{name} is jailed again already", look_at(f"sftpjail show {name}"))
    profile = engine.config.profile(item["profile"])
    renamed = _still_renamed(item, engine) if item["deleted"] else ()
    said = {"forced": item["forced"], "kept": tuple(item["kept"]), "renamed": renamed}
    account = replace(account, profile=profile, **said)
    guard(account, host)
    ready = with_setup or (host.records.is_set_up and host.group(profile.group) is not None)
    if not ready and profile.group:
        raise SftpJailError(f"this host is not set up for the jail of {name}", "sftpjail setup")
    works = activity.unwanted(account, host, jailed=False) if host.account(name) else []
    if works:
        words = f"{name} has {activity.listed(works)} by now, which a jail would not confine"
        raise SftpJailError(words, f"sftpjail adopt {name}")
    keys, behind = _key_events(account, item, engine)
    binds = [Bind(**bind | {"options": tuple(bind["options"])}) for bind in item["binds"]]
    known = {bind.target for bind in host.binds(name)}
    events = [
        *create_events(account, host, engine.manager),
        *keys,
        *(OnMount(account, bind) for bind in outer_first(binds) if bind.target not in known),
        *_limits(account, item),
    ]
    shut = item["closed"] is not None and item["closed"]["until"] != JAIL
    closing = []
    if shut:
        closing = _shut(account, item, engine)
    also = [Step(a, "accounts", name) for a in closing if a.pending(host, name)]
    stays = [*behind, *_unretained(name, item)]
    now = host.origin(name).closed
    if now is not None and now.until != JAIL:
        # sshd rereads its Match blocks only after the commit, so this must not let anybody in.
        opens = f"usermod -e {quote(now.expire or '')} {quote(name)}"
        stays.insert(0, f"{name} is still shut out, and {opens} lets it in")
        return Rejail(events, also, [], stays)
    opened = [] if shut else [_words(account, keys)]
    return Rejail(events, also, opened, stays)


def _limits(account: Account, item: dict[str, Any]) -> list[Event]:
    """Return the events that limit an account as before; earlier histories do not have them all."""
    had = tuple(item.get("addresses", ()))
    most, size = int(item.get("most", 0)), item.get("size")
    return [
        *([OnUserLimit(account, had)] if had else []),
        *([OnUserConnections(account, most)] if most else []),
        *([OnUserKeep(account, True)] if item.get("keep") else []),
        *([OnUserQuota(account, size)] if size is not None else []),
    ]


def _unretained(name: str, item: dict[str, Any]) -> list[str]:
    """Return that nothing of an account is deleted for its age any more, and what was set."""
    ages = " ".join(f"--retention {quote(f'{path}={days}d')}" for path, days in ages_before(item))
    if not ages:
        return []
    return [f"old files of {name} are kept until sftpjail set {quote(name)} {ages}"]


def _still_renamed(item: dict[str, Any], engine: Engine) -> tuple[tuple[str, str], ...]:
    """Return the names now and before of the files that `remove --delete-account` left renamed."""
    there = engine.host.lstat
    names = zip(item.get("now", ()), item["renamed"], strict=False)  # not in earlier histories
    return tuple((now, was) for now, was in names if there(now) is not None and there(was) is None)


def _key_events(
    account: Account, item: dict[str, Any], engine: Engine
) -> tuple[list[Event], list[str]]:
    """Return the events that add its former keys, and retire the file in its home again.

    Returns:
        also what to say of keys in that file that the jail has not had: somebody has removed them,
        or they came later.
    """
    had = keys_in(item["keyfile"], engine.host)
    there = present(account, engine.host)
    events: list[Event] = [OnKeyAdd(account, key) for at, key in had.items() if at not in there]
    if old_place(account) not in item["renamed"]:
        return events, []
    more, problems = migrate_events(account, engine)
    if problems:
        raise SftpJailError("; ".join(problems))
    events += [event for event in more if isinstance(event, OnKeyMigrate)]
    others = [event.key for event in more if isinstance(event, OnKeyAdd)]
    prints = ", ".join(key.fingerprint for key in others if blob(key) not in had)
    return events, [f"{account.name} cannot log in with {prints} of its home"] if prints else []


def _shut(account: Account, item: dict[str, Any], engine: Engine) -> list[Action]:
    """Return the actions that shut an account out as it was when it was jailed."""
    before = Closed(**item["closed"])
    return [
        replace(action, closed=before) if isinstance(action, CloseAccount) else action
        for action in close(account, before.why, before.by, engine.host, before.until)
    ]


def _words(account: Account, keys: list[Event]) -> str:
    """Return a sentence that says who can log in again, and with which keys."""
    prints = [event.key.fingerprint for event in keys if isinstance(event, OnKeyAdd)]
    with_keys = ""
    if prints:
        with_keys = f" with {', '.join(prints)}"
    return f"{account.name} can log in to its jail again{with_keys}"


def ages_before(item: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    """Return the directories that lost their old files, with the age in days."""
    return tuple((directory, int(days)) for directory, days in item.get("ages", ()))

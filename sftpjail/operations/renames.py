"""After `usermod -l`: give each account its jail, keys and record under its new name."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from ..engine.engine import Engine
from ..engine.plan import Event, OnUserRename
from ..errors import SftpJailError
from ..host import Host
from ..jails.former_names import (
    account_with_recorded_uid,
    former_name,
    is_same_person,
    only_says_shut,
)
from ..jails.leftovers import leftover
from ..jails.membership import find, former_user
from ..model import Account, frozen
from .events import forget_events


@frozen
class Renaming:
    """One of the transactions that rename an account.

    `account` has the new name. `done` is a sentence that says what was done.
    """

    account: Account
    events: tuple[Event, ...]
    done: str


def waiting(engine: Engine, sure: Collection[str] = ()) -> Iterator[tuple[Account, str]]:
    """Yield the accounts that our records have under a former name, with that name.

    An account that `match_user` has under that name too keeps it in our records until somebody
    changes the configuration: nothing else says that it is to be jailed.

    Args:
        engine: with the facts.
        sure: accounts that an administrator has confirmed to be the same person. For others, the
            records prove it.
    """
    host = engine.host
    for old in host.records.recorded:
        account = account_with_recorded_uid(old, host)
        if account is None or not _is_waiting(account, old, host, sure):
            continue
        if not former_user(find(account.name, engine.config, host), host):
            yield account, old


def _is_waiting(account: Account, old: str, host: Host, sure: Collection[str]) -> bool:
    """Return whether an account is, certainly or by an administrator's word, the former OLD.

    This is False if a record is damaged, which is reported when its jail is planned.
    """
    try:
        known = former_name(account, host) == old
        return known and (account.name in sure or is_same_person(account, old, host))
    except SftpJailError:
        return False


def next_renaming(
    engine: Engine, sure: Collection[str] = (), failed: Collection[str] = ()
) -> Renaming | None:
    """Return the next transaction, or None if there is nothing left to do.

    If b was renamed to c and then a to b, c comes first.

    Args:
        engine: with the facts.
        sure: as in `waiting`.
        failed: the accounts to leave out, because they have failed.
    """
    pairs = [(one, old) for one, old in waiting(engine, sure) if one.name not in failed]
    free = [pair for pair in pairs if account_with_recorded_uid(pair[0].name, engine.host) is None]
    account, old = next(iter(free or pairs), (None, ""))
    if not account:
        return None
    return turn(account, old, engine)


def turn(account: Account, old: str, engine: Engine) -> Renaming:
    """Return the next transaction for one account.

    There may be another record under its new name: that of an account that was renamed too, or of a
    deleted one.
    """
    name, host = account.name, engine.host
    other = account_with_recorded_uid(name, host)
    if other is not None:
        events = make_way(name, engine)
        return Renaming(account, tuple(events), f"what {other.name} had as {name} makes way")
    own = host.origin(name)
    if (own.uid >= 0 and not only_says_shut(own)) or host.binds(name):
        done = f"what an earlier {name} left is removed"
        return Renaming(account, tuple(forget_events(name, engine)), done)
    event = rename_event(account, old, engine)
    return Renaming(account, (event,), f"{old} is {name} now, and so is all of its own")


def clash(account: Account, engine: Engine) -> SftpJailError | None:
    """Return why an account that was certainly renamed cannot get its jail and keys, or None."""
    try:
        old = former_name(account, engine.host)
        engine.plan(turn(account, old, engine).events)
    except SftpJailError as error:
        return error
    return None


def make_way(name: str, engine: Engine) -> list[Event]:
    """Return the events that free a name from its former account's records, for a new account.

    If the former account has another name now, its records are kept under its uid; see `waiting`.
    If it was deleted, they are removed, above all its keys.
    """
    other = account_with_recorded_uid(name, engine.host)
    if other is None:
        return forget_events(name, engine)
    parked = f"{name}.uid{other.uid}"
    event = rename_event(other, name, engine)
    return [replace(event, account=replace(event.account, name=parked))]


def rename_event(account: Account, old: str, engine: Engine) -> OnUserRename:
    """Return the event that renames what belongs to an account to its present name.

    Args:
        account: it may no longer be jailed.
        old: its former name.
        engine: with the facts.
    """
    known = find(account.name, engine.config, engine.host)
    if known.profile is None:
        known = replace(known, profile=leftover(old, engine.config, engine.host).profile)
    return OnUserRename(known, old)

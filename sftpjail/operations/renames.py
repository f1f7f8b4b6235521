"""What is done after usermod -l: each account gets what is its own under its new name."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from ..engine.engine import Engine
from ..engine.plan import Event, OnUserRename
from ..errors import SftpJailError
from ..host import Host
from ..jails.leftovers import former_name, heir, leftover
from ..jails.membership import find
from ..jails.renames import is_same_person
from ..model import Account
from .events import forget_events


@dataclass(frozen=True)
class Turn:
    """One transaction on the way of an account to its new name.

    `account` has that name; `done` says in words what was done.
    """

    account: Account
    events: tuple[Event, ...]
    done: str


def waiting(host: Host, sure: Collection[str] = ()) -> Iterator[tuple[Account, str]]:
    """Yield the accounts that are not yet known by their new name, each with the former one.

    Args:
        host: the facts.
        sure: of whom an administrator says that it is the same person. Of others it is certain.
    """
    for old in host.records.recorded():
        account = heir(old, host)
        if account is not None and _is_waiting(account, old, host, sure):
            yield account, old


def _is_waiting(account: Account, old: str, host: Host, sure: Collection[str]) -> bool:
    """Return whether an account is for certain, or by somebody's word, the one that had a name.

    Of a damaged record nothing is certain; that is reported where its jail is planned.
    """
    try:
        known = former_name(account, host) == old
        return known and (account.name in sure or is_same_person(account, old, host))
    except SftpJailError:
        return False


def next_turn(
    engine: Engine, sure: Collection[str] = (), failed: Collection[str] = ()
) -> Turn | None:
    """Return what is to be done next, until there is nothing.

    Where b was renamed to c, and a to b then, c goes first.

    Args:
        engine: with the facts.
        sure: as in `waiting`.
        failed: the names of those that are given up.
    """
    pairs = [(one, old) for one, old in waiting(engine.host, sure) if one.name not in failed]
    free = [pair for pair in pairs if heir(pair[0].name, engine.host) is None]
    account, old = next(iter(free or pairs), (None, ""))
    return turn(account, old, engine) if account else None


def turn(account: Account, old: str, engine: Engine) -> Turn:
    """Return what is to be done next for one account.

    Its new name may be that of somebody else's record: of an account that has another name now,
    too, or of one that is gone.
    """
    name, host = account.name, engine.host
    other = heir(name, host)
    if other is not None:
        events = make_way(name, engine)
        return Turn(account, tuple(events), f"what {other.name} had as {name} makes way")
    if host.origin(name).uid >= 0 or host.binds(name):
        done = f"what an earlier {name} left is removed"
        return Turn(account, tuple(forget_events(name, engine)), done)
    event = rename_event(account, old, engine)
    return Turn(account, (event,), f"{old} is {name} now, and so is all of its own")


def clash(account: Account, engine: Engine) -> SftpJailError | None:
    """Return why an account that was renamed for certain cannot have what is its own, or None."""
    try:
        old = former_name(account, engine.host)
        engine.plan(turn(account, old, engine).events)
    except SftpJailError as error:
        return error
    return None


def make_way(name: str, engine: Engine) -> list[Event]:
    """Return the events after which nothing is left of whoever had a name, for somebody new.

    What is of an account that has another name now is kept for it, by its uid; see `waiting`. What
    is of an account that is gone is taken away, its keys above all.
    """
    other = heir(name, engine.host)
    if other is None:
        return forget_events(name, engine)
    parked = f"{name}.uid{other.uid}"
    event = rename_event(other, name, engine)
    return [replace(event, account=replace(event.account, name=parked))]


def rename_event(account: Account, old: str, engine: Engine) -> OnUserRename:
    """Return the event that gives what is an account's own its present name.

    Args:
        account: it need not be jailed any more.
        old: the name it had.
        engine: with the facts.
    """
    known = find(account.name, engine.config, engine.host)
    if known.profile is None:
        known = replace(known, profile=leftover(old, engine.config, engine.host).profile)
    return OnUserRename(known, old)

"""The origin records: what we made, and what was there before us, so that it can be given back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..actions import Action, DeleteAccount, MakeDir, Move, Remove, WriteFile
from ..formats.origin_record import render_origin
from ..host import Host
from ..model import Origin, inside
from ..paths import ACCOUNTS, HOST_RECORD
from .kinds import Draft, kind_of
from .plan import OURS, Event, OnUserRemove, OnUserRename, Step, blaming


def records(steps: Sequence[Step], events: Sequence[Event], host: Host) -> list[Step]:
    """Return the steps that keep the origin records: what we made, and what was there before us."""
    about = _About(events)
    found = [_left_behind(event, host) for event in about.renames.values() if _moves(event, host)]
    for owner, taken in about.by_owner(steps).items():
        new = _outcome(owner, taken, about, host)
        path = f"{ACCOUNTS}/{owner}" if owner else HOST_RECORD
        if new == Origin():
            record: Action = Remove(path, ours=True)
        else:
            record = WriteFile(path, render_origin(new), mode=0o600)
        if new != host.origin(owner) and record.pending(host, owner):
            found.append(Step(record, OURS, owner))
    directory = MakeDir(ACCOUNTS, 0o700)
    if any(step.owner for step in found) and directory.pending(host, ""):
        found.append(Step(directory, OURS))
    return found


class _About:
    """Whom a plan's events are about, and what becomes of them."""

    def __init__(self, events: Sequence[Event]) -> None:
        removals = [event for event in events if isinstance(event, OnUserRemove)]
        self.leaving = {event.account.name: event.account for event in removals}
        self.unjailed = {event.account.name for event in removals if not event.deleted}
        self.accounts = {event.about.name: event.about for event in events if event.about}
        renames = [event for event in events if isinstance(event, OnUserRename)]
        self.renames = {event.account.name: event for event in renames}

    def by_owner(self, steps: Sequence[Step]) -> dict[str, list[Step]]:
        """Return whose records may change, and by which steps."""
        found: dict[str, list[Step]] = {name: [] for name in self.leaving}
        for step in steps:
            found.setdefault(step.owner, []).append(step)
        # An administrator's word, though nothing else may change.
        said = [name for name, account in self.accounts.items() if account.kept is not None]
        for name in (*said, *self.renames):
            found.setdefault(name, [])
        return found


def _outcome(owner: str, taken: Sequence[Step], about: _About, host: Host) -> Origin:
    """Return the record of somebody as it will be after some steps; an empty one goes."""
    old = host.origin(owner)
    if owner in about.renames:
        old = _renamed(about.renames[owner], taken, host)
    account = about.accounts.get(owner)
    forced = old.forced or bool(account and account.forced)
    kept = old.kept if account is None or account.kept is None else account.kept
    new = replace(_merged(old, taken, host), forced=forced, kept=kept)
    gone = owner in about.leaving and not about.leaving[owner].exists
    if gone or owner in about.unjailed:
        # Everything was given back, or can be no more; of an account that is gone, what it
        # left is still ours. One that is only about to be deleted keeps its record:
        # userdel may yet refuse.
        left = (path for path in new.made if gone and host.lstat(path) is not None)
        deleted = any(isinstance(step.action, DeleteAccount) for step in taken)
        kept_shut = _of_namesake(owner, old, host) if gone and not deleted else Origin()
        return replace(kept_shut, made=tuple(left))
    if new == Origin():
        return new
    settled = old.uid >= 0 and owner not in about.renames
    return replace(new, uid=old.uid if settled or not account else account.uid)


def _of_namesake(owner: str, old: Origin, host: Host) -> Origin:
    """Return what of an earlier account's record is about the one that has the name now.

    That is shut out until it has a jail, and its home is to be its own after that.
    """
    account = host.account(owner)
    if account is None or old.closed is None or not host.expiry(owner):
        return Origin()
    home = host.realpath(account.home)
    owners = {p: (account.uid, g, m) for p, (u, g, m) in old.owners.items() if p == home}
    return Origin(closed=old.closed, owners=owners)


def _moves(event: OnUserRename, host: Host) -> bool:
    """Return whether an account's record is still under its former name."""
    account = event.account
    return event.old != account.name and host.origin(event.old).uid == account.uid


def _is_shut(event: OnUserRename, host: Host) -> bool:
    """Return whether whoever has an account's former name by now is shut out, and not the account.

    Then the record says so of the former, who had no other.
    """
    now = host.people.name_of(event.account.uid) or event.account.name
    return event.old in host.accounts and bool(host.expiry(event.old)) > bool(host.expiry(now))


def _left_behind(event: OnUserRename, host: Host) -> Step:
    """Return the step after which nothing of an account is in the record of its former name."""
    path = f"{ACCOUNTS}/{event.old}"
    closed = host.origin(event.old).closed
    if closed is None or not _is_shut(event, host):
        return Step(Remove(path, ours=True), OURS, event.account.name)
    left = render_origin(Origin(closed=closed))
    return Step(WriteFile(path, left, mode=0o600), OURS, event.account.name)


def _renamed(event: OnUserRename, steps: Sequence[Step], host: Host) -> Origin:
    """Return the record of an account under its new name, with the new paths of what is moved."""
    before = host.origin(event.account.name)
    if not _moves(event, host):
        return before
    origin = host.origin(event.old)
    moves = [step.action for step in steps if isinstance(step.action, Move)]
    moved = {move.path: move.to for move in moves}

    def now(path: str) -> str:
        return next(
            (new + path.removeprefix(was) for was, new in moved.items() if inside(path, was)), path
        )

    return replace(
        origin,
        closed=before.closed or (None if _is_shut(event, host) else origin.closed),
        made=tuple(now(path) if path.startswith("/") else path for path in origin.made),
        owners={now(path): owner for path, owner in origin.owners.items()},
        renamed={now(path): now(was) for path, was in origin.renamed.items()},
    )


def _merged(old: Origin, steps: Sequence[Step], host: Host) -> Origin:
    """Return a record as it is after some actions.

    What they take from the host comes in, what they give back goes.
    """
    draft = Draft(old)
    for step in steps:
        with blaming(step):
            kind_of(step.action).remember(step.action, host, draft)
    return draft.record()

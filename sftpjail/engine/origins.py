"""The origin records: what we made, and what was there before us, so that it can be given back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..actions import Action, MakeDir, Remove, WriteFile
from ..formats.origin_record import render_origin
from ..host import Host
from ..model import Origin
from ..paths import ACCOUNTS, HOST_RECORD
from .kinds import Draft, kind_of
from .plan import OURS, Event, OnUserRemove, Step, blaming


def records(steps: Sequence[Step], events: Sequence[Event], host: Host) -> list[Step]:
    """Return the steps that keep the origin records: what we made, and what was there before us."""
    removals = [event for event in events if isinstance(event, OnUserRemove)]
    leaving = {event.account.name: event.account for event in removals}
    unjailed = {event.account.name for event in removals if not event.deleted}
    accounts = {event.about.name: event.about for event in events if event.about}
    by_owner: dict[str, list[Step]] = {name: [] for name in leaving}
    for step in steps:
        by_owner.setdefault(step.owner, []).append(step)
    for name, jailed in accounts.items():
        if jailed.kept is not None:  # an administrator's word, though nothing else may change
            by_owner.setdefault(name, [])
    found = []
    for owner, taken in by_owner.items():
        old = host.origin(owner)
        account = accounts.get(owner)
        forced = old.forced or bool(account and account.forced)
        kept = old.kept if account is None or account.kept is None else account.kept
        new = replace(_merged(old, taken, host), forced=forced, kept=kept)
        gone = owner in leaving and not leaving[owner].exists
        if gone or owner in unjailed:
            # Everything was given back, or can be no more; of an account that is gone, what it
            # left is still ours. One that is only about to be deleted keeps its record:
            # userdel may yet refuse.
            left = (path for path in new.made if gone and host.lstat(path) is not None)
            new = Origin(made=tuple(left))
        path = f"{ACCOUNTS}/{owner}" if owner else HOST_RECORD
        if new != Origin() and owner not in unjailed and not gone:
            new = replace(new, uid=account.uid if account and old.uid < 0 else old.uid)
        if new == Origin():
            record: Action = Remove(path, ours=True)
        else:
            record = WriteFile(path, render_origin(new), mode=0o600)
        if new != old and record.pending(host, owner):
            found.append(Step(record, OURS, owner))
    directory = MakeDir(ACCOUNTS, 0o700)
    if any(step.owner for step in found) and directory.pending(host, ""):
        found.append(Step(directory, OURS))
    return found


def _merged(old: Origin, steps: Sequence[Step], host: Host) -> Origin:
    """Return a record as it is after some actions.

    What they take from the host comes in, what they give back goes.
    """
    draft = Draft(old)
    for step in steps:
        with blaming(step):
            kind_of(step.action).remember(step.action, host, draft)
    return draft.record()

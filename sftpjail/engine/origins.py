"""The origin records: what we made, and what was there before us, so that it can be restored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..actions import Action, DeleteAccount, DeleteAccounts, MakeDir, Move, Remove, WriteFile
from ..formats.origin_record import render_origin
from ..host import Host
from ..model import Origin, inside
from ..paths import ACCOUNTS, HOST_RECORD
from .kinds import OriginDraft, kind_of
from .plan import OURS, Event, OnUserCreate, OnUserRemove, OnUserRename, Step, blaming


def records(steps: Sequence[Step], events: Sequence[Event], host: Host) -> list[Step]:
    """Return the steps that update the origin records after other steps."""
    about = _About(events)
    found = [_left_behind(event, host) for event in about.renames.values() if _moves(event, host)]
    for owner, taken in about.by_owner(steps, host).items():
        new = _outcome(owner, taken, about, host)
        path = HOST_RECORD
        if owner:
            path = f"{ACCOUNTS}/{owner}"
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
    """The accounts that a plan's events are about: which are removed, renamed or still jailed."""

    def __init__(self, events: Sequence[Event]) -> None:
        removals = [event for event in events if isinstance(event, OnUserRemove)]
        self.leaving = {event.account.name: event.account for event in removals}
        self.unjailed = {event.account.name for event in removals if not event.deleted}
        self._groups: dict[str, tuple[str, int] | None] = {}
        self.accounts = {event.about.name: event.about for event in events if event.about}
        creations = [event for event in events if isinstance(event, OnUserCreate)]
        self.jailed = {event.account.name for event in creations} - self.leaving.keys()
        renames = [event for event in events if isinstance(event, OnUserRename)]
        self.renames = {event.account.name: event for event in renames}

    def by_owner(self, steps: Sequence[Step], host: Host) -> dict[str, list[Step]]:
        """Return the owners whose records may change, with the steps that change them."""
        found: dict[str, list[Step]] = {name: [] for name in self.leaving}
        for step in steps:
            found.setdefault(step.owner, []).append(step)
            if isinstance(step.action, DeleteAccounts):
                for name in step.action.names:
                    found.setdefault(name, []).append(step)
        # What an administrator has said is recorded even if nothing else changes.
        said = [name for name, account in self.accounts.items() if account.kept is not None]
        # So is the group of a jail that was made before records had it, or whose gid has changed.
        others = [name for name in self.jailed if self._is_outdated(name, host)]
        for name in (*said, *self.renames, *others):
            found.setdefault(name, [])
        return found

    def group(self, name: str, host: Host) -> tuple[str, int] | None:
        """Return the name and the gid of the group by which an account is jailed, if it is there.

        Each group is looked for once: the name services are slow where it has many members.
        """
        account = self.accounts.get(name)
        wanted = ""
        if account and account.profile:
            wanted = account.profile.group
        if wanted not in self._groups:
            group = None
            if wanted:
                group = host.group(wanted)
            if group:
                self._groups[wanted] = (group.name, group.gid)
            else:
                self._groups[wanted] = None
        return self._groups[wanted]

    def _is_outdated(self, name: str, host: Host) -> bool:
        """Return whether an account's record is to name another group than it does."""
        origin, group = host.origin(name), self.group(name, host)
        return origin.uid >= 0 and group is not None and (origin.group, origin.gid) != group


def _outcome(owner: str, taken: Sequence[Step], about: _About, host: Host) -> Origin:
    """Return an owner's record after some steps. An empty record is to be removed."""
    old = host.origin(owner)
    if owner in about.renames:
        old = _renamed(about.renames[owner], taken, host)
    account = about.accounts.get(owner)
    forced = old.forced or bool(account and account.forced)
    if account is None or account.kept is None:
        kept = old.kept
    else:
        kept = account.kept
    new = replace(_merged(old, taken, host), forced=forced, kept=kept)
    if account is not None and account.renamed:
        new = replace(new, renamed={**new.renamed, **dict(account.renamed)})
    gone = owner in about.leaving and not about.leaving[owner].exists
    if gone or owner in about.unjailed:
        # Everything was restored, or no longer can be. Of an account that no longer exists, the
        # files that are still there stay in the record. One about to be deleted keeps its record,
        # because userdel may still refuse.
        left = (path for path in new.made if gone and host.lstat(path) is not None)
        deleted = any(isinstance(step.action, DeleteAccount | DeleteAccounts) for step in taken)
        if gone and not deleted:
            kept_shut = _of_namesake(owner, old, host)
        else:
            kept_shut = Origin()
        return replace(kept_shut, made=tuple(left))
    if new == Origin():
        return new
    settled = old.uid >= 0 and owner not in about.renames
    group, gid = about.group(owner, host) or (old.group, old.gid)
    if settled or not account:
        uid = old.uid
    else:
        uid = account.uid
    return replace(new, uid=uid, group=group, gid=gid)


def _of_namesake(owner: str, old: Origin, host: Host) -> Origin:
    """Return the parts of a former account's record that concern the one that has its name now.

    That account is shut out until it has a jail, and then owns its home.
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
    """Return whether the account that has the former name now is shut out, and not the renamed one.

    If so, the record's `closed` is about that account, which has no record of its own.
    """
    now = host.people.name_of(event.account.uid) or event.account.name
    return event.old in host.accounts and bool(host.expiry(event.old)) > bool(host.expiry(now))


def _left_behind(event: OnUserRename, host: Host) -> Step:
    """Return the step that removes a renamed account from the record of its former name."""
    path = f"{ACCOUNTS}/{event.old}"
    closed = host.origin(event.old).closed
    if closed is None or not _is_shut(event, host):
        return Step(Remove(path, ours=True), OURS, event.account.name)
    left = render_origin(Origin(closed=closed))
    return Step(WriteFile(path, left, mode=0o600), OURS, event.account.name)


def _renamed(event: OnUserRename, steps: Sequence[Step], host: Host) -> Origin:
    """Return the record of an account under its new name, with the paths of moved files updated."""
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
    """Return a record after some steps: what they take is added, what they restore is removed."""
    draft = OriginDraft(old)
    for step in steps:
        with blaming(step):
            kind_of(step.action).remember(step.action, host, draft)
    return draft.record()

"""The plans that carry out a file of accounts. Each is made after the one before is done.

First come new accounts, passwords, comments, and mounts that must be removed to make room for
others; then jails, expiry dates, keys and mounts; then what each may store, and last the accounts
that are shut out or let in. If no account is new, and no step is in the way of a later one, there
is only one plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from ...actions import AddAccount
from ...engine.engine import Engine, Stage
from ...engine.plan import (
    Event,
    OnMount,
    OnUserDisable,
    OnUserExpire,
    OnUserRetention,
    Plan,
    Step,
    names_of,
)
from ...errors import SftpJailError
from ...errors.escapes import shown
from ...host import Host
from ...jails import retention
from ...jails.guards import guard
from ...jails.membership import jailed
from ...model import Account, Bind
from ..events import create_events
from .comparison import Comparison
from .draft import OVERRIDE, NewJail, to_be_disabled
from .keys import key_changes
from .mounts import by_level, is_beside, wanted_binds


class Stages:
    """The plans of one transaction.

    Args:
        compared: FILE beside the host.
    """

    def __init__(self, compared: Comparison) -> None:
        self._draft, self._file, self._engine = compared.draft, compared.file, compared.engine

    @property
    def is_staged(self) -> bool:
        """Whether something must be done before the rest can be planned."""
        draft = self._draft
        dated = {names_of(event) for event in draft.events if isinstance(event, OnUserExpire)}
        both = dated & {names_of(event) for event in draft.access}
        return bool(draft.new or draft.room or draft.inner or draft.storage or both)

    def first(self) -> Plan:
        """Return the plan, or the first one if there are several stages."""
        draft = self._draft
        events = draft.room if self.is_staged else [*draft.events, *draft.access]
        return self._plan(self._engine, events, draft.steps)

    def further(self) -> tuple[Stage, ...]:
        """Return the further stages."""
        if not self.is_staged:
            return ()
        draft = self._draft
        depths = (new.depth for new in draft.new), (above + 1 for above, _ in draft.inner)
        levels = range(1, max((depth for every in depths for depth in every), default=1))
        stages: list[Stage] = [self._jails, *(partial(self._inner_mounts, n) for n in levels)]
        if draft.storage or any(new.entry.retention for new in draft.new):
            stages.append(self._storage)
        stages.append(self._access)
        if any(to_be_disabled(new.entry) for new in draft.new):
            stages.append(self._expiry)
        return tuple(stages)

    def preview(self) -> Plan:
        """Return the whole plan, as far as it is known before new accounts exist.

        An account that cannot be planned for is left out, with its error in the plan. Of a mount
        that takes another one's place, lies above such a one or below it, only the end of what is
        there is planned.
        """
        draft = self._draft
        room: dict[str, list[str]] = {}
        for leaving in draft.room:
            room.setdefault(names_of(leaving), []).append(leaving.bind.target)
        events: list[Event] = [*draft.room]
        events += [
            event
            for event in draft.events
            if not isinstance(event, OnMount) or is_beside(event, room.get(names_of(event), ()))
        ]
        for new in draft.new:
            events += _jail_events(new.expected, new, self._engine)
        if not self.is_staged:
            events += draft.access
        single = {step.owner: step for step in draft.steps if isinstance(step.action, AddAccount)}
        others = [step for step in draft.steps if step.owner not in single]
        plan = self._engine.plan(events, tolerant=True, also=others)
        # What its jail changes of such an account comes after useradd, in a plan of its own.
        plan.steps = [*(single[name] for name in single if name not in plan.errors), *plan.steps]
        for name, error in plan.errors.items():
            self._of(name, error)
        return plan

    def _plan(self, engine: Engine, events: Sequence[Event], also: Sequence[Step] = ()) -> Plan:
        """Return a plan. Raises SftpJailError if it fails for one of the accounts."""
        try:
            return engine.plan(events, also=also)
        except SftpJailError as error:
            for name, found in engine.plan(events, tolerant=True, also=also).errors.items():
                raise self._of(name, found) from error
            raise

    def _of(self, name: str, error: SftpJailError) -> SftpJailError:
        error.owner = name
        return self._file.placed(name, error)

    def _jails(self, later: Engine) -> Plan:
        events = list(self._draft.events)
        for account, new in self._made(later):
            guard(account, later.host, OVERRIDE)
            events += _jail_events(account, new, later)
        return self._plan(later, events)

    def _inner_mounts(self, number: int, later: Engine) -> Plan:
        """Plan the mounts that are below NUMBER others, which are mounted now."""
        events: list[Event] = [mount for above, mount in self._draft.inner if above == number]
        for account, new in self._made(later):
            events += _mounts(account, new, later.host, number)
        return self._plan(later, events)

    def _storage(self, later: Engine) -> Plan:
        """Plan quotas, and where old files are deleted, since the directories exist now."""
        events = list(self._draft.storage)
        for account, new in self._made(later):
            if new.entry.retention:
                self._judge_ages(account, new.entry.retention, later.host)
                events.append(OnUserRetention(account, new.entry.retention))
        return self._plan(later, events)

    def _judge_ages(self, account: Account, ages: Iterable[tuple[str, int]], host: Host) -> None:
        """Refuse a directory that must keep its files, but not one that does not exist yet.

        When a host is moved, the files are copied after the accounts are made.
        """
        for directory, _ in ages:
            reason = retention.refusal(account, directory, host)
            if not reason:
                continue
            if host.lstat(retention.place(account, directory, host)) is not None:
                error = SftpJailError(f"retention: {directory}: {reason}")
                raise self._of(account.name, error)
            words = (
                f"no file of {account.name} in {shown(directory)} is deleted until it is there and "
                "sftpjail apply is run"
            )
            if words not in self._draft.notices:
                self._draft.notices.append(words)

    def _access(self, later: Engine) -> Plan:
        events = list(self._draft.access)
        for account, new in self._disabled(later):
            events.append(OnUserDisable(account, new.entry.reason, new.entry.until))
        return self._plan(later, events)

    def _expiry(self, later: Engine) -> Plan:
        """Plan the expiry dates that new disabled accounts get when they are enabled."""
        disabled = self._disabled(later)
        dates = [OnUserExpire(account, new.entry.expires or "") for account, new in disabled]
        return self._plan(later, dates)

    def _disabled(self, later: Engine) -> list[tuple[Account, NewJail]]:
        """Return the new accounts that FILE wants disabled."""
        return [pair for pair in self._made(later) if to_be_disabled(pair[1].entry)]

    def _made(self, later: Engine) -> list[tuple[Account, NewJail]]:
        """Return the new accounts, which exist by now.

        Raises:
            SftpJailError: sshd would jail one by another profile than FILE requires.
        """
        found = {}
        if self._draft.new:
            found = jailed(later.config, later.host)
        for new in self._draft.new:
            name = new.made.name
            profile = None
            if name in found:
                profile = found[name].profile
            if profile is None or profile.name != new.profile.name:
                where = "no profile jails it"
                if profile:
                    where = f"profile {profile.name} jails it"
                raise SftpJailError(f"{name} was to be in {new.profile.name}, but {where}")
        return [(found[new.made.name], new) for new in self._draft.new]


def _jail_events(account: Account, new: NewJail, engine: Engine) -> list[Event]:
    """Return the events of the jail of a new account, with its keys and mounts."""
    events = create_events(account, engine.host, engine.manager, arrived=account.exists)
    if new.entry.keys is not None:
        of_keys, _ = key_changes(account, new.keys, new.stale)
        events += of_keys
    mounts = _mounts(account, new, engine.host, 0)
    homes = [one.bind.target for one in mounts if one.bind.role == "home"]
    others = [e for e in events if not (isinstance(e, OnMount) and e.bind.target in homes)]
    return [*others, *mounts]


def _mounts(account: Account, new: NewJail, host: Host, above: int) -> list[OnMount]:
    """Return the mounts of a new account that so many others lie above."""
    levels = by_level(wanted_binds(account, new.entry.mounts, host))
    binds: Sequence[Bind] = levels[above] if above < len(levels) else ()
    return [OnMount(account, bind) for bind in binds]

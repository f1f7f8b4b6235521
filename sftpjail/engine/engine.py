"""Facts, hooks, actions, plan, transaction, checks, notices. This never names a plugin."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial

from ..actions import (
    Action,
    Check,
    Notify,
    Phase,
    Run,
    SetAccount,
    SetGroup,
    Share,
)
from ..config import Config
from ..errors import RollbackIncomplete, SftpJailError
from ..host import Host
from ..paths import LOCK, STATE
from ..system import files, locks
from ..system.signals import Interrupted, signals_postponed, signals_raise, signals_wait
from .convergence import NotConverged, going, left_over, refuse_not_converged
from .history import announce as tell
from .journal import Journal
from .manager import Manager
from .memory import remember
from .merge import combined, merged, ordered, without_full_directories, without_shared
from .origins import records
from .packed import Packed
from .plan import Event, OnSetup, OnUserCreate, Plan, Step, blaming, names_of
from .summary import describe
from .transaction import Progress, announce, carry_out


class Engine:
    """Plans and applies events on one host, with facts that are read once.

    Args:
        config: the configuration.
        host: the facts, read after the lock was taken.
        manager: the loaded plugins.
        notices: notices for the administrator from the recovery that preceded.
        command: the command that runs, for the history.
        held: the lock on the journal's directory, which a transaction takes where it makes that.

    `commits`: the plans that were committed. `progress` is told how far a transaction is.
    """

    def __init__(
        self,
        config: Config,
        host: Host,
        manager: Manager,
        notices: Sequence[str] = (),
        command: str = "",
        held: locks.DirectoryLock | None = None,
    ) -> None:
        self.config, self.host, self.manager, self.notices = config, host, manager, notices
        self.held = held
        self.commits: list[Plan] = []
        self.command = command
        self.reverts = 0  # the transaction that the next one undoes
        self.progress: Progress = lambda what, done, total: None
        self.left_out: set[str] = set()  # third-party plugins that do not converge

    # -- planning ----------------------------------------------------------------------------------

    def on(self, host: Host) -> Engine:
        """Return this engine for HOST: other facts, or the same facts for another purpose.

        Both engines share the command and the list of commits.
        """
        other = copy(self)
        other.host = host
        return other

    def plan(
        self,
        events: Iterable[Event],
        tolerant: bool = False,
        listed: frozenset[str] | None = None,
        also: Sequence[Step] = (),
        limited: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Plan:
        """Fire the hooks and merge their actions into one ordered plan.

        Args:
            events: what is to happen.
            tolerant: if an account fails, leave it out and put its error into `Plan.errors`,
                instead of failing for all accounts.
            also: steps to add to those of the hooks.
            listed: the accounts on the list of disabled accounts afterwards, if the plan changes
                them.
            limited: the accounts limited to some source addresses afterwards, likewise.

        Raises:
            SftpJailError: a plugin vetoes, or two plugins contradict each other. Nothing has
                changed.
        """
        with self.host.files.one_look():
            return self._planned(events, tolerant, listed, also, limited)

    def _planned(
        self,
        events: Iterable[Event],
        tolerant: bool,
        listed: frozenset[str] | None,
        also: Sequence[Step],
        limited: Mapping[str, tuple[str, ...]] | None,
    ) -> Plan:
        plan = Plan(list(events))
        plan.anew = partial(self._anew, plan.events, tolerant, listed, also, limited)
        preparing = any(isinstance(event, OnSetup) for event in plan.events)
        host = self.host.for_plan(preparing, listed, limited)
        wanted = list(also)
        for event in plan.events:
            owner = names_of(event)
            if owner in plan.errors:
                continue
            try:
                pending = self._pending(event, owner, host)
                if isinstance(event, OnUserCreate) and not any(map(_is_of_jail, pending)):
                    plan.whole.add(owner)
                wanted += pending
            except SftpJailError as error:
                if not tolerant or not owner:
                    raise
                plan.errors[owner] = error
        for owner, found in self._at_odds(wanted).items():
            if not tolerant or not owner:
                raise found
            plan.errors.setdefault(owner, found)
        good = merged(step for step in wanted if step.owner not in plan.errors)
        good = without_shared(good, self.host)
        plan.owners = {step.owner for step in good}
        steps = without_full_directories(ordered(combined(good)), self.host)
        # Of an account that is left out, nothing changes, and so nothing in its record.
        taken = [event for event in plan.events if names_of(event) not in plan.errors]
        plan.steps = ordered(steps + records(steps, taken, self.host))
        return plan

    def _at_odds(self, wanted: Sequence[Step]) -> Mapping[str, SftpJailError]:
        """Return by account why what it wants cannot come together with what others want."""
        if not any(isinstance(step.action, Share) for step in wanted):
            return {}
        from .conflicts import around_shared  # late: useradd waits

        return around_shared(wanted, self.host)

    def _pending(self, event: Event, owner: str, host: Host) -> list[Step]:
        """Return the pending steps of one event, with their checks and notices."""
        fired = self.manager.fire(event, host)
        wanted = [
            self._step(action, name, owner)
            for name, actions in fired
            for action in actions
            if name not in self.left_out
        ]
        pending = [step for step in wanted if self._is_pending(step, owner)]
        changing = {step.plugin for step in pending}
        goes_along = [
            step
            for step in wanted
            if isinstance(step.action, Run)
            or (step.plugin in changing and isinstance(step.action, Check | Notify))
        ]
        kept = {id(step) for step in (*pending, *goes_along)}
        if not pending:
            return []
        return [step for step in wanted if id(step) in kept]

    def _anew(
        self,
        events: Sequence[Event],
        tolerant: bool,
        listed: frozenset[str] | None,
        also: Sequence[Step],
        limited: Mapping[str, tuple[str, ...]] | None,
    ) -> Plan:
        return self.on(self.host.anew()).plan(events, tolerant, listed, also, limited)

    def _step(self, action: Action, plugin: str, owner: str) -> Step:
        if isinstance(action, SetAccount):
            owner = action.name
        return Step(action, plugin, owner, self.manager.is_stranger(plugin))

    def _is_pending(self, step: Step, owner: str) -> bool:
        with blaming(step):
            return step.action.pending(self.host, owner)

    # -- applying ----------------------------------------------------------------------------------

    def apply(self, plan: Plan, *stages: Stage) -> list[str]:
        """Carry a plan out as one transaction and return notices for the administrator.

        The transaction is committed if its events need no further steps; see `convergence`. A
        third-party plugin that never stops wanting steps is left out.

        Args:
            plan: what to do first. The steps of the stages are added to it.
            stages: each plans from the facts that the previous one left, for example from the
                uid that useradd(8) has chosen.

        Raises:
            SftpJailError: something failed, and everything was rolled back.
            RollbackIncomplete: something failed, and the rollback is incomplete.
        """
        if not plan and not stages:
            return []
        return self._apply(plan, stages, patient=True)

    def _apply(self, plan: Plan, stages: Sequence[Stage], patient: bool) -> list[str]:
        """Apply a plan; if it does not converge, perhaps plan it again and apply that.

        Args:
            plan, stages: as in `apply`.
            patient: if somebody else changes the host meanwhile, plan once more.
        """
        events, steps = list(plan.events), list(plan.steps)
        try:
            return self._commit(plan, stages)
        except NotConverged as error:
            if not (error.strangers or (error.meanwhile and patient)):
                raise
            self.left_out |= error.strangers
            # A plan without events cannot be planned again, and stays: it makes an account.
            if events and plan.anew:
                again = plan.anew()
            else:
                again = Plan(events, steps)
            plan.events, plan.steps, plan.errors = again.events, again.steps, again.errors
            plan.owners, plan.whole = again.owners, again.whole
            notices = self._apply(plan, stages, patient and not error.meanwhile)
            done = "what it wants was left out"
            if error.meanwhile:
                done = "all was planned again"
            return [f"{error.message}; {done}", *notices]

    def _commit(self, plan: Plan, stages: Sequence[Stage]) -> list[str]:
        """Carry a plan and its stages out, check that nothing is left to do, and commit."""
        journal = Journal(STATE, self.held)
        with contextlib.ExitStack() as quiet:
            with signals_raise():
                try:
                    plan.kept, plan.left = Packed(), Packed()  # of an attempt before this one
                    remember(plan, self.host)
                    notices = carry_out(plan, journal, self.host, self.progress)
                    for stage in (*_with_gids(plan), *stages):
                        notices += self._take(stage, plan, journal)
                    self.progress("checking", len(plan.steps), len(plan.steps))
                    refuse_not_converged(self, plan)
                    quiet.enter_context(signals_wait())
                    entry = describe(plan, self.host, self.command, self.reverts)
                    head = journal.commit(entry)
                    self.commits.append(plan)
                except BaseException as error:
                    signals_postponed(partial(self._roll_back, journal, plan, error))
                    raise
            journal.clear_away()
            notices += announce(plan)
            tell(head)
            journal.finish(self.config.keep_history)
            return notices + self.manager.tell("on_applied", **_about(plan))

    def _take(self, stage: Stage, plan: Plan, journal: Journal) -> list[str]:
        """Plan a stage, add it to the plan and carry it out; return notices."""
        self.progress("planning", 0, 0)
        fresh = self.on(self.host.anew())
        fresh.host.files.without(going(plan, fresh.host))
        more = stage(fresh)
        plan.events = [*plan.events, *more.events]
        plan.steps += more.steps
        plan.owners |= more.owners
        plan.whole |= more.whole
        remember(more, fresh.host)
        plan.kept.extend(more.kept)
        plan.left.extend(more.left)
        return carry_out(more, journal, fresh.host, self.progress)

    def _roll_back(self, journal: Journal, plan: Plan, error: BaseException) -> None:
        began = bool(journal.undos)
        try:
            journal.rollback()
        except RollbackIncomplete as incomplete:
            incomplete.message = f"{error}; {incomplete.message}"
            raise incomplete from error
        if isinstance(error, Interrupted):
            error.put_back = began
        notices = journal.notices + self.manager.tell("on_failed", **_about(plan), error=error)
        if isinstance(error, SftpJailError) and notices:
            error.message += "; " + "; ".join(notices)


def _is_of_jail(step: Step) -> bool:
    """Return whether a step of on_user_create does more than let an account in again."""
    action = step.action
    goes_along = isinstance(action, Run | Check | Notify)
    return not goes_along and action.phase is not Phase.OPENING


# Plans the next part of a transaction, from an engine with fresh facts.
Stage = Callable[[Engine], Plan]


def _with_gids(plan: Plan) -> tuple[Stage, ...]:
    """Return the stage that writes the gids of groups that a plan makes where files name them."""
    made = any(isinstance(s.action, SetGroup) and s.action.present for s in plan.steps)
    events = []
    if made:
        events = [event for event in plan.events if isinstance(event, OnSetup)]
    if not events:
        return ()
    return (lambda engine: Plan([], left_over(engine, events)),)


def _about(plan: Plan) -> dict[str, object]:
    """Return the arguments of on_applied and on_failed."""
    hooks = list(dict.fromkeys(event.hook for event in plan.events))
    accounts = {event.about.name: event.about for event in plan.events if event.about}
    single = len(hooks) == 1 or (hooks and len(accounts) == 1)
    return {
        "event": hooks[0] if single else "apply",
        "account": next(iter(accounts.values())) if len(accounts) == 1 else None,
        "plan": plan,
    }


@contextlib.contextmanager
def locked(
    config: Config,
    dry_run: bool,
    timeout: float = 60.0,
    tolerant: bool = False,
    arrived: str = "",
    command: str = "",
) -> Iterator[Engine]:
    """Take the locks, recover from an interrupted run, then read the facts.

    A run in a container, or with a /run of its own, does not see LOCK. So the directory of the
    journal is locked too, before that is read: if a living run writes it, nothing is rolled back.

    Args:
        config: the configuration.
        dry_run: take no lock and recover nothing; the engine is for planning only.
        timeout: seconds to wait for another run.
        tolerant: a plugin that does not load is not fatal; see `Manager`.
        arrived: an account that another program has just made. The recovery keeps it.
        command: the command that runs, for the history.

    Raises:
        SftpJailError: see `system.lock` and `Journal.recover`.
    """
    manager = Manager(config, tolerant)
    if dry_run:
        yield Engine(config, Host(), manager)
        return
    with locks.lock(LOCK, timeout):
        files.keep_private(STATE)
        held = locks.DirectoryLock(STATE)
        try:
            held.take(timeout)
            journal = Journal(STATE, held)
            with signals_wait():
                journal.recover(arrived)
            yield Engine(config, Host(), manager, journal.notices, command, held)
        finally:
            held.release()


def interrupted(host: Host) -> bool:
    """Return whether an interrupted run still waits for its recovery.

    A run in progress has a journal too, but it holds the locks.

    Args:
        host: the facts.
    """
    with locks.unlocked(LOCK) as free, locks.unlocked(os.path.realpath(STATE)) as still:
        return free and still and host.lstat(f"{STATE}/journal") is not None

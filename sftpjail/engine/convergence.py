"""Whether a plan leaves the host as it was to be: planned again, its events want nothing more."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from ..actions import Action, Check, EndProcesses, Notify, Remove, Run
from ..errors import SftpJailError
from ..escapes import some
from ..host import Host
from ..model import inside
from ..system.files import is_backup
from .plan import OURS, Event, OnMount, OnUnmount, Plan, Step, names_of

# What no fact of the host tells to be done already.
_NO_FACTS = (Check, EndProcesses, Notify, Run)
_PLACES = ("path", "owner", "mount")


class Planner(Protocol):
    """What makes plans from the facts of one moment: `engine.Engine`."""

    host: Host

    def on(self, host: Host) -> Planner: ...
    def plan(self, events: Iterable[Event], tolerant: bool = False) -> Plan: ...


class Unsettled(SftpJailError):
    """A plan would not be done after its steps; they were put back.

    `strangers` has the plugins that are to blame where none of them is ours; `meanwhile` says that
    somebody changed something that the plan has not.
    """

    strangers: frozenset[str] = frozenset()
    meanwhile: bool = False


def refuse_unsettled(engine: Planner, plan: Plan) -> None:
    """Plan the events of a plan again on the facts as it has left them: nothing may be left to do.

    Only what the plan has changed something for is planned again. What is still to be done where
    it has changed something is a bug. Anything else was changed by somebody meanwhile. What lies
    where others than root can change it may be to do again at any moment, which keeps nobody's
    change from its end.

    Args:
        engine: that has carried the plan out.
        plan: not committed yet.

    Raises:
        Unsettled: something is left.
    """
    fresh, left = planned_again(engine, plan)
    if not left:
        return
    places = {_place(action, fresh.host) for action in _actions(plan)}
    # Our own records follow from the rest.
    wanted = [step for step in left if step.plugin != OURS] or left
    wanted = [step for step in wanted if not _is_of_users(step.action, fresh.host)]
    if not wanted:
        return
    own = [step for step in wanted if _is_of(step.action, places, fresh.host)]
    error = _unsettled(own or wanted, fresh.host)
    if not own:
        error.message = f"the host was changed meanwhile: {_what(wanted, fresh.host)}"
        error.advice = "when nobody else changes it, try again"
        error.meanwhile = True
    raise error


def planned_again(engine: Planner, plan: Plan) -> tuple[Planner, list[Step]]:
    """Return an engine with the facts of now, and what the events of a plan want by these.

    Raises:
        Unsettled: a hook refuses what it wanted before.
    """
    fresh = engine.on(engine.host.anew())
    fresh.host.files.without(_going(plan, fresh.host))
    try:
        again = fresh.plan(_concerned(plan), tolerant=True)
        for error in again.errors.values():
            raise error
    except SftpJailError as error:
        owner = next(iter(plan.owners)) if len(plan.owners) == 1 else ""
        found = Unsettled(f"after this change its plan fails, so it was put back: {error}")
        found.owner = error.owner or owner
        found.meanwhile = True  # perhaps: once more tells
        raise found from error
    return fresh, [step for step in again.steps if not isinstance(step.action, _NO_FACTS)]


def _going(plan: Plan, host: Host) -> set[str]:
    """Return the directories that go with the commit: see RemoveKind.

    Those that are empty by then, but for old versions of what the plan has changed.
    """
    removed = {host.mount_tables.place(a.path) for a in _actions(plan) if isinstance(a, Remove)}
    going: set[str] = set()
    for path in sorted(removed, key=lambda path: -path.count("/")):
        found = host.lstat(path)
        if found is None or not stat.S_ISDIR(found.st_mode) or path in host.mounts:
            continue
        left = [name for name in host.listdir(path) if not is_backup(name)]
        if all(f"{path}/{name}" in going for name in left):
            going.add(path)
    return going


def _actions(plan: Plan) -> Iterator[Action]:
    return (step.action for step in plan.steps)


def _concerned(plan: Plan) -> list[Event]:
    """Return the events of those for whom a plan has changed something.

    What was to be unmounted, so that something else is mounted there, is done.
    """
    events = [event for event in plan.events if names_of(event) in plan.owners]
    last = {_mounted(event): event for event in events if isinstance(event, OnMount | OnUnmount)}
    return [
        event
        for event in events
        if not (isinstance(event, OnUnmount) and isinstance(last[_mounted(event)], OnMount))
    ]


def _mounted(event: OnMount | OnUnmount) -> tuple[str, str]:
    return event.account.name, event.bind.target


def _place(action: Action, host: Host) -> tuple[str, ...]:
    """Return what an action is about, a path without the links on its way."""
    kind, about = action.key[0], action.key[1]
    if kind in _PLACES and about.startswith("/"):
        return ("place", host.mount_tables.place(about))
    return action.key


def _is_of(action: Action, places: Iterable[tuple[str, ...]], host: Host) -> bool:
    """Return whether an action is about something of PLACES, or something below it."""
    mine = _place(action, host)
    if mine[0] != "place":
        return mine in places
    return any(other[0] == "place" and inside(mine[1], other[1]) for other in places)


def _is_of_users(action: Action, host: Host) -> bool:
    """Return whether an action is about a name that others than root can change."""
    place = _place(action, host)
    return place[0] == "place" and bool(host.files.loose_parent(place[1]))


def _what(steps: Sequence[Step], host: Host) -> str:
    """Return some steps in the words of a dry run, the first of each."""
    wanted = [step for step in steps if step.plugin != OURS] or steps
    lines = [next(iter(step.diff(host)), "") for step in wanted]
    return some(lines, 3, "; ")


def _unsettled(steps: Sequence[Step], host: Host) -> Unsettled:
    strangers = {step.plugin for step in steps if step.stranger}
    ours = any(not step.stranger and step.plugin != OURS for step in steps)
    who = f"plugin {', '.join(sorted(strangers))}" if strangers and not ours else "sftpjail"
    error = Unsettled(
        f"{who} would never be done: after this change it wants {_what(steps, host)}",
        advice="that is a bug; report it with what this command says with --dry-run",
    )
    owners = {step.owner for step in steps if step.owner}
    error.owner = owners.pop() if len(owners) == 1 else ""
    error.strangers = frozenset() if ours else frozenset(strangers)
    return error

"""Check that a plan converges: planned again after it was applied, its events need no steps."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from ..actions import Action, Check, EndProcesses, MakeDir, Notify, Remove, Run
from ..errors import SftpJailError
from ..errors.escapes import some
from ..host import Host
from ..model import depth, inside
from ..system.files import is_backup
from .plan import OURS, Event, OnMount, OnUnmount, Plan, Step, names_of

# The facts do not show whether these have been done.
_NO_FACTS = (Check, EndProcesses, Notify, Run)
# The first word of the keys whose second one is a path.
_PLACES = ("path", "owner", "mount", "share", "unshare")


class Planner(Protocol):
    """Makes plans from the facts of one moment, as `engine.Engine` does."""

    host: Host

    def on(self, host: Host) -> Planner: ...
    def plan(self, events: Iterable[Event], tolerant: bool = False) -> Plan: ...


class NotConverged(SftpJailError):
    """A plan did not converge and was rolled back.

    `strangers` has the plugins to blame, if all of them are third-party ones. `meanwhile` means
    that somebody else changed something at the same time.
    """

    strangers: frozenset[str] = frozenset()
    meanwhile: bool = False


def refuse_not_converged(engine: Planner, plan: Plan) -> None:
    """Plan a plan's events again after its steps, and raise an error if anything is left to do.

    Only the accounts for which the plan changed something are planned again. A step left on
    something that the plan changed is a bug. A step on anything else, or on something that was
    removed and is there again, means that somebody else has changed it meanwhile. Paths that
    others than root can change are ignored: they may need a step again at any time, and must not
    block the change.

    Args:
        engine: the engine that carried the plan out.
        plan: not committed yet.

    Raises:
        NotConverged: something is left to do.
    """
    fresh, left = planned_again(engine, plan)
    if not left:
        return
    places = {_place(action, fresh.host) for action in _actions(plan)}
    removed = {_place(action, fresh.host) for action in _removals(plan)}
    # Our own records only reflect the other steps.
    wanted = [step for step in left if step.plugin != OURS] or left
    wanted = [step for step in wanted if not _is_of_users(step.action, fresh.host)]
    if not wanted:
        return
    own = [
        step
        for step in wanted
        if _is_of(step.action, places, fresh.host)
        and not (isinstance(step.action, Remove) and _place(step.action, fresh.host) in removed)
    ]
    error = _unsettled(own or wanted, fresh.host)
    if not own:
        error.message = f"the host was changed meanwhile: {_what(wanted, fresh.host)}"
        error.advice = "try again when nobody else changes it"
        error.meanwhile = True
    raise error


def planned_again(engine: Planner, plan: Plan) -> tuple[Planner, list[Step]]:
    """Return an engine with fresh facts, and the steps that a plan's events need by them.

    Raises:
        NotConverged: planning fails now.
    """
    fresh = engine.on(engine.host.anew())
    fresh.host.files.without(going(plan, fresh.host))
    try:
        again = fresh.plan(_concerned(plan), tolerant=True)
        for error in again.errors.values():
            raise error
    except SftpJailError as error:
        owner = ""
        if len(plan.owners) == 1:
            owner = next(iter(plan.owners))
        found = NotConverged(f"planning fails after this change, so it was undone: {error}")
        found.owner = error.owner or owner
        found.meanwhile = True  # perhaps; the next attempt shows
        raise found from error
    return fresh, _shown_by_facts(again)


def left_over(engine: Planner, events: Iterable[Event]) -> list[Step]:
    """Return the steps that events need by an engine's facts, where these show what is done."""
    return _shown_by_facts(engine.plan(events, tolerant=True))


def _shown_by_facts(plan: Plan) -> list[Step]:
    return [step for step in plan.steps if not isinstance(step.action, _NO_FACTS)]


def going(plan: Plan, host: Host) -> set[str]:
    """Return the directories that the commit will remove; see RemoveKind.

    They are empty except for old versions of the files that the plan changed, and no later stage
    has made them again.
    """
    if not any(isinstance(action, Remove) for action in _actions(plan)):
        return set()
    last = {
        host.mount_tables.place(action.path): isinstance(action, Remove)
        for action in _actions(plan)
        if isinstance(action, MakeDir | Remove)
    }
    removed = [path for path, goes in last.items() if goes]
    gone: set[str] = set()
    for path in sorted(removed, key=depth, reverse=True):
        found = host.lstat(path)
        if found is None or not stat.S_ISDIR(found.st_mode) or path in host.mounts:
            continue
        left = [name for name in host.listdir(path) if not is_backup(name)]
        if all(f"{path}/{name}" in gone for name in left):
            gone.add(path)
    return gone


def _actions(plan: Plan) -> Iterator[Action]:
    return (step.action for step in plan.steps)


def _removals(plan: Plan) -> list[Action]:
    """Return the actions of a plan that are the last at their path, and remove it."""
    last = {action.key: action for action in _actions(plan)}
    return [action for action in last.values() if isinstance(action, Remove)]


def _concerned(plan: Plan) -> list[Event]:
    """Return the events of the accounts for which a plan changed something.

    An OnUnmount followed by an OnMount of the same target is left out.
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
    """Return the subject of an action. In a path, links on the way are resolved."""
    kind, about = action.key[0], action.key[1]
    if kind in _PLACES and about.startswith("/"):
        return ("place", host.mount_tables.place(about))
    return action.key


def _is_of(action: Action, places: Iterable[tuple[str, ...]], host: Host) -> bool:
    """Return whether the subject of an action is in PLACES, or below one of them."""
    mine = _place(action, host)
    if mine[0] != "place":
        return mine in places
    return any(other[0] == "place" and inside(mine[1], other[1]) for other in places)


def _is_of_users(action: Action, host: Host) -> bool:
    """Return whether the subject of an action is a path that others than root can change."""
    place = _place(action, host)
    return place[0] == "place" and bool(host.files.loose_parent(place[1]))


def _what(steps: Sequence[Step], host: Host) -> str:
    """Return up to three steps as a dry run shows them, with the first line of each."""
    wanted = [step for step in steps if step.plugin != OURS] or steps
    lines = [next(iter(step.diff(host)), "") for step in wanted]
    return some(lines, 3, "; ")


def _unsettled(steps: Sequence[Step], host: Host) -> NotConverged:
    strangers = {step.plugin for step in steps if step.stranger}
    ours = any(not step.stranger and step.plugin != OURS for step in steps)
    who = "sftpjail"
    if strangers and not ours:
        who = f"plugin {', '.join(sorted(strangers))}"
    error = NotConverged(
        f"{who} does not converge: after this change it still wants {_what(steps, host)}",
        advice="that is a bug; report it with the output of this command with --dry-run",
    )
    owners = {step.owner for step in steps if step.owner}
    error.owner = owners.pop() if len(owners) == 1 else ""
    if ours:
        error.strangers = frozenset()
    else:
        error.strangers = frozenset(strangers)
    return error

"""What is to happen (events), what that takes (steps), and both together: a plan."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..actions import Action, Check, View
from ..errors import SftpJailError
from ..model import Account, Bind, Key, Problem
from .blame import naming, title

# In the place of a plugin's name: what keeps our own records.
OURS = "sftpjail"


@dataclass(frozen=True)
class Event:
    """One firing of a hook. Its fields are what the hook gets beside `host` and `config`.

    Each hook that plans has a subclass that is named after it: on_key_add is OnKeyAdd.
    """

    hook: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        cls.hook = re.sub("(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @property
    def about(self) -> Account | None:
        """The account that it is about; None for the host."""
        found: Account | None = self.arguments().get("account")
        return found

    def arguments(self) -> dict[str, Any]:
        """Return the hook's arguments by name."""
        return dict(vars(self))


class OnSetup(Event):
    """The host is prepared for jails."""


class OnTeardown(Event):
    """What the preparation did is taken back."""


class OnDetach(Event):
    """Nothing calls sftpjail any more, and every jail stays closed."""


@dataclass(frozen=True)
class OnUserCreate(Event):
    """A jail is made, or repaired where it is not `new`."""

    account: Account
    new: bool


@dataclass(frozen=True)
class OnUserRemove(Event):
    """A jail goes; with `deleted` the account does too."""

    account: Account
    deleted: bool


@dataclass(frozen=True)
class OnUserClose(Event):
    """An account whose jail cannot be made is shut out: `why`, and by which command."""

    account: Account
    why: str
    by: str


@dataclass(frozen=True)
class OnUserDisable(Event):
    """An administrator shuts an account out; its jail stays.

    `why` is "" where that is not said. `until` is a date (YYYY-MM-DD), "" for no end.
    """

    account: Account
    why: str = ""
    until: str = ""


@dataclass(frozen=True)
class OnUserEnable(Event):
    """It is let in again."""

    account: Account


@dataclass(frozen=True)
class OnUserExpire(Event):
    """It expires on a date (YYYY-MM-DD), "" for never."""

    account: Account
    date: str


@dataclass(frozen=True)
class OnUserLimit(Event):
    """It is let in from some addresses only; from any, where there are none."""

    account: Account
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class OnUserConnections(Event):
    """It may have so many sessions at once; 0 for as many as its profile says."""

    account: Account
    most: int


@dataclass(frozen=True)
class OnUserRename(Event):
    """An account has another name, and what is its own still has the old one.

    Where `old` is its name now, it has another uid instead.
    """

    account: Account
    old: str


@dataclass(frozen=True)
class OnUserConfine(Event):
    """What the host does for an account outside of its jail ends."""

    account: Account


@dataclass(frozen=True)
class OnKeyAdd(Event):
    """An account is let in with a key."""

    account: Account
    key: Key


@dataclass(frozen=True)
class OnKeyRemove(Event):
    """An account is no longer let in with a key."""

    account: Account
    key: Key


@dataclass(frozen=True)
class OnKeyMigrate(Event):
    """A key file in a home is retired."""

    account: Account
    path: str


@dataclass(frozen=True)
class OnMount(Event):
    """Something of the host is shown in a jail."""

    account: Account
    bind: Bind


@dataclass(frozen=True)
class OnUnmount(Event):
    """It is no longer shown; with `live_only` it is not forgotten."""

    account: Account
    bind: Bind
    live_only: bool = False


@dataclass(frozen=True)
class Step:
    """One action of a plan, the plugin that wants it and whose origin record it belongs to.

    `owner` is "" for the host's. `stranger` says that the plugin is not one of ours.
    """

    action: Action
    plugin: str
    owner: str = ""
    stranger: bool = False

    def diff(self, view: View) -> list[str]:
        """Return the lines by which a dry run shows it. Raises SftpJailError."""
        with blaming(self):
            return list(self.action.diff(view))


@contextlib.contextmanager
def blaming(step: Step) -> Iterator[None]:
    """Name the step in an error that it raises, and a stranger in any error at all."""
    try:
        with naming(step.plugin, title(step.action)) if step.stranger else nullcontext():
            yield
    except SftpJailError as error:
        error.action, error.owner = step.action, step.owner
        raise


def names_of(event: Event) -> str:
    """Return the account that an event is about, "" for the host."""
    return event.about.name if event.about else ""


@dataclass
class Plan:
    """What one run will change, in order. False when the host is already as it should be.

    `owners` are those whose events want something, "" for the host. `anew` makes the same plan
    from the facts of another moment; None where that cannot be.
    `said` has by account what else is to be said of it, `behind` what stays behind of accounts.
    `kept` and `left` are what an undo will need, see memory.py; empty until it is carried out.
    """

    events: Sequence[Event]
    steps: list[Step] = field(default_factory=list)
    errors: dict[str, SftpJailError] = field(default_factory=dict)
    owners: set[str] = field(default_factory=set)
    anew: Callable[[], Plan] | None = None
    said: dict[str, str] = field(default_factory=dict)
    behind: list[Problem] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    left: list[dict[str, Any]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def diff(self, view: View) -> list[str]:
        """Return the plan as a dry run's lines: not our own records, and the checks only counted.

        Before a file's line that stays a diff has a blank: with one of its own it could pass
        for a line of ours.
        """
        shown = [step for step in self.steps if step.plugin != OURS]
        checks = [step.action for step in shown if isinstance(step.action, Check)]
        lines = [
            line for step in shown if not isinstance(step.action, Check) for line in step.diff(view)
        ]
        lines = [f"|{line[1:]}" if line.startswith(" ") else line for line in lines]
        programs = [os.path.basename(check.argv[0]) for check in checks]
        for name in dict.fromkeys(programs):
            count = programs.count(name)
            lines.append(f"? {count} check{'s' * (count != 1)} with {name}, before and after")
        return lines

    def describe(self) -> list[dict[str, object]]:
        """Return the plan for --json: what changes, without our own records and the checks."""
        return [
            {
                "action": type(step.action).__name__,
                "plugin": step.plugin,
                "about": list(step.action.key[1:]),
            }
            for step in self.steps
            if step.plugin != OURS and not isinstance(step.action, Check)
        ]

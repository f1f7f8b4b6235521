"""Plans: the events that are to happen, and the steps that they take."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..actions import Action, Check, View
from ..errors import SftpJailError
from ..model import Account, Bind, Key, Problem, frozen
from .blame import naming, title
from .packed import Packed

# Stands for a plugin's name in the steps that keep our own records.
OURS = "sftpjail"


@frozen
class Event:
    """One call of a hook. Its fields are the hook's arguments besides `host` and `config`.

    Each hook that plans has a subclass named after it: OnKeyAdd is on_key_add.
    """

    hook: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        cls.hook = re.sub("(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @property
    def about(self) -> Account | None:
        """The account concerned; None for the host."""
        found: Account | None = getattr(self, "account", None)
        return found

    def arguments(self) -> dict[str, Any]:
        """Return the hook's arguments by name."""
        return dict(vars(self))


class OnSetup(Event):
    """The host is prepared for jails."""


class OnTeardown(Event):
    """The preparation is undone."""


class OnDetach(Event):
    """Nothing calls sftpjail any more, but every jail stays closed."""


@frozen
class OnUserCreate(Event):
    """A jail is made, or repaired if it is not `new`."""

    account: Account
    new: bool


@frozen
class OnUserRemove(Event):
    """A jail is removed, and if `deleted`, its account too."""

    account: Account
    deleted: bool


@frozen
class OnUserClose(Event):
    """An account whose jail cannot be made is shut out, `by` a command."""

    account: Account
    why: str
    by: str


@frozen
class OnUserDisable(Event):
    """An administrator shuts an account out; its jail stays.

    `why` is "" if no reason was given. `until` is a date (YYYY-MM-DD), or "" for no end.
    """

    account: Account
    why: str = ""
    until: str = ""


@frozen
class OnUserEnable(Event):
    """A disabled account is let in again."""

    account: Account


@frozen
class OnUserExpire(Event):
    """An account expires on a date (YYYY-MM-DD), or "" for never."""

    account: Account
    date: str


@frozen
class OnUserLimit(Event):
    """An account is let in from some addresses only, or from any if there are none."""

    account: Account
    addresses: tuple[str, ...]


@frozen
class OnUserConnections(Event):
    """The number of an account's concurrent sessions is limited; 0 uses its profile's limit."""

    account: Account
    most: int


@frozen
class OnUserKeep(Event):
    """`review --disable` skips it from now on, or no longer."""

    account: Account
    keep: bool


@frozen
class OnUserQuota(Event):
    """An account may store so many bytes: 0 for any number, None for what its profile says."""

    account: Account
    size: int | None


@frozen
class OnUserRetention(Event):
    """An account's directories lose their old files.

    `ages` has each directory, as its sessions see it, and the age in days. It replaces what was
    set.
    """

    account: Account
    ages: tuple[tuple[str, int], ...]


@frozen
class OnUserRename(Event):
    """An account was renamed, and its files and lines still have the old name.

    If `old` is its present name, its uid has changed instead.
    """

    account: Account
    old: str


@frozen
class OnUserConfine(Event):
    """What the host does for an account outside its jail ends."""

    account: Account


@frozen
class OnKeyAdd(Event):
    """An account is let in with a key."""

    account: Account
    key: Key


@frozen
class OnKeyRemove(Event):
    """An account is no longer let in with a key."""

    account: Account
    key: Key


@frozen
class OnKeyMigrate(Event):
    """A key file in a home is retired."""

    account: Account
    path: str


@frozen
class OnMount(Event):
    """Something of the host is shown in a jail."""

    account: Account
    bind: Bind


@frozen
class OnUnmount(Event):
    """It is no longer shown; with `live_only` it stays configured."""

    account: Account
    bind: Bind
    live_only: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a plan, its plugin, and the owner of the origin record that it belongs to.

    `owner` is an account, or "" for the host. `stranger` means a third-party plugin.
    """

    action: Action
    plugin: str
    owner: str = ""
    stranger: bool = False

    def diff(self, view: View) -> list[str]:
        """Return the lines that a dry run shows for it. Raises SftpJailError."""
        with blaming(self):
            return list(self.action.diff(view))


def blaming(step: Step) -> contextlib.AbstractContextManager[None]:
    """Add the step to an SftpJailError, and name a third-party plugin in any error."""
    if step.stranger:
        return _of_stranger(step)
    return _Blaming(step)


class _Blaming:
    """Adds a step to an SftpJailError. Each step passes here several times."""

    __slots__ = ("_step",)

    def __init__(self, step: Step) -> None:
        self._step = step

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SftpJailError):
            error.action, error.owner = self._step.action, self._step.owner


@contextlib.contextmanager
def _of_stranger(step: Step) -> Iterator[None]:
    with _Blaming(step), naming(step.plugin, title(step.action)):
        yield


def names_of(event: Event) -> str:
    """Return the name of the account that an event is about, or "" for the host."""
    if not event.about:
        return ""
    return event.about.name


@dataclass
class Plan:
    """What one run will change, in order. It is false if the host is already as it should be.

    `owners` are the accounts whose events need steps, "" for the host. `anew` makes the same plan
    from fresh facts; it is None if that is not possible. `said` has further remarks by account,
    `behind` the files that stay behind of accounts. `whole` are the accounts whose jails need
    nothing, though something else of them may change. `kept` and `left` are the data for an undo
    (see memory.py), and empty until the plan is carried out.
    """

    events: Sequence[Event]
    steps: list[Step] = field(default_factory=list)
    errors: dict[str, SftpJailError] = field(default_factory=dict)
    owners: set[str] = field(default_factory=set)
    anew: Callable[[], Plan] | None = None
    said: dict[str, str] = field(default_factory=dict)
    behind: list[Problem] = field(default_factory=list)
    whole: set[str] = field(default_factory=set)
    kept: Packed = field(default_factory=Packed)
    left: Packed = field(default_factory=Packed)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def diff(self, view: View) -> list[str]:
        """Return the plan as the lines of a dry run, without our records, and with checks counted.

        A diff marks an unchanged line of a file with a blank. It is replaced by "|", so that the
        line cannot look like one of ours.
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
        """Return the plan for --json, without our own records and the checks."""
        return [
            {
                "action": type(step.action).__name__,
                "plugin": step.plugin,
                "about": list(step.action.key[1:]),
            }
            for step in self.steps
            if step.plugin != OURS and not isinstance(step.action, Check)
        ]

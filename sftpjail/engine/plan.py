"""What is to happen (events), what that takes (steps), and both together: a plan."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..actions import Action, Check, View
from ..errors import SftpJailError
from ..model import Account


@dataclass(frozen=True)
class Event:
    """One firing of a hook, and what the hook gets beside host and config."""

    hook: str
    account: Account | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One action of a plan, the plugin that wants it and whose origin record it belongs to.

    `owner` is "" for the host's.
    """

    action: Action
    plugin: str
    owner: str = ""


@dataclass
class Plan:
    """What one run will change, in order. False when the host is already as it should be."""

    events: Sequence[Event]
    steps: list[Step] = field(default_factory=list)
    errors: dict[str, SftpJailError] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.steps)

    def diff(self, view: View) -> list[str]:
        """Return the plan as a dry run's lines: not our own records, and the checks only counted.

        Before a file's line that stays a diff has a blank: with one of its own it could pass
        for a line of ours.
        """
        shown = [step.action for step in self.steps if step.plugin != "sftpjail"]
        lines = [
            line for action in shown if not isinstance(action, Check) for line in action.diff(view)
        ]
        lines = [f"|{line[1:]}" if line.startswith(" ") else line for line in lines]
        programs = [
            os.path.basename(action.argv[0]) for action in shown if isinstance(action, Check)
        ]
        return lines + [
            f"? {programs.count(name)} checks with {name}, before and after"
            for name in dict.fromkeys(programs)
        ]

    def describe(self) -> list[dict[str, object]]:
        """Return the plan for --json: what changes, without our own records and the checks."""
        return [
            {
                "action": type(step.action).__name__,
                "plugin": step.plugin,
                "about": list(step.action.key[1:]),
            }
            for step in self.steps
            if step.plugin != "sftpjail" and not isinstance(step.action, Check)
        ]

"""Merge the steps of all plugins and accounts into one ordered list."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from ..actions import (
    Action,
    MakeDir,
    Mount,
    Notify,
    Phase,
    Remove,
    Rename,
    SetLines,
    Unmount,
    Unshare,
    View,
    WriteFile,
    text,
)
from ..errors import SftpJailError
from ..formats.fstab import parse_line
from ..formats.tagged_lines import Style, edit
from ..model import GROUP, frozen
from .plan import Step, blaming


@frozen
class Edit(WriteFile):
    """All SetLines of one file, combined into one replacement. Plugins return SetLines."""

    content: str = ""
    keep: bool = True
    sets: tuple[SetLines, ...] = ()

    @property
    def phase(self) -> Phase:  # type: ignore[override]
        return min(line.when for line in self.sets)

    def result(self, view: View) -> bytes | None:
        old = text(view, self.path)
        new = edit(old, {s.tag: s.lines for s in self.sets}, self.sets[0].style)
        if not new and (self.sets[0].own or self.path in view.origin("").made):
            return None
        return new.encode("utf-8", "surrogateescape")


def merged(steps: Iterable[Step]) -> list[Step]:
    """Return the steps without duplicates.

    A daemon is notified once, before the commit if any plugin requires that.

    Raises:
        SftpJailError: two steps contradict each other; names both plugins.
    """
    wanted: dict[tuple[str, ...], Step] = {}
    for step in steps:
        known = wanted.setdefault(step.action.key, step)
        if isinstance(known.action, Notify) and isinstance(step.action, Notify):
            both = known.action, step.action
            once = replace(
                known.action,
                required=any(a.required for a in both),
                always=any(a.always for a in both),
            )
            wanted[step.action.key] = replace(known, action=once)
            continue
        if known.action != step.action:
            raise SftpJailError(
                f"plugins {known.plugin} and {step.plugin} contradict each other"
                f" about {' '.join(step.action.key)}"
            )
    return list(wanted.values())


def without_shared(steps: Sequence[Step], view: Directories) -> list[Step]:
    """Return the steps without those that take a directory from a group that others still share.

    Args:
        steps: merged, and not combined yet.
        view: the facts from before.
    """
    if not any(isinstance(step.action, Unshare) for step in steps):
        return [*steps]
    edits = [step.action for step in steps if isinstance(step.action, SetLines)]
    kept = {view.realpath(path) for edit in edits for path in _shared_by(edit)}
    gone = {(edit.path, edit.tag) for edit in edits if not _shared_by(edit)}
    return [
        step
        for step in steps
        if not isinstance(step.action, Unshare)
        or (step.action.path not in kept and gone.issuperset(step.action.lines))
    ]


def _shared_by(lines: SetLines) -> list[str]:
    """Return the directories that lines of fstab(5) share with a group."""
    if lines.style != Style.FSTAB:
        return []
    entries = filter(None, map(parse_line, lines.lines))
    return [entry.source for entry in entries if entry.option(GROUP.rstrip("="))]


class Directories(View, Protocol):
    """The facts that `without_full_directories` needs."""

    def listdir(self, path: str) -> list[str]: ...
    def realpath(self, path: str) -> str: ...


def combined(steps: Sequence[Step]) -> list[Step]:
    """Return the steps with all SetLines of a file combined into one Edit.

    Raises:
        SftpJailError: another step writes the same file in another way.
    """
    edits: dict[tuple[str, str], list[Step]] = {}
    others = []
    for step in steps:
        if isinstance(step.action, SetLines):
            edits.setdefault((step.action.path, step.action.style.value), []).append(step)
        else:
            others.append(step)
    paths = {step.action.key[1]: step.plugin for step in others if step.action.key[0] == "path"}
    styles: dict[str, dict[str, str]] = {}
    for (path, style), together in edits.items():
        styles.setdefault(path, {})[style] = together[0].plugin
    for (path, own), together in edits.items():
        rivals = []
        if path in paths:
            rivals = [paths[path]]
        rivals += [plugin for style, plugin in styles[path].items() if style != own]
        if rivals:
            raise SftpJailError(f"plugins {rivals[0]} and {together[0].plugin} both edit {path}")
        sets = [step.action for step in together if isinstance(step.action, SetLines)]
        others.append(
            Step(
                Edit(path, mode=sets[0].mode, sets=tuple(sets)),
                together[0].plugin,
                together[0].owner if sets[0].own else "",
                together[0].stranger,
            )
        )
    return others


def order(action: Action) -> tuple[int, int]:
    """Return the sort key of an action: its phase, then its depth.

    Directories and mounts are made from the top down and removed from the bottom up. Otherwise the
    order of the plugins is kept.
    """
    depth = 0
    if action.key[0] in ("path", "owner", "mount"):
        depth = action.key[1].count("/")
    if action.phase in (Phase.UNMOUNT, Phase.REMOVALS, Phase.GIVING):
        return action.phase, -depth
    return action.phase, depth if action.phase in (Phase.DIRECTORIES, Phase.MOUNTS) else 0


def ordered(steps: Sequence[Step]) -> list[Step]:
    """Return the steps in the order in which they are carried out."""
    return sorted(steps, key=lambda step: order(step.action))


def without_full_directories(steps: Sequence[Step], view: Directories) -> list[Step]:
    """Return the steps without removals of directories that will not be empty.

    Args:
        steps: in order, so that the deepest directory is removed first.
        view: the facts from before.
    """
    gone: set[str] = set()
    if any(isinstance(s.action, Remove) for s in steps):
        needed = _needed(steps, view)
    else:
        needed = set()
    kept = []
    for step in steps:
        action = step.action
        if isinstance(action, Unmount):
            shown = view.listdir(action.target)
            for target in {action.target, view.realpath(action.target)}:
                gone.update(f"{target}/{name}" for name in shown)
        if isinstance(action, Rename):
            gone.add(action.path)
        if isinstance(action, WriteFile):
            with blaming(step):
                if action.result(view) is None:
                    gone |= {action.path}
                else:
                    gone |= set()
        if isinstance(action, Remove):
            if view.realpath(action.path) in needed:
                continue
            if any(f"{action.path}/{name}" not in gone for name in view.listdir(action.path)):
                continue
            gone.add(action.path)
        kept.append(step)
    return kept


def _needed(steps: Sequence[Step], view: Directories) -> set[str]:
    """Return the real paths of the directories in which something is made."""
    needed: set[str] = set()
    for step in steps:
        path = _made(step, view)
        if not path:
            continue
        directory = view.realpath(posixpath.dirname(path))
        while directory not in needed and directory != "/":
            needed.add(directory)
            directory = posixpath.dirname(directory)
    return needed


def _made(step: Step, view: View) -> str:
    """Return the path at which a step makes something, or ""."""
    action = step.action
    if isinstance(action, Rename):
        return action.to
    if isinstance(action, MakeDir | Mount):
        return action.key[1]
    if isinstance(action, WriteFile):
        with blaming(step):
            if action.result(view) is None:
                return ""
            return action.path
    return ""

"""Carry a plan out as one transaction. Each undo record is on the disk before its step."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from ..actions import Action, Check, Notify, Phase, Run, WriteFile
from ..errors import SftpJailError
from ..host import Host
from ..system import files, services
from .journal import Journal
from .kinds import Kind, Undo, kind_of
from .kinds.programs import preview
from .plan import Plan, Step, blaming

# Those in which nothing is unmounted, and many names lie in few directories.
_AT_FILES = (Phase.DIRECTORIES, Phase.FILES)
# So many files or directories are no longer worth an fsync(2) each.
_MANY = 32


_WORDS = {Phase.UNMOUNT: "unmounting", Phase.GIVING: "owners", Phase.ENDINGS: "processes"}
# Is told before each part of a transaction: what comes, and how many steps of how many are done.
Progress = Callable[[str, int, int], None]


def carry_out(plan: Plan, journal: Journal, host: Host, progress: Progress) -> list[str]:
    """Carry out the steps of a plan, phase by phase, and return notices for the administrator.

    Args:
        plan: what to do.
        journal: gets the undo records of a phase before its first step.
        host: the facts from before.
        progress: is told before each phase.

    Raises:
        SftpJailError: a step failed; the journal has what to undo.
    """
    notices: list[str | None] = []
    _judge_candidates(plan, host)
    late = [step for step in plan.steps if _is_late(step.action)]
    soon = [step for step in plan.steps if not _is_late(step.action)]
    done = 0
    for phase in Phase:
        batch = [step for step in soon if step.action.phase is phase]
        if not batch:
            continue
        progress(_WORDS.get(phase, phase.name.lower()), done, len(soon))
        done += len(batch)
        foreseen = [step for step in plan.steps if kind_of(step.action).foreseen is phase]
        with files.directories_kept() if phase in _AT_FILES else nullcontext():
            early = [_record(step, host) | {"foreseen": True} for step in foreseen]
            undos = journal.once([_record(step, host) for step in batch])
            journal.record(early + undos)
            notices += _perform_all(batch, undos, host)
            _verify(batch)
            _sync(batch)
    _verify_again(soon, host)
    journal.record([_record(step, host) for step in late])
    return [notice for notice in notices if notice]


def _perform_all(batch: Sequence[Step], undos: Sequence[Undo], host: Host) -> list[str | None]:
    """Take the steps of one phase, whose undo records are on the disk; return notices.

    Of many files the new versions are all written first, and go to the disk at once.
    """
    staged = _staged(batch, undos, host) if len(batch) > _MANY else ()
    notices: list[str | None] = []
    kinds, taken = set[Kind[Any]](), set[int]()
    for number, (step, undo) in enumerate(zip(batch, undos, strict=True)):
        if (kind := kind_of(step.action)) not in kinds:
            kinds.add(kind)
            taken |= _take_together(kind, batch, host)
        if number in taken:
            continue
        with blaming(step):
            if number in staged:
                kind_of(step.action).perform_staged(step.action, undo)
            else:
                notices.append(_perform(step, host, again=bool(undo.get("again"))))
    return notices


def _take_together(kind: Kind[Any], batch: Sequence[Step], host: Host) -> set[int]:
    """Take those steps of a kind that it takes at once, and return their numbers."""
    mine = [number for number, step in enumerate(batch) if kind_of(step.action) is kind]
    done = kind.perform_together([batch[number].action for number in mine], host)
    return {mine[at] for at in done}


def _staged(batch: Sequence[Step], undos: Sequence[Undo], host: Host) -> set[int]:
    """Prepare the steps that can be, and return their numbers; what they write is on the disk."""
    staged, paths = set[int](), set[str]()
    for number, (step, undo) in enumerate(zip(batch, undos, strict=True)):
        if undo.get("path") in paths:
            continue  # by another name
        with blaming(step):
            path = kind_of(step.action).stage(step.action, host, undo)
        if path:
            staged.add(number)
            paths.add(path)
    files.sync_systems({os.path.dirname(path) for path in paths})
    return staged


def announce(plan: Plan) -> list[str]:
    """Notify the daemons that are notified after the commit, and return notices.

    A failure is a notice too, because the commit is final.
    """
    notices = []
    for step in plan.steps:
        action = step.action
        if isinstance(action, Notify) and _is_late(action):
            try:
                with blaming(step):
                    notices.append(services.notify(action.service, action.how))
            except (SftpJailError, OSError) as error:
                notices.append(f"the change is made, but: {error}")
    return [notice for notice in notices if notice]


def _is_late(action: Action) -> bool:
    """Return whether an action is carried out after the commit."""
    return isinstance(action, Notify) and not action.required


def _record(step: Step, host: Host) -> Undo:
    with blaming(step):
        undo = kind_of(step.action).record(step.action, host)
    if step.stranger:
        return undo | {"plugin": step.plugin}
    return undo


def _perform(step: Step, host: Host, again: bool) -> str | None:
    kind = kind_of(step.action)
    perform = kind.perform_again if again else kind.perform
    return perform(step.action, host)


def _verify(batch: Sequence[Step]) -> None:
    for kind in {kind_of(step.action) for step in batch}:
        kind.verify([step for step in batch if kind_of(step.action) is kind])


def _verify_again(steps: Sequence[Step], host: Host) -> None:
    """If hook scripts ran, verify all steps once more before the commit."""
    ran = [step.action.argv[0] for step in steps if isinstance(step.action, Run)]
    if not ran:
        return
    try:
        for kind in {kind_of(step.action) for step in steps}:
            kind.verify_again([step for step in steps if kind_of(step.action) is kind], host)
    except SftpJailError as error:
        error.message += f", after {', '.join(dict.fromkeys(ran))} ran"
        raise


def _sync(batch: Sequence[Step]) -> None:
    """Sync the directories in which a batch of steps changed names, each once.

    If there are many, sync their file systems instead.
    """
    paths = (path for step in batch for path in kind_of(step.action).touched(step.action))
    directories = {os.path.dirname(path) for path in paths}
    if len(directories) > _MANY:
        files.sync_systems(directories)
        return
    files.sync_dirs({directory for directory in directories if os.path.isdir(directory)})


def _judge_candidates(plan: Plan, host: Host) -> None:
    actions = [step.action for step in plan.steps]
    for step in plan.steps:
        action = step.action
        if isinstance(action, Check) and action.candidate:
            with blaming(step):
                preview(action, _contents(actions, action.candidate, host))


def _contents(
    actions: Sequence[Action], paths: Sequence[str], host: Host
) -> dict[str, bytes | None]:
    """Return the future contents of some files; None for one that will be removed."""
    contents: dict[str, bytes | None] = {}
    for action in actions:
        if action.key[0] == "path" and action.key[1] in paths:
            content = None
            if isinstance(action, WriteFile):
                content = action.result(host)
            contents[action.key[1]] = content
    return contents

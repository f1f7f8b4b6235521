"""Run programs, ask them for checks, notify daemons, and end processes."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote

from ...actions import Check, EndProcesses, Notify, Phase, Run, View
from ...errors import SftpJailError
from ...formats.tagged_lines import small_keywords
from ...system import files, programs, services
from .base import Kind, Undo, kind

_KEPT = 64 << 10  # bytes to keep of the beginning and of the end of a hook script's output


@kind(Run, "run")
class RunKind(Kind[Run]):
    """Run a program, which another one undoes."""

    about = ("name",)

    def record(self, action: Run, view: View) -> Undo:
        return {"op": "run", "name": action.why, "argv": list(action.undo)}

    def perform(self, action: Run, view: View) -> None:
        answer = programs.run(
            action.argv,
            action.stdin,
            dict(action.env),
            action.timeout,
            patient=False,
            keep=_KEPT,
            whom=lambda pid: f"{action.argv[0]} ({action.why}), pid {pid}",
        )
        if answer.failed:
            raise SftpJailError(f"{action.argv[0]} ({action.why}) refused: {answer.words}")

    def revert(self, undo: Undo) -> None:
        if undo["argv"]:
            programs.must(undo["argv"])


@kind(EndProcesses)
class EndProcessesKind(Kind[EndProcesses]):
    """End the processes of a user. This cannot be undone."""

    def record(self, action: EndProcesses, view: View) -> Undo:
        return {"op": "run", "name": action.name, "argv": []}

    def perform(self, action: EndProcesses, view: View) -> str:
        # First, since a session may come of them.
        ended = programs.end_unfinished_logins(action.name, action.uid)
        ended += programs.end_processes(action.uid)
        back = [path for path in action.empty if files.is_there(path)]
        if back:
            raise SftpJailError(
                f"a process of {action.name} made {back[0]} again before it was ended",
                f"sftpjail adopt --close {quote(action.name)}",
            )
        if not ended:
            return ""
        return f"ended {ended} process{'es' * (ended != 1)} of {action.name}"


@kind(Check)
class CheckKind(Kind[Check]):
    """Ask a program that only reads whether all is well."""

    def record(self, action: Check, view: View) -> Undo:
        return {"op": "run", "name": action.why, "argv": []}

    def perform(self, action: Check, view: View) -> None:
        preview(action, {})


def preview(action: Check, files: Mapping[str, bytes | None]) -> None:
    """Ask the program of a Check as if some files had other contents.

    Args:
        action: the check.
        files: contents by path; None for a file that is to be missing.

    Raises:
        SftpJailError: see `judge`.
    """
    from ...system import previews  # late: only setup asks so, and useradd waits

    judge(action, previews.preview(action.argv, files))


def judge(action: Check, answer: programs.Answer) -> None:
    """Compare a program's answer with what a Check expects.

    Raises:
        SftpJailError: the program failed, or its answer differs.
    """
    command = " ".join(action.argv)
    if answer.failed:
        raise SftpJailError(f"{action.why}: {command} says: {answer.words}", action.fix)
    said = small_keywords(answer.out)
    missing = [line for line in action.lines if line not in said.splitlines()]
    wanted = small_keywords(action.prints or "")
    if action.prints is not None and _kept(said, action) != _kept(wanted, action):
        other = [line for line in _kept(said, action) if line not in wanted.splitlines()]
        raise SftpJailError(
            f"{action.why}: {command} now says {'; '.join(other[:3]) or 'less than before'}",
            action.fix,
        )
    if missing:
        words = ""
        if answer.err.strip():
            words = f" but: {answer.words}"
        raise SftpJailError(
            f"{action.why}: {command} does not say {'; '.join(missing)}{words}", action.fix
        )


def _kept(text: str, action: Check) -> list[str]:
    return [line for line in text.splitlines() if line.partition(" ")[0] not in action.ignoring]


@kind(Notify, "notify")
class NotifyKind(Kind[Notify]):
    """Make a daemon reread its configuration, also after a rollback (see journal.py)."""

    about = ("name", "how")
    foreseen = Phase.FILES  # a daemon that starts meanwhile reads the files as they are

    def record(self, action: Notify, view: View) -> Undo:
        service = {"name": action.service, "how": action.how}
        return {"op": "notify"} | service | {"late": not action.required}

    def perform(self, action: Notify, view: View) -> str:
        return services.notify(action.service, action.how)

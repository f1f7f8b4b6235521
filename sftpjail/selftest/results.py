"""What came of a test, for a person and for --json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypedDict

from ..errors.escapes import one_line
from ..model import Account

if TYPE_CHECKING:
    from .probes import Outcome


NOT_RUN = "not run: "  # begins the words of a probe that had no session to run in


class Probe(TypedDict):
    """What came of one probe."""

    name: str
    ok: bool
    words: str
    seconds: float


class Result(TypedDict):
    """What came of an account's test; `sshd` is "" for a private one."""

    user: str
    ok: bool
    probes: list[Probe]
    sshd: str
    not_asked: list[str]


def result(account: Account, probes: list[Probe], daemon: str, not_asked: Sequence[str]) -> Result:
    """Return what came of a test, for --json; DAEMON is "" for a private sshd."""
    good = bool(probes) and all(probe["ok"] for probe in probes)
    return Result(user=account.name, ok=good, probes=probes, sshd=daemon, not_asked=list(not_asked))


def describe(outcome: Outcome) -> Probe:
    """Return what came of a probe, for --json."""
    words = one_line(outcome.words)
    return Probe(name=outcome.name, ok=outcome.ok, words=words, seconds=round(outcome.seconds, 3))


def line_of(probe: Probe) -> str:
    """Return what came of a probe, for a person."""
    verdict = "FAILED"
    if probe["ok"]:
        verdict = "ok"
    line = f"{verdict:<8}{probe['name']}"
    if probe["words"]:
        return f"{line}: {probe['words']}"
    return line


def lines_of(probes: Iterable[Probe]) -> list[str]:
    """Return a line for each probe that was run: why the others were not is said once."""
    return [line_of(probe) for probe in probes if not probe["words"].startswith(NOT_RUN)]


def not_run(found: Result) -> str:
    """Return how many probes were not run, and why; "" where all were."""
    words = [probe["words"] for probe in found["probes"] if probe["words"].startswith(NOT_RUN)]
    if not words:
        return ""
    return f", {len(words)} {words[0]}"

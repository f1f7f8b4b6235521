"""Hand one event to the hook scripts and to the plugins, in a worker that is not root's."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

from ..config import Config
from .event import TransferEvent


class Result(Enum):
    """What became of an event that was handed out."""

    DONE = "done"
    FAILED = "failed"  # to be handed out again
    NOTHING = "nothing"  # no script and no plugin wants it, or no user is configured


@dataclass(frozen=True)
class Outcome:
    """What became of an event, and why, in one line.

    Attributes:
        result: see `Result`.
        why: of a failure, and of a DONE that somebody should read in the log, as that a file was
            quarantined; else "".
    """

    result: Result
    why: str = ""


class Worker:
    """A place in which events are handed out, one after the other; each with a process of its own.

    The process is started when the first event needs it, and again after it was ended for its time
    limit. Several may be used at a time, each by one thread or process.

    Args:
        number: names its scope of systemd's: 1, 2, ...
        user: as whom scripts and plugins run.
        timeout: seconds for each script, and for all plugins together.
    """

    def __init__(self, number: int, user: str, timeout: float) -> None:
        self.number = number
        self.user = user
        self.timeout = timeout

    def __enter__(self) -> Self:
        """Return itself; the process is ended with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process, and whatever it has started."""
        self.end()

    def end(self) -> None:
        """End the process, and whatever it has started; a later event starts another one."""


def deliver(event: TransferEvent, config: Config, worker: Worker) -> Outcome:
    """Run the hook scripts and the hooks of plugins for one event, and wait for their end.

    It blocks for at most the worker's time limit for each script. It raises nothing but the
    exceptions of signals: an error of ours is a FAILED, which says why.

    Args:
        event: what happened.
        config: the configuration, as the watcher has read it.
        worker: runs it; free until this returns.
    """
    return Outcome(Result.NOTHING)

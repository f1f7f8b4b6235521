"""A bar on a terminal for work that takes more than a second."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from .context import Context

PATIENCE = 1.0  # seconds after which it is worth a bar


@contextlib.contextmanager
def progress_bar(context: Context) -> Iterator[Callable[[str, int, int], None]]:
    """Yield what draws a bar on standard error, and takes it away at the end.

    It draws nothing at first, nothing for --json, and nothing where standard output or standard
    error is no terminal. No thread draws it: a signal and fork(2) find one thread, as always.

    Args:
        context: of the command.
    """
    if context.json or not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield lambda what, done, total: None
        return
    bar = _Bar()
    try:
        yield bar.tell
    finally:
        bar.close()


class _Bar:
    def __init__(self) -> None:
        self._from = time.monotonic() + PATIENCE
        self._drawn: Any = None

    def tell(self, what: str, done: int, total: int) -> None:
        """Draw what comes, and how many steps of TOTAL are done; 0 where that is not known."""
        if time.monotonic() < self._from:
            return
        with contextlib.suppress(OSError, ValueError):  # nobody reads it
            if self._drawn is None:
                self._drawn = self._begin()
            task = self._drawn.task_ids[0]
            self._drawn.update(task, description=what, completed=done, total=total or None)
            self._drawn.refresh()

    def _begin(self) -> Any:
        from rich.console import Console  # late: only a terminal needs it
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        # Not its cursor: a program that is killed would leave none.
        console = Console(stderr=True)
        console.show_cursor = lambda show=True: False  # type: ignore[method-assign]
        drawn = Progress(
            *columns,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        drawn.add_task("", total=None)
        drawn.start()
        return drawn

    def close(self) -> None:
        """Take the bar away."""
        if self._drawn is not None:
            with contextlib.suppress(OSError, ValueError):
                self._drawn.stop()

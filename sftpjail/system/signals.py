"""The signals that ask us to stop: raised as an exception, held back, or heard a little later."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

# Ctrl-C, kill(1) and systemd, the end of the terminal.
STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked us to stop.

    Not an SftpJailError: those are caught for one account, and the others go on.
    """


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into an exception, so that they roll back like a failure."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"stopped by {signal.Signals(number).name}; everything was put back")

    with _handlers(stop):
        yield


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Hold those signals back during a commit or a rollback, and forget them at its end."""
    names = set(STOP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, names)
    try:
        yield
    finally:
        # What came meanwhile asked for an end that is reached now.
        while not names & before and signal.sigtimedwait(names, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _handlers(handler: object) -> Iterator[None]:
    before = [signal.signal(number, handler) for number in STOP]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number, old in zip(STOP, before, strict=True):
            signal.signal(number, old)


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Hear a signal only at the end.

    Not by a signal mask, which a program that starts here would inherit.
    """
    came = list[int]()
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in STOP]
    try:
        yield
    finally:
        for number, old in zip(STOP, before, strict=True):
            signal.signal(number, old)
        if came:
            signal.raise_signal(came[0])

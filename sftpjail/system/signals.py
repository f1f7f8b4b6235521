"""The signals that ask us to stop: raised as an exception, held back, or heard a little later."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
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
def one_signal() -> Iterator[None]:
    """Let the first signal stop us as it would, and none after it disturb the tidying up."""
    came = list[int]()
    before = {int(number): signal.getsignal(number) for number in STOP}

    def stop(number: int, frame: FrameType | None) -> None:
        came.append(number)
        handler = before[number]
        if len(came) == 1 and callable(handler):
            handler(number, frame)

    with _handlers(stop):
        yield


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Hear a signal only at the end.

    Not by a signal mask, which a program that starts here would inherit.
    """
    came = list[int]()
    try:
        with _handlers(lambda number, _: came.append(number)):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])


def heard_in_child() -> None:
    """Let those signals stop this process, a child of ours, by an exception; for all its life."""
    for number in STOP:
        signal.signal(number, _stop)


def _stop(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = [signal.signal(number, handler) for number in STOP]
    try:
        yield
    finally:
        for number, old in zip(STOP, before, strict=True):
            signal.signal(number, old)

"""The signals that ask us to stop: raised as an exception, held back, or heard a little later."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

# Ctrl-C, kill(1) and systemd, the end of the terminal.
STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
T = TypeVar("T")


class Interrupted(KeyboardInterrupt):
    """A signal asked us to stop.

    Not an SftpJailError: those are caught for one account, and the others go on.

    `put_back`: a transaction had begun, and all of it was undone. The engine says so.
    """

    put_back = False


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into an exception, so that they roll back like a failure."""
    with _handlers(_interrupt):
        yield


def raise_always() -> None:
    """Do as `signals_raise`, until another handler is set."""
    for number in STOP:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    """Raise Interrupted, unless one is on its way already: it does what the second one asks."""
    error = sys.exc_info()[1]
    while error is not None:
        if isinstance(error, Interrupted):
            return
        error = error.__context__
    raise Interrupted(f"stopped by {signal.Signals(number).name}")


def undisturbed(work: Callable[[], T]) -> T:
    """Do something that must be done, under `signals_wait`, also if a signal comes just before.

    Args:
        work: is called once.
    """
    try:
        with signals_wait():
            return work()
    except Interrupted:  # nothing raises it while they wait, so `work` has not begun
        with signals_wait():
            return work()


def ends_with(code: int) -> None:
    """Let a signal from now on end this process at once: all is done but for the last words.

    Args:
        code: the exit code that it has then.
    """
    for number in STOP:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(code))


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Have the handlers of before again at the end."""
    before = {number: signal.getsignal(number) for number in STOP}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def never_again() -> None:
    """Let none of those signals reach this process any more."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)


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
    # What nohup(1) ignores stays ignored.
    heard = [number for number in STOP if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)

"""The signals that ask us to stop: raise them as exceptions, block them, or postpone them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

# Sent by Ctrl-C, by kill(1) and systemd, and when the terminal is closed.
STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
T = TypeVar("T")


class Interrupted(KeyboardInterrupt):
    """A signal asked us to stop.

    This is not an SftpJailError, because those are caught for one account and the others go on.

    Args:
        number: which signal it was, e.g. 2.

    `put_back` means that a transaction had begun and was rolled back. The engine sets it.
    """

    put_back = False

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into an exception, so that they cause a rollback."""
    before, sys.unraisablehook = sys.unraisablehook, _raise_later
    try:
        with _handlers(_interrupt):
            yield
    finally:
        sys.unraisablehook = before


def raise_always() -> None:
    """Do as `signals_raise`, until another handler is set."""
    sys.unraisablehook = _raise_later
    for number in STOP:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    """Raise Interrupted, unless one is being handled already."""
    error = sys.exc_info()[1]
    while error is not None:
        if isinstance(error, Interrupted):
            return
        error = error.__context__
    raise Interrupted(number)


def _raise_later(unraisable: sys.UnraisableHookArgs) -> None:
    """Send ourselves a signal again that came while a destructor or the callback of a weakref ran.

    Python drops what is raised there, and goes on (sys.unraisablehook). Nothing can be raised from
    within this hook either, so a timer of 10 milliseconds does it.
    """
    error = unraisable.exc_value
    if not isinstance(error, Interrupted):
        sys.__unraisablehook__(unraisable)
        return
    lost = error.number

    def again(*_: object) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.raise_signal(lost)

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, 0.01)


def signals_postponed(work: Callable[[], T]) -> T:
    """Call WORK once with signals blocked, even if a signal arrives just before.

    Args:
        work: something that must be done.
    """
    try:
        with signals_wait():
            return work()
    except Interrupted:  # nothing raises it while signals are blocked, so `work` has not begun
        with signals_wait():
            return work()


def ends_with(code: int) -> None:
    """From now on, let a signal end this process at once, because only its last output is missing.

    Args:
        code: the exit code in that case.
    """
    for number in STOP:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(code))


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Restore the present signal handlers at the end."""
    before = {number: signal.getsignal(number) for number in STOP}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def block_stop_signals() -> None:
    """Block these signals for the rest of this process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Block these signals during a commit or a rollback, and discard them at its end."""
    names = set(STOP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, names)
    try:
        yield
    finally:
        # Discard signals that arrived meanwhile: what they asked to end has ended.
        while not names & before and signal.sigtimedwait(names, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def one_signal() -> Iterator[None]:
    """Handle the first signal as usual, and ignore further ones, so that cleaning up can finish."""
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
    """Postpone signals to the end, without a signal mask, which a started program would inherit."""
    came = list[int]()
    try:
        with _handlers(lambda number, _: came.append(number)):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])


def heard_in_child() -> None:
    """In a child process, let these signals raise an exception from now on."""
    for number in STOP:
        signal.signal(number, _interrupt)


@contextlib.contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    # A signal that nohup(1) ignores stays ignored.
    heard = [number for number in STOP if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)

"""What a process got from its caller, and what signals do to it."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import time
from collections.abc import Iterator

import pytest

from sftpjail.errors import SftpJailError
from sftpjail.system import process_state, signals
from sftpjail.system.signals import Interrupted


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Signals and umask are pytest's again at the end."""
    mask, umask = signal.pthread_sigmask(signal.SIG_BLOCK, ()), os.umask(0o022)
    before = {number: signal.getsignal(number) for number in (signal.SIGCHLD, *signals.STOP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.umask(umask)


def test_what_the_caller_ignores_or_blocks_is_undone() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for `command &`
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGTERM))
    os.umask(0o777)
    process_state.start_process()
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert os.umask(0o022) == 0o022


def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    process_state.start_process()
    with signals.signals_raise():
        signal.raise_signal(signal.SIGHUP)
    signals.raise_always()
    signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_low_limits_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_FSIZE: (0, 0), resource.RLIMIT_NOFILE: (8, 1024)}
    plenty = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(
        process_state.resource, "getrlimit", lambda which: limits.get(which, plenty)
    )
    told = [line for line in process_state.restrictions() if "no_new_privs" not in line]
    assert told == ["RLIMIT_FSIZE is 0 (ulimit -f)", "RLIMIT_NOFILE is 8 (ulimit -n)"]


def test_a_low_limit_is_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    lifted: list[tuple[int, tuple[int, int]]] = []
    few = {resource.RLIMIT_NOFILE: (8, 1024), resource.RLIMIT_FSIZE: (1 << 40, 1 << 40)}
    plenty = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(process_state.resource, "getrlimit", lambda which: few.get(which, plenty))
    monkeypatch.setattr(process_state.resource, "setrlimit", lambda *given: lifted.append(given))
    process_state.lift_limits()
    assert lifted == [(resource.RLIMIT_NOFILE, (64, 1024))]


def test_a_second_signal_does_not_disturb_the_first() -> None:
    with signals.signals_raise():
        with pytest.raises(Interrupted, match="stopped by SIGINT") as caught:
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                signal.raise_signal(signal.SIGTERM)
        assert caught.value.put_back is False
        with pytest.raises(Interrupted, match="stopped by SIGTERM"):
            signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_comes_in_a_destructor_is_raised_after_it() -> None:
    """Python drops what a destructor or the callback of a weakref raises, as those of imports are."""

    class Ends:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with signals.signals_raise(), pytest.raises(Interrupted, match="stopped by SIGTERM"):
        Ends()
        time.sleep(60)


def test_what_must_be_done_is_done_once_whenever_a_signal_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[int] = []
    waits = signals.signals_wait

    def late() -> object:
        monkeypatch.setattr(signals, "signals_wait", waits)
        raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(signals, "signals_wait", late)
    signals.signals_postponed(lambda: done.append(1))
    assert done == [1]


@pytest.mark.parametrize(("mask", "may"), [("000001fffeffffff", False), ("000001ffffffffff", True)])
def test_few_files_for_good_are_refused_before_a_change(
    mask: str, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = io.StringIO(f"Name:\tx\nCapEff:\t{mask}\n")
    monkeypatch.setattr("builtins.open", lambda *_, **__: status)
    monkeypatch.setattr(process_state.resource, "getrlimit", lambda which: (8, 8))
    with (
        contextlib.nullcontext()
        if may
        else pytest.raises(SftpJailError, match="files is 8, and 64")
    ):
        process_state.refuse_few_files()


def test_a_low_soft_limit_keeps_nobody_from_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_state.resource, "getrlimit", lambda which: (8, 1024))
    process_state.refuse_few_files()

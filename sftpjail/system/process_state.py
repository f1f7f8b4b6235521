"""What this process got from its caller, brought to a known state: signals, umask, streams."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import signal
import sys
from collections.abc import Iterator

# Ignored by Python itself, which turns both into errors, or by nohup(1).
_MAY_BE_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP)

# What a command needs at least of each limit: about twice of what was measured on a host with
# 10,000 accounts, and for files more than any that we write.
_NEEDED = (
    ("RLIMIT_FSIZE", "ulimit -f", 64 << 20),
    ("RLIMIT_NOFILE", "ulimit -n", 64),
    ("RLIMIT_AS", "ulimit -v", 512 << 20),
    ("RLIMIT_DATA", "ulimit -d", 256 << 20),
    ("RLIMIT_CPU", "ulimit -t", 600),
    ("RLIMIT_NPROC", "ulimit -u", 64),
)


def start_process() -> None:
    """Bring what a caller may have changed to what the rest of the program counts on.

    The launcher has opened descriptors 0 to 2 where they were closed.
    """
    _reset_signals()
    os.umask(0o022)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout, sys.stderr = (
        sys.stdout or open(os.devnull, "w"),  # noqa: SIM115
        sys.stderr or open(os.devnull, "w"),  # noqa: SIM115
    )
    # A name in letters that the locale has not is no reason to fail.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _reset_signals() -> None:
    """Give signals that the caller ignores or blocks their usual effect.

    While SIGCHLD is ignored, the kernel keeps no exit code, and every program that fails would
    count as a success: waitpid(2).
    """
    for number in signal.valid_signals():
        if number not in _MAY_BE_IGNORED and signal.getsignal(number) is signal.SIG_IGN:
            with contextlib.suppress(OSError):  # of SIGKILL and SIGSTOP
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def restrictions() -> Iterator[str]:
    """Yield which limits of the caller may keep this process, or a program of it, from its end."""
    for name, command, least in _NEEDED:
        soft = resource.getrlimit(getattr(resource, name))[0]
        if soft != resource.RLIM_INFINITY and soft < least:
            yield f"{name} is {soft} ({command})"
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        if "\nNoNewPrivs:\t1\n" in status.read():
            yield "no_new_privs is set"


def lift_limits() -> None:
    """Raise the limits that are too low, where we may: no rollback is to fail for one."""
    for name, _, least in _NEEDED:
        which = getattr(resource, name)
        soft, hard = resource.getrlimit(which)
        if soft != resource.RLIM_INFINITY and soft < least:
            enough = hard if hard == resource.RLIM_INFINITY else max(hard, least)
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(which, (least, enough))


def silence(fd: int) -> None:
    """Print no more there: the reader is gone.

    Args:
        fd: 1 or 2.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)

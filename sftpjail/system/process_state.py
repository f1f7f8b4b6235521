"""Bring what this process inherits to a known state: signals, umask, streams and limits."""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator

from ..errors import SftpJailError

# Python ignores the first two and turns them into errors. nohup(1) ignores the last one.
_MAY_BE_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP)

# The limits that a command needs: about twice what was measured on a host with 10,000 accounts, and
# for RLIMIT_FSIZE more than any file that we write.
_NEEDED = (
    ("RLIMIT_FSIZE", "ulimit -f", 64 << 20),
    ("RLIMIT_NOFILE", "ulimit -n", 64),
    ("RLIMIT_AS", "ulimit -v", 512 << 20),
    ("RLIMIT_DATA", "ulimit -d", 256 << 20),
    ("RLIMIT_CPU", "ulimit -t", 600),
    ("RLIMIT_NPROC", "ulimit -u", 64),
)
_CAP_SYS_RESOURCE = 24  # linux/capability.h


def start_process() -> None:
    """Bring signals, umask and streams to the state that the rest of the program expects.

    The launcher has already opened descriptors 0 to 2 if they were closed.
    """
    _reset_signals()
    os.umask(0o022)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout, sys.stderr = (
        sys.stdout or open(os.devnull, "w"),  # noqa: SIM115
        sys.stderr or open(os.devnull, "w"),  # noqa: SIM115
    )
    # A name that the locale cannot encode is no reason to fail.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _reset_signals() -> None:
    """Reset signals that the caller ignores or blocks to their default.

    While SIGCHLD is ignored, the kernel keeps no exit status (waitpid(2)), and every program that
    fails would count as a success.
    """
    for number in signal.valid_signals():
        if number not in _MAY_BE_IGNORED and signal.getsignal(number) is signal.SIG_IGN:
            with contextlib.suppress(OSError):  # SIGKILL and SIGSTOP
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def restrictions() -> Iterator[str]:
    """Yield the inherited limits that may make this process, or a program it runs, fail."""
    for name, command, least in _NEEDED:
        soft = resource.getrlimit(getattr(resource, name))[0]
        if soft != resource.RLIM_INFINITY and soft < least:
            yield f"{name} is {soft} ({command})"
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        if "\nNoNewPrivs:\t1\n" in status.read():
            yield "no_new_privs is set"


def lift_limits() -> None:
    """Raise the limits that are too low, if permitted, so that a rollback does not fail."""
    for name, _, least in _NEEDED:
        which = getattr(resource, name)
        soft, hard = resource.getrlimit(which)
        if soft != resource.RLIM_INFINITY and soft < least:
            if hard == resource.RLIM_INFINITY:
                enough = hard
            else:
                enough = max(hard, least)
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(which, (least, enough))


def refuse_few_files() -> None:
    """Refuse to begin a change that could not be rolled back for lack of file descriptors.

    Raises:
        SftpJailError: the hard limit is too low and cannot be raised. That takes
            CAP_SYS_RESOURCE (capabilities(7)), which root in a container may lack.
    """
    least = next(least for name, _, least in _NEEDED if name == "RLIMIT_NOFILE")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= least:
        return
    with open("/proc/self/status", encoding="ascii") as status:
        found = re.search(r"(?m)^CapEff:\t([0-9a-f]+)$", status.read())
    if not found or not int(found[1], 16) >> _CAP_SYS_RESOURCE & 1:
        raise SftpJailError(
            f"the hard limit of open files is {hard}, and {least} are needed",
            advice="raise it where this was started (ulimit -Hn)",
        )

"""What this process got from its caller, brought to a known state: signals, umask, streams."""

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
_CAP_SYS_RESOURCE = 24  # linux/capability.h


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


def refuse_few_files() -> None:
    """Refuse to begin a change that could not be rolled back for want of descriptors.

    Raises:
        SftpJailError: the hard limit is too low, and only CAP_SYS_RESOURCE raises that: which
            root in a container may not have (capabilities(7)).
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

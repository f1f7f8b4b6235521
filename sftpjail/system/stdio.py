"""The streams and the umask of a process that cron or a daemon may have started."""

from __future__ import annotations

import io
import os
import sys


def start_process() -> None:
    """Make the umask a plain one, and open the streams that cron and some daemons leave closed."""
    os.umask(0o022)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout, sys.stderr = (
        sys.stdout or open(os.devnull, "w"),  # noqa: SIM115
        sys.stderr or open(os.devnull, "w"),  # noqa: SIM115
    )
    # A name in letters that the locale has not is no reason to fail.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def silence_output() -> None:
    """Print no more: the reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

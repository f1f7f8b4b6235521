"""The standard streams, whose reader may have gone."""

from __future__ import annotations

import os
import sys


def let_go_of_streams() -> None:
    """Flush the standard streams, or drop what cannot be written.

    Otherwise Python would fail to flush them at its exit, with exit code 120.
    """
    for name in ("stdout", "stderr"):
        try:
            if getattr(sys, name) is not None:
                getattr(sys, name).flush()
        except (OSError, ValueError):
            setattr(sys, name, None)


def silence(fd: int) -> None:
    """Redirect a stream to /dev/null, because its reader has gone.

    Args:
        fd: 1 or 2.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)

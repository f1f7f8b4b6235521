"""The standard streams, where their reader may have gone."""

from __future__ import annotations

import os
import sys


def let_go_of_streams() -> None:
    """Write what is left in the standard streams, or forget it.

    What Python cannot write at its very end makes its exit code 120.
    """
    for name in ("stdout", "stderr"):
        try:
            if getattr(sys, name) is not None:
                getattr(sys, name).flush()
        except (OSError, ValueError):
            setattr(sys, name, None)


def silence(fd: int) -> None:
    """Print no more there: the reader is gone.

    Args:
        fd: 1 or 2.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)

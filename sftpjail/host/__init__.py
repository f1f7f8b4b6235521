"""Read-only facts about the host."""

from __future__ import annotations

from .facts import Facts
from .host import Host

__all__ = ["Facts", "Host"]


def as_plugins_see_it(host: Host) -> Facts:
    """Return the host as plugins see it. The type checker compares `Host` with `Facts` here."""
    return host

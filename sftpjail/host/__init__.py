"""Read-only facts about the host."""

from __future__ import annotations

from .facts import Facts
from .host import Host

__all__ = ["Facts", "Host"]


def as_plugins_see_it(host: Host) -> Facts:
    """Return the host as a plugin may ask it; the type checker holds one against the other."""
    return host

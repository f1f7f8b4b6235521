"""Read-only facts about the host."""

from .host import Host

__all__ = ["Host"]

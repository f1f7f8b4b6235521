"""Binds into jails: what may be shown where.

How a bind is kept is known by one module for each kind of `mounts`.
"""

from __future__ import annotations

from .changes import on_mount, on_setup, on_teardown, on_unmount
from .check import on_check, on_explain

__all__ = ["on_check", "on_explain", "on_mount", "on_setup", "on_teardown", "on_unmount"]

"""The log socket in the jail, and the daemon's rule for the file."""

from __future__ import annotations

from .changes import on_jail_binds, on_setup, on_teardown
from .check import on_check, on_explain

__all__ = ["on_check", "on_explain", "on_jail_binds", "on_setup", "on_teardown"]

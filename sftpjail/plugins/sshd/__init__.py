"""The Match blocks.

sshd itself is asked, before and after, whether members are jailed and others see no change.
"""

from __future__ import annotations

from .changes import on_setup, on_teardown, on_user_create
from .check import on_check, on_explain

__all__ = ["on_check", "on_explain", "on_setup", "on_teardown", "on_user_create"]

"""The jail's directories.

sshd refuses a chroot of which any component is not root's alone; so do we, with a reason.
"""

from __future__ import annotations

from .changes import on_jail_binds, on_setup, on_teardown, on_user_create, on_user_remove
from .check import on_check, on_explain

__all__ = [
    "on_check",
    "on_explain",
    "on_jail_binds",
    "on_setup",
    "on_teardown",
    "on_user_create",
    "on_user_remove",
]

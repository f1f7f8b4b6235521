"""Keys outside the home: /etc/ssh/authorized_keys/USER.

There the user cannot change them and sshd can read them.
"""

from __future__ import annotations

from .changes import (
    on_key_add,
    on_key_migrate,
    on_key_remove,
    on_setup,
    on_teardown,
    on_user_create,
    on_user_remove,
)
from .check import on_check, on_explain

__all__ = [
    "on_check",
    "on_explain",
    "on_key_add",
    "on_key_migrate",
    "on_key_remove",
    "on_setup",
    "on_teardown",
    "on_user_create",
    "on_user_remove",
]

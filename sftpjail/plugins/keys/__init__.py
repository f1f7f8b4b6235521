"""Keys outside the home: /etc/ssh/authorized_keys/USER.

There sshd can read them, and users cannot change them.
"""

from __future__ import annotations

from ... import Account, Fact, Problem, hookimpl
from ...host import Host
from .changes import (
    on_key_add,
    on_key_migrate,
    on_key_remove,
    on_setup,
    on_teardown,
    on_user_create,
    on_user_remove,
    on_user_rename,
)

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
    "on_user_rename",
]


# Imported late: only `check` and `explain` need it, and useradd waits for everything else.
@hookimpl
def on_check(account: Account | None, host: Host) -> list[Problem]:
    from .check import find_problems

    return find_problems(account, host)


@hookimpl
def on_explain(account: Account, host: Host) -> list[Fact]:
    from .check import list_facts

    return list_facts(account, host)

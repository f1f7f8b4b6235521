"""Bind mounts in jails: what may be mounted where.

For each value of `mounts`, one module knows how binds are stored.
"""

from __future__ import annotations

from ... import Account, Fact, Problem, hookimpl
from ...config import Config
from ...host import Host
from .changes import (
    on_mount,
    on_setup,
    on_teardown,
    on_unmount,
    on_user_create,
    on_user_remove,
    on_user_rename,
)

__all__ = [
    "on_check",
    "on_explain",
    "on_mount",
    "on_setup",
    "on_teardown",
    "on_unmount",
    "on_user_create",
    "on_user_remove",
    "on_user_rename",
]


# Imported late: only `check` and `explain` need it, and useradd waits for everything else.
@hookimpl
def on_check(account: Account | None, host: Host, config: Config) -> list[Problem]:
    from .check import find_problems

    return find_problems(account, host, config)


@hookimpl
def on_explain(account: Account, host: Host) -> list[Fact]:
    from .check import list_facts

    return list_facts(account, host)

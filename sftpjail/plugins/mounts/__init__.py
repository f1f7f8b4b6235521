"""Binds into jails: what may be shown where.

How a bind is kept is known by one module for each kind of `mounts`.
"""

from __future__ import annotations

from ... import Account, Fact, Problem, hookimpl
from ...config import Config
from ...host import Host
from .changes import on_mount, on_setup, on_teardown, on_unmount

__all__ = ["on_check", "on_explain", "on_mount", "on_setup", "on_teardown", "on_unmount"]


# Late: only `check` and `explain` ask these, and useradd waits for the rest.
@hookimpl
def on_check(account: Account | None, host: Host, config: Config) -> list[Problem]:
    from .check import find_problems

    return find_problems(account, host, config)


@hookimpl
def on_explain(account: Account, host: Host) -> list[Fact]:
    from .check import list_facts

    return list_facts(account, host)

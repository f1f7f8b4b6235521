"""Restore the jail of an account that userdel(8) did not delete after all."""

from __future__ import annotations

from collections.abc import Iterator

from ..engine.engine import Engine
from ..errors import RollbackIncomplete, SftpJailError
from ..jails.guards import guard
from ..jails.membership import jailed
from ..system import departures
from .events import create_events


def resume(engine: Engine) -> Iterator[str | SftpJailError]:
    """Restore the jails in which userdel's hook has unmounted everything, and yield reports.

    Each is a transaction that does what `apply` would do. A failure is reported only once here.
    Afterwards, it is a problem like any other, and `check` reports it.

    Args:
        engine: with the lock held; its facts are from before.

    Raises:
        RollbackIncomplete: a jail could not be restored, and the rollback is incomplete.
    """
    for name in departures.stopped():
        own = engine.on(engine.host.anew())
        own.commits, own.command = [], "apply"
        account = jailed(own.config, own.host).get(name)
        if account is not None:
            try:
                guard(account, own.host)
                plan = own.plan(create_events(account, own.host, own.manager))
                notices = own.apply(plan)
                if plan:
                    yield f"userdel stopped, and the jail of {name} is whole again"
                yield from notices
            except RollbackIncomplete:
                raise
            except SftpJailError as error:
                yield error.saying(f"userdel stopped, and the jail of {name} is not whole: {error}")
        departures.end(name)

"""What becomes of a jail whose account userdel(8) did not delete after all."""

from __future__ import annotations

from collections.abc import Iterator

from ..engine.engine import Engine
from ..errors import RollbackIncomplete, SftpJailError
from ..jails.guards import guard
from ..jails.membership import jailed
from ..system import departures
from .events import create_events


def resume(engine: Engine) -> Iterator[str | SftpJailError]:
    """Make jails whole again from which userdel's hook has unmounted all, and yield what is to say.

    It is what `apply` would do, and a transaction of its own. What cannot be made again is reported
    this once; after that it is a problem like any other, and `check` finds it.

    Args:
        engine: under the lock; its facts are those from before.

    Raises:
        RollbackIncomplete: one could not be made, and not everything could be put back.
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

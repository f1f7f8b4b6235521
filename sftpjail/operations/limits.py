"""The additional events of a plan that changes the source addresses of accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..engine.engine import Engine
from ..engine.plan import Event, OnSetup, OnTeardown, OnUserLimit, OnUserRemove, Plan, Step
from ..errors import SftpJailError
from ..host import Host
from ..jails.addresses import listed, needs_setup


def limited_by(
    events: Iterable[Event], host: Host
) -> tuple[list[Event], Mapping[str, tuple[str, ...]] | None]:
    """Return the events that must come first, and the future list of addresses.

    Args:
        events: what is to happen.
        host: the facts.

    Returns:
        OnSetup if PAM or sshd must begin or cease to read the list, unless it is among the events;
        and the argument `limited` of `Engine.plan`.
    """
    now = listed(host)
    after = dict(now)
    all_events = list(events)
    for event in all_events:
        if isinstance(event, OnUserLimit):
            after[event.account.name] = tuple(event.addresses)
        elif isinstance(event, OnUserRemove):
            after.pop(event.account.name, None)
    after = {name: addresses for name, addresses in after.items() if addresses}
    if after == now or not needs_setup(after, host):
        return [], None
    there = any(isinstance(event, OnSetup | OnTeardown) for event in all_events)
    return ([] if there else [OnSetup()]), after


def limited(engine: Engine, events: Sequence[Event], also: Sequence[Step] = ()) -> Plan:
    """Return the plan of some events, with the additions of `limited_by`.

    If setup would also make other changes, it is not included: somebody who sets the addresses of
    one account has not asked for them.

    Raises:
        SftpJailError: setup must be run first, or as `Engine.plan`.
    """
    ahead, after = limited_by(events, engine.host)
    if ahead and engine.plan(ahead).steps:
        if any(isinstance(event, OnUserLimit) for event in events):
            raise SftpJailError(
                "source addresses require setup, which would make other changes as well: "
                "sftpjail --dry-run setup shows them",
                "sftpjail setup",
            )
        ahead, after = [], None  # the rule that reads an empty list may stay until then
    return engine.plan([*ahead, *events], also=also, limited=after)

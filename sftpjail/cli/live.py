"""test --live: log in to the running sshd with a key that expires after two minutes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from ..engine.engine import Engine
from ..engine.plan import Event, OnKeyRemove
from ..errors import SftpJailError
from ..host import Host
from ..jails.membership import find_jailed
from ..model import Account
from ..openssh.public_keys import LIVE_TEST
from ..operations.keys import add_events, present, read_keys
from ..selftest.live import (
    LIVE_PROBES,
    NOT_ASKED,
    Door,
    Live,
    find_door,
    live_trial,
    stamp,
)
from ..selftest.login import workplace
from ..selftest.probes import prove
from ..selftest.results import Probe, Result, describe, line_of, result
from .context import Context


def test_live(context: Context, accounts: list[Account], outside: dict[str, list[str]]) -> int:
    """Test accounts with the running sshd, one after the other.

    Stop after the first key that it refuses, because several failed logins may block our address
    (PerSourcePenalties, fail2ban).

    Args:
        context: of this run.
        accounts: with their profiles.
        outside: by account, what check finds open.

    Raises:
        SftpJailError: there is no sshd to test, or no key can let an account in.
    """
    door = find_door(Host())
    tests = list[Result]()
    refused = ""
    with workplace() as place:
        for account in accounts:
            if refused:
                words = f"not run: sshd has refused the key of {refused}, and a second refusal"
                words += " could shut this address out"
                probes = [Probe(name="authenticates", ok=False, words=words, seconds=0.0)]
            else:
                probes, refuses = _ask(context, account, door, place, outside[account.name])
                refused = ""
                if refuses:
                    refused = account.name
            tests.append(result(account, probes, str(door.daemon), NOT_ASKED))
            good = sum(probe["ok"] for probe in probes)
            context.say(map(line_of, probes[:1]) if refused not in ("", account.name) else [])
            context.say([f"{account.name}: {good} of {len(probes)} ok"])
    context.answers["tests"] = tests
    names = " ".join(account.name for account in accounts)
    context.say([f"not asked: {', '.join(NOT_ASKED)}; that is what sftpjail test {names} does"])
    return context.close(0 if all(found["ok"] for found in tests) else 3)


def _ask(
    context: Context, account: Account, door: Door, place: str, outside: list[str]
) -> tuple[list[Probe], bool]:
    """Return the result of each probe, and whether sshd refused the key."""
    probes = list[Probe]()
    with live_trial(account, context.config(), Host(), place, door) as made:
        made.outside = outside
        with _in_force(context, made):
            for outcome in prove(made, LIVE_PROBES):
                probes.append(describe(outcome))
                context.say([line_of(probes[-1])])
        return probes, made.refused


@contextlib.contextmanager
def _in_force(context: Context, made: Live) -> Iterator[None]:
    """Add the test key to the account's key file, and remove it at the end.

    Expired keys that earlier tests could not remove are removed too.
    """
    name, line = made.account.name, made.line
    try:
        with context.engine() as engine:
            account = find_jailed(name, engine.config, engine.host)
            keys = read_keys({LIVE_TEST: line}, engine.host)
            events: list[Event] = [*_left(account, engine.host)]
            engine.apply(engine.plan([*events, *add_events(account, keys, engine.host)]))
        yield
    finally:
        with context.engine() as engine:
            _take_out(name, line, engine)


def _take_out(name: str, line: str, engine: Engine) -> None:
    account = find_jailed(name, engine.config, engine.host)
    keys = present(account, engine.host).values()
    gone = [OnKeyRemove(account, key) for key in keys if key.line == line]
    try:
        engine.apply(engine.plan(gone))
    except SftpJailError as error:
        error.message = f"the key of this test could not be taken out: {error.message}"
        error.advice = error.advice or "sshd itself refuses the key two minutes after the test"
        raise


def _left(account: Account, host: Host) -> Iterator[OnKeyRemove]:
    """Yield the events that remove expired keys of earlier tests."""
    now = stamp(time.time())
    for key in present(account, host).values():
        expiry = [o.partition("=")[2].strip('"') for o in key.options if o.startswith("expiry-")]
        if key.comment == LIVE_TEST and expiry and expiry[0] < now:
            yield OnKeyRemove(account, key)

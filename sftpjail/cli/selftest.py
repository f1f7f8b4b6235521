"""test: log in to a jail, and prove that it is one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import partial
from shlex import quote

from ..config import Config
from ..engine.engine import Engine
from ..errors import SftpJailError, UsageError
from ..errors.escapes import one_line
from ..host import Host
from ..jails.membership import find_jailed, jailed
from ..model import Account
from ..operations.diagnosis import judge
from ..selftest.results import Probe, Result, describe, lines_of, not_run, result
from .context import Command, Context

AT_ONCE = 4  # jails side by side

# Tests an account, and passes on each probe as soon as it is done.
Prove = Callable[[Account, Callable[[Probe], None]], Result]


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("test", "prove a jail by a real login through a private sshd")
    parser.add_argument("users", metavar="USER", nargs="*")
    parser.add_argument("--all", action="store_true", help="test every jail")
    parser.add_argument(
        "--live",
        action="store_true",
        help="ask the sshd that runs, with a key that it takes for two minutes",
    )
    parser.set_defaults(run=test)


def test(context: Context) -> int:
    """Test one jail, probe by probe, or several, a few at a time."""
    given = context.arguments
    if given.all == bool(given.users):
        choice = ("to test every jail", "sftpjail test --all")
        raise UsageError("give the users to test, or --all", choices=(choice,))
    from ..selftest.ssh_client import library

    library()
    with context.engine(reading=True) as engine:
        config, host = engine.config, engine.host
        if given.all:
            accounts = sorted(jailed(config, host).values(), key=lambda account: account.name)
        else:
            accounts = [find_jailed(name, config, host) for name in dict.fromkeys(given.users)]
        outside = _outside(engine, accounts)
    if given.live:
        from .live import test_live

        return test_live(context, accounts, outside)
    from ..selftest.login import workplace

    with workplace() as place:
        prove = partial(_prove, config, host, place, outside)
        if len(accounts) == 1 and not given.all:
            tests = [_one(context, accounts[0], prove)]
        else:
            tests = _several(context, accounts, prove)
    context.answers["tests"] = tests
    if accounts:
        names = " ".join(quote(name) for name in given.users) or "--all"
        context.say(
            [f"not asked: the sshd that runs; that is what sftpjail test --live {names} does"]
        )
    return context.close(0 if all(found["ok"] for found in tests) else 3)


def _outside(engine: Engine, accounts: list[Account]) -> dict[str, list[str]]:
    """Return for each account what check finds open, because no login can show it."""
    found: dict[str, list[str]] = {account.name: [] for account in accounts}
    if not found:
        return found
    # Facts of its own: how thorough it is depends on how many there are.
    for problem in judge(engine.on(Host()), list(found)):
        for name in problem.concerns if problem.severity == "open" else ():
            found[name].append(problem.what)
    return found


def _one(context: Context, account: Account, prove: Prove) -> Result:
    """Test one jail, and print the result of each probe at once."""
    found = prove(account, lambda probe: context.say(lines_of([probe])))
    good = sum(probe["ok"] for probe in found["probes"])
    context.say([f"{account.name}: {good} of {len(found['probes'])} ok{not_run(found)}"])
    return found


def _several(context: Context, accounts: list[Account], prove: Prove) -> list[Result]:
    """Test jails in parallel, each in its own process.

    Print one line for a good jail, and more for a bad one.
    """
    from ..system.workers import in_processes

    tests = []
    with contextlib.closing(
        in_processes([partial(_job, prove, account) for account in accounts], AT_ONCE)
    ) as answers:
        for account, text in zip(accounts, answers, strict=True):
            found = json.loads(text or _stopped(account, "the test was stopped"))
            bad = [probe for probe in found["probes"] if not probe["ok"]]
            context.say(
                [
                    f"{'FAILED' if bad else 'ok':<8}{account.name}{not_run(found)}",
                    *(f"        {line}" for line in lines_of(bad)),
                ]
            )
            tests.append(found)
    if not accounts:
        context.say(["no account is jailed"])
    return tests


def _job(prove: Prove, account: Account) -> str:
    try:
        return json.dumps(prove(account, lambda probe: None))
    except SftpJailError as error:
        return _stopped(account, error.message)
    except Exception as error:
        return _stopped(account, one_line(f"a bug: {type(error).__name__}: {error}"))


def _stopped(account: Account, words: str) -> str:
    probe = Probe(name="authenticates", ok=False, words=words, seconds=0.0)
    return json.dumps(result(account, [probe], "", ["the sshd that runs"]))


def _prove(
    config: Config,
    host: Host,
    place: str,
    outside: dict[str, list[str]],
    account: Account,
    say: Callable[[Probe], None],
) -> Result:
    from ..selftest.login import trial
    from ..selftest.probes import prove

    probes = []
    with trial(account, config, host, place) as made:
        made.outside = outside[account.name]
        for outcome in prove(made):
            probes.append(describe(outcome))
            say(probes[-1])
    return result(account, probes, "", ["the sshd that runs"])

"""The fault gallery: each fault is named by `check`, and fixed by the commands that are printed, and by `check --fix`.

Every fix is run in the order printed, and nothing else. Then nothing is open and nothing broken, the
login works, no file is lost, and whoever is no subject of the fault is as before. Where a person must
decide, each of the choices is run on the same host, broken again.

The jails of half of the hosts have their mounts in fstab, and those of the others in each session,
unless a host is about the one or the other. With --all each is tried with both.

The other direction is there too: hosts that are healthy though unusual, on which `check` is silent,
and faults that it cannot know, with the reason.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import faults_accounts  # noqa: F401 - these register their faults
import faults_directories  # noqa: F401
import faults_host  # noqa: F401
import faults_keys  # noqa: F401
import faults_mounts  # noqa: F401
import faults_sshd
import healthy_hosts  # noqa: F401 - and this its hosts
import pytest
from bystanders import Look, Watch, lost, touched
from faults import FAULTS, KEY, Fault, Jail, later, login
from faults_accounts import by_any_name
from faults_unknown import CANNOT_KNOW, UNKNOWN
from figures import SEED
from healthy import HEALTHY, Healthy
from lawful import wrongs
from machine import CONFIG, Machine, Result

# How often the printed commands are run where two things are wrong: one may hide the other.
ROUNDS = 3

tally: Counter[str] = Counter()


class Which(NamedTuple):
    """One of the good machines."""

    mounts: str
    booted: bool = False


class Stock:
    """Good machines, plain and booted: each serves until a fault was not fixed on it."""

    def __init__(self, layer: Path) -> None:
        self._layer = layer
        self._machines: dict[Which, Machine] = {}
        self._watches: dict[Which, Watch] = {}

    def take(self, which: Which) -> Jail:
        if which not in self._machines:
            machine = Machine(boot=which.booted, layer=self._layer, mounts=which.mounts)
            machine.__enter__()
            self._machines[which] = machine
            machine.write(CONFIG, "")
            Jail(machine).make()
            self._watches[which] = Watch(machine)
        return Jail(self._machines[which])

    def watch(self, which: Which) -> Watch:
        """Who looks at the machine that `take` gives."""
        return self._watches[which]

    def drop(self, which: Which) -> None:
        machine = self._machines.pop(which, None)
        if machine:
            machine.close()

    def close(self) -> None:
        for which in list(self._machines):
            self.drop(which)


@pytest.fixture(scope="module")
def stock(installed: Path, request: pytest.FixtureRequest) -> Iterator[Stock]:
    stock = Stock(installed)
    yield stock
    stock.close()
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(
            f"\nthe gallery: {tally['named']} of {tally['faults']} named, "
            f"{tally['cured']} of {tally['to cure']} fixed by the printed command, "
            f"{tally['fixed']} of {tally['to fix']} by check --fix, {tally['alarms']} false alarms "
            f"on {tally['healthy']} healthy hosts\n"
            f"the printed commands: {tally['faults']} hosts, {tally['good']} without open or broken, "
            f"{tally['faults'] - tally['to cure']} that only a person can fix, "
            f"{tally['choices']} choices tried, bystanders touched {tally['touched']}, "
            f"files lost {tally['lost']}"
        )


Problems = list[dict[str, Any]]


def _matching(fault: Fault, problems: Problems) -> Problems:
    return [
        f
        for f in problems
        if re.search(fault.names, f"{f.get('about', '')} {f['what']} {f['why']}", re.I | re.S)
    ]


def _wrong(problems: Problems) -> Problems:
    """What is open or broken; advice is neither."""
    return [problem for problem in problems if problem["severity"] != "advice"]


def _cure(good: Jail, fault: Fault, problems: Problems, choice: int = 0) -> None:
    """Run every fix as it is printed, in the order printed, and nothing else.

    Where a person has to decide, one of the choices; where a new key is to be given, a new key.
    """
    for command in dict.fromkeys(problem["fix"] for problem in problems if problem["fix"]):
        _run(good, command)
    if fault.new_key:
        good.sh(f"rm {KEY}; ssh-keygen -q -t ed25519 -N '' -f {KEY}")
    for command in _for_keys(problems):
        _run(good, command)
    choices = _choices(problems)
    if choices:
        _run(good, choices[choice])
        tally["choices"] += 1


def _for_keys(problems: Problems) -> list[str]:
    """The commands in the advice to give alice a key, with the one that she has."""
    found = (re.search(r": (.*sftpjail key add alice FILE)$", one["advice"]) for one in problems)
    return [advised[1].replace("FILE", f"{KEY}.pub") for advised in found if advised]


def _lawful(problems: Problems) -> None:
    """No command that is printed is one that nobody should be told to run."""
    for problem in problems:
        assert not problem["fix"] or wrongs(problem["fix"]) == [], problem
        for choice in problem["choices"]:  # a person may decide to delete, or about the whole host
            said = wrongs(choice["command"])
            assert not [one for one in said if not re.search("deletes|a choice", one)], problem


def _run(good: Jail, command: str) -> None:
    done = _tried(good, command)
    assert done.code == 0, done


def _tried(good: Jail, command: str) -> Result:
    began = good.machine.run("date", "+%s.%N").out.strip() if "kill -HUP" in command else ""
    done = good.machine.run("sh", "-c", command, input="y\n", check=False)
    if (
        began and done.code == 0
    ):  # a second SIGHUP would end an sshd that has not caught the first one yet
        fresh = f'until [ -n "$(find /run/sshd.pid -newermt @{began})" ]; do sleep 0.05; done'
        good.machine.run("timeout", "10", "sh", "-c", fresh)
    return done


def _choices(problems: Problems) -> list[str]:
    """The commands of the first problem that leaves a choice."""
    return next(([one["command"] for one in p["choices"]] for p in problems if p["choices"]), [])


def _untouched(good: Look, broken: Look, after: Look, deleted: str = "$") -> None:
    """Nobody else was touched, and no file is lost but what a person chose to delete."""
    strange = touched(good, broken, after)
    missing = [path for path in lost(broken, after) if not re.match(deleted, path)]
    tally["touched"] += len(strange)
    tally["lost"] += len(missing)
    assert not strange and not missing, (strange, missing)


@pytest.mark.halved
@pytest.mark.parametrize(
    ("fault", "mounts"),
    [
        pytest.param(fault, kind, id=f"{fault.name}-{kind}", marks=[pytest.mark.whole] * second)
        for fault in FAULTS
        for second, kind in enumerate(fault.kinds)
    ],
)
def test_fault(fault: Fault, mounts: str, stock: Stock) -> None:
    which = Which(mounts, fault.booted)
    good = stock.take(which)
    try:
        _shown(fault, good, stock.watch(which))
    except BaseException:
        stock.drop(which)
        raise
    if fault.alone:
        stock.drop(which)


def _shown(fault: Fault, good: Jail, watch: Watch) -> None:
    assert later(fault.witness, good) == "", "this machine is not good to begin with"
    tally["faults"] += 1
    tally["to cure"] += fault.curable
    tally["to fix"] += fault.fixed
    before = watch.look()
    with fault.breaks(good):
        assert fault.witness(good), "it works all the same"
        named = _matching(fault, found := good.complaints())
        assert named, found
        _lawful(found)
        tally["named"] += 1
        if fault.explained:
            explained = good.explained()
            assert _matching(fault, explained), explained
            assert good.too_wide() == []
        broken = watch.look()
        _cure(good, fault, found)
        if fault.curable:
            assert later(fault.witness, good) == "", found
            assert not (left := _wrong(good.complaints())), left
            tally["cured"] += 1
            tally["good"] += 1
        _untouched(before, broken, watch.look())
    for number in range(1, len(_choices(found))):
        _choose(fault, good, watch, number)
    if fault.fixed:
        _fixed_by_check(fault, good)


def _choose(fault: Fault, good: Jail, watch: Watch, number: int) -> None:
    """Break the same host again, and take another choice."""
    before = watch.look()
    with fault.breaks(good):
        found, broken = good.complaints(), watch.look()
        _cure(good, fault, found, number)
        assert not (left := _wrong(good.complaints())), left
        chosen = re.search(r"rm -rI [^/]*(/srv/sftp/\w+)", _choices(found)[number])
        _untouched(before, broken, watch.look(), chosen[1] if chosen else "$")


def _fixed_by_check(fault: Fault, good: Jail) -> None:
    assert later(fault.witness, good) == ""
    with fault.breaks(good):
        assert fault.witness(good)
        good.machine.run("sftpjail", "check", "--fix", check=False)
        assert later(fault.witness, good) == ""
        assert _wrong(good.complaints()) == []
        tally["fixed"] += 1


# Those that commands fix on a machine that others can share, and after which alice is still alice.
PAIRED = [
    fault
    for fault in FAULTS
    if fault.curable
    and not (fault.new_key or fault.booted or fault.alone)
    and fault.witness is not by_any_name
]


@pytest.mark.whole
@pytest.mark.parametrize("number", range(60))
def test_two_faults_at_once(number: int, stock: Stock) -> None:
    """Whichever two they are: one may hide the other, or make its command fail, and then it is printed again."""
    chance = random.Random(f"{SEED} {number}")
    one = chance.choice(PAIRED)
    other = chance.choice([fault for fault in PAIRED if fault != one and shared(one, fault)])
    which = Which(chance.choice(shared(one, other)))
    good = stock.take(which)
    try:
        _both_are_fixed((one, other), good, stock.watch(which))
    except BaseException:
        stock.drop(which)
        raise


def shared(one: Fault, other: Fault) -> list[str]:
    """Where the mounts may be for both of two faults, which take no file from each other."""
    if hasattr(faults_sshd, one.name) and hasattr(faults_sshd, other.name):
        return []
    return [kind for kind in one.kinds if kind in other.kinds]


def _both_are_fixed(pair: tuple[Fault, Fault], good: Jail, watch: Watch) -> None:
    before, shown = watch.look(), [fault.name for fault in pair]
    with contextlib.ExitStack() as stack:
        for fault in pair:
            stack.enter_context(fault.breaks(good))
        broken = watch.look()
        for _ in range(ROUNDS):
            found = good.complaints()
            _lawful(found)
            if not _wrong(found) and not any(later(fault.witness, good) for fault in pair):
                break
            for command in [
                *dict.fromkeys(p["fix"] for p in found if p["fix"]),
                *_for_keys(found),
                *_choices(found)[:1],
            ]:
                _tried(good, command)
                shown.append(command)
        assert not _wrong(good.complaints()), shown
        assert [later(fault.witness, good) for fault in pair] == ["", ""], shown
        _untouched(before, broken, watch.look())


@pytest.mark.halved
@pytest.mark.parametrize(
    "host",
    [pytest.param(host, marks=[pytest.mark.whole] * host.whole) for host in HEALTHY],
    ids=lambda host: host.name,
)
def test_healthy(host: Healthy, installed: Path) -> None:
    tally["healthy"] += 1
    with Machine(boot=host.booted, layer=installed, mounts=host.kind) as machine:
        machine.write(CONFIG, "")
        user = host.makes(machine)
        batch = ["pwd"] if host.read_only else ["put /etc/hostname proof", "rm proof"]
        machine.sftp(user, f"/root/keys/{user}", batch, check=True)
        done = machine.run("sftpjail", "check", "--json", check=False)
        tally["alarms"] += len(json.loads(done.out)["problems"])
        assert done.code == 0, done
        done = machine.run("sftpjail", "explain", user, "--json", check=False)
        assert json.loads(done.out)["problems"] == []
        machine.run("sftpjail", "test", user)


@pytest.mark.parametrize("name", UNKNOWN)
def test_check_cannot_know(name: str, stock: Stock) -> None:
    """The login fails, and check says nothing, since it would have to guess."""
    good = stock.take(Which("fstab"))
    assert CANNOT_KNOW[name] and later(login, good) == ""
    with UNKNOWN[name](good):
        assert login(good)
        assert good.complaints() == []
    assert later(login, good) == ""

"""The fault gallery: each fault is named by `check`, and fixed by the command that is printed, and by `check --fix`.

The other direction is there too: hosts that are healthy though unusual, on which `check` is silent,
and faults that it cannot know, with the reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import faults_accounts  # noqa: F401 - these register their faults
import faults_directories  # noqa: F401
import faults_host  # noqa: F401
import faults_keys  # noqa: F401
import faults_mounts  # noqa: F401
import faults_sshd  # noqa: F401
import healthy_hosts  # noqa: F401 - and this its hosts
import pytest
from faults import FAULTS, KEY, Fault, Jail, later, login
from faults_unknown import CANNOT_KNOW, UNKNOWN
from healthy import HEALTHY, Healthy
from machine import Machine

tally: Counter[str] = Counter()


class Stock:
    """Good machines, plain and booted: each serves until a fault was not fixed on it."""

    def __init__(self, layer: Path) -> None:
        self._layer = layer
        self._machines: dict[bool, Machine] = {}

    def take(self, booted: bool = False) -> Jail:
        if booted not in self._machines:
            machine = Machine(boot=booted, layer=self._layer)
            machine.__enter__()
            self._machines[booted] = machine
            Jail(machine).make()
        return Jail(self._machines[booted])

    def drop(self, booted: bool) -> None:
        machine = self._machines.pop(booted, None)
        if machine:
            machine.close()


@pytest.fixture(scope="module")
def stock(installed: Path, request: pytest.FixtureRequest) -> Iterator[Stock]:
    stock = Stock(installed)
    yield stock
    for booted in (False, True):
        stock.drop(booted)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(
            f"\nthe gallery: {tally['named']} of {tally['faults']} named, "
            f"{tally['cured']} of {tally['to cure']} fixed by the printed command, "
            f"{tally['fixed']} of {tally['to fix']} by check --fix, {tally['alarms']} false alarms "
            f"on {tally['healthy']} healthy hosts"
        )


def _matching(fault: Fault, problems: list[dict[str, str]]) -> list[dict[str, str]]:
    return [
        f
        for f in problems
        if re.search(fault.names, f"{f.get('about', '')} {f['what']} {f['why']}", re.I | re.S)
    ]


def _cure(good: Jail, fault: Fault, problems: list[dict[str, str]]) -> None:
    """Runs the commands as they are printed, until all is well. FILE is the one word that a person has to fill in."""
    for command in dict.fromkeys(_command(problem) for problem in problems):
        assert command, problems
        if fault.new_key and re.search(r"\bFILE\b", command):
            good.sh(f"rm {KEY}; ssh-keygen -q -t ed25519 -N '' -f {KEY}")
        good.machine.run("sh", "-c", re.sub(r"\bFILE\b", f"{KEY}.pub", command))
        if later(fault.witness, good) == "" and not good.complaints():
            return


def _command(problem: dict[str, str]) -> str:
    """The command that is printed, or the one of the advice to give somebody a key, whose FILE a person has."""
    advised = re.search(r": (.*sftpjail key add alice FILE)$", problem["advice"])
    return problem["fix"] or (advised[1] if advised else "")


@pytest.mark.halved
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(fault: Fault, stock: Stock) -> None:
    good = stock.take(fault.booted)
    try:
        _shown(fault, good)
    except BaseException:
        stock.drop(fault.booted)
        raise
    if fault.alone:
        stock.drop(fault.booted)


def _shown(fault: Fault, good: Jail) -> None:
    assert later(fault.witness, good) == "", "this machine is not good to begin with"
    tally["faults"] += 1
    tally["to cure"] += fault.curable
    tally["to fix"] += fault.fixed
    with fault.breaks(good):
        assert fault.witness(good), "it works all the same"
        named = _matching(fault, found := good.complaints())
        assert named, found
        tally["named"] += 1
        if fault.explained:
            named = _matching(fault, found := good.explained())
            assert named, found
        assert good.too_wide() == []
        if fault.curable:
            _cure(good, fault, named)
            assert later(fault.witness, good) == "", named
            assert good.complaints() == []
            tally["cured"] += 1
    if not fault.fixed:
        return
    assert later(fault.witness, good) == ""
    with fault.breaks(good):
        assert fault.witness(good)
        good.machine.run("sftpjail", "check", "--fix", check=False)
        assert later(fault.witness, good) == ""
        assert good.complaints() == []
        tally["fixed"] += 1


@pytest.mark.halved
@pytest.mark.parametrize("host", HEALTHY, ids=lambda host: host.name)
def test_healthy(host: Healthy, installed: Path) -> None:
    tally["healthy"] += 1
    with Machine(boot=host.booted, layer=installed) as machine:
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
    good = stock.take()
    assert CANNOT_KNOW[name] and later(login, good) == ""
    with UNKNOWN[name](good):
        assert login(good)
        assert good.complaints() == []
    assert later(login, good) == ""

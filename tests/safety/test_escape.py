"""Nobody gets out of a jail: every attempt of attack.py, in every form of jail, is refused or harmless."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from forms import FORMS, Form, attack, build, build_open, outside
from machine import Machine, changes

LEAST = 250  # attempts
# Groups of attempts that an ordinary account must get out with, and how often at least: they prove
# the canaries.
OPEN = {
    "traversal": 250,
    "links": 150,
    "programs": 12,
    "channel requests": 4,
    "forwarding": 20,
    "mounts": 10,
    "extensions": 2,
    "clients": 25,
    "uploads": 3,
}


def summary(form: object, found: dict[str, Any]) -> str:
    """The figures of one form on one line."""
    attempts = found["attempts"]
    out = sum(bool(attempt["out"]) for attempt in attempts)
    seconds = sum(attempt["seconds"] for attempt in attempts)
    good = len(attempts) - out
    return f"escape: {len(attempts)} attempts, {good} refused or harmless, {out} out ({form}; {seconds:.0f} s)"


def harmless(machine: Machine, form: Form, capsys: pytest.CaptureFixture[str]) -> None:
    """Attack a jail of that form."""
    told = build(machine, form)
    before = outside(machine, form)
    found = attack(machine, told)
    with capsys.disabled():
        print(f"\n{summary(form, found)}", flush=True)
    out = {
        f"{attempt['group']}: {attempt['name']}": attempt["out"]
        for attempt in found["attempts"]
        if attempt["out"]
    }
    assert out == {}
    assert found["processes"] == [] and found["processes_of_uploads"] == []
    assert changes(before, outside(machine, form)) == {}
    assert len(found["attempts"]) >= LEAST
    assert form.read_only or found["uploaded"] > 30
    assert machine.sh("grep -rlE '^[A-Za-z]+ 28 12:00:00 host' /var/log || :").out == "", (
        "lines of the log are forged"
    )
    gone = "for n in $(seq 100); do pgrep -U alice >/dev/null || exit 0; sleep 0.1; done; pgrep -aU alice; exit 1"
    machine.sh(gone, timeout=30)


BOOTED = [form for form in FORMS if form.booted]
PLAIN = [form for form in FORMS if not form.booted]


@pytest.mark.booted
def test_the_default_form(booted: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    harmless(booted, BOOTED[0], capsys)


@pytest.mark.whole
@pytest.mark.booted
@pytest.mark.parametrize("form", BOOTED[1:], ids=str)
def test_forms_under_systemd(
    booted: Machine, form: Form, capsys: pytest.CaptureFixture[str]
) -> None:
    harmless(booted, form, capsys)


@pytest.mark.whole
@pytest.mark.parametrize("form", PLAIN, ids=str)
def test_forms_without_systemd(
    machine: Machine, form: Form, capsys: pytest.CaptureFixture[str]
) -> None:
    harmless(machine, form, capsys)


@pytest.mark.booted
def test_an_ordinary_account_gets_out(
    booted: Machine, thorough: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same attempts, where there is no jail: what does not notice that would notice nothing."""
    every = 1 if thorough else 4
    found = attack(booted, build_open(booted) | {"every": every})
    out = Counter(attempt["group"] for attempt in found["attempts"] if attempt["out"])
    with capsys.disabled():
        print(
            f"\nescape: an ordinary account gets out with {sum(out.values())} of {len(found['attempts'])}"
        )
    assert {
        group: out[group] for group, least in OPEN.items() if out[group] < least // every
    } == {}, out
    assert found["processes"] and found["processes_of_uploads"]

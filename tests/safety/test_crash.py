"""SIGKILL at each system call that changes something: then the host works, and the next command finds it whole.

Killed is sftpjail alone, all that runs, or who called it, after which it goes on by itself. At the
death sshd's configuration is good, nobody else's settings have changed, fstab can be read, and who
may log in before and after may log in. The next command, whichever it is, makes of it what was
before or what was wanted, in files, mounts, accounts and history, and leaves no journal.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from commands import DRIVER, Trial, rows
from crash import CALLS
from figures import FIGURES, SEED, Results
from machine import Machine
from quotas import NAME, QuotaTrial

WHOM = ("main", "all", "caller")
SAMPLE = 5  # cuts of each command in a run that is not for everything


def cuts_of(trial: Trial, thorough: bool) -> Sequence[int]:
    """Which of the calls: in the default layout all, elsewhere one of each line that made some; or a sample."""
    total = len(trial.calls)
    if thorough and trial.layout == "fstab":
        return range(total)
    chance = random.Random(f"{SEED} {trial.layout} {total}")
    if not thorough:
        return sorted(chance.sample(range(total), min(SAMPLE, total)))
    places = trial.sites()
    return sorted(chance.choice(numbers) for numbers in places.values())


def cut(trial: Trial, number: int, whom: str, name: str) -> str:
    """Kill somebody at a call; return what the host has become, "before" or "after"."""
    machine, case = trial.machine, trial.case
    call, nth, site = trial.calls[number]
    where = (
        f"{name}, {trial.layout}: {whom} killed at {call} {nth},"
        f" {number + 1} of {len(trial.calls)}, {site}"
    )
    done = machine.run(*DRIVER, whom, call, str(nth), *case.does, check=False, timeout=120)
    assert done.out.endswith("struck\n"), (where, done)
    trial.sane(where)
    said = machine.run("sftpjail", "key", "remove", "alice", "nobody's", check=False)
    assert not machine.exists("/var/lib/sftpjail/journal"), (where, done, said)
    found, why = trial.state()
    assert found, f"{where}\n{done}\n{said}\n{why}"
    trial.reset(found, where)
    return found


@pytest.mark.parametrize(("layout", "name"), rows("crash", 4))
def test_killed_at_each_call(
    machine: Machine, layout: str, name: str, thorough: bool, results: Results
) -> None:
    trial = Trial(machine, name, layout, CALLS)
    tally: Counter[str] = Counter()
    cuts = cuts_of(trial, thorough)
    for turn, number in enumerate(cuts):
        whom = WHOM[turn % 3]
        key = ("crash", layout, name, *trial.calls[number], whom)
        found = results.known(*key)
        if not found:
            found = cut(trial, number, whom, name)
            results.add(found, *key)
        tally[found] += 1
    places = {trial.calls[number][2] for number in cuts}
    FIGURES.append(
        f"crash: {name} ({layout}): {len(cuts)} of {len(trial.calls)} cuts,"
        f" {tally['before']} before, {tally['after']} after, 0 anything else;"
        f" {len(places)} of {len(trial.sites())} call sites"
    )


@pytest.mark.btrfs
def test_killed_while_a_quota_is_set(machine: Machine, thorough: bool) -> None:
    trial = QuotaTrial(machine, CALLS)
    tally: Counter[str] = Counter()
    cuts = range(len(trial.calls)) if thorough else cuts_of(trial, thorough)
    for turn, number in enumerate(cuts):
        tally[cut(trial, number, WHOM[turn % 3], NAME)] += 1
    FIGURES.append(
        f"crash: {NAME} (btrfs): {len(cuts)} of {len(trial.calls)} cuts,"
        f" {tally['before']} before, {tally['after']} after, 0 anything else"
    )

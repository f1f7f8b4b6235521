"""Signals: at whichever system call one comes, what is said afterwards is what the host shows.

strace(1) counts the calls of the main process, and sends the signal at one of them. The sample goes
by a seed of the day; with --all each of our lines that makes a call has its turn.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Sequence

import pytest
from commands import CASES, DRIVER, Trial, ours
from figures import FIGURES, SEED, Results
from machine import Machine, Result
from steps import jail, ready

SIGNALS = ("INT", "TERM", "HUP")
# Of all that end with an exit code of ours; a day has two of those that are quickest.
NAMES = [name for name, case in CASES.items() if case.does[0].endswith("sftpjail")]
RELEASE = os.environ.get("SFTPJAIL_SANDBOX")
DAILY = random.Random(f"{SEED} signals {RELEASE}").sample(
    ("mount", "key remove", "add", "setup"), 2
)
# What may be said, and what the host is then.
SAID = {
    "nothing was changed": "before",
    "everything was put back": "before",
    "what it had changed by then stays": "after",
}
SAMPLE = 4  # of all calls of a command, and as many again of those that change something or end
CHANGING = re.compile(
    "rename|link|unlink|mkdir|rmdir|fsync|write|mount|clone|fork|wait|kill|exit|chmod|chown"
)
Point = tuple[str, int, str]  # a call, which of that name it is, and the line of ours that makes it


def stopped(machine: Machine, point: Point, number: str, argv: Sequence[str]) -> Result:
    """A command that gets a signal at a system call, and none after it."""
    name, count, _ = point
    command = (*DRIVER, "inject", name, str(count), f"signal=SIG{number}", *argv)
    return machine.run(*command, check=False)


def sample(points: Sequence[Point], chance: random.Random) -> list[Point]:
    strong = [point for point in points if CHANGING.search(point[0])]
    return chance.sample(points, SAMPLE) + chance.sample(strong, min(SAMPLE, len(strong)))


def judge(done: Result, found: str) -> str:
    """What happened; fails where what was said is not so, and FOUND is how the host is."""
    assert "Traceback" not in done.err and "a bug:" not in done.err, done
    assert "Fatal" not in done.err and "Error" not in done.err, done
    if done.code == 0:
        assert found == "after", done
        return "went on"
    # Before the launcher's first line the signal has its usual effect.
    assert done.code in (130, 129, 143), done
    if not done.err:
        assert found == "before", done
        return "ended at once"
    said = [words for words in SAID if done.err.rstrip().endswith(words)]
    assert len(said) == 1 and done.code == 130, done
    assert found == SAID[said[0]], done
    assert len(done.err.splitlines()) == 1, done
    return said[0]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in DAILY else pytest.mark.whole)
        for name in NAMES
        if CASES[name].fits("fstab")
    ],
)
def test_what_is_said_after_a_signal_is_so(
    machine: Machine, name: str, thorough: bool, results: Results
) -> None:
    trial = Trial(machine, name, "fstab", "all")
    chance = random.Random(f"{SEED} {name}")
    points: Sequence[Point] = sample(trial.calls, chance)
    if thorough:
        points = [trial.calls[chance.choice(numbers)] for numbers in trial.sites().values()]
    tally: Counter[str] = Counter()
    for turn, point in enumerate(points):
        number = SIGNALS[turn % 3]
        key = ("signals", name, *point, number)
        words = results.known(*key)
        if not words:
            where = f"{name}: SIG{number} at {point}"
            done = stopped(machine, point, number, trial.case.does)
            found, why = trial.state()
            assert found, f"{where}\n{done}\n{why}"
            words = judge(done, found)
            trial.reset(found, where)
            results.add(words, *key)
        tally[words] += 1
    FIGURES.append(
        f"signals: {len(points)} of {len(trial.calls)} calls of {name}, of {len(trial.sites())} call sites: "
        + ", ".join(f"{words} {count}" for words, count in tally.items())
    )


def test_a_signal_to_what_only_reads(machine: Machine) -> None:
    ready(machine)
    jail(machine, "alice")
    machine.run(*DRIVER, "install")
    chance = random.Random(SEED)
    for number in SIGNALS:
        point = ("openat", chance.randrange(1, 300), "")
        done = stopped(machine, point, number, ours("list"))
        if done.code:
            judge(done, "before")

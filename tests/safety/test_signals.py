"""Signals: at whichever system call one comes, what is said afterwards is what the host shows.

strace(1) counts the calls of the main process, and sends the signal at one of them. The sample goes
by a seed of the day; with --all every fourth call has its turn.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter

import pytest
from figures import FIGURES
from machine import Machine, Result
from steps import jail, mounted, ready, web

SIGNALS = ("INT", "TERM", "HUP")
COMMANDS = {
    "mount": (("mount", "alice", "/srv/web", "/web"), ("umount", "alice", "/web")),
    "key remove": (
        ("key", "remove", "alice", "alice"),
        ("key", "add", "alice", "/root/keys/alice.pub"),
    ),
    "list": (("list",), ()),
}
# What may be said, and whether the host is as before.
SAID = {
    "nothing was changed": True,
    "everything was put back": True,
    "what it had changed by then stays": False,
}
SAMPLE = 4  # of all calls of a command, and as many again of those that change something or end
CHANGING = re.compile(
    "rename|link|unlink|mkdir|rmdir|fsync|write|mount|clone|fork|wait|kill|exit|chmod|chown"
)


def calls(machine: Machine, *argv: str) -> list[tuple[str, int]]:
    """The system calls of a command's main process in their order: the name, and which of that name it is."""
    machine.run("strace", "-f", "-qq", "-e", "signal=none", "-o", "/run/calls", "sftpjail", *argv)
    lines = machine.read("/run/calls").splitlines()
    first = lines[0].split(" ")[0]
    seen: Counter[str] = Counter()
    found = []
    for line in lines:
        name = re.match(rf"{first} +(\w+)\(", line)
        if name:
            seen[name[1]] += 1
            found.append((name[1], seen[name[1]]))
    return found


def stopped(machine: Machine, point: tuple[str, int], number: str, *argv: str) -> Result:
    """A command that gets a signal at a system call, and none after it."""
    name, count = point
    inject = f"inject={name}:signal=SIG{number}:when={count}"
    command = ("strace", "-qq", "-o", "/dev/null", "-e", inject, "sftpjail", *argv)
    return machine.run(*command, check=False)


def state(machine: Machine) -> dict[str, object]:
    tops = ("/etc", "/srv", "/var/lib/sftpjail")
    return {**machine.listing(*tops), "mounts": mounted(machine)}


def sample(points: list[tuple[str, int]], chance: random.Random) -> list[tuple[str, int]]:
    strong = [point for point in points if CHANGING.search(point[0])]
    return chance.sample(points, SAMPLE) + chance.sample(strong, min(SAMPLE, len(strong)))


def judge(done: Result, is_before: bool, is_after: bool) -> str:
    """What happened; fails where what was said is not so."""
    assert "Traceback" not in done.err and "a bug:" not in done.err, done
    assert "Fatal" not in done.err and "Error" not in done.err, done
    if done.code == 0:
        assert is_after, done
        return "went on"
    # Before the launcher's first line the signal has its usual effect; strace dies of it as well.
    assert done.code in (130, -2, -15, -1, 129, 143), done
    if not done.err:
        assert is_before, done
        return "ended at once"
    said = [words for words in SAID if done.err.rstrip().endswith(words)]
    assert len(said) == 1 and done.code == 130, done
    assert is_before if SAID[said[0]] else is_after, done
    assert len(done.err.splitlines()) == 1, done
    return said[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_said_after_a_signal_is_so(machine: Machine, name: str, thorough: bool) -> None:
    ready(machine)
    jail(machine, "alice")
    web(machine)
    does, undoes = COMMANDS[name]
    before = state(machine)
    points = calls(machine, *does)
    after = state(machine)
    if undoes:
        machine.run("sftpjail", *undoes)
    before = state(machine)  # the order of lines has settled
    seed = time.strftime("%Y-%m-%d")
    chosen = points[::4] if thorough else sample(points, random.Random(seed))
    found: Counter[str] = Counter()
    for turn, point in enumerate(chosen):
        done = stopped(machine, point, SIGNALS[turn % 3], *does)
        now = state(machine)
        found[judge(done, now == before, now == after)] += 1
        if now == after and undoes:
            machine.run("sftpjail", *undoes)
            assert state(machine) == before, (point, done)
    line = f"signals: {len(chosen)} of {len(points)} calls of {name} (seed {seed}): "
    FIGURES.append(line + ", ".join(f"{words} {count}" for words, count in found.items()))

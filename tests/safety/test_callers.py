"""Hostile callers: each command does what it always does, or fails with one error and changes nothing.

The sample, a command for each caller, goes by a seed of the day; with --all each caller runs each
command.
"""

from __future__ import annotations

import random
import re
from collections import Counter

from callers import CALLERS, LIMITS, TRACE, call, set_traps
from figures import FIGURES, SEED, Results
from machine import Machine, Result, changes
from steps import jail, mounted, ready, web

READING = (
    *(("--version",), ("--help",), ("list",), ("show", "alice"), ("check",)),
    *(("explain", "alice"), ("key", "list", "alice"), ("plugins",), ("setup",), ("apply",)),
    ("--dry-run", "remove", "alice"),
)
# What changes the host, and what takes it back.
CHANGING = {
    ("mount", "alice", "/srv/web", "/web"): ("umount", "alice", "/web"),
    ("key", "add", "alice", "/root/keys/more.pub"): ("key", "remove", "alice", "more"),
    ("adopt", "bob"): ("remove", "bob"),
    ("remove", "carol"): ("adopt", "carol"),
}
COMMANDS = [*READING, *CHANGING]


def state(machine: Machine) -> dict[str, object]:
    tops = ("/etc", "/srv", "/home", "/var/lib/sftpjail")
    found: dict[str, object] = {**machine.listing(*tops), "mounts": mounted(machine)}
    # A jail that went and came again has its lines at another place.
    return found | {"/etc/fstab": sorted(machine.read("/etc/fstab").splitlines())}


def prepare(machine: Machine) -> None:
    ready(machine)
    web(machine)
    jail(machine, "alice")
    machine.keygen("more")
    for name in ("bob", "carol"):  # `check` minds an account without a key
        machine.sh(
            f"useradd -m {name}; install -d -o {name} /home/{name}/.ssh;"
            f" install -o {name} /root/keys/alice.pub /home/{name}/.ssh/authorized_keys"
        )
    machine.run("sftpjail", "adopt", "carol")
    for does, undoes in CHANGING.items():  # the order of lines has settled
        machine.run("sftpjail", *does)
        machine.run("sftpjail", *undoes)
    set_traps(machine)


def wrong(caller: str, argv: tuple[str, ...], done: Result) -> str:
    """What is wrong with the way a command ended, "" if nothing is."""
    said = done.out + done.err
    if "Traceback" in said or "a bug:" in said or "Fatal Python" in said:
        return f"{caller}: {done}"
    errors = [line for line in done.err.splitlines() if line.startswith("sftpjail: ")]
    errors = [line for line in errors if not re.match("sftpjail: (RLIMIT_|no_new_privs)", line)]
    # What `check` and `explain` cannot judge is a problem that they report.
    failed = (done.code == 1 and len(errors) == 1) or argv[0] in ("check", "explain")
    failed = failed or (done.code == 4 and len(errors) == 1)
    good = done.code == 0 or (caller in LIMITS and failed)
    return "" if good else f"{caller}: {done}"


def test_no_caller_leads_a_command_astray(
    machine: Machine, thorough: bool, results: Results
) -> None:
    prepare(machine)
    chance = random.Random(SEED)
    pairs = [(caller, argv) for caller in CALLERS for argv in COMMANDS]
    if not thorough:
        pairs = [(caller, chance.choice(COMMANDS)) for caller in CALLERS]
    before, after = state(machine), dict[tuple[str, ...], dict[str, object]]()
    codes: Counter[int] = Counter()
    found = []
    for caller, argv in pairs:
        known = results.known("callers", caller, *argv)
        if known:
            codes[int(known)] += 1
            continue
        if argv in CHANGING and argv not in after:
            machine.run("sftpjail", *argv)
            after[argv] = state(machine)
            machine.run("sftpjail", *CHANGING[argv])
            assert changes(before, state(machine)) == {}, argv
        done = call(machine, caller, *argv)
        codes[done.code] += 1
        bad = wrong(caller, argv, done)
        found.append(bad)
        if done.code == 4:  # the limit is one for root too: the next command goes on
            machine.run("sftpjail", "key", "remove", "alice", "nobody's", check=False)
        wanted = after[argv] if argv in CHANGING and done.code == 0 else before
        assert changes(wanted, state(machine)) == {}, (caller, done)
        assert not machine.exists(TRACE), (caller, done)
        if wanted is not before:
            machine.run("sftpjail", *CHANGING[argv])
            assert changes(before, state(machine)) == {}, (caller, done)
        if not bad:
            results.add(str(done.code), "callers", caller, *argv)
    line = f"callers: {len(pairs)} of {len(CALLERS) * len(COMMANDS)} (seed {SEED}): "
    FIGURES.append(line + ", ".join(f"exit {code}: {count}" for code, count in codes.items()))
    assert [words for words in found if words] == []
    assert (len(CALLERS), len(COMMANDS)) == (36, 15)

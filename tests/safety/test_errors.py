"""Errors at each of our lines that makes a system call: it works all the same, or nothing has changed.

strace(1) has a call fail, once or from then on. A command that fails says so in one line, exits with
1, and leaves the host as it was before, at once. Where the way back fails too it exits with 4; then
the next command goes on. Nothing is called a bug, and no journal is left after the next command.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest
from children import FATES
from commands import CASES, DRIVER, Trial, rows
from crash import CALLS
from figures import FIGURES, SEED, Results
from machine import Machine, Result
from quotas import NAME, QuotaTrial

SAMPLE = 6  # errors of one command in a run that is not for everything
NAMES = "mkdir mkdirat rename renameat unlink unlinkat rmdir linkat"
STARTS = "vfork clone clone3"
# What each call may fail with. EINTR comes once: a call that nothing but EINTR ever came of would hang anything.
ERRORS = {
    "ENOSPC": f"write fsync openat move_mount fsetxattr {NAMES}",
    "EDQUOT": f"write fsync openat move_mount fsetxattr {NAMES}",
    "EIO": f"write fsync openat read getdents64 fchown fchmod {NAMES}",
    "EROFS": f"openat fchown fchmod utimensat move_mount {NAMES}",
    "EPERM": "openat fchown fchmod fsetxattr umount2 open_tree move_mount mount_setattr"
    f" {NAMES} {STARTS}",
    "EINTR": "write fsync openat read fchown",
    "EMFILE": "openat pidfd_open memfd_create pipe2 open_tree",
    "EAGAIN": STARTS,
}
# What the line says that a command failed with, whoever found it out.
SAYS = {"ENOSPC": "No space left on device", "EDQUOT": "Disk quota exceeded"}
READING = "openat,read,getdents64,memfd_create,pipe2"
Try = tuple[
    str, str, str, str
]  # the call, which ones of that name, the error, and the line of ours


def tries(trial: Trial) -> list[Try]:
    """Each error at the first call of each line of ours, once and from then on."""
    found: list[Try] = []
    for numbers in trial.sites().values():
        call, nth, site = trial.calls[numbers[0]]
        if ":" not in site:  # Python's own start, and the launcher's, which test_callers.py has
            continue
        for error, calls in ERRORS.items():
            if call in calls.split():
                found.append((call, str(nth), error, site))
                if error != "EINTR":
                    found.append((call, f"{nth}+", error, site))
    return found


def judge(done: Result, is_ours: bool, found: str, at_once: str, mute: bool = False) -> None:
    """What was said is so; FOUND is the host after the next command, AT_ONCE before it.

    Where it is MUTE nothing could be said, but for the exit code.
    """
    for word in ("Traceback", "a bug:"):
        assert word not in done.err, done
    if not is_ours:  # useradd and userdel have an end of their own
        return
    # With 3 check --fix reports what it could not judge any more when it had fixed all.
    assert done.code in (0, 1, 3, 4), done
    if done.code in (0, 3):
        assert found == "after", (found, done)
        return
    if not mute:
        said = [line for line in done.err.splitlines() if line.startswith("sftpjail: ")]
        assert len(said) == 1, done
    if done.code != 4:
        assert at_once == "before", (at_once, done)
    if found == "after" and not mute:  # it could not find out whether that was committed
        assert "the history may say that this was done" in done.err, done


def became(trial: Trial, done: Result, where: str) -> tuple[str, str]:
    """What a host has become by a command that met an error: at once, and where that is nothing whole, by the next."""
    at_once, why = trial.state()
    found = at_once
    if done.code == 4 or not found:
        trial.machine.run("sftpjail", "key", "remove", "alice", "nobody's", check=False)
        found, why = trial.state()
    assert found, f"{where}\n{done}\n{why}"
    assert not trial.machine.exists("/var/lib/sftpjail/journal"), (where, done)
    return at_once, found


def fails(trial: Trial, attempt: Try, where: str) -> str:
    """Have a command meet an error; return its exit code and what the host has become."""
    machine, case = trial.machine, trial.case
    call, nth, error, _ = attempt
    done = machine.run(
        *DRIVER, "inject", call, nth, f"error={error}", *case.does, check=False, timeout=120
    )
    at_once, found = became(trial, done, where)
    mute = call == "write" and nth.endswith("+") and not done.err
    is_ours = case.does[0].endswith("sftpjail")
    judge(done, is_ours, found, at_once, mute)
    if is_ours and done.code in (1, 4) and not mute:
        assert SAYS.get(error, "") in done.err, done
    trial.reset(found, where)
    return f"{done.code} {found}"


@pytest.mark.parametrize(("layout", "name"), rows("errors", 1))
def test_an_error_at_each_call_site(
    machine: Machine, layout: str, name: str, thorough: bool, results: Results
) -> None:
    trial = Trial(machine, name, layout, f"{CALLS},{READING}")
    all_tries = tries(trial)
    # In any order, so that a run that is stopped has tried a bit of everything.
    count = len(all_tries) if thorough else SAMPLE
    wanted = random.Random(f"{SEED} {name}").sample(all_tries, count)
    tally: Counter[str] = Counter()
    for attempt in wanted:
        key = ("errors", layout, name, *attempt)
        found = results.known(*key)
        if not found:
            found = fails(trial, attempt, f"{name}, {layout}: {' '.join(attempt)}")
            results.add(found, *key)
        tally[found] += 1
    sites = {attempt[0] + attempt[3] for attempt in all_tries}
    covered = {attempt[0] + attempt[3] for attempt in wanted}
    words = ", ".join(f"exit {end} {count}" for end, count in sorted(tally.items()))
    FIGURES.append(
        f"errors: {name} ({layout}): {len(wanted)} of {len(all_tries)}: {words}, 0 anything else;"
        f" {len(covered)} of {len(sites)} call sites"
    )


@pytest.mark.btrfs
def test_an_error_while_a_quota_is_set(machine: Machine, thorough: bool) -> None:
    trial = QuotaTrial(machine, f"{CALLS},{READING}")
    all_tries = tries(trial)
    count = 20 * SAMPLE if thorough else SAMPLE  # all of them take two hours
    wanted = random.Random(f"{SEED} {NAME}").sample(all_tries, count)
    tally = Counter(fails(trial, attempt, f"{NAME}: {' '.join(attempt)}") for attempt in wanted)
    words = ", ".join(f"exit {end} {count}" for end, count in sorted(tally.items()))
    FIGURES.append(
        f"errors: {NAME} (btrfs): {len(wanted)} of {len(all_tries)}: {words}, 0 anything else"
    )


CHILDREN = ("python3", "/src/tests/support/attacks/children.py")
INTERPRETERS = ("sftpjail", "env", "sh", "dash", "bash", "python3", "mv", "grep", "strace")


def starts(trial: Trial) -> list[tuple[str, int]]:
    """The programs that a command runs: each start's path, and which of that path it is."""
    machine = trial.machine
    paths = machine.run(*CHILDREN, "programs", *trial.case.does).out.split()
    machine.sh(trial.case.undoes)
    trial.remember()
    counts: Counter[str] = Counter()
    found = []
    for path in paths:
        if os.path.basename(path) not in INTERPRETERS:
            counts[path] += 1
            found.append((path, counts[path]))
    return found


def breaks(trial: Trial, fate: str, path: str, number: int, where: str) -> str:
    """Have a program that a command runs fail; return its exit code and what the host has become."""
    machine, case = trial.machine, trial.case
    argv = (*CHILDREN, fate, path, str(number), *case.does)
    done = machine.run(*argv, check=False, timeout=700)
    at_once, found = became(trial, done, where)
    judge(done, True, found, at_once)
    trial.reset(found, where)
    return f"{done.code} {found}"


@pytest.mark.whole
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, case in CASES.items()
        if case.does[0].endswith("sftpjail") and case.fits("fstab")
    ],
)
def test_a_program_that_fails_dies_or_hangs(machine: Machine, name: str, results: Results) -> None:
    trial = Trial(machine, name, "fstab", CALLS)
    tally: Counter[str] = Counter()
    for path, number in starts(trial):
        for fate in FATES:
            key = ("children", name, path, number, fate)
            found = results.known(*key)
            if not found:
                found = breaks(trial, fate, path, number, f"{name}: {path} {number}: {fate}")
                results.add(found, *key)
            tally[found] += 1
    words = ", ".join(f"exit {end} {count}" for end, count in sorted(tally.items())) or "none"
    FIGURES.append(f"programs that fail: {name}: {words}, 0 anything else")

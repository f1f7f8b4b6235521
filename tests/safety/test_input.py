"""Input: no text, no command line and no environment leads a parser or a command astray.

Each parser that runs in-process has a target (tests/support/fuzz), with what must hold for any input: what is read and
written again is the same, it refuses with an error of ours in one line, what comes out is bounded, and so is the work.
Inputs are made by a generator of our own; with --all and atheris, where it is there, led by the branches they reach. The
command line, the hooks and the script of PAM are tried as real processes. The sample goes by a seed of the day.
"""

from __future__ import annotations

import importlib.util
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cases
import pytest
from figures import FIGURES, SEED, Results
from generator import inputs
from growth import blown_up, out_of_proportion
from machine import Machine, changes
from steps import jail, mounted, ready
from target import Target
from targets import NO_PARSERS, TARGETS

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "sftpjail"
INPUTS, ALL_INPUTS = 60, 100_000
PROCESSES, ALL_PROCESSES = 8, 2000
PORTION = 100  # processes of one kind after which a run with --resume goes on
BRANCHES = 90  # per cent of a parser's branches that the inputs of --all reach
PROGRAM = "/src/tests/support/fuzz/processes.py"
# Where they are put by hand: pip install --target .fuzz --python-version 3.11 --only-binary=:all: atheris coverage
ATHERIS = PROJECT / ".fuzz"
tally: Counter[str] = Counter()
each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@pytest.fixture(scope="module", autouse=True)
def figures() -> Iterator[None]:
    yield
    if tally["inputs"]:
        FIGURES.append(
            f"input: {tally['inputs']} of our own for {len(TARGETS)} parsers (seed {SEED})"
        )


@each_target
def test_no_input_leads_a_parser_astray(target: Target, thorough: bool) -> None:
    count = 0
    for data in inputs(target, 50 * INPUTS if thorough else INPUTS, SEED):
        count += 1
        try:
            target.run(data)
        except BaseException:
            print(f"{target.name}: {data!r}")  # pytest shows it with the failure
            raise
    tally["inputs"] += count


@each_target
def test_work_grows_as_the_input_does(target: Target, thorough: bool) -> None:
    chance = random.Random(f"{target.name} {SEED}")
    if not thorough and chance.random() < 0.5:
        return  # the other half has its turn on another day
    long = list(blown_up(target, chance, 40 if thorough else 1))
    wrong = [words for data in long if (words := out_of_proportion(target.run, data))]
    assert wrong == []


@pytest.mark.whole
@each_target
def test_atheris_reaches_the_branches_of_a_parser(
    target: Target, tmp_path: Path, results: Results
) -> None:
    found = results.known("atheris", target.name, ALL_INPUTS)
    if not found:
        python = next((word for word in ("python3.11", "python3") if _has_atheris(word)), "")
        if not python:
            line = f"input: atheris is not here ({ATHERIS}, Python 3.11): no branches were counted"
            FIGURES.extend([line] if line not in FIGURES else [])
            return
        found = _reached(python, target.name, tmp_path)
        results.add(found, "atheris", target.name, ALL_INPUTS)
    FIGURES.append(f"input: {', '.join(target.modules)}: {found}")


def _reached(python: str, name: str, place: Path) -> str:
    """Fuzz a target; return how many inputs there were, and how many branches they reached."""
    program = PROJECT / "tests/support/fuzz/with_atheris.py"
    argv = [python, str(program), str(ALL_INPUTS), str(place), name]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=_with_atheris())
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.search(
        rf"(?m)^{re.escape(name)}: ((\d+) inputs, ([\d.]+) % of \d+ branches)$", done.stdout
    )
    assert said, done.stdout
    assert int(said[2]) >= ALL_INPUTS and float(said[3]) >= BRANCHES, done.stdout
    return said[1]


def _with_atheris() -> dict[str, str]:
    return {"PYTHONPATH": str(ATHERIS), "PATH": "/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


def _has_atheris(python: str) -> bool:
    argv = [python, "-c", "import atheris, coverage"]
    try:
        return (
            subprocess.run(argv, capture_output=True, check=False, env=_with_atheris()).returncode
            == 0
        )
    except FileNotFoundError:
        return False


def test_every_parser_has_a_target() -> None:
    known = {module for target in TARGETS for module in target.modules}
    texts = {str(path.relative_to(PACKAGE)): path.read_text() for path in PACKAGE.rglob("*.py")}
    # What these directories are for, and whoever takes a text apart line by line, or reads JSON.
    reads = re.compile(r'json\.loads\(|\.split\(b?"\\[n0]"\)')
    parsers = {
        module
        for module, text in texts.items()
        if module.startswith(("accounts_file/", "formats/", "transferlog/", "openssh/"))
        or reads.search(text)
    }
    assert parsers - known - NO_PARSERS.keys() == set()
    assert NO_PARSERS.keys() - parsers == set() == known & NO_PARSERS.keys()


def state(machine: Machine) -> dict[str, object]:
    tops = ("/etc", "/srv", "/home", "/var/lib/sftpjail", "/var/spool", "/root", "/run/sftpjail")
    return {**machine.listing(*tops), "mounts": mounted(machine)}


def wrong(case: dict[str, object], done: dict[str, object], kind: str) -> str:
    """What is wrong with the way a process ended, "" if nothing is."""
    code, err, out = done["code"], str(done["err"]), str(done["out"])
    if code == "refused":  # by the kernel
        return ""
    said = f"{code} {err[:500]} {out[:300]} of {str(case)[:800]}"
    if re.search(r"Traceback|a bug:|Fatal Python|Exception ignored", out + err):
        return said
    argv = case["argv"]
    assert isinstance(argv, list)
    # Our own hooks never fail, or useradd would; the others report what they refuse.
    if code not in ((0, 1, 2) if kind == "PAM" else (0, 1, 2, 3)):
        return said
    errors = [line for line in err.split("\n") if line.startswith("sftpjail: ")]
    if kind != "PAM" and argv[0] == "/usr/bin/sftpjail" and code in (1, 2) and len(errors) != 1:
        return said
    if "--json" in argv and argv[0] == "/usr/bin/sftpjail" and out.startswith("{"):
        json.loads(out)
    return ""


def tried(machine: Machine, kind: str, count: int, results: Results) -> list[str]:
    """Run processes of one kind, and return what is wrong with any."""
    codes: Counter[str] = Counter()
    found = []
    for first in range(0, count, PORTION):
        key = ("processes", kind, SEED, first, min(PORTION, count - first))
        known = results.known(*key)
        if known:
            codes += Counter(json.loads(known))
            continue
        chance = random.Random(f"{kind} {SEED} {first}")
        made = [cases.KINDS[kind](chance) for _ in range(min(PORTION, count - first))]
        text = "".join(json.dumps(case) + "\n" for case in made)
        told = machine.run("python3", PROGRAM, input=text, timeout=7200)
        done = [json.loads(line) for line in told.out.splitlines()]
        assert len(done) == len(made)
        bad = [
            w for case, result in zip(made, done, strict=True) if (w := wrong(case, result, kind))
        ]
        ends = Counter(str(result["code"]) for result in done)
        found += bad
        codes += ends
        if not bad:
            results.add(json.dumps(ends), *key)
    ends_of_all = ", ".join(f"{code}: {number}" for code, number in sorted(codes.items()))
    FIGURES.append(f"input: {kind}: {codes.total()} processes (seed {SEED}); exit {ends_of_all}")
    return found


def test_no_process_is_led_astray_by_its_input(
    machine: Machine, thorough: bool, results: Results
) -> None:
    ready(machine)
    jail(machine, "alice")
    machine.run("useradd", "bob")
    machine.run("/etc/sftpjail/pam-session", "boot")  # which is compiled now
    before = state(machine)
    for kind in cases.KINDS:
        assert tried(machine, kind, ALL_PROCESSES if thorough else PROCESSES, results) == []
        assert changes(before, state(machine)) == {}


def test_the_script_of_atheris_is_whole() -> None:
    """Without atheris nobody runs it, so at least it can be read."""
    path = PROJECT / "tests/support/fuzz/with_atheris.py"
    spec = importlib.util.spec_from_file_location("with_atheris", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    assert callable(module.main)

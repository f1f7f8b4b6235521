"""Fuzzes targets with atheris, led by the branches that each input reaches, and measures what all of them reached.

    with_atheris.py COUNT DIRECTORY [WORD]...     the targets of that name, or whose names have a WORD; all without one

Needs Python 3.11 with atheris and coverage; prints a line for each target, and leaves in DIRECTORY the inputs that
reached something new and those that found a fault. It runs each target in a process of its own, since libFuzzer ends
the one that it is in.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parent
ROOT = SUPPORT.parents[2]
sys.path[:0] = [str(ROOT), str(SUPPORT.parent), str(SUPPORT)]
LONGEST = 4096  # bytes of an input; longer ones are growth.py's
HANG = 60  # seconds after which an input hangs; libFuzzer's -timeout


def fuzz(name: str, count: int, corpus: str, modules: list[str]) -> None:
    """Be the fuzzer of one target, led by its modules, and end with libFuzzer's exit code."""
    import atheris

    with atheris.instrument_imports(include=modules):
        from targets import TARGETS
    target = next(target for target in TARGETS if target.name == name)
    options = [
        f"-runs={count}",
        f"-max_len={LONGEST}",
        f"-timeout={HANG}",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    options += [f"-artifact_prefix={corpus}.fault-", f"-dict={corpus}.words", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, corpus], lambda data: target.run(bytes(data)))
    atheris.Fuzz()


def measure(name: str, corpus: str) -> None:
    """Run all inputs of a corpus, and print the branches of the target's modules and those taken, as JSON."""
    import coverage
    from targets import TARGETS  # before: what an import takes is no parsing, and counts nowhere

    target = next(target for target in TARGETS if target.name == name)
    files = [str(ROOT / "sftpjail" / module) for module in target.modules]
    watch = coverage.Coverage(branch=True, data_file=None, include=files)
    watch.start()
    for file in sorted(Path(corpus).iterdir()):
        target.run(file.read_bytes())
    watch.stop()
    watch.json_report(outfile=f"{corpus}.coverage")
    found = json.loads(Path(f"{corpus}.coverage").read_text())["files"].values()
    scopes = [(name, scope) for file in found for name, scope in file["functions"].items() if name]
    if target.functions:
        scopes = [
            (name, scope)
            for name, scope in scopes
            if any(fnmatch.fnmatch(name, form) for form in target.functions)
        ]
    sums = [scope["summary"] for _, scope in scopes]
    every, taken = (
        sum(number[field] for number in sums) for field in ("num_branches", "covered_branches")
    )
    missing = [
        f"{name} {scope['missing_branches']}" for name, scope in scopes if scope["missing_branches"]
    ]
    print(json.dumps({"every": every, "taken": taken, "missing": missing}))


def run(name: str, count: int, place: Path) -> dict[str, object]:
    """Fuzz a target and measure it in processes of their own; return what is to be said."""
    from targets import TARGETS

    target = next(target for target in TARGETS if target.name == name)
    corpus = place / re.sub(r"\W+", "-", name)
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed.encode("utf-8", "surrogateescape"))
    words = (word.encode("utf-8", "surrogateescape") for word in target.words)
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words if word]
    Path(f"{corpus}.words").write_text("".join(lines))
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    own = [sys.executable, __file__]
    modules = [
        "sftpjail." + module.removesuffix(".py").replace("/", ".") for module in target.modules
    ]
    fuzzing = [*own, "--fuzz", name, str(count), str(corpus), *modules]
    done = subprocess.run(fuzzing, capture_output=True, env=env, check=False)
    said = done.stderr.decode("utf-8", "replace") + done.stdout.decode("utf-8", "replace")
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    about: dict[str, object] = {"name": name, "inputs": int(runs[1]) if runs else 0, "fault": ""}
    if done.returncode:
        about["fault"] = said[-3000:]
        return about
    told = subprocess.run(
        [*own, "--measure", name, str(corpus)], capture_output=True, env=env, check=True
    )
    return about | json.loads(told.stdout)


def main(argv: list[str]) -> int:
    if argv[0] == "--fuzz":
        fuzz(argv[1], int(argv[2]), argv[3], argv[4:])
    if argv[0] == "--measure":
        measure(argv[1], argv[2])
        return 0
    from targets import TARGETS

    count, place, words = int(argv[0]), Path(argv[1]), argv[2:]
    bad = 0
    names = {target.name for target in TARGETS}
    for target in TARGETS:
        if words and not any(
            word == target.name if word in names else word in target.name for word in words
        ):
            continue
        about = run(target.name, count, place)
        every, taken = int(about.get("every", 1)), int(about.get("taken", 0))
        share = 100 * taken / every if every else 100.0  # there is no branch in it
        print(
            f"{about['name']}: {about['inputs']} inputs, {share:.1f} % of {about.get('every')} branches",
            flush=True,
        )
        print(*(f"    {line}" for line in about.get("missing", [])), sep="\n", flush=True)
        if about["fault"]:
            print(about["fault"], flush=True)
        bad += bool(about["fault"]) or share < 90
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

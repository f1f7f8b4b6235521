"""`log` with a large log: a million lines in ten seconds of one CPU, and memory that does not grow with them."""

from __future__ import annotations

import re

from machine import Machine

LINES = 100_000
STARTS = 0.5  # seconds for the program itself


def test_time_and_memory(bare_machine: Machine) -> None:
    """Of a CPU, since other programs run beside the tests; of one more for a packed log, which gunzip takes."""
    said = bare_machine.run("python3", "/src/tests/bench/log.py", str(LINES), timeout=300).out
    rows = re.findall(r"(?m)^(.{12}) (log\b.*?) +[0-9.]+ s, +([0-9.]+) s of CPU, +(\d+) MB, exit 0$", said)
    assert len(rows) == 9, said
    for title, _, seconds, megabytes in rows:
        million = 15 if title.startswith("packed") else 10
        assert float(seconds) < STARTS + million * LINES / 1_000_000 and int(megabytes) < 100, said

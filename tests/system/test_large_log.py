"""`log` with a large log: memory that does not grow with its lines; tests/bench/log.py says how long it takes."""

from __future__ import annotations

import re

from machine import Machine

LINES = 100_000


def test_memory(bare_machine: Machine) -> None:
    said = bare_machine.run("python3", "/src/tests/bench/log.py", str(LINES), timeout=300).out
    rows = re.findall(
        r"(?m)^(.{12}) (log\b.*?) +[0-9.]+ s, +([0-9.]+) s of CPU, +(\d+) MB, exit 0$", said
    )
    assert len(rows) == 9, said
    assert [row for row in rows if int(row[3]) >= 100] == [], said

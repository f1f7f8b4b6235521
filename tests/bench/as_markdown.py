#!/usr/bin/python3
"""Write the tables of tests/bench/tables.py as Markdown: python3 tests/bench/as_markdown.py bench.json."""

from __future__ import annotations

import json
import sys
from typing import Any

POINTS = {
    1: "One account with a key and a mount",
    2: "Many accounts from one file",
    3: "Commands on a host that has them",
    4: "Everybody else, and sessions",
}
HEAD = "| what | accounts | median | spread | ratio | peak memory | limit | met |"


def cell(value: object, form: str = "{}") -> str:
    return "" if value is None else form.format(value)


def line(row: dict[str, Any]) -> str:
    """Return a row of a table."""
    if row.get("skipped"):
        return f"| {row['what']} | {cell(row.get('size'))} | not measured: {row['skipped']} | | | | | |"
    ratio = f"{row['ratio']:.2f} of {row['of']}" if row.get("ratio") is not None else ""
    met = {True: "yes", False: "**no**", None: ""}[row.get("met")]
    cells = [
        row["what"],
        cell(row.get("size")),
        cell(row.get("median"), "{:.1f} " + row.get("unit", "ms")),
        " to ".join(f"{value:.1f}" for value in row.get("range", ())),
        ratio,
        cell(row.get("mib"), "{:.0f} MiB"),
        row.get("limit", ""),
        met,
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as handle:
        found = json.load(handle)
    print(f"# What it costs\n\n{found['date']}, medians of {found['rounds']}\n")
    for name, value in found["machine"].items():
        print(f"- {name}: {value}")
    for point, title in POINTS.items():
        print(f"\n## {point}. {title}\n\n{HEAD}\n|{' --- |' * (HEAD.count('|') - 1)}")
        print("\n".join(line(row) for row in found["rows"] if row["point"] == point))
    limited = [row for row in found["rows"] if row.get("met") is not None]
    met = sum(row["met"] for row in limited)
    print(f"\n{met} of {len(limited)} limits met; the others are marked **no**.")


main()

"""packaging/demo, from the first command to its last proof, in a booted machine that has never seen sftpjail."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from machine import SANDBOX, Machine
from steps import as_shipped

PICTURES = SANDBOX.parents[1] / "packaging" / "pictures"


def text_of(picture: str) -> list[str]:
    """The lines that a picture shows."""
    rows: dict[int, list[tuple[float, str]]] = {}
    pieces = re.findall(r'<text [^>]*x="([\d.]+)"[^>]*-line-(\d+)\)">(.*?)</text>', picture)
    for left, row, piece in pieces:
        rows.setdefault(int(row), []).append((float(left), html.unescape(piece)))
    return ["".join(piece for _, piece in sorted(rows[row])).rstrip() for row in sorted(rows)]


def test_the_pictures_of_the_readme_are_what_is_printed(machine: Machine) -> None:
    """To draw them anew: packaging/demo --pictures."""
    as_shipped(machine)
    done = machine.run("python3", "/src/packaging/pictures.py", timeout=120)
    drawn = json.loads(done.out)
    assert sorted(drawn) == sorted(path.stem for path in PICTURES.iterdir())
    for name, picture in drawn.items():
        assert text_of(picture) == text_of((PICTURES / f"{name}.svg").read_text()), name
        assert len(text_of(picture)) > 3, name


@pytest.mark.booted
def test_every_step_of_the_demo_is_true(sandbox: Path) -> None:
    with Machine(boot=True) as machine:
        claims = machine.read("/src/packaging/demo").count("\n    claim ")
        done = machine.run("/src/packaging/demo", "--inside", check=False, timeout=120)
    assert done.code == 0, done
    assert done.out.count("  ok: ") == claims > 20, done

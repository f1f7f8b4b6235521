"""packaging/demo, from the first command to its last proof, in a booted machine that has never seen sftpjail."""

from __future__ import annotations

from pathlib import Path

import pytest
from machine import Machine


@pytest.mark.booted
def test_every_step_of_the_demo_is_true(sandbox: Path) -> None:
    with Machine(boot=True) as machine:
        claims = machine.read("/src/packaging/demo").count("\n    claim ")
        done = machine.run("/src/packaging/demo", "--inside", check=False, timeout=120)
    assert done.code == 0, done
    assert done.out.count("  ok: ") == claims > 20, done

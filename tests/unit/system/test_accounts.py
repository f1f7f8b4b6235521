"""Who changes accounts for a run that was killed is waited for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from sftpjail.system import accounts, processes


@pytest.fixture
def orphan(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A program that a run has started, as if it were root's."""
    real = processes._real_uid
    # Whoever runs the tests is root.
    played = {os.getuid(): 0}
    monkeypatch.setattr(processes, "_real_uid", lambda pid: played.get(real(pid), 1))
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["cat"], env={accounts.JOINS: "ann", "X": "1"}, stdin=pipe, stdout=pipe, bufsize=0
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"x")
        assert process.stdout.read(1) == b"x"  # until then /proc may not have its environment
        yield process
        process.kill()


@pytest.mark.real_program
def test_a_program_is_known_by_its_environment(orphan: subprocess.Popen[bytes]) -> None:
    assert processes.with_variable(accounts.JOINS) == {orphan.pid}
    assert processes.with_variable("JOINS") == set()
    orphan.kill()
    orphan.wait()
    assert processes.with_variable(accounts.JOINS) == set()


@pytest.mark.real_program
def test_it_is_waited_for_and_not_without_end(
    orphan: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.wait_for_programs(0.05)
    assert orphan.poll() is None
    waited: list[list[int]] = []

    def select(fds: list[int], *_: object) -> None:
        waited.append(fds)
        orphan.kill()
        orphan.wait()

    monkeypatch.setattr(accounts.select, "select", select)
    accounts.wait_for_programs()
    assert len(waited) == 1 and len(waited[0]) == 1

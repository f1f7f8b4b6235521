"""Whether the running sshds follow their configuration, when that cannot be found out."""

from __future__ import annotations

from typing import Any

import pytest

from sftpjail.errors import SftpJailError
from sftpjail.model import Problem
from sftpjail.operations import daemons


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(1, "Operation not permitted", "/proc"), "/proc: Operation not permitted"),
        (SftpJailError("sshd does not answer"), "sshd does not answer"),
    ],
)
def test_what_cannot_be_found_out_is_a_problem(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(engine: object) -> list[Problem]:
        raise error

    engine: Any = None
    monkeypatch.setattr(daemons, "_reload", broken)
    (problem,) = daemons.reload_stale(engine)
    assert problem.what.endswith(words) and problem.severity != "open"
    assert daemons.unfinished([problem]) == 3, "the change was made"
    assert daemons.unfinished([]) == 0


def test_an_error_of_ours_is_no_problem_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(engine: object) -> list[Problem]:
        raise FileNotFoundError(2, "No such file or directory", "/x")

    engine: Any = None
    monkeypatch.setattr(daemons, "_reload", broken)
    with pytest.raises(FileNotFoundError):
        daemons.reload_stale(engine)


def test_a_jail_that_is_open_has_not_been_set_up() -> None:
    assert daemons.unfinished([Problem("sshd jails nobody", "", severity="open")]) == 1

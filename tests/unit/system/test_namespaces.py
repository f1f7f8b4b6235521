"""What runs in a mount namespace of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from sftpjail.errors import SftpJailError
from sftpjail.system import namespaces


@pytest.mark.real_program
@pytest.mark.parametrize(("words", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9)])
def test_the_commands_own_exit_code_is_ours(
    monkeypatch: pytest.MonkeyPatch, words: str, code: int
) -> None:
    real, asked = subprocess.run, list[Sequence[str]]()

    def run(argv: Sequence[str], **options: Any) -> Any:
        asked.append(argv)
        return real(["sh", "-c", f'[ "$SFTPJAIL_JAIL" = /jail ] && {words}'], **options)

    monkeypatch.setattr(namespaces.subprocess, "run", run)
    assert namespaces.run_in_namespace("/jail", ["step", "enter"], ["ls", "-l"]) == code
    words_before = ["unshare", "--mount", "--propagation", "slave"]
    assert asked == [[*words_before, "step", "enter", "/jail", "ls", "-l"]]


def test_a_host_without_unshare_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(namespaces.subprocess, "run", run)
    with pytest.raises(SftpJailError, match="cannot run unshare: No such file"):
        namespaces.run_in_namespace("/jail", ["step"], ["ls"])

"""The words that the completions of the shells ask for."""

from __future__ import annotations

import pytest
from fakesshd import sshd
from played import Run, Stage, run, stage

from sftpjail.cli import words
from sftpjail.errors import SftpJailError

__all__ = ["run", "sshd", "stage"]


@pytest.fixture(autouse=True)
def _on_the_stage(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "Host", stage.host)


def test_each_kind_of_word(run: Run, stage: Stage) -> None:
    stage.tree.directory("/srv/web")
    assert run("mount", "ann", "/srv/web", "/web")[0] == 0
    said = {
        "jails": "ann\n",
        "accounts": "bob\n",
        "profiles": "sftponly\n",
        "mounts ann": "/web\n",
        "keys ann": "SHA256:AAAAgood\n",
        "mounts bob": "",
        "keys": "",
        "nonsense ann": "",
        "": "",
    }
    for asked, lines in said.items():
        assert (asked, *run("--complete", *asked.split())) == (asked, 0, lines)


def test_all_are_told_whom_all_may_know(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise SftpJailError("cannot list /var/lib/sftpjail/accounts: Permission denied")

    monkeypatch.setattr(words, "jailed", denied)
    assert run("--complete", "jails") == (0, "ann\n")

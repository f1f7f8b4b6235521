"""undo: what it plans on a host on which all plugins are at work."""

from __future__ import annotations

from typing import Any

import pytest
from fakesshd import Sshd, sshd
from played import Stage, stage

from sftpjail.actions import SetOwner
from sftpjail.engine.plan import OnSetup, OnUserDisable, OnUserEnable
from sftpjail.errors import JailUnknown, NotJailed, SftpJailError
from sftpjail.jails.membership import find
from sftpjail.operations.undo import Inverse
from sftpjail.system import account_lines

__all__ = ["sshd", "stage"]


def test_undo_of_disable_lets_nobody_in_without_a_jail(stage: Stage, sshd: Sshd) -> None:
    engine = stage.engine()
    account = find("ann", engine.config, engine.host)
    stage.play(engine.plan([OnUserDisable(account, "left", "")]))
    item = {"event": OnUserDisable.hook, "account": "ann", "uid": 1001, "profile": "sftponly"}
    entry: dict[str, Any] = {"id": 1, "undo": [item | {"closed": None}], "left": []}

    def undo() -> list[object]:
        engine = stage.engine()
        return [*Inverse(entry, [entry], engine, force=False).plan(engine).events]

    assert [type(event) for event in undo()] == [OnUserEnable]
    stage.tree.write(
        "/etc/ssh/sshd_config.d/00-admin.conf", "Match User ann\n    ChrootDirectory none\n"
    )
    with pytest.raises(NotJailed, match="takes ann out of its jail"):
        undo()
    sshd.broken = "line 4: Bad configuration option: Nonsense"
    with pytest.raises(JailUnknown, match="Nonsense"):
        undo()


def test_undo_of_setup_lets_nobody_out_whose_name_is_not_taken(stage: Stage) -> None:
    item = {"event": OnSetup.hook, "first": True}
    entry: dict[str, Any] = {"id": 1, "undo": [item], "left": []}
    engine = stage.engine()
    with pytest.raises(SftpJailError, match="still jailed: ann"):
        Inverse(entry, [entry], engine, force=False).plan(engine)
    stage.tree.account("a+b", 1100)
    stage.join("sftponly", "a+b")
    engine = stage.engine()
    with pytest.raises(SftpJailError, match=r"a\+b would be an ordinary account"):
        Inverse(entry, [entry], engine, force=False).plan(engine)


@pytest.mark.parametrize(
    ("owner", "mode", "is_given"),
    [
        ((0, 0), 0o755, True),
        ((0, 0), 0o700, True),
        ((1002, 1002), 0o755, False),
        ((1002, 0), 0o755, False),
        ((0, 1002), 0o755, False),
        ((1100, 1100), 0o700, False),
        (None, 0, False),
    ],
)
def test_undo_of_a_deletion_gives_back_only_what_is_roots(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    owner: tuple[int, int] | None,
    mode: int,
    is_given: bool,
) -> None:
    monkeypatch.setattr(account_lines, "ETC", str(stage.tree.root / "etc"))
    path = "/srv/data/cat"
    if owner is not None:
        stage.tree.directory(path, mode, owner)
    lines = {
        "passwd": {"own": [{"line": "cat:x:1100:1100::/home/cat:/bin/sh"}]},
        "group": {"own": [{"line": "cat:x:1100:"}]},
    }
    deleted = {"event": "deleted", "account": "cat", "lines": lines}
    deleted["owners"] = {path: (1100, 1100, 0o700)}
    entry: dict[str, Any] = {"id": 1, "undo": [deleted], "left": []}
    inverse = Inverse(entry, [entry], stage.engine(), force=False)
    given = [step.action for step in inverse.restore if isinstance(step.action, SetOwner)]
    assert given == [SetOwner(path, 1100, 1100, 0o700, remember=False)] * is_given
    assert inverse.given == dict.fromkeys([path] * is_given, (1100, 1100, 0o700))

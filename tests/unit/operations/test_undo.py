"""undo: what it plans on a host on which all plugins are at work."""

from __future__ import annotations

from typing import Any

import pytest
from fakesshd import Sshd, sshd
from played import Stage, stage

from sftpjail.engine.plan import OnUserDisable, OnUserEnable
from sftpjail.errors import JailUnknown, NotJailed
from sftpjail.jails.membership import find
from sftpjail.operations.undo import Inverse

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

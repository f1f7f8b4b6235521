"""origins: the records of what was there before us, on a host on which all plugins are at work."""

from __future__ import annotations

import json

import pytest
from fakesshd import sshd
from played import Stage, stage

from sftpjail.engine.plan import OnUserDisable
from sftpjail.jails.leftovers import leftover
from sftpjail.jails.membership import find
from sftpjail.operations import diagnosis
from sftpjail.operations.apply import plan_all
from sftpjail.operations.diagnosis import judge
from sftpjail.operations.events import remove_events

__all__ = ["sshd", "stage"]

RECORD = "var/lib/sftpjail/accounts/ann"


def test_the_record_of_who_cannot_be_removed_stays(stage: Stage) -> None:
    """As `apply --prune` plans it: an account that is disabled does not become an ordinary one."""
    engine = stage.engine()
    account = find("ann", engine.config, engine.host)
    stage.play(engine.plan([OnUserDisable(account, "left", "")]))
    lines = [one.replace("sftponly:x:500:ann", "sftponly:x:500:") for one in stage.tree.group_lines]
    stage.tree.group_lines = lines
    engine = stage.engine()
    events = remove_events(leftover("ann", engine.config, engine.host), engine.host, deleted=False)
    plan = plan_all(engine, [], [], events)
    assert "ann is disabled" in plan.errors["ann"].message and plan.steps == []


def test_the_record_of_an_earlier_version_gets_the_group(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = stage.tree.root / RECORD
    now = json.loads(record.read_text())
    assert (now.pop("group"), now.pop("gid")) == ("sftponly", 500)
    record.write_text(json.dumps(now))
    engine = stage.engine()
    with monkeypatch.context() as patched:
        patched.delattr(diagnosis, "create_events")
        assert judge(engine, []) == [], "`check` plans nobody's jail anew for that"
    plan = plan_all(engine, [], [find("ann", engine.config, engine.host)], [])
    assert [(step.plugin, step.action.key) for step in plan.steps] == [
        ("sftpjail", ("path", f"/{RECORD}"))
    ]
    stage.play(plan)
    engine = stage.engine()
    assert not plan_all(engine, [], [find("ann", engine.config, engine.host)], [])

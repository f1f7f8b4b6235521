"""Which keys are added, and which key file in a home is retired."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakesshd import sshd
from played import Stage, root, stage

from sftpjail.engine.plan import OnKeyAdd, OnKeyMigrate
from sftpjail.jails.membership import find
from sftpjail.operations.keys import migrate_events, old_place

__all__ = ["root", "sshd", "stage"]

GOOD = "ssh-ed25519 AAAAgood7 old"


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("text", "is_jailed", "hooks", "problems"),
    [
        (f"{GOOD}\n", True, [OnKeyAdd, OnKeyMigrate], 0),
        ("ssh-ed25519 AAAAgood ann\n", True, [OnKeyMigrate], 0),
        ("", True, [OnKeyMigrate], 0),
        (f"{GOOD}\nrubbish\n", True, [OnKeyAdd], 1),
        ("rubbish\n", True, [], 1),
        (f"{GOOD}\n", False, [OnKeyAdd], 0),
        (f"{GOOD}\nrubbish\n", False, [OnKeyAdd], 1),
        (None, True, [], 0),
    ],
)
def test_a_key_file_of_which_keys_stay_behind_stays_too(
    stage: Stage, text: str | None, is_jailed: bool, hooks: list[type], problems: int
) -> None:
    engine = stage.engine()
    ann = find("ann", engine.config, engine.host)
    if not is_jailed:
        ann = replace(ann, profile=None)
    old = old_place(ann)
    stage.tree.directory("/home/ann/.ssh", 0o700, (1001, 1001))
    if text is not None:
        stage.tree.write(old, text, 0o600)
        stage.tree.owners[old] = (1001, 1001)
    events, behind = migrate_events(ann, stage.engine())
    assert [type(event) for event in events] == hooks and len(behind) == problems

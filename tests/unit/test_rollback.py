"""A rollback finds a host that went on without it: what is gone is done, what is in use stays, the rest is put back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import Programs
from world import World

from sftpjail.engine.journal import Journal
from sftpjail.errors import RollbackIncomplete, SftpJailError
from sftpjail.system.programs import Answer


@pytest.fixture
def world(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world with a folder that the interrupted run made first, so that it goes last."""
    world = World(tmp_path, programs, monkeypatch)
    (world.root / "made").mkdir()
    world.groups["newgroup"] = (4100, [])
    world._play()
    return world


def interrupted(world: World, *undos: object) -> Journal:
    """Return the journal of the run after one that left these undos."""
    world.state.mkdir(parents=True, exist_ok=True)
    lines = [{"op": "made-dir", "path": world.path("made")}, *undos]
    (world.state / "journal").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Journal(str(world.state))


def put_back(world: World) -> bool:
    """Return whether the rollback came to its end."""
    return not (world.root / "made").exists() and not (world.state / "journal").exists()


def account(name: str, **more: object) -> dict[str, Any]:
    argv = ["usermod", "--shell", "/bin/sh", name]
    return {"op": "account", "name": name, "usermod": argv, "joined": [], "left": []} | more


def test_an_account_that_is_gone_has_nothing_to_get_back(world: World, programs: Programs) -> None:
    world.groups["oldgroup"][1].append("gone")
    world._play()
    gone = Answer(3, "", "user 'gone' does not exist")
    programs.plans.insert(0, (lambda argv, _: "gone" in argv and argv[1] != "--delete", gone))
    journal = interrupted(
        world, account("gone", joined=["oldgroup", "nogroup"], left=["worldling", "nogroup"])
    )
    assert journal.recover() and put_back(world) and world.groups["oldgroup"][1] == ["worldling"]
    assert [argv[0] for argv in programs.asked] == ["usermod", "gpasswd", "gpasswd"], (
        "and none of nogroup"
    )
    said = "gone is left as it is: user 'gone' does not exist"
    assert journal.notices == [f"{said}; {said}"]
    assert interrupted(world, account("worldling", left=["nogroup"])).recover()
    assert world.people["worldling"]["--shell"] == "/bin/sh"


@pytest.mark.parametrize("members", [["worldling"], []])
def test_a_group_that_somebody_is_in_stays(
    world: World, programs: Programs, members: list[str]
) -> None:
    world.groups["newgroup"] = (4100, members)
    world._play()
    programs.plans.insert(
        0, (lambda argv, _: argv[0] == "groupdel", Answer(8, "", "cannot remove the primary group"))
    )
    journal = interrupted(world, {"op": "group", "name": "newgroup", "gid": None})
    assert journal.recover() and put_back(world)
    assert (
        journal.notices == ["the group newgroup stays: somebody is in it by now"]
        and "newgroup" in world.groups
    )


def test_a_group_that_nobody_is_in_goes(world: World) -> None:
    journal = interrupted(world, {"op": "group", "name": "newgroup", "gid": None})
    assert (
        journal.recover()
        and put_back(world)
        and "newgroup" not in world.groups
        and journal.notices == []
    )
    assert interrupted(world, {"op": "group", "name": "newgroup", "gid": None}).recover(), (
        "somebody has deleted it"
    )


def test_a_group_that_cannot_go_for_another_reason_is_a_failure(world: World) -> None:
    world.refuse = ("groupdel",)
    with pytest.raises(
        RollbackIncomplete, match="group newgroup: groupdel newgroup failed: no space left"
    ):
        interrupted(world, {"op": "group", "name": "newgroup", "gid": None}).recover()


@pytest.mark.parametrize("line", ["newgroup:x:4100", "newgroup:x", "newgroup"])
def test_a_group_line_without_its_last_fields(world: World, line: str) -> None:
    group = world.played / "etc/group"
    group.write_text(f"{line}\n{group.read_text()}")
    undo = account("worldling", usermod=[], joined=["newgroup"], left=["oldgroup"])
    assert interrupted(world, undo).recover() and put_back(world)


def test_an_undo_that_breaks_keeps_no_other_from_being_done(world: World) -> None:
    journal = interrupted(
        world, {"op": "owner", "path": world.path("made")}, account("worldling", left=7)
    )
    with pytest.raises(RollbackIncomplete) as caught:
        journal.recover()
    assert not (world.root / "made").exists() and (world.state / "journal").exists()
    assert (
        "account worldling: TypeError" in caught.value.message
        and "KeyError('uid')" in caught.value.message
    )


@pytest.mark.parametrize(
    "line",
    [{"op": []}, {"op": "file"}, {"op": "made-dir", "path": 1}, {"op": "x", "path": "/x"}, []],
)
def test_a_line_that_is_none_of_ours(world: World, line: object) -> None:
    with pytest.raises(SftpJailError, match="never writes") as caught:
        interrupted(world, line).recover()
    assert caught.value.fix.startswith("mv ")

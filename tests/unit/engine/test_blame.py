"""Whose step it was that failed: apply leaves that account out, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import Programs
from world import World

from sftpjail import hookimpl
from sftpjail.actions import Action, Check, MakeDir, Mount, Run, WriteFile
from sftpjail.engine.engine import Engine
from sftpjail.engine.plan import OnUserCreate
from sftpjail.errors import SftpJailError
from sftpjail.model import Account


@pytest.fixture
def world(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which others may make links in the directory `theirs`."""
    world = World(tmp_path, programs, monkeypatch)
    for name in ("src", "jail", "theirs"):
        (world.root / name).mkdir()
    (world.root / "theirs").chmod(0o777)
    (world.root / "theirs/link").symlink_to(world.root / "src")
    return world


def blamed(world: World, *wanted: tuple[str, Action]) -> str:
    """Return who is to blame where each of these accounts wants an action, and all was put back."""

    class Wants:
        @hookimpl
        def on_user_create(self, account: Account) -> list[Action]:
            return [action for name, action in wanted if name == account.name]

    engine: Engine = world.engine(lambda _: [])
    engine.manager.plugins.unregister(name="tester")
    engine.manager.plugins.register(Wants(), "tester")
    names = dict.fromkeys(name for name, _ in wanted)
    plan = engine.plan(
        [OnUserCreate(Account(name, 4001, 4001, f"/home/{name}"), new=True) for name in names]
    )
    before = world.snapshot()
    with pytest.raises(SftpJailError) as caught:
        engine.apply(plan)
    assert world.snapshot() == before
    return caught.value.owner


def test_of_a_directory_a_file_and_a_script(world: World) -> None:
    good = ("ann", MakeDir(world.path("good")))
    assert blamed(world, good, ("bob", MakeDir(world.path("theirs/link/x")))) == "bob"
    assert blamed(world, good, ("bob", WriteFile(world.path("none/x"), "x\n"))) == "bob"
    world.refuse = ("register",)
    assert blamed(world, good, ("bob", Run(("/register", "on"), "says no", always=True))) == "bob"
    world.refuse = ("ask",)
    assert (
        blamed(world, good, ("bob", MakeDir(world.path("b"))), ("bob", Check(("/ask",), "asks")))
        == "bob"
    )


def test_of_a_mount(world: World) -> None:
    for name in ("ann", "bob", "carl"):
        (world.root / "jail" / name).mkdir()
    good = ("ann", Mount(world.path("src"), world.path("jail/ann")))
    later = ("carl", Mount(world.path("src"), world.path("jail/carl")))
    assert (
        blamed(world, good, ("bob", Mount(world.path("src"), world.path("theirs/link"))), later)
        == "bob"
    )

    world.refuse = ("mount",)
    assert blamed(world, ("bob", Mount(world.path("src"), world.path("jail/bob"))), later) == "bob"
    world.refuse = ()
    (world.root / "jail/bob").rmdir()
    assert (
        blamed(world, good, ("bob", Mount(world.path("src"), world.path("jail/bob"))), later)
        == "bob"
    )


def test_nobody_where_it_is_everybodys(world: World) -> None:
    world.state.mkdir(parents=True)
    engine, plan = world.plan(lambda _: [MakeDir(world.path("good"))])
    world.syscalls.fail_at = 2  # the log's first write
    with pytest.raises(SftpJailError, match="cannot write .*journal") as caught:
        engine.apply(plan)
    assert caught.value.owner == ""

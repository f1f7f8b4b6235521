"""Before a plan is committed its events are planned again: nothing may be left to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import FakeHost, Programs
from world import World, WorldFiles

from sftpjail import hookimpl
from sftpjail.actions import (
    Action,
    MakeDir,
    Notify,
    Remove,
    Run,
    SetOwner,
    Share,
    Unshare,
    WriteFile,
)
from sftpjail.config import Config
from sftpjail.engine.convergence import NotConverged, _is_of_users
from sftpjail.engine.engine import Engine
from sftpjail.engine.manager import BUNDLED, Manager
from sftpjail.engine.plan import OnUserCreate
from sftpjail.errors import SftpJailError
from sftpjail.formats.acl import Access
from sftpjail.model import Account

Wish = Callable[[], list[Action]]
WHO = Account("worldling", 4001, 4001, "/home/w")


class Wisher:
    """A plugin that wants what a function says."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish

    @hookimpl
    def on_user_create(self) -> list[Action]:
        return self.wish()


@pytest.fixture
def world(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, programs, monkeypatch)


def engine_of(world: World, **wishes: Wish) -> Engine:
    """Return an engine with a plugin for each wish; a name of ours makes it one of ours."""
    manager = Manager(Config(plugins_disable=BUNDLED))
    for name, wish in wishes.items():
        manager.plugins.register(Wisher(wish), name)
    return Engine(Config(), FakeHost(files=WorldFiles(world)), manager)


def done(engine: Engine) -> list[str]:
    """Plan for the account, and apply that."""
    return engine.apply(engine.plan([OnUserCreate(WHO, new=True)]))


def restless(world: World, name: str) -> Wish:
    """Return a wish for another content each time."""
    count = iter(range(100))
    return lambda: [WriteFile(world.path(name), f"{next(count)}\n")]


def test_a_plan_that_is_never_done_is_put_back(world: World) -> None:
    before = world.snapshot()
    with pytest.raises(NotConverged, match="sftpjail does not converge: .*restless") as caught:
        done(engine_of(world, mounts=restless(world, "restless")))
    assert caught.value.owner == "worldling" and world.snapshot() == before
    assert world.history() == []


def test_who_undoes_it_in_a_home_keeps_nobody_from_a_change(world: World) -> None:
    world.of_users = (world.path("home"),)
    (world.root / "home").mkdir()
    wish = restless(world, "home/file")
    assert done(engine_of(world, mounts=wish)) == [] and len(world.history()) == 1
    with pytest.raises(NotConverged):
        done(engine_of(world, mounts=wish, keys=restless(world, "outside")))


@pytest.mark.parametrize(
    "kind",
    [
        MakeDir,
        lambda path: SetOwner(path, 0, 0, 0o755),
        lambda path: Share(path, 4002),
        lambda path: Unshare(path, 4002, Access(0, 0o755)),
    ],
    ids=["make", "own", "share", "unshare"],
)
def test_what_users_can_change_keeps_nobody_from_a_change(
    world: World, kind: Callable[[str], Action]
) -> None:
    world.of_users = (world.path("home"),)
    host = engine_of(world).host
    assert _is_of_users(kind(world.path("home/site")), host)
    assert not _is_of_users(kind(world.path("site")), host)


def test_a_strangers_part_that_is_never_done_is_left_out(world: World) -> None:
    good: Wish = lambda: [MakeDir(world.path("good"))]  # noqa: E731
    engine = engine_of(world, chroot=good, itch=restless(world, "restless"))
    said = done(engine)
    assert len(said) == 1 and said[0].startswith("plugin itch does not converge: "), said
    assert said[0].endswith("what it wants was left out")
    assert (world.root / "good").is_dir() and not (world.root / "restless").exists()
    assert [entry["command"] for entry in world.history()] == [""]


def test_ours_and_a_strangers_that_quarrel_are_put_back(world: World) -> None:
    before = world.snapshot()
    with pytest.raises(NotConverged, match="sftpjail does not converge"):
        done(engine_of(world, mounts=restless(world, "one"), itch=restless(world, "two")))
    assert world.snapshot() == before


def test_after_a_change_by_somebody_all_is_planned_once_more(world: World) -> None:
    (world.root / "old").mkdir()
    rude = iter((False, True, False, False))

    def wish() -> list[Action]:
        if next(rude):
            shutil.rmtree(world.root / "old")  # just before it is looked at again
        return [MakeDir(world.path("new")), MakeDir(world.path("old"))]

    said = done(engine_of(world, mounts=wish))
    assert (world.root / "old").is_dir() and (world.root / "new").is_dir()
    assert len(said) == 1 and said[0].startswith("the host was changed meanwhile: + directory")
    assert said[0].endswith("; all was planned again") and len(world.history()) == 1


def test_what_comes_again_after_its_removal_is_planned_once_more(world: World) -> None:
    """Somebody else writes it, as a login writes when it was: that is no bug of ours."""
    path = world.root / "seen"
    path.write_text("first\n")
    comes = iter((False, True, False, False))

    def wish() -> list[Action]:
        if next(comes):
            path.write_text("again\n")
        return [Remove(world.path("seen"), ours=True)] if path.exists() else []

    said = done(engine_of(world, mounts=wish))
    assert not path.exists() and len(world.history()) == 1
    assert len(said) == 1 and said[0].startswith("the host was changed meanwhile: - file")
    assert said[0].endswith("; all was planned again")


def test_who_changes_it_again_and_again_is_reported(world: World) -> None:
    (world.root / "old").mkdir()

    def wish() -> list[Action]:
        if (world.root / "new").exists():
            shutil.rmtree(world.root / "old", ignore_errors=True)
        return [MakeDir(world.path("new")), MakeDir(world.path("old"))]

    with pytest.raises(NotConverged) as caught:
        done(engine_of(world, mounts=wish))
    assert not (world.root / "new").exists() and world.history() == []
    assert caught.value.message


def test_a_hook_that_refuses_afterwards_undoes_all(world: World) -> None:
    def wish() -> list[Action]:
        if (world.root / "new").exists():
            raise SftpJailError("it is no longer to be had")
        return [MakeDir(world.path("new"))]

    with pytest.raises(
        NotConverged, match="planning fails after this.*no longer to be had"
    ) as caught:
        done(engine_of(world, mounts=wish))
    assert caught.value.owner == "worldling" and not (world.root / "new").exists()


def test_a_directory_that_goes_with_the_commit_is_gone(world: World) -> None:
    """It lies there until then, and who needs it must not be content with that."""
    (world.root / "jail/gone").mkdir(parents=True)
    (world.root / "name").symlink_to("jail")

    def wish() -> list[Action]:
        return [Remove(world.path("jail/gone"), ours=True), MakeDir(world.path("name/gone"))]

    with pytest.raises(NotConverged, match="directory .*name/gone"):
        done(engine_of(world, mounts=wish))
    assert (world.root / "jail/gone").is_dir()


def test_what_no_fact_tells_to_be_done_is_no_matter(world: World) -> None:
    wish: Wish = lambda: [  # noqa: E731
        MakeDir(world.path("new")),
        Run(("/register", "on"), "tells somebody", always=True),
        Notify("sshd", always=True),
    ]
    assert done(engine_of(world, mounts=wish)) == []
    assert (world.root / "new").is_dir()


def test_only_what_a_plan_has_changed_is_planned_again(world: World) -> None:
    """What the second planning costs: nobody is asked for whom nothing was done."""
    asked: list[str] = []

    class Asker:
        @hookimpl
        def on_user_create(self, account: Account) -> list[Action]:
            asked.append(account.name)
            return [MakeDir(world.path(account.name))] if account.name == "three" else []

    engine = engine_of(world)
    engine.manager.plugins.register(Asker(), "mounts")
    names = ("one", "two", "three")
    events = [OnUserCreate(Account(name, 5, 5, "/home/x"), new=True) for name in names]
    engine.apply(engine.plan(events))
    assert asked == ["one", "two", "three", "three"]
    engine = engine.on(engine.host.anew())
    engine.apply(engine.plan(events))
    assert asked[4:] == ["one", "two", "three"], "where nothing is to be done, only once"

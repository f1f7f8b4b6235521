"""What users put in root's way: no action, and no undo of one, follows a link that others than root could have made."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import ME, Programs
from world import World

from sftpjail.actions import (
    Action,
    Check,
    GiveDir,
    MakeDir,
    Remove,
    Rename,
    SetLines,
    SetOwner,
    WriteFile,
)
from sftpjail.engine.journal import Journal
from sftpjail.errors import LinkRefused, SftpJailError
from sftpjail.system import files


@pytest.fixture
def world(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world with a directory `theirs`, in which everybody may make links."""
    world = World(tmp_path, programs, monkeypatch)
    (world.root / "roots/inner").mkdir(parents=True)
    (world.root / "roots/file").write_text("root's\n")
    (world.root / "theirs/below").mkdir(parents=True)
    (world.root / "theirs").chmod(0o777)
    for link, target in (
        ("theirs/file", "roots/file"),
        ("theirs/new", "roots/new"),
        ("theirs/directory", "roots"),
        ("theirs/below/directory", "roots"),
    ):
        (world.root / link).symlink_to(world.root / target)
    return world


ACTIONS: list[Callable[[Callable[[str], str]], Action]] = [
    lambda path: WriteFile(path("theirs/file"), "astray\n", uid=1, gid=1),
    lambda path: WriteFile(path("theirs/file"), "astray\n", keep=True),
    lambda path: WriteFile(path("theirs/new"), "astray\n"),
    lambda path: WriteFile(path("theirs/directory/file"), "astray\n"),
    lambda path: WriteFile(path("theirs/below/directory/file"), "astray\n"),
    lambda path: SetLines(path("theirs/file"), "tag", ("astray",)),
    lambda path: SetLines(path("theirs/directory/file"), "tag", ("astray",)),
    lambda path: MakeDir(path("theirs/directory/made"), uid=1, gid=1),
    lambda path: MakeDir(path("theirs/below/directory/made")),
    lambda path: SetOwner(path("theirs/directory"), 1, 1, 0o777),
    lambda path: SetOwner(path("theirs/directory/inner"), 1, 1, 0o777),
    lambda path: Rename(path("theirs/directory/file"), path("theirs/directory/moved")),
    lambda path: Remove(path("theirs/directory/file"), ours=True),
    lambda path: Remove(path("theirs/directory/inner"), ours=True),
]


@pytest.mark.parametrize("number", range(len(ACTIONS)))
def test_no_action_follows_a_link_of_a_users(world: World, number: int) -> None:
    before = world.snapshot()
    with pytest.raises(SftpJailError, match="symbolic link"):
        engine, plan = world.plan(lambda _: [ACTIONS[number](world.path)])
        engine.apply(plan)
    assert world.snapshot()["files"] == before["files"]


def test_links_of_roots_are_followed_and_stay(world: World) -> None:
    for link, target in (("link", "roots/file"), ("srv", "roots"), ("later", "roots/later")):
        (world.root / link).symlink_to(target)
    wanted = [
        WriteFile(world.path("link"), "new\n"),
        WriteFile(world.path("later"), "later\n"),
        MakeDir(world.path("srv/made")),
        SetLines(world.path("srv/lines"), "tag", ("ours",)),
    ]
    engine, plan = world.plan(lambda _: [*wanted])
    engine.apply(plan)
    assert (world.root / "roots/file").read_text() == "new\n" and (world.root / "link").is_symlink()
    assert (world.root / "roots/later").read_text() == "later\n" and (
        world.root / "later"
    ).is_symlink()
    assert (world.root / "roots/made").is_dir() and "ours" in (
        world.root / "roots/lines"
    ).read_text()


def test_a_directory_is_given_away_when_it_is_full(world: World) -> None:
    """Not a moment earlier: whoever owns it can lead root astray who fills it."""
    home = world.path("home")
    wanted = [
        MakeDir(home, 0o700),
        MakeDir(f"{home}/.config", 0o750),
        WriteFile(f"{home}/.config/x", "x\n", 0o640),
        GiveDir(home, 0, 0, 0o711),
    ]
    modes: list[tuple[str, str]] = []

    def watch(name: str, path: str) -> None:
        if path.startswith(home) and name in ("mkdir", "rename", "fsync", "fchmod"):
            modes.append(
                (
                    path.removeprefix(home),
                    oct(os.stat(home).st_mode & 0o777) if os.path.isdir(home) else "",
                )
            )

    world.syscalls.watch = watch
    engine, plan = world.plan(lambda _: [*wanted])
    engine.apply(plan)
    assert {mode for path, mode in modes} == {"", "0o700"} and modes[-1] == ("", "0o700"), modes
    assert os.stat(home).st_mode & 0o777 == 0o711
    assert not world.plan(lambda _: [*wanted])[1].steps


def test_a_directory_given_away_comes_back_before_it_is_emptied(world: World) -> None:
    home, before = world.path("home"), world.snapshot()
    world.refuse = ("ask",)
    wanted = [
        MakeDir(home, 0o700),
        WriteFile(f"{home}/x", "x\n"),
        GiveDir(home, 0, 0, 0o777),
        Check(("/ask",), "must be well"),
    ]
    modes = []

    def watch(name: str, path: str) -> None:
        if name in ("unlink", "rmdir") and path.startswith(home):
            modes.append(oct(os.stat(home).st_mode & 0o777))

    world.syscalls.watch = watch
    engine, plan = world.plan(lambda _: [*wanted])
    with pytest.raises(SftpJailError, match="must be well"):
        engine.apply(plan)
    assert set(modes) == {"0o700"} and world.snapshot()["files"] == before["files"]


def test_a_directory_that_was_replaced_while_it_was_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.root / "theirs/other").mkdir()
    (world.root / "theirs/other/secret").write_text("root's\n")

    def mkdir(name: str, mode: int, dir_fd: int) -> None:
        os.mkdir(name, mode, dir_fd=dir_fd)
        os.rename(world.path(f"theirs/{name}"), world.path("theirs/away"))
        os.rename(world.path("theirs/other"), world.path(f"theirs/{name}"))

    world.syscalls.__dict__["mkdir"] = mkdir
    with pytest.raises(SftpJailError, match="in place of"):
        files.make_dir(world.path("theirs/made"), 0o777, *ME)
    assert (world.root / "theirs/made").stat().st_mode & 0o777 == 0o755


def test_a_link_in_the_place_of_a_directory_to_be_made(world: World) -> None:
    with pytest.raises(LinkRefused):
        files.make_dir(world.path("theirs/directory"), 0o755, *ME)
    (world.root / "srv").symlink_to("roots")
    files.make_dir(world.path("srv"), 0o755, *ME)


@pytest.mark.parametrize("kind", ["second name", "fifo"])
def test_what_has_its_owner_changed(world: World, kind: str) -> None:
    path = world.path("theirs/thing")
    if kind == "fifo":
        os.mkfifo(path)
    else:
        os.link(world.path("roots/file"), path)
    before = world.snapshot()
    with pytest.raises(SftpJailError, match="neither a directory nor a file with one name"):
        files.set_owner(path, *ME, 0o777)
    assert world.snapshot() == before


UNDOS: list[dict[str, Any]] = [
    {"op": "made-dir", "path": "theirs/directory/inner"},
    {"op": "made-dir", "path": "theirs/directory"},
    {"op": "owner", "path": "theirs/directory/inner", "uid": 1, "gid": 1, "mode": 0o777},
    {
        "op": "file",
        "path": "theirs/directory/file",
        "existed": False,
        "new": None,
        "lines": None,
        "style": "",
    },
    {
        "op": "file",
        "path": "theirs/fifo",
        "existed": False,
        "new": "abc",
        "lines": None,
        "style": "",
    },
    {
        "op": "file",
        "path": "theirs/directory/old",
        "existed": True,
        "new": None,
        "lines": None,
        "style": "",
    },
    {"op": "unremove", "path": "theirs/directory/old"},
]


@pytest.mark.parametrize("undo", UNDOS)
def test_no_undo_follows_a_users_link_or_waits_for_them(world: World, undo: dict[str, Any]) -> None:
    os.mkfifo(world.path("theirs/fifo"))
    (world.root / "roots/old").write_text("now\n")
    Path(files.backup_name(world.path("roots/old"))).write_text("before\n")
    (world.root / "roots/one-more").mkdir()
    before = world.snapshot()["files"]
    journal = Journal(str(world.state))
    others = {"op": "made-dir", "path": world.path("roots/one-more")}
    journal.record([others, undo | {"path": world.path(undo["path"])}])
    world.recover()
    before.pop("roots/one-more")
    after = world.snapshot()["files"]
    assert {name: about for name, about in after.items() if name in before} == before
    assert not (world.state / "journal").exists(), "others' runs go on"

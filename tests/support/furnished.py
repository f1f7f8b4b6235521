"""A world with the same things in it each time, and at least one action of every kind for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import Programs
from world import World

from sftpjail.actions import (
    Action,
    Check,
    MakeDir,
    Mount,
    Notify,
    Remove,
    Rename,
    Run,
    SetAccount,
    SetGroup,
    SetLines,
    SetOwner,
    Share,
    Unmount,
    Unshare,
    WriteFile,
)
from sftpjail.formats.acl import DEFAULT, Access, shared
from sftpjail.formats.tagged_lines import Style

MakeWorld = Callable[[], World]
# Who runs the tests plays root.
FORMER = Access(0, 0o755)
SHARED = shared(FORMER, 0)
MAP = "X-mount.idmap=u:33:4001:1\\040g:33:4001:1"


@pytest.fixture
def worlds(tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> MakeWorld:
    """Makes worlds, each with the same things in it."""
    count = iter(range(10_000))

    def make() -> World:
        directory = tmp_path / str(next(count))
        directory.mkdir()
        programs.plans.clear()
        world = World(directory, programs, monkeypatch)
        furnish(world)
        return world

    return make


def furnish(world: World) -> None:
    for name, text in {
        "shared": "theirs 1\ntheirs 2\n",
        "attributes": "old\n",
        "strict": "old\n",
        "ours-alone": "our line\n",
        "leaves/file": "going\n",
        "leaves/other": "going too\n",
        "home/keys": "key\n",
        "spool/crontab": "@daily x\n",
        "src/inner/data": "data\n",
        "old-src/data": "data\n",
    }.items():
        path = world.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, ns=(1_500_000_000_123_456_789, 1_500_000_000_123_456_789))
    (world.root / "attributes").chmod(0o640)
    (world.root / "strict").chmod(0o600)
    with contextlib.suppress(OSError):  # a tmpfs of an older kernel has no user attributes
        os.setxattr(world.root / "attributes", "user.origin", b"vendor")
    (world.root / "loose").mkdir()
    (world.root / "loose").chmod(0o770)
    (world.root / "group").mkdir(0o750)
    (world.root / "group").chmod(0o750)
    (world.root / "no-group").mkdir()
    (world.root / "no-group").chmod(SHARED.mode)
    os.setxattr(world.root / "no-group", DEFAULT, SHARED.default)
    (world.root / "link").symlink_to("shared")
    (world.root / "through").symlink_to("strict")
    (world.root / "comes-again").mkdir(0o750)
    (world.root / "jail/old").mkdir(parents=True)
    (world.root / "jail/flags").mkdir()
    (world.root / "jail/mapped").mkdir()
    world.mounts[world.path("jail/old")] = (world.path("old-src"), ("nosuid", "nodev"))
    world.mounts[world.path("jail/flags")] = (world.path("jail/flags"), ("nosuid", "nodev"))
    world.mounts[world.path("jail/mapped")] = (world.path("old-src"), ("nosuid", "nodev"))
    world._play()


def everything(world: World) -> list[Action]:
    """Return at least one action of every kind."""
    path = world.path
    return [
        Unmount(path("old-src"), path("jail/old"), ("bind", "nosuid", "nodev")),
        MakeDir(path("jail/home")),
        MakeDir(path("jail/home/inner"), 0o700),
        SetOwner(path("loose"), 0, 0, 0o755),
        Share(path("group"), 0),
        Unshare(path("no-group"), 0, FORMER),
        WriteFile(path("new"), "new\n", mode=0o600),
        WriteFile(path("attributes"), "newer\n", keep=True),
        WriteFile(path("through"), "newer\n"),
        SetLines(path("shared"), "tag", ("ours 1", "ours 2")),
        SetLines(path("ours-alone"), "our line", (), Style.LINE, own=True),
        SetLines(path("made-for-lines"), "tag", ("ours",)),
        SetGroup("newgroup"),
        SetAccount("worldling", add_groups=("newgroup",), remove_groups=("oldgroup",)),
        SetAccount("worldling", shell="/usr/sbin/nologin"),
        Mount(path("src"), path("jail/home"), ("bind", "nosuid", "nodev")),
        Mount(path("jail/flags"), path("jail/flags"), ("bind", "nosuid", "nodev", "ro")),
        Mount(path("old-src"), path("jail/mapped"), ("bind", "nosuid", "nodev", MAP)),
        Remove(path("leaves/file"), ours=True),
        Remove(path("leaves/other"), ours=True),
        Remove(path("leaves"), ours=True),
        Remove(path("link"), ours=True),
        Remove(path("jail/old"), ours=True),
        Rename(path("home/keys"), path("home/keys.moved")),
        Rename(path("spool/crontab"), path("jail/crontab")),
        Run(("/register", "on"), "tells somebody", undo=("/register", "off")),
        Check(("/ask", "-t"), "must be well"),
        Notify("rsyslog", "restart", required=True),
        Notify("sshd"),
    ]


def committed(world: World) -> bool:
    """Return whether the one transaction of a world counts: its line in the history is its commit."""
    return bool(world.history())

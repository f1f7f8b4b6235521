"""A home goes with its account only if nobody could miss what is in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sftpjail.formats.fstab import MountPoint
from sftpjail.system import mounts, new_home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home as useradd makes it."""
    for directory in ("skel", "home"):
        (tmp_path / directory / ".config").mkdir(parents=True)
        (tmp_path / directory / ".profile").write_text("umask 022\n")
        (tmp_path / directory / ".config/x").write_text("x\n")
        (tmp_path / directory / "link").symlink_to(".profile")
    (tmp_path / "defaults").write_text(f"# SKEL=/nowhere\nSKEL={tmp_path}/skel\n")
    monkeypatch.setattr(new_home, "_DEFAULTS", f"{tmp_path}/defaults")
    return tmp_path / "home"


def test_an_untouched_home_goes(home: Path) -> None:
    (home / "empty").touch()
    (home / "directory").mkdir()
    assert new_home.is_untouched(str(home))
    assert new_home.remove_home(str(home), os.getuid()) and not home.exists()
    assert new_home.remove_home(str(home), os.getuid()), "a second time"


@pytest.mark.parametrize("change", ["upload", "edited", "deep", "link", "fifo", "other-link"])
def test_a_home_with_anything_else_stays(home: Path, change: str) -> None:
    changes = {
        "upload": lambda: (home / "report.pdf").write_text("x"),
        "edited": lambda: (home / ".profile").write_text("umask 027\n"),
        "deep": lambda: (home / ".config/y").write_text("y"),
        "link": lambda: (home / ".config/up").symlink_to(".."),
        "fifo": lambda: os.mkfifo(home / "fifo"),
        "other-link": lambda: (
            (home / "link").unlink(),
            (home / "link").symlink_to("/etc/shadow"),
        ),
    }
    changes[change]()
    assert not new_home.is_untouched(str(home))
    assert not new_home.remove_home(str(home), os.getuid()) and (home / ".config/x").exists()


def test_a_home_is_known_by_its_owner_without_account(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """useradd was killed when it had made the home, and the account does not stand in passwd(5)."""
    people = [["ann", "x", str(os.getuid()), "100"]]
    monkeypatch.setattr(new_home, "entries", lambda path: people)
    assert not new_home.remove_home(str(home), None) and home.exists(), "ann's"
    people.clear()
    assert new_home.remove_home(str(home), None) and not home.exists()


def test_a_link_in_the_place_of_a_home_stays(home: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(home)
    assert not new_home.remove_home(str(link), os.getuid()) and link.is_symlink()
    assert (home / ".profile").exists()


def test_another_users_home_stays(home: Path) -> None:
    assert not new_home.remove_home(str(home), os.getuid() + 1) and home.exists()


@pytest.mark.parametrize("below", ["", "/.config"])
def test_a_home_with_a_mount_stays(home: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    table: dict[str, MountPoint] = {f"{home}{below}": MountPoint(f"{home}{below}", ())}
    monkeypatch.setattr(mounts, "mount_points", lambda: table)
    assert not new_home.remove_home(str(home), os.getuid()) and home.exists()


def test_a_spool_goes_while_it_has_no_mail(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    new_home.remove_spool(str(spool))
    spool.write_text("From root\n")
    new_home.remove_spool(str(spool))
    assert spool.exists()
    spool.write_text("")
    new_home.remove_spool(str(spool))
    assert not spool.exists()


def test_each_file_of_a_new_home_is_on_the_disk(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(home / "fifo")
    (home / "outside").symlink_to(home.parent / "skel")
    synced: set[str] = set()
    monkeypatch.setattr(
        new_home.os, "fsync", lambda fd: synced.add(os.readlink(f"/proc/self/fd/{fd}"))
    )
    new_home.sync(str(home))
    names = ("", "/.profile", "/.config", "/.config/x")
    assert synced == {f"{home}{name}" for name in names}
    new_home.sync(str(home / "none"))

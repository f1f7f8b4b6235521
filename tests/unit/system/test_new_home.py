"""A home goes with its account only if nobody could miss what is in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sftpjail.formats.fstab import MountPoint
from sftpjail.system import new_home


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


def test_another_users_home_stays(home: Path) -> None:
    assert not new_home.remove_home(str(home), os.getuid() + 1) and home.exists()


@pytest.mark.parametrize("below", ["", "/.config"])
def test_a_home_with_a_mount_stays(home: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    table: dict[str, MountPoint] = {f"{home}{below}": MountPoint(f"{home}{below}", ())}
    monkeypatch.setattr(new_home, "mount_points", lambda: table)
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

"""What a program of shadow that died has left goes, and nothing of one that runs or was there before."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from sftpjail.system import shadow_leftovers

DEAD = 2**22 + 1  # above the most that pid_max may be


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shadow_leftovers, "ETC", str(tmp_path))
    monkeypatch.setattr(shadow_leftovers, "BOOT_ID", str(tmp_path / "boot_id"))
    still = contextlib.nullcontext(True)
    monkeypatch.setattr(shadow_leftovers, "passwd_locked", lambda: still)
    (tmp_path / "boot_id").write_text("first\n")
    for name in ("passwd", "passwd-", "shadow", "group", "fstab.lock", "passwd.bak", "hosts+"):
        (tmp_path / name).write_text("kept\n")
    return tmp_path


def leave(etc: Path, pid: int) -> list[str]:
    for name in ("passwd.lock", f"gshadow.{pid}"):
        (etc / name).write_text(f"{pid}\0")
    (etc / "shadow+").write_text("half of it")
    return ["boot_id", "fstab.lock", "group", "hosts+", "passwd", "passwd-", "passwd.bak", "shadow"]


def names(etc: Path) -> list[str]:
    return sorted(path.name for path in etc.iterdir())


def test_what_a_dead_program_has_left_goes(etc: Path) -> None:
    kept = leave(etc, DEAD)
    shadow_leftovers.clear([], "first")
    assert names(etc) == kept


def test_the_lock_of_a_process_that_runs_stays(etc: Path) -> None:
    leave(etc, os.getpid())
    shadow_leftovers.clear([], "first")
    assert shadow_leftovers.present() == [f"gshadow.{os.getpid()}", "passwd.lock"]


def test_after_a_boot_a_pid_is_another_processs(etc: Path) -> None:
    kept = leave(etc, os.getpid())
    (etc / "boot_id").write_text("second\n")
    shadow_leftovers.clear([], "first")
    assert names(etc) == kept


def test_a_leftover_from_before_stays(etc: Path) -> None:
    leave(etc, DEAD)
    before = shadow_leftovers.present()
    (etc / "group.lock").write_text(f"{DEAD}")
    shadow_leftovers.clear(before, "first")
    assert shadow_leftovers.present() == before == [f"gshadow.{DEAD}", "passwd.lock", "shadow+"]


def test_nothing_goes_while_another_program_is_at_work(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(etc, DEAD)
    busy = contextlib.nullcontext(False)
    monkeypatch.setattr(shadow_leftovers, "passwd_locked", lambda: busy)
    shadow_leftovers.clear([], "first")
    assert len(shadow_leftovers.present()) == 3


def test_a_host_that_does_not_tell_its_boots_has_none(etc: Path) -> None:
    assert shadow_leftovers.boot_id() == "first"
    (etc / "boot_id").unlink()
    assert shadow_leftovers.boot_id() == ""
    leave(etc, os.getpid())
    shadow_leftovers.clear([], "")
    assert len(shadow_leftovers.present()) == 2, "as in the same boot"

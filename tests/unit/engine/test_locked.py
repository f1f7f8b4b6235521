"""Two runs that do not see each other's lock file, but one journal: as in a container with a /run of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fakes import Tree

from sftpjail.config import Config
from sftpjail.engine import engine
from sftpjail.engine.engine import Engine, interrupted, locked
from sftpjail.engine.history import History
from sftpjail.engine.journal import Journal
from sftpjail.engine.manager import BUNDLED
from sftpjail.errors import SftpJailError
from sftpjail.system.locks import DirectoryLock


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr("sftpjail.system.files.os.fchown", lambda *_: None)  # these need no root


@contextmanager
def run(tmp_path: Path, patch: pytest.MonkeyPatch, name: str) -> Iterator[Engine]:
    """Begin a run with a lock file of its own."""
    patch.setattr(engine, "LOCK", str(tmp_path / name / "lock"))
    with locked(Config(plugins_disable=BUNDLED), False, timeout=0.0) as found:
        yield found


def must_wait(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    """Another run does not begin."""
    held = pytest.raises(SftpJailError, match="another sftpjail has held .*/state")
    with held, run(tmp_path, patch, "other"):
        pass


def made(tmp_path: Path) -> dict[str, object]:
    """An undo record of a directory that a transaction makes, which exists."""
    (tmp_path / "made").mkdir()
    return {"op": "made-dir", "path": str(tmp_path / "made"), "dir": True}


def test_the_journal_of_a_living_run_is_not_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    with run(tmp_path, monkeypatch, "one") as first:
        Journal(engine.STATE, first.held).record([made(tmp_path)])
        must_wait(tmp_path, monkeypatch)
        assert (tmp_path / "made").is_dir() and (tmp_path / "state/journal").exists()
    with run(tmp_path, monkeypatch, "other"):  # the first one has died: its lock is gone
        assert not (tmp_path / "made").exists()


def test_a_run_that_makes_the_directory_locks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run(tmp_path, monkeypatch, "one") as first:
        Journal(engine.STATE, first.held).record([made(tmp_path)])
        must_wait(tmp_path, monkeypatch)
        assert (tmp_path / "made").is_dir()


def test_a_plan_from_before_the_first_change_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither run found the directory; one was done, or died, before the other had a record."""
    with run(tmp_path, monkeypatch, "one") as first:
        with run(tmp_path, monkeypatch, "other") as second:
            other = Journal(engine.STATE, second.held)
            other.record([made(tmp_path)])
            other.commit({})
            other.finish()
        history = [entry["id"] for entry in History(f"{engine.STATE}/history").entries()]
        with pytest.raises(SftpJailError, match="has changed this host meanwhile"):
            Journal(engine.STATE, first.held).record([made(tmp_path / "state")])
        assert history == [1] and not (tmp_path / "state/journal").exists()


def test_who_still_writes_a_journal_was_not_interrupted(
    tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    monkeypatch.setattr(engine, "LOCK", str(tmp_path / "one/lock"))
    tree.write(f"{engine.STATE}/journal", "{}\n")
    assert interrupted(tree.host())
    lock = DirectoryLock(engine.STATE)
    assert lock.take(0.0) and not interrupted(tree.host())
    lock.release()
    assert interrupted(tree.host())

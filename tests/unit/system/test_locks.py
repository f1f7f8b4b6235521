"""The lock on a directory, which may not exist yet, may go meanwhile, and may have no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sftpjail.errors import SftpJailError
from sftpjail.system import locks

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)


@contextmanager
def held(path: Path) -> Iterator[locks.DirectoryLock]:
    lock = locks.DirectoryLock(str(path))
    assert lock.take(0.0)
    try:
        yield lock
    finally:
        lock.release()


def is_free(path: Path) -> bool:
    with locks.unlocked(str(path)) as free:
        return free


def test_a_directory_is_locked_once(tmp_path: Path) -> None:
    with held(tmp_path) as lock:
        assert not lock.take(0.0), "it has it already"
        assert not is_free(tmp_path)
        with pytest.raises(SftpJailError, match=f"another sftpjail has held {tmp_path} for 0 s"):
            locks.DirectoryLock(str(tmp_path)).take(0.0)
    assert is_free(tmp_path)
    with held(tmp_path):
        pass


@pytest.mark.real_program
def test_an_error_names_the_holder_by_pid(tmp_path: Path) -> None:
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), 2); print(); input()"
    argv = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        known = locks.known_holder(str(tmp_path))
        with pytest.raises(SftpJailError, match="another sftpjail has held") as found:
            locks.DirectoryLock(str(tmp_path)).take(0.0)
        other.communicate(b"\n")
    # An overlay has other inodes in proc_locks(5).
    assert not known or f"seconds: pid {other.pid} (" in found.value.message


def test_no_directory_is_not_locked_until_it_is_made(tmp_path: Path) -> None:
    lock = locks.DirectoryLock(str(tmp_path / "state"))
    assert not lock.take(0.0)
    (tmp_path / "state").mkdir()
    assert lock.take(0.0) and not is_free(tmp_path / "state")
    lock.release()


def test_a_directory_that_was_made_anew_is_locked_anew(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with held(state) as lock:
        state.rename(tmp_path / "old")  # so that the new one has another inode
        assert not lock.take(0.0), "there is none"
        state.mkdir()
        assert is_free(state) and lock.take(0.0) and not is_free(state)


def test_a_lock_on_a_directory_that_went_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run before has removed it, and so ended; meanwhile this one waited for its lock."""
    state = tmp_path / "state"
    state.mkdir()

    def goes(fd: int, how: int) -> None:
        monkeypatch.undo()
        shutil.rmtree(state)

    monkeypatch.setattr(fcntl, "flock", goes)
    assert not locks.DirectoryLock(str(state)).take(0.0)


@pytest.mark.parametrize("code", NO_LOCKS)
def test_a_file_system_without_locks_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def none(fd: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", none)
    assert not locks.DirectoryLock(str(tmp_path)).take(0.0)
    assert is_free(tmp_path)


def test_another_error_of_a_lock_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int, how: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(SftpJailError, match=f"cannot lock {tmp_path}: Input/output error"):
        locks.DirectoryLock(str(tmp_path)).take(0.0)


@pytest.mark.real_program
def test_no_program_inherits_the_lock_of_a_directory(tmp_path: Path) -> None:
    with held(tmp_path) as lock:
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
        lock.release()
        try:
            assert is_free(tmp_path)
        finally:
            child.kill()
            child.wait()


def test_a_link_to_the_directory_is_followed(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to("real")
    with held(link):
        assert not is_free(real)

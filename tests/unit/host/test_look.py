"""One look at the host: each path once, what lies above all accounts too, and no more kept than a little."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from sftpjail.errors import SftpJailError
from sftpjail.host import look
from sftpjail.host.files import Files


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that stat(2) was asked for."""
    real, paths = os.stat, list[str]()

    def stat(path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        paths.append(path)
        return real(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(look.os, "stat", stat)
    return paths


def test_a_path_is_asked_for_once_in_a_look(tmp_path: Path, asked: list[str]) -> None:
    (tmp_path / "file").write_text("")
    files = Files(str(tmp_path))
    with files.one_look():
        for _ in range(3):
            assert files.stat("/file") == files.lstat("/file")
            assert files.lstat("/none") is None and not files.is_dir("/none")
            assert files.realpath("/file") == "/file"
    assert sorted(asked) == [f"{tmp_path}/file", f"{tmp_path}/none"]
    del asked[:]
    assert files.stat("/file") and files.stat("/file")
    assert len(asked) == 2  # without a look it is as it is now


def test_a_link_is_followed_in_a_look_too(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("directory")
    files = Files(str(tmp_path))
    with files.one_look():
        assert files.lstat("/link") is not None and files.stat("/link") is None
    (tmp_path / "directory").mkdir()
    with files.one_look():  # the next one begins anew
        assert files.is_dir("/link") and files.realpath("/link/x") == "/directory/x"
        with files.one_look():
            (tmp_path / "directory").rmdir()
            assert not files.is_dir("/link")
        assert files.listdir("/") == files.listdir("/") == ["link"]


def test_what_is_going_is_missing_in_a_look_too(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    files = Files(str(tmp_path))
    with files.one_look():
        assert files.is_dir("/directory")
        files.without(["/directory"])
        assert files.lstat("/directory") is None and files.listdir("/") == []


def test_a_look_keeps_a_bounded_number_of_answers(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    with files.one_look():
        for number in range(5000):
            assert files.stat(f"/{number}") is None
            assert files.once(number, lambda number=number: number) == number
        found = files._look
        assert found is not None
        assert len(found._stats) < 1000 and len(found._others) < 1000


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The error with which stat(2) of /x fails."""
    real = os.stat

    def stat(path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        if path != "/x":
            return real(path, follow_symlinks=follow_symlinks)
        raise OSError(request.param, os.strerror(request.param), path)

    monkeypatch.setattr(look.os, "stat", stat)


GONE = ("ENOENT", "ENOTDIR", "ELOOP", "ENOTCONN", "ENODEV", "ESTALE")
GONE += ("EHOSTDOWN", "EHOSTUNREACH", "ETIMEDOUT")
NOT_TOLD = ("EIO", "EACCES", "EPERM", "ENOMEM", "ENAMETOOLONG", "EOVERFLOW", "EINTR")


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("refused", [getattr(errno, n) for n in GONE], ids=GONE, indirect=True)
def test_what_is_gone_and_a_dead_mount_are_missing(refused: None, follow: bool) -> None:
    assert look.look_at("/x", follow) is None
    assert look.Look().lstat("/x") is None and look.NoLook().stat("/x") is None


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize(
    "refused", [getattr(errno, n) for n in NOT_TOLD], ids=NOT_TOLD, indirect=True
)
def test_what_the_kernel_does_not_tell_is_not_missing(refused: None, follow: bool) -> None:
    with pytest.raises(SftpJailError, match="cannot look at /x: "):
        look.look_at("/x", follow)
    for one in (look.Look(), look.NoLook()):
        for ask in (one.lstat, one.stat):
            with pytest.raises(SftpJailError):
                ask("/x")

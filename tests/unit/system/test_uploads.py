"""Opening what was uploaded: what is not a file of the account's is not handed to anybody."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from sftpjail.system.uploads import NotHanded, Place, Uploader, open_upload

ME = Uploader(os.getuid(), (os.getgid(),))


def place(top: Path, *below: str) -> Place:
    return Place(str(top), below)


def test_a_file_is_open_for_reading_and_known(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b\n;").write_text("hello")
    with closing(open_upload(place(tmp_path, "a", "b\n;"), ME)) as upload:
        assert os.read(upload.descriptor, 9) == b"hello" and upload.is_unchanged()
        with pytest.raises(OSError):
            os.write(upload.descriptor, b"x")
        (tmp_path / "a/b\n;").write_text("other")
        assert not upload.is_unchanged()
        assert os.stat(upload.name, dir_fd=upload.directory).st_ino == upload.found.st_ino


@pytest.mark.parametrize(
    ("below", "why"),
    [
        (("link",), "a symbolic link"),
        (("away", "file"), "not a directory, or is a symbolic link"),
        (("dir",), "a directory"),
        ((), "a directory"),
        (("fifo",), "a fifo"),
        (("gone",), "no such file"),
        (("file", "x"), "not a directory, or is a symbolic link"),
    ],
)
def test_what_is_no_file_is_not_handed_over(
    tmp_path: Path, below: tuple[str, ...], why: str
) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/file").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "away").symlink_to("dir")
    os.mkfifo(tmp_path / "fifo")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NotHanded, match=why):
        open_upload(place(tmp_path, *below), ME)
    assert len(os.listdir("/proc/self/fd")) == before, "nothing is left open"


@pytest.mark.parametrize(
    ("mode", "names", "gids", "good"),
    [
        (0o600, 1, (), False),
        (0o664, 1, (), False),
        (0o666, 1, (), True),
        (0o666, 2, (), False),
        (0o660, 1, (os.getgid(),), True),
        (0o640, 1, (os.getgid(),), False),
    ],
)
def test_anothers_file_only_where_it_could_be_written(
    tmp_path: Path, mode: int, names: int, gids: tuple[int, ...], good: bool
) -> None:
    if os.getuid() == 0:
        pytest.skip("root's files are never handed over")
    file = tmp_path / "file"
    file.write_text("x")
    file.chmod(mode)
    for number in range(1, names):
        (tmp_path / f"name{number}").hardlink_to(file)
    another = Uploader(os.getuid() + 1, gids)
    if good:
        with closing(open_upload(place(tmp_path, "file"), another)):
            return
    with pytest.raises(NotHanded, match="another owner's"):
        open_upload(place(tmp_path, "file"), another)

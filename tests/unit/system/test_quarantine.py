"""Taking an upload away: only what was scanned. Real files; nobody's owner changes."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from sftpjail.system import quarantine
from sftpjail.system.uploads import Upload


@pytest.mark.parametrize(
    ("content", "time", "taken"),
    [("scanned", 1, True), ("another", 2, False), ("scanned, and more", 1, False)],
)
@pytest.mark.parametrize("changed", [True, False])
def test_what_changes_while_it_is_closed_is_not_taken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    time: int,
    taken: bool,
    changed: bool,
) -> None:
    """Neither the size nor the time alone tells: a client can keep either."""
    file = tmp_path / "file"
    file.write_text("scanned")
    file.chmod(0o640)
    os.utime(file, (1, 1))
    found, owners = file.stat(), list[tuple[int, int]]()

    def fchown(descriptor: int, uid: int, gid: int) -> None:
        if not owners:
            file.write_text(content)
            os.utime(file, (1, time))
        owners.append((uid, gid))

    monkeypatch.setattr(quarantine.os, "fchown", fchown)
    opened = os.open(file, os.O_RDONLY), os.open(tmp_path, os.O_PATH)
    with closing(Upload(*opened, "file")) as upload:
        assert quarantine._close(upload, changed) == (taken or changed)
    if taken or changed:
        assert (owners, file.stat().st_mode & 0o7777) == ([(0, 0)], 0)
    else:
        assert owners == [(0, 0), (found.st_uid, found.st_gid)]
        assert file.stat().st_mode & 0o7777 == 0o640


def test_record_and_copy_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = list[str]()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    (tmp_path / "upload").write_text("text")
    into = os.open(tmp_path, os.O_RDONLY)
    upload = os.open(tmp_path / "upload", os.O_RDONLY)
    quarantine._write(into, "one", {})
    quarantine._write_copy(upload, "copy", into)
    os.close(upload)
    os.close(into)
    assert synced == [f"{tmp_path}/.one.new", f"{tmp_path}/copy"]
    assert (tmp_path / "copy").read_text() == "text"

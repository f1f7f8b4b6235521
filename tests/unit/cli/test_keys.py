"""Where keys are read from: files and pipes, bounded, and nothing that never ends or blocks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sftpjail.cli import keys
from sftpjail.errors import UsageError
from sftpjail.openssh.public_keys import MAX_BYTES


def piped(data: bytes, *, end: bool = True) -> tuple[int, int]:
    reader, writer = os.pipe()
    os.write(writer, data)
    if end:
        os.close(writer)
    return reader, writer


def test_a_file_up_to_its_limit_and_no_larger(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\xff" + b"a" * (MAX_BYTES - 1))
    assert keys.read_source(str(file)) == "\udcff" + "a" * (MAX_BYTES - 1)
    file.write_bytes(b"a" * (MAX_BYTES + 1))
    with pytest.raises(UsageError, match="has more than 1048576 bytes"):
        keys.read_source(str(file))


def test_a_pipe_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, _ = piped(b"ssh-ed25519 AAAA")
    assert keys.read_source(f"/dev/fd/{reader}") == "ssh-ed25519 AAAA"
    os.close(reader)
    reader, writer = piped(b"ssh-ed25519 AAAA", end=False)
    monkeypatch.setattr(keys, "PATIENCE", 0.05)
    with pytest.raises(UsageError, match="did not end within 0 seconds"):
        keys.read_source(f"/dev/fd/{reader}")
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: os.mkfifo(path), "a named pipe"),
        (lambda path: os.symlink("/dev/zero", path), "a device"),
        (lambda path: os.symlink("/dev/null", path), "a device"),
        (lambda path: os.mkdir(path), "a directory"),
        (lambda path: os.symlink("/nonexistent", path), "No such file"),
    ],
)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: object, says: str) -> None:
    path = tmp_path / "key"
    make(path)  # type: ignore[operator]
    with pytest.raises(UsageError, match=says):
        keys.read_source(str(path))


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_has_the_same_limit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with open("/dev/zero") as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        with pytest.raises(UsageError, match="standard input: it has more than 1048576 bytes"):
            keys.read_source(name)
    reader, _ = piped(b"key\n")
    with open(reader) as given:
        monkeypatch.setattr(sys, "stdin", given)
        assert keys.read_source(name) == "key\n"

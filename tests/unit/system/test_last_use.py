"""The records of last uses: read, merged, written seldom, and what PAM says of a login."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.system import last_use

BLOB = base64.b64encode(b"key").decode()
PRINT = "SHA256:" + base64.b64encode(hashlib.sha256(b"key").digest()).decode().rstrip("=")


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(last_use, "SEEN", str(tmp_path / "seen"))
    (tmp_path / "seen").mkdir()
    return tmp_path / "seen"


WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)
NUMBER = st.integers(0, 99_999_999_999)


@given(st.dictionaries(WORD, st.tuples(NUMBER, WORD, NUMBER)))
def test_what_is_written_is_read(known: dict[str, tuple[int, str, int]]) -> None:
    assert last_use.uses(last_use.as_text(known)) == known


@pytest.mark.parametrize(
    "text", ["", "a b c d", "a 1 b", "a 1 b 2 3", "a -1 b 2", "a \u0661 b 2", " 1 b 2"]
)
def test_what_is_no_line_of_ours(text: str) -> None:
    assert last_use.uses(text + "\nx 1 ::1 2\n") == {"x": (1, "::1", 2)}


def test_a_newer_use_is_kept_and_an_older_one_is_not(seen: Path) -> None:
    last_use.record_uses(5, {"a": (100, "::1", 1), "b": (100, "::1", 1)})
    before = (seen / "5").stat().st_ino
    last_use.record_uses(5, {"a": (159, "::2", 2)}, seldom=60)
    last_use.record_uses(5, {"a": (99, "::2", 2)})
    assert (seen / "5").stat().st_ino == before
    last_use.record_uses(5, {"a": (160, "::2", 2)}, seldom=60)
    assert last_use.read_uses(5) == {"a": (160, "::2", 2), "b": (100, "::1", 1)}
    assert sorted(p.name for p in seen.iterdir()) == ["5"]
    assert last_use.read_uses(6) == {}


def test_nothing_is_kept_on_a_host_that_is_not_set_up(seen: Path) -> None:
    seen.rmdir()
    with pytest.raises(FileNotFoundError):
        last_use.record_uses(5, {"a": (1, "::1", 1)})
    with pytest.raises(FileNotFoundError):
        last_use.keep_note(str(seen / "records"), "1 1 log\n")
    assert not seen.exists()


def test_who_keeps_the_lock_is_not_waited_for(seen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_use, "TRIES", 2)
    held = os.open(seen, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            last_use.record_uses(5, {"a": (1, "::1", 1)})
    finally:
        os.close(held)
    last_use.record_uses(5, {"a": (1, "::1", 1)})
    assert last_use.read_uses(5)


def test_a_full_file_forgets_the_oldest(seen: Path) -> None:
    known = {f"k{n}": (1000 - n, "::1", 1) for n in range(last_use.MOST // 2)}
    last_use.record_uses(5, {name: (at + 5000, *more) for name, (at, *more) in known.items()})
    last_use.record_uses(
        5, {f"old{name}": use for name, use in known.items()} | {"oldest": (1, "-", 0)}
    )
    last_use.record_uses(5, {"now": (9999, "::1", 1)})
    found = last_use.read_uses(5)
    assert len(found) == last_use.MOST and "now" in found and "oldest" not in found


@pytest.mark.parametrize(
    ("info", "names"),
    [
        (f"publickey ssh-ed25519 {BLOB}", [PRINT]),
        (f"publickey ssh-ed25519 {BLOB}\npassword\n", [PRINT, "password"]),
        (f"publickey ssh-ed25519-cert-v01@openssh.com {BLOB}", ["certificate"]),
        ("keyboard-interactive/pam", ["keyboard-interactive"]),
        ("", []),
    ],
)
def test_by_what_a_session_was_opened(info: str, names: list[str]) -> None:
    assert last_use.used(info) == names


@pytest.mark.parametrize(
    "connection", ["", "UNKNOWN 65535 UNKNOWN 65535", "::1 x ::1 22", "::1 5 ::1"]
)
def test_a_test_without_a_network_is_no_login(seen: Path, connection: str) -> None:
    last_use.note_login(
        {"SSH_AUTH_INFO_0": "password", "SSH_CONNECTION": connection, "PAM_USER": "root"}
    )
    assert not list(seen.iterdir())


def test_a_login_is_noted(seen: Path) -> None:
    given = {"SSH_AUTH_INFO_0": f"publickey x {BLOB}", "SSH_CONNECTION": "::1 5 ::2 22"}
    last_use.note_login(given | {"PAM_USER": "root"})
    assert last_use.read_uses(0)[PRINT][1:] == ("::1", 5)

"""Lines that nobody would write: they are ignored as the C library ignores them, and no command breaks."""

from __future__ import annotations

import errno
import io
import json
import sys

import pytest
from fakes import Tree
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.cli import main
from sftpjail.errors import SftpJailError
from sftpjail.formats.fstab import FstabEntry, parse_line
from sftpjail.formats.origin_record import parse_origin
from sftpjail.model import Account, Group, number


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("4294967294", 4294967294), ("007", 7), ("0" * 20 + "1", 1)]
    + [
        (text, None)
        for text in (
            "",
            "-1",
            "+1",
            " 1",
            "1 ",
            "²",
            "\u0661",
            "1_0",
            "4294967295",
            "4294967296",
            "9" * 5000,
        )
    ],
)
def test_number(text: str, value: int | None) -> None:
    assert number(text) == value


@given(st.text())
def test_number_is_what_chown_takes(text: str) -> None:
    found = number(text)
    assert found is None or (0 <= found < 2**32 - 1 and int(text) == found)


def test_lines_of_passwd_and_group(tree: Tree) -> None:
    tree.people += [
        "a:x:²:1::/home/a:/bin/sh",
        "b:x:1000:4294967296::/home/b:/bin/sh",
        "c:x:1000:1000::/home/c\0:/bin/sh",
        "d:x:1000:1000::/home/d:/bin/s\0h",
        "e\0:x:1000:1000::/home/e:/bin/sh",
    ]
    tree.group_lines += [
        "f:x:²:",
        "g:x:4294967296:",
        "h:x:7",
        "i:x:8:d,b\0ad",
        "j\0:x:9:",
        "k:x",
        "l:x:9::",
    ]
    host = tree.host()
    assert set(host.accounts) == {"root", "www-data", "d"}
    assert host.accounts["d"] == Account("d", 1000, 1000, "/home/d", "/bin/s")
    assert set(host.people.groups) == {"root", "sudo", "www-data", "h", "i"}
    assert host.people.groups["h"] == Group("h", 7, ()) and host.people.groups["i"] == Group(
        "i", 8, ("d", "b")
    )


def test_a_name_with_a_nul_is_nobodys(tree: Tree) -> None:
    host = tree.host()
    host.files.root = ""
    assert host.account("ro\0ot") is None


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("/a /b none bind,x\0y 0 0", FstabEntry("/a", "/b", "none", ("bind", "x"))),
        ("/a\0 /b none bind 0 0", None),
        ("/a\\000x /b\\000 none bind 0 0", FstabEntry("/a", "/b", "none", ("bind",))),
    ],
)
def test_a_nul_ends_a_line_of_fstab(line: str, entry: FstabEntry | None) -> None:
    assert parse_line(line) == entry


@pytest.mark.parametrize(
    "record",
    [
        {"made": [1]},
        {"made": [["/a"]]},
        {"made": ["/a\0b"]},
        {"was": {"shell": 1}},
        {"renamed": {"/a": None}},
        {"owners": {"/a": [1e400, 0, 0]}},
        {"owners": {"/a": [2**32, 0, 0]}},
        {"owners": {"/a": [-1, 0, 0]}},
        [],
    ],
)
def test_a_record_that_is_none_of_ours(record: object) -> None:
    with pytest.raises(SftpJailError, match="/x/alice is damaged") as caught:
        parse_origin("/x/alice", json.dumps(record))
    assert caught.value.fix == "mv -nT /x/alice /x/.alice.damaged"


@pytest.mark.parametrize("argv", [["--version"], ["list", "--help"]])
def test_output_that_cannot_be_written(
    argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    silenced: list[bool] = []
    monkeypatch.setattr("sftpjail.system.streams.silence", lambda _: silenced.append(True))
    monkeypatch.setattr(sys, "stdout", Full())
    assert main.main(argv) == 1 and silenced
    assert capsys.readouterr().err == "sftpjail: cannot write the output: No space left on device\n"

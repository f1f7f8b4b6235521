"""What `log` shows: valid JSON, and rows that no name can forge."""

from __future__ import annotations

import json

import pytest
from answers import judge
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from sftpjail.cli import log_view
from sftpjail.cli.log_view import Rows, Sums, View, as_fields, as_json
from sftpjail.transferlog.records import Operation, Record, Session, Transfer, Unknown

NAMES = st.text(max_size=40) | st.binary(max_size=40).map(
    lambda data: data.decode("utf-8", "surrogateescape")
)
NASTY = st.sampled_from(
    [
        "/a -> /b",
        '/a"',
        "/a\\",
        '"/a" failed: Failure',
        "/a\tx",
        "/a\n2026",
        "\x1b[31m",
        "\u202e",
        "",
    ]
)
TIME = "2026-11-24T09:00:00.5+00:00"
WHO = (5, TIME, "alice", "::1", 7)


def operation(
    path: str | None, to: str | None = None, failed: str | None = None, verb: str = "rename"
) -> Operation:
    return Operation(*WHO, verb, path, to, failed, False, True)


def transfer(path: str, read: int = 0, written: int = 5, **more: object) -> Transfer:
    return Transfer(*WHO, path, read, written, False, written > 0, True)._replace(**more)  # type: ignore[arg-type]


def answer(record: Record) -> dict[str, object]:
    found: dict[str, object] = json.loads(as_json(record))
    judge("log", found)
    return found


@given(NAMES | NASTY, st.none() | NAMES, st.none() | NAMES, st.booleans())
def test_json_holds_what_the_record_holds(
    path: str, to: str | None, user: str | None, flag: bool
) -> None:
    who = {"time": TIME, "user": user, "from": "::1", "pid": 7, "verified": flag}
    assert answer(transfer(path, 3, 5, user=user, forced=flag, verified=flag)) == {
        **{"kind": "transfer", "path": path, "read": 3, "written": 5, "forced": flag},
        **{"failed": None},
        **who,
    }
    assert answer(operation(path, to)._replace(user=user, ambiguous=flag, verified=flag)) == {
        **{
            "kind": "operation",
            "operation": "rename",
            "path": path,
            "to": to,
            "failed": None,
            "ambiguous": flag,
        },
        **who,
    }
    assert answer(Unknown(5, None, user, path, "why", flag)) == {
        **{
            "kind": "unknown",
            "time": None,
            "user": user,
            "line": path,
            "why": "why",
            "verified": flag,
        },
    }
    session = answer(Session(9, 5, user, "::1", 7, TIME, None, "open", 2, 3, 5, flag))
    assert (session["bytes"], session["how"], session["closed"], session["user"]) == (
        8,
        "open",
        None,
        user,
    )
    assert session["verified"] is flag


@given(st.lists(NAMES | NASTY, min_size=2, max_size=2, unique=True))
def test_different_names_look_different_and_fill_one_field(names: list[str]) -> None:
    one, two = (as_fields(transfer(name)) for name in names)
    assert one != two
    for line in (one, two, Rows(200).row(transfer(names[0])).split("\n")[-1]):
        assert line.replace("\t", "").isprintable()
    assert one.count("\t") == two.count("\t") == 5


@given(NAMES | NASTY, NAMES | NASTY)
def test_a_name_cannot_look_like_two_or_like_a_failure(one: str, two: str) -> None:
    both = as_fields(operation(one, two)).split("\t")[5]
    assert both != as_fields(operation(f"{one} -> {two}")).split("\t")[5]
    failed = as_fields(operation(one, failed="Failure")).split("\t")[5]
    assert failed != as_fields(operation(f"{one} failed: Failure")).split("\t")[5]


def test_rows() -> None:
    assert as_fields(transfer("/my x", 3, 5, forced=True)).endswith(
        'get+put\t8\t"/my x" (session ended before it was closed)'
    )
    full = transfer("/x", failed="No space left on device")
    assert as_fields(full).endswith("put\t5\t/x failed: No space left on device")
    assert as_fields(operation("/a", "/b")).endswith("rename\t-\t/a -> /b")
    assert as_fields(operation(None, None, "refused", "rmdir")).endswith(
        "rmdir\t-\tfailed: refused"
    )
    assert as_fields(operation(None, None, "x\ty\x1b", "error")).endswith(
        "error\t-\tfailed: x\\ty\\x1b"
    )
    assert as_fields(operation("/a", "mode 0644", None, "set")).endswith("/a mode 0644")
    assert as_fields(transfer("/x", verified=False)).endswith("put\t5\t/x (unverified)")
    assert as_fields(transfer("/x (unverified)")).endswith('put\t5\t"/x (unverified)"')
    assert as_fields(Unknown(5, TIME, "bob", "x", "it says a\tb", True)).endswith(
        "?\t-\tx (it says a\\tb)"
    )
    for verb in ("stat", "open", "realpath", "status"):
        assert Rows(80).row(operation("/a", None, None, verb)) == ""
    assert as_fields(operation("/a", "READ", "No such file", "open")).endswith(
        "/a failed: No such file"
    )


def test_rows_for_a_terminal_stand_below_their_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    rows = Rows(80)
    put = "09:00:00 alice      ::1             put        1.2 MB "
    assert rows.row(transfer("/x", 0, 1_234_567)) == f"2026-11-24\n{put}/x"
    assert rows.row(transfer("/x", 0, 1_234_567)) == f"{put}/x"
    long = rows.row(transfer(f"/web/{'x' * 90}/index.html", 0, 1_234_567))
    assert long == f"{put}/web/xxxxxxxx…x/index.html" and len(long) == 80
    name = f"/web/{'x' * 90}/index.html"
    failed = rows.row(operation(name, None, "Permission denied", "remove"))
    assert failed.endswith(" - /web/x….html failed…denied") and len(failed) == 80
    day = transfer("/x")._replace(time="2026-11-25T00:00:01.5Z")
    assert rows.row(day).startswith("\n2026-11-25\n00:00:01 alice ")
    opened, closed = "2026-11-25T09:00:00Z", "2026-11-25T09:10:00.25Z"
    session = Session(9, 1, "alice", "::1", 7, opened, closed, "closed", 0, 0, 0)
    assert rows.row(session).startswith("09:10:00 alice ")
    assert rows.row(session).endswith(" since 09:00:00: closed")
    session = session._replace(opened="2026-11-24T23:59:59Z")
    assert " since 2026-11…" in rows.row(session)


def test_no_row_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for locale, mark in (("C.UTF-8", "…"), ("POSIX", "...")):
        monkeypatch.setenv("LC_ALL", locale)
        for width in (80, 200):
            for name in ("x" * 400, "例" * 200, "/a b/" + "y" * 300):
                row = Rows(width).row(transfer(name)).split("\n")[-1]
                assert cell_len(row) <= width and mark in row, row


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_951, "100 kB"),
        (999_500, "1.0 MB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert log_view._size(number) == text and len(log_view._size(2**64)) <= 8


def test_choice_by_user_and_time() -> None:
    ours, nobodys = transfer("/a"), Unknown(5, None, None, "x", "y")
    others: list[Record] = [transfer("/b", user="bob"), Unknown(5, None, "bob", "x", "y")]
    assert View("alice").choose([ours, *others, nobodys]) == [ours, nobodys]
    assert [
        len(View(since=since, until=until).choose([ours]))
        for since, until in ((5, 5), (6, None), (None, 4))
    ] == [
        1,
        0,
        0,
    ]
    long = Session(9, 1, "alice", "::1", 7, TIME, TIME, "closed", 0, 0, 0)
    assert [
        len(View(since=since, until=until).choose([long]))
        for since, until in ((5, 5), (10, None), (None, 0))
    ] == [
        1,
        0,
        0,
    ]


def test_what_failed_counts_as_neither_up_nor_down() -> None:
    view = View()
    cut = transfer("/x", 3, 0, forced=True, failed="the session ended first")
    view.choose([transfer("/x"), transfer("/x", failed="No space"), cut, transfer("/x", 3, 0)])
    (day,) = view.days.values()
    assert (day.up, day.down, day.failed, day.written, day.read) == (1, 1, 2, 10, 6)


def test_days() -> None:
    view = View()
    session = Session(9, 1, "alice", "::1", 7, "2026-11-23T23:59:00Z", TIME, "closed", 0, 0, 0)
    view.choose(
        [transfer("/a"), transfer("/b", 3, 0), transfer("/c", 0, 0), transfer("/d", 1, 2), session]
    )
    assert view.days == {
        ("2026-11-24", "alice", True): Sums(0, 3, 2, 4, 7),
        ("2026-11-23", "alice", False): Sums(sessions=1),
    }
    assert view.unverified == 1
    assert (view.transfers, view.sessions, view.read, view.written) == (4, 1, 4, 7)

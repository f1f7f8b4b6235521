"""What came to a log since it was last read: each line once, whatever logrotate has done to its file."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeHost, Tree

from sftpjail import SftpJailError
from sftpjail.config import Config, Logs
from sftpjail.system import programs
from sftpjail.transferlog.records import Transfer
from sftpjail.transferlog.since import Since
from sftpjail.transferlog.totals import Count, Place, Totals, as_text, read

LOG = "/var/log/sftp.log"
CONFIG = Config(logs=Logs("rsyslog"))


def line(name: str, second: int = 0) -> str:
    stamp = f"2026-11-24T09:00:{second:02}Z"
    return f'{stamp} host uid=1001 internal-sftp[7]: close "{name}" bytes read 0 written 1\n'


class Log:
    """A log file, its rotated ones, and who reads it."""

    def __init__(self, tree: Tree) -> None:
        tree.program("rsyslogd")
        tree.account("ann", 1001)
        self.tree, self.place, self.lost = tree, None, False
        self.path = tree.root / LOG.lstrip("/")
        tree.directory("/var/log")

    place: Place | None

    def append(self, *lines: str) -> None:
        with open(self.path, "a", encoding="utf-8") as handle:
            handle.write("".join(lines))

    def new(self) -> list[str]:
        """Return which files were closed since the last time."""
        since = Since(self.tree.host(), self.place)
        found = [one for batch in since.transfers(CONFIG) for one in batch]
        self.place, self.lost = since.place, since.lost
        return [one.path for one in found if isinstance(one, Transfer) and one.verified]

    def rotated(self, name: str) -> Path:
        return self.path.with_name(name)


@pytest.fixture
def log(tree: Tree) -> Log:
    return Log(tree)


def test_the_first_time_begins_at_the_end(log: Log) -> None:
    log.append(line("old"), line("half")[:20])
    assert log.new() == [] and log.new() == []
    log.append(line("half")[20:], line("new"))
    assert log.new() == ["half", "new"] and log.new() == [] and not log.lost


def test_a_log_that_comes_later_counts_whole(log: Log) -> None:
    assert log.new() == []
    assert log.place
    log.place = Place()  # the lines of these tests are older than now
    assert log.new() == []
    log.append(line("a"), line("b"))
    assert log.new() == ["a", "b"] and not log.lost


def move(log: Log) -> None:
    os.rename(log.path, log.rotated("sftp.log.1"))


def pack(log: Log) -> None:
    log.rotated("sftp.log-20261124.gz").write_bytes(gzip.compress(log.path.read_bytes()))
    log.path.unlink()


def copy_and_empty(log: Log) -> None:
    log.rotated("sftp.log.1").write_bytes(log.path.read_bytes())
    log.path.write_bytes(b"")


@pytest.mark.parametrize("rotate", [move, pack, copy_and_empty])
def test_a_rotated_log_counts_once(log: Log, rotate: Callable[[Log], None]) -> None:
    log.append(line("old"))
    log.new()
    log.append(line("a", 1))
    assert log.new() == ["a"]
    log.append(line("b", 2))
    rotate(log)
    assert log.new() == ["b"], "what came last to the old file"
    log.append(line("c", 3))
    assert log.new() == ["c"] and log.new() == [] and not log.lost


def test_two_rotations_between_two_readings(log: Log) -> None:
    log.append(line("old"))
    log.new()
    log.append(line("a", 1))
    log.rotated("sftp.log.2.gz").write_bytes(gzip.compress(log.path.read_bytes()))
    log.rotated("sftp.log.1").write_text(line("b", 2))
    log.path.write_text(line("c", 3))
    assert log.new() == ["a", "b", "c"] and not log.lost


def test_where_the_place_is_gone_what_is_later_counts(log: Log) -> None:
    log.append(line("old"), line("a", 5))
    log.new()
    log.path.write_text(line("other", 4) + line("a", 5) + line("b", 6))
    assert log.new() == ["b"] and log.lost
    log.append(line("c", 7))
    assert log.new() == ["c"] and not log.lost
    # The same beginning, and shorter than it was.
    log.path.write_text(line("other", 4))
    assert log.new() == [] and log.lost and log.place
    log.place = replace(log.place, offset=0)
    assert log.new() == [] and log.lost


def test_a_log_that_is_gone_is_lost_once(log: Log) -> None:
    log.append(line("old"), line("a", 5))
    log.new()
    log.path.write_text("")
    assert log.new() == [] and log.lost
    assert log.new() == [] and not log.lost
    log.append(line("b", 6))
    assert log.new() == ["b"] and log.new() == [] and not log.lost


def test_what_comes_last_to_the_old_file_is_read_first(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(line("old"))
    log.new()
    log.append(line("a", 1))
    move(log)
    log.path.touch()
    of_file, late = Since._of_file, [line("b", 2)]

    def slow(self: Since, name: str, *more: Any) -> Iterator[Any]:
        yield from of_file(self, name, *more)
        if late:  # the daemon writes once more to the old file, and then to the new one
            with open(log.rotated("sftp.log.1"), "a", encoding="utf-8") as handle:
                handle.write(late.pop())
            log.append(line("c", 3))

    monkeypatch.setattr(Since, "_of_file", slow)
    assert [*log.new(), *log.new()] == ["a", "b", "c"] and not log.lost


def test_a_file_that_is_emptied_while_it_is_found_is_read_later(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(line("old"))
    log.new()
    log.append(line("a", 1))
    found, emptied = Since._found, [True]

    def slow(self: Since, files: list[Any]) -> int | None:
        number = found(self, files)
        if emptied and emptied.pop():
            copy_and_empty(log)
            log.append(line("x" * 300, 2), line("c", 3))
        return number

    monkeypatch.setattr(Since, "_found", slow)
    assert [*log.new(), *log.new()] == ["a", "x" * 300, "c"] and not log.lost


def test_a_damaged_packed_file_is_a_gap_and_no_end(log: Log) -> None:
    log.append(line("old"))
    log.new()
    packed = gzip.compress(log.path.read_bytes() + line("a", 1).encode())
    log.rotated("sftp.log.2.gz").write_bytes(packed[:-12])
    log.rotated("sftp.log.3.gz").write_bytes(b"rubbish")
    log.path.write_text(line("b", 2))
    assert "b" in log.new() and log.lost
    assert log.new() == [] and not log.lost


def test_a_line_without_an_end_costs_no_memory_and_is_read_later(log: Log) -> None:
    log.append(line("old"))
    log.new()
    log.append("x" * (3 << 18))
    assert log.new() == []
    log.append("x\n", line("a", 1))
    assert log.new() == ["a"] and log.new() == []


def test_no_log_is_an_error(tree: Tree) -> None:
    with pytest.raises(SftpJailError, match="nothing is logged"):
        list(Since(tree.host(), Place(1)).transfers(Config(logs=Logs("none"))))


# -- the journal ---------------------------------------------------------------------------------


def entry(cursor: str, name: str, at: int = 5) -> str:
    return (
        f"__CURSOR={cursor}\n__REALTIME_TIMESTAMP={at}000000\n_UID=1001\n_PID=7\n"
        f'MESSAGE=close "{name}" bytes read 0 written 1\n\n'
    )


@pytest.fixture
def asked(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    """What journalctl was asked; what it answers is planned as a list of pairs: a word, and the answer."""
    tree.directory("/run/systemd/system")
    tree.account("ann", 1001)
    plan: list[tuple[list[str], str]] = []

    def stream(argv: list[str], idle: float = 0.2) -> object:
        words, answer = plan.pop(0)
        assert set(words) <= set(argv), argv
        if answer == "fails":
            raise SftpJailError("journalctl failed: Failed to seek to cursor")
        yield answer.encode()

    monkeypatch.setattr(programs, "stream", stream)
    return plan


def journal(host: FakeHost, place: Place | None) -> tuple[list[str], Since]:
    since = Since(host, place)
    found = [one for batch in since.transfers(Config()) for one in batch]
    return [one.path for one in found if isinstance(one, Transfer)], since


def test_the_journal_by_its_cursor(tree: Tree, asked: list[tuple[list[str], str]]) -> None:
    asked.append((["--lines=1"], entry("s=1;i=1", "of somebody else")))
    found, since = journal(tree.host(), None)
    assert found == [] and since.place == Place(5, "s=1;i=1")
    # The entry of the cursor is not counted again, where it comes, and need not come.
    for first in (entry("s=1;i=1", "old"), ""):
        asked.append((["--cursor=s=1;i=1"], first + entry("s=1;i=2", "a") + entry("s=1;i=3", "b")))
        found, since = journal(tree.host(), Place(5, "s=1;i=1"))
        assert found == ["a", "b"] and since.place == Place(5, "s=1;i=3") and not since.lost
    asked.append((["--cursor=s=1;i=3"], ""))
    assert journal(tree.host(), since.place)[1].place == Place(5, "s=1;i=3")


def test_an_empty_journal_and_a_cursor_that_is_none(
    tree: Tree, asked: list[tuple[list[str], str]]
) -> None:
    asked.append((["--lines=1"], ""))
    place = journal(tree.host(), None)[1].place
    assert place.cursor == "" and place.at
    asked.append(([f"--since=@{place.at}"], entry("s=1;i=2", "a")))
    assert journal(tree.host(), place)[0] == ["a"]
    asked += [(["--cursor=x"], "fails"), (["--since=@8"], entry("s=1;i=2", "a", 9))]
    found, since = journal(tree.host(), Place(7, "x"))
    assert found == ["a"] and since.lost and since.place == Place(9, "s=1;i=2")
    asked.append((["--since=@7"], "fails"))
    with pytest.raises(SftpJailError, match="journalctl failed"):
        journal(tree.host(), Place(7))


def test_what_comes_meanwhile_is_left_for_the_next_time(
    tree: Tree, asked: list[tuple[list[str], str]]
) -> None:
    """Of that some may be in a user's file that is made only now."""
    tree.write("/proc/sys/kernel/random/boot_id", "bo-ot\n")
    now = int(time.monotonic() * 1_000_000)
    known = f"s=1;i=1;b=boot;m={now - 9:x}"
    before, after, then = (
        f"s=1;i={number};b={boot};m={now + later:x}"
        for number, boot, later in ((2, "boot", -5), (3, "boot", 60_000_000), (4, "other", 0))
    )
    asked.append(([f"--cursor={known}"], entry(before, "a") + entry(after, "b") + entry(then, "c")))
    found, since = journal(tree.host(), Place(5, known))
    assert found == ["a"] and since.place == Place(5, before)
    # An entry of another boot is of no later one.
    asked.append(([f"--cursor={before}"], entry(then, "c")))
    found, since = journal(tree.host(), Place(5, before))
    assert found == ["c"] and since.place == Place(5, then)


def test_a_forged_cursor_in_a_message_is_none(
    tree: Tree, asked: list[tuple[list[str], str]]
) -> None:
    message = b"x\n__CURSOR=s=9;i=9\n"
    binary = b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n\n"
    text = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=5000000\n_UID=1001\n_PID=7\n" + binary
    asked.append((["--cursor=s=1;i=1"], text.decode("latin-1")))
    assert journal(tree.host(), Place(5, "s=1;i=1"))[1].place == Place(5, "s=1;i=2")


# -- what is kept ----------------------------------------------------------------------------------


def test_sums_go_on_and_those_of_the_gone_stay_in_the_sum_of_all() -> None:
    count = Count()
    count.add("ann", [1, 2])
    count.add("bob", [10, 20])
    count.add("ann", [100, 200])
    count.keep({"bob"})
    assert count.sums == {"bob": [10, 20]} and count.every == [111, 222]
    totals = Totals("/x.prom", count, Count(Place(1, "c", "h", 2), gaps=3))
    assert read(as_text(totals)) == totals


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "null", "[" * 10000, '{"file": 5, "transfers": {}, "logins": {}}'),
        as_text(Totals("", Count(sums={"ann": [1]}))),
        as_text(Totals("", Count(sums={"ann": [1, -1]}))),
        as_text(Totals("", Count(Place(-1)))),
        as_text(Totals("", Count(Place(1 << 63)))),
        as_text(Totals("a\0b")),
    ],
)
def test_a_damaged_file_is_none(text: str) -> None:
    assert read(text) == Totals()

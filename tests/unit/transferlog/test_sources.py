"""Where log lines come from: rotated and packed files in their order, what is cut, and what comes later."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import FakeHost, Tree
from hypothesis import given
from hypothesis import strategies as st

from sftpjail import SftpJailError
from sftpjail.config import Config, Logs
from sftpjail.system import programs
from sftpjail.transferlog import sources
from sftpjail.transferlog.parser import Reader
from sftpjail.transferlog.records import Record, Transfer, Unknown
from sftpjail.transferlog.timestamps import Clock

LOG = "/var/log/sftp.log"
CONFIG = Config(logs=Logs("rsyslog"))


@pytest.fixture
def host(tree: Tree) -> FakeHost:
    tree.program("rsyslogd")
    return tree.host()


def line(name: str, moment: str = "2026-11-24T09:00:00Z") -> bytes:
    return f'{moment} host internal-sftp[7]: close "{name}" bytes read 0 written 1\n'.encode()


def paths(records: list[Record]) -> list[str]:
    """What was transferred; of what is not understood, why."""
    return [
        r.path if isinstance(r, Transfer) else r.why
        for r in records
        if isinstance(r, Transfer | Unknown)
    ]


def everything(host: FakeHost) -> list[str]:
    reader = Reader(Clock())
    found = [record for batch in sources.read(host, CONFIG, reader) for record in batch]
    assert reader.lines == reader.understood + reader.other + reader.unknown
    return paths(found)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


def test_rotated_files_come_oldest_first(tree: Tree, host: FakeHost) -> None:
    tree.write(LOG, line("now"))
    tree.write(f"{LOG}.1", line("1"))
    for number, (ending, pack) in enumerate(PACKERS.items(), 9):
        tree.write(f"{LOG}.{number}{ending}", pack(line(str(number))))
    for other in (
        f"{LOG}.bak",
        f"{LOG}.1.gz.tmp",
        "/var/log/sftp.logs.1",
        f"{LOG}-x",
        "/var/log/asftp.log.2",
    ):
        tree.write(other, line("not ours"))
    assert everything(host) == ["11", "10", "9", "1", "now"]


def test_rotated_files_with_dates(tree: Tree, host: FakeHost) -> None:
    tree.write(LOG, line("now"))
    tree.write(f"{LOG}-20261101.gz", gzip.compress(line("01")))
    tree.write(f"{LOG}-20261108", line("08"))
    tree.write(f"{LOG}.1", line("older"))
    os.utime(tree.root / f"{LOG}.1".lstrip("/"), (1, 1))
    assert everything(host) == ["older", "01", "08", "now"]


def test_a_file_that_is_just_being_packed_counts_once(tree: Tree, host: FakeHost) -> None:
    tree.write(f"{LOG}.2", line("two"))
    tree.write(f"{LOG}.2.gz", gzip.compress(line("two"))[:20])
    assert everything(host) == ["two"]


@pytest.mark.parametrize("ending", PACKERS)
def test_a_damaged_packed_file_is_told_and_the_others_are_read(
    tree: Tree, host: FakeHost, ending: str
) -> None:
    tree.write(LOG, line("now"))
    packed = PACKERS[ending](b"".join(line(str(n)) for n in range(1000)))
    tree.write(f"{LOG}.3{ending}", packed[: len(packed) // 2])
    tree.write(f"{LOG}.2{ending}", b"not packed at all")
    found = everything(host)
    assert found[-1] == "now" and sum("cannot be decompressed" in text for text in found) == 2


def test_a_half_written_last_line_is_not_understood(tree: Tree, host: FakeHost) -> None:
    tree.write(LOG, line("x") + line("y")[:-1])
    tree.write(f"{LOG}.1", line("w")[:-3])
    assert everything(host) == ["no end of line", "x", "no end of line"]


def test_no_file_and_an_empty_one(tree: Tree, host: FakeHost) -> None:
    assert everything(host) == []
    tree.write(LOG, b"")
    assert everything(host) == []


def test_a_log_that_is_no_file_or_cannot_be_read(
    tree: Tree, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.directory(LOG)
    with pytest.raises(SftpJailError, match="it is not a file"):
        everything(host)

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sftpjail.transferlog.sources.os.open", refuse)
    with pytest.raises(SftpJailError, match=f"cannot read {LOG}: Permission denied") as caught:
        everything(host)
    assert caught.value.advice == "run sftpjail as root"


def test_nothing_is_logged(host: FakeHost) -> None:
    with pytest.raises(SftpJailError, match="nothing is logged") as caught:
        next(sources.read(host, Config(logs=Logs("none")), Reader(Clock())))
    assert "sftpjail setup" in caught.value.advice
    with pytest.raises(SftpJailError, match="nothing is logged"):
        next(sources.recent(host, Config(logs=Logs("none")), 0))


def test_traditional_times_get_their_years_from_each_file(tree: Tree, host: FakeHost) -> None:
    tree.write(LOG, line("b", "Jan  2 09:00:00") + line("c", "Feb  2 09:00:00"))
    tree.write(f"{LOG}.1", line("a", "Dec 30 09:00:00") + line("b", "Jan  1 09:00:00"))
    for name, moment in ((LOG, (2026, 2, 2)), (f"{LOG}.1", (2026, 1, 1))):
        seconds = time.mktime((*moment, 12, 0, 0, 0, 0, -1))
        os.utime(tree.root / name.lstrip("/"), (seconds, seconds))
    records = [r for batch in sources.read(host, CONFIG, Reader(Clock())) for r in batch]
    days = [r.time[:10] for r in records if isinstance(r, Transfer)]
    assert days == ["2025-12-30", "2026-01-01", "2026-01-02", "2026-02-02"]


@given(st.lists(st.binary(max_size=30)), st.integers(1, 20))
def test_pieces_make_the_same_lines(pieces: list[bytes], size: int) -> None:
    whole = b"".join(pieces)
    lines = sources._Lines()
    found = [
        found
        for start in range(0, len(whole), size)
        for found in lines.split(whole[start : start + size])
    ]
    assert [*found, lines.rest] == whole.split(b"\n")


def test_a_line_without_end_is_not_kept(tree: Tree, host: FakeHost) -> None:
    tree.write(
        LOG, line("a") + b"x" * (5 << 20) + b"\n" + line("b") + line("c" * 300_000) + line("d")
    )
    assert everything(host) == ["a", "not a line of this log", "b", "truncated", "d"]
    lines = sources._Lines()
    for _ in range(100):
        lines.split(b"x" * sources.BLOCK)
        assert len(lines.rest) <= sources.LONGEST


# -- what comes later ----------------------------------------------------------------------------


class Following:
    """`read` with follow, step by step."""

    def __init__(self, host: FakeHost) -> None:
        self.reader = Reader(Clock())
        self.batches = sources.read(host, CONFIG, self.reader, follow=True)

    def now(self) -> list[str]:
        """What comes until nothing comes."""
        found: list[Record] = []
        for _ in range(3):  # a rotation is seen when nothing comes, and read then
            found += next(self.batches)
        while batch := next(self.batches):
            found += batch
        return paths(found)


@pytest.fixture
def following(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Following]]:
    monkeypatch.setattr(sources, "POLL", 0)
    begun: list[Following] = []
    yield lambda: begun.append(Following(host)) or begun[-1]  # type: ignore[func-returns-value]
    for each in begun:
        each.batches.close()  # type: ignore[attr-defined]


def test_follow_through_rotation_and_truncation(
    tree: Tree, following: Callable[[], Following]
) -> None:
    live = tree.root / LOG.lstrip("/")
    old = Path(f"{live}.1")
    tree.write(LOG, line("a"))
    follow = following()
    assert follow.now() == ["a"]
    with open(live, "ab", buffering=0) as daemon:
        daemon.write(line("b"))
        daemon.write(line("c")[:20])
        assert follow.now() == ["b"]
        daemon.write(line("c")[20:])
        assert follow.now() == ["c"]
        live.rename(old)
        assert follow.now() == []
        live.write_bytes(b"")
        daemon.write(line("d"))  # it has not yet been told
        assert follow.now() == ["d"]
        daemon.write(line("e"))
        live.write_bytes(line("f"))
        assert follow.now() == ["e", "f"]
    live.write_bytes(b"")
    assert follow.now() == []
    live.write_bytes(line("g"))
    assert follow.now() == ["g"]
    live.unlink()
    assert follow.now() == []
    live.write_bytes(line("h"))
    assert follow.now() == ["h"]


def test_follow_a_file_that_is_not_there_yet(
    tree: Tree, following: Callable[[], Following]
) -> None:
    follow = following()
    assert follow.now() == []
    tree.write(LOG, line("a"))
    assert follow.now() == ["a"]


def test_follow_goes_on_in_the_next_year(tree: Tree, host: FakeHost) -> None:
    tree.write(LOG, b"")
    live = tree.root / LOG.lstrip("/")
    os.utime(live, (0, time.time() - 400 * 86400))
    now = time.localtime()
    batches = sources.read(host, CONFIG, Reader(Clock()), follow=True)
    assert next(batches) == []
    with open(live, "ab") as daemon:
        daemon.write(line("a", time.strftime("%b %e %H:%M:%S", now)))
    ((record,),) = [next(batches)]
    batches.close()  # type: ignore[attr-defined]
    assert isinstance(record, Transfer) and record.time.startswith(time.strftime("%Y-%m-%dT", now))


def test_follow_begins_with_a_half_line(tree: Tree, following: Callable[[], Following]) -> None:
    tree.write(LOG, line("a") + line("b")[:30])
    follow = following()
    assert follow.now() == ["a"]
    with open(tree.root / LOG.lstrip("/"), "ab") as daemon:
        daemon.write(line("b")[30:])
    assert follow.now() == ["b"]


# -- the end of the log --------------------------------------------------------------------------


def test_recent_reads_the_end_only(tree: Tree, host: FakeHost) -> None:
    now = int(time.time())

    def at(second: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))

    old = b"".join(line("old", at(now - 5000 + n // 100)) for n in range(100_000))
    tree.write(
        LOG,
        old
        + line("a", at(now - 1))
        + b"rubbish\n"
        + line("b", at(now))
        + line("half", at(now))[:-1],
    )
    found = list(sources.recent(host, CONFIG, now - 1 + 0.9))
    assert found == [b'close "a" bytes read 0 written 1', b'close "b" bytes read 0 written 1']
    assert list(sources.recent(host, CONFIG, now + 5)) == []
    os.rename(tree.root / LOG.lstrip("/"), tree.root / f"{LOG}.1".lstrip("/"))
    tree.write(LOG, line("c", time.strftime("%b %e %H:%M:%S", time.localtime(now))))
    assert [text.split(b'"')[1] for text in sources.recent(host, CONFIG, now)] == [b"b", b"c"]
    assert len(list(sources.recent(host, CONFIG, now - 6000))) == 100_003


JOURNAL = b"""__REALTIME_TIMESTAMP=1795512843571447
_PID=7
MESSAGE=close "/a" bytes read 0 written 1

"""


def test_the_journal(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def stream(argv: list[str], idle: float = 0.2) -> Iterator[bytes]:
        asked.append(argv)
        yield from (JOURNAL[:40], b"", JOURNAL[40:] + JOURNAL, JOURNAL[:9])

    monkeypatch.setattr(programs, "stream", stream)
    config = Config(logs=Logs("journald"))
    reader = Reader(Clock())
    found = [record for batch in sources.read(host, config, reader) for record in batch]
    assert paths(found) == ["/a", "/a", "the last entry of the journal is not whole"]
    batches = list(sources.read(host, config, Reader(Clock()), follow=True))
    assert [] in batches and asked[1][-2:] == ["--follow", "--no-tail"]


def test_recent_of_the_journal(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = b"MESSAGE\n\x02\0\0\0\0\0\0\0a\xff\n\n_PID=1\n\n"
    monkeypatch.setattr(programs, "stream", lambda argv: iter((JOURNAL[:5], JOURNAL[5:] + odd)))
    texts = list(sources.recent(host, Config(logs=Logs("journald")), 5.5))
    assert texts == [b'close "/a" bytes read 0 written 1', b"a\xff", b""]


# -- processes -----------------------------------------------------------------------------------


def test_alive(tree: Tree, host: FakeHost) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    fields = " ".join(["S", *["0"] * 18, str(100 * ticks), "0"])
    tree.write("/proc/stat", "cpu 1\nbtime 1000\nprocesses 5\n")
    tree.write("/proc/7/stat", f"7 (sshd-session) {fields}\n")
    tree.write("/proc/8/stat", f"8 (x) sshd (sshd) {fields}\n")
    assert sources.alive(host, 7, 1100) and sources.alive(host, 7, 1099)
    assert not sources.alive(host, 7, 1090), "a later process has the pid"
    assert not sources.alive(host, 8, 1100), "another program"
    assert not sources.alive(host, 9, 1100)


@pytest.mark.real_program
def test_stream_ends_a_program_that_goes_on() -> None:
    pieces = programs.stream(["sh", "-c", "echo $$; exec sleep 1000"], idle=0.05)
    pid = int(next(pieces))
    assert next(pieces) == b""
    pieces.close()  # type: ignore[attr-defined]
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.real_program
def test_stream_gives_all_and_says_what_failed() -> None:
    assert b"".join(programs.stream(["seq", "100000"])).count(b"\n") == 100_000
    with pytest.raises(SftpJailError, match="sh failed: no such thing"):
        list(programs.stream(["sh", "-c", "echo no such thing >&2; exit 3"]))
    with pytest.raises(SftpJailError, match="cannot run no-such-program"):
        list(programs.stream(["no-such-program"]))


# -- who vouches for a file's lines --------------------------------------------------------------


def kept(second: int, message: str, *, uid: int = 1001, pid: int = 7, claimed: int = 7) -> bytes:
    fields = f"_UID={uid}\n_PID={pid}\nSYSLOG_PID={claimed}\nMESSAGE={message}\n"
    return f"__REALTIME_TIMESTAMP={second}000000\n{fields}\n".encode()


def test_vouchers_find_whose_a_line_is_and_vouch_once() -> None:
    entries = [kept(100, "a"), kept(101, "b", uid=1002, pid=9), kept(102, "a"), kept(300, "c")]
    vouchers = sources.JournalWriters(iter([b"", b"".join(entries)]))
    assert vouchers.find(100, b"7", b"a") == (1001, b"7")
    assert vouchers.find(101, b"7", b"b") == (1002, b"9")
    assert vouchers.find(101, b"7", b"b") is None
    assert vouchers.find(102, b"8", b"a") is None
    assert vouchers.find(200, b"7", b"a") is None  # too late: it was another one
    assert vouchers.find(302, b"7", b"c") == (1001, b"7")
    assert vouchers.find(900, b"7", b"c") is None


def test_vouchers_forget_what_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.JournalWriters, "KEPT", 100)
    vouchers = sources.JournalWriters(iter([kept(second, f"m{second}") for second in range(2000)]))
    for second in range(0, 2000, 10):
        assert vouchers.find(second, b"7", b"m%d" % second) == (1001, b"7")
        assert len(vouchers._seen) <= 120


def test_no_journal_vouches_for_nothing() -> None:
    def broken() -> Iterator[bytes]:
        yield kept(100, "a")
        raise SftpJailError("journalctl failed")

    vouchers = sources.JournalWriters(broken())
    assert vouchers.find(100, b"7", b"a") == (1001, b"7")
    assert vouchers.find(100, b"7", b"b") is None


@pytest.mark.parametrize("backend", ["journald", "rsyslog", "syslog-ng"])
def test_under_systemd_the_journal_is_followed(tree: Tree, backend: str) -> None:
    tree.program("rsyslogd")
    tree.program("syslog-ng")
    config = Config(logs=Logs(backend=backend))
    assert sources.in_journal(tree.host(), config) is (backend == "journald")
    tree.directory("/run/systemd/system")
    assert sources.in_journal(tree.host(), config)

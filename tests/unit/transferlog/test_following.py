"""The journal, followed: whether something is missing behind a place, and how a place moves on."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator

import pytest
from fakes import Tree

from sftpjail import SftpJailError
from sftpjail.config import Config
from sftpjail.system import programs
from sftpjail.transferlog import following
from sftpjail.transferlog.following import Following
from sftpjail.transferlog.parser import Reader
from sftpjail.transferlog.timestamps import Clock
from sftpjail.transferlog.totals import Place

MOMENT = 0x64  # microseconds


def cursor(number: int, moment: int = MOMENT, content: str = "ab", file: str = "f") -> str:
    return f"s={file};i={number:x};b=boot;m=5;t={moment:x};x={content}"


def entry(name: str, moment: int = MOMENT) -> bytes:
    message = 'MESSAGE=close "/a" bytes read 0 written 1'
    return (
        f"__CURSOR={name}\n__REALTIME_TIMESTAMP={moment}\n_UID=1001\n_PID=7\n{message}\n\n".encode()
    )


@pytest.mark.parametrize(
    ("found", "there"),
    [
        ([cursor(9)], True),
        ([cursor(2, file="of /var")], True),  # journald has copied it
        ([cursor(8, content="of the same moment"), cursor(9)], True),
        ([cursor(10, 200)], True),  # it is gone, and nothing came between
        ([cursor(11, 200)], False),
        ([cursor(10, 200, file="another")], False),
        ([cursor(8, 90)], False),
        ([], False),
        (["rubbish"], False),
    ],
)
def test_nothing_is_missing_behind_an_entry_that_is_there(
    monkeypatch: pytest.MonkeyPatch, found: list[str], there: bool
) -> None:
    def stream(argv: list[str], idle: float = 0.2) -> Iterator[bytes]:
        for name in found:
            fields = dict(part.partition("=")[::2] for part in name.split(";"))
            yield entry(name, int(fields.get("t", "0"), 16))

    monkeypatch.setattr(programs, "stream", stream)
    assert following.is_unbroken(cursor(9)) is there


def followed(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, reads: list[list[bytes]], **journal: bytes
) -> tuple[Following, list[list[str]]]:
    """The journal, of which each time something else is read; and what journalctl was asked."""
    tree.directory("/run/systemd/system")
    tree.write("/proc/sys/kernel/random/boot_id", "bo-ot\n")
    asked, left = list[list[str]](), iter(reads)

    def stream(argv: list[str], idle: float = 0.2) -> Generator[bytes]:
        asked.append(argv)
        if "--lines=1" in argv:
            yield journal["newest"]
        elif "--follow" in argv:
            yield from [b"x", b"", *[b"x"] * len(reads)]
        elif any("N_DROPPED" in word for word in argv):
            yield from next(left, [])
        else:  # whether the place is there
            yield journal.get("there", entry(cursor(9)))

    monkeypatch.setattr(programs, "stream", stream)
    monkeypatch.setattr(following, "IDLE", 0.0)
    monkeypatch.setattr(following, "BUSY", 0.0)
    reader = Reader(Clock(), tree.host().people)
    return Following(tree.host, Config(), reader, Place(0, cursor(9))), asked


def places(following: Following) -> list[str]:
    """The places after each batch."""
    found = []
    with pytest.raises(SftpJailError, match="journalctl has ended"):
        for _ in following.batches():
            assert following.place
            found.append(following.place.cursor)
    return [name for name, _ in itertools.groupby(found)]


def test_a_place_goes_on_while_nobody_writes(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else journald would forget it, and nothing that matters with it."""
    reads = [[entry(cursor(9)), entry(cursor(10))], [entry(cursor(10))], [entry(cursor(10))]]
    monkeypatch.setattr(following, "REST", 0.0)
    one, _ = followed(tree, monkeypatch, reads, newest=entry(cursor(99)))
    assert places(one) == [cursor(9), cursor(10), cursor(99)] and not one.lost


def test_what_comes_while_it_is_read_is_read_later(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of such entries some may be in files that were read already."""
    later = f"m={int(time.monotonic() + 3600) * 1_000_000:x}"
    early, late = cursor(10), cursor(12).replace("m=5", later)
    before = cursor(13).replace("b=boot", "b=before").replace("m=5", later)
    reads = [[entry(cursor(9)), entry(early), entry(late)], [entry(early), entry(before)]]
    one, asked = followed(tree, monkeypatch, reads)
    assert places(one) == [cursor(9), early, before] and not one.lost
    begun = [word for argv in asked for word in argv if word.startswith("--cursor=")]
    assert f"--cursor={early}" in begun and f"--cursor={late}" not in begun


def test_a_file_that_comes_while_others_are_opened_is_read_too(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = [[entry(cursor(9)), entry(cursor(11))], [entry(cursor(9)), entry(cursor(10))]]
    one, _ = followed(tree, monkeypatch, reads)
    plain = programs.stream

    def rotating(argv: list[str], idle: float = 0.2) -> Generator[bytes]:
        if any("N_DROPPED" in word for word in argv):
            tree.write("/var/log/journal/id/user-1001.journal", "")
        yield from plain(argv, idle)

    monkeypatch.setattr(programs, "stream", rotating)
    assert places(one) == [cursor(9), cursor(10)]


def test_no_place_moves_on_for_want_of_a_file_that_was_renamed(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = [[entry(cursor(9))], [], [entry(cursor(9)), entry(cursor(10))]]
    monkeypatch.setattr(following, "REST", 0.0)
    one, asked = followed(tree, monkeypatch, reads, newest=entry(cursor(99)))
    plain = programs.stream

    def rotating(argv: list[str], idle: float = 0.2) -> Generator[bytes]:
        reading = [words for words in [*asked, argv] if any("N_DROPPED" in one for one in words)]
        if reading[1:] == [argv]:  # the second time
            tree.write("/var/log/journal/id/system@1.journal", "")
        yield from plain(argv, idle)

    monkeypatch.setattr(programs, "stream", rotating)
    assert places(one) == [cursor(9), cursor(10), cursor(99)]


def test_who_waits_for_journalctl_does_not_say_that_all_was_read(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what failed would count as done, because its failure was not read yet."""
    one, _ = followed(tree, monkeypatch, [[b"", entry(cursor(10))]])
    assert len(next(one.batches())) == 1


@pytest.mark.parametrize(("place", "records"), [(cursor(9, 90), 2), (cursor(12), 1)])
def test_two_entries_of_one_moment_come_once(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, place: str, records: int
) -> None:
    """journalctl prints both, from either on, where they are in files that number apart.

    After a new start it is not known whether the other was read.
    """
    both = [entry(cursor(10, content="dropped", file="of the system")), entry(cursor(12))]
    there = entry(place) + entry(cursor(12))
    one, _ = followed(tree, monkeypatch, [both] * 4, there=there)
    one.place = Place(0, place)
    found: list[object] = []
    with pytest.raises(SftpJailError, match="journalctl has ended"):
        for batch in one.batches():
            found += batch
    assert len(found) == records and not one.lost


def test_what_journald_forgets_meanwhile_is_a_gap(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = [[entry(cursor(9)), entry(cursor(10))], [entry(cursor(20))], [entry(cursor(20))]]
    one, asked = followed(tree, monkeypatch, reads, there=entry(cursor(9)))
    assert places(one) == [cursor(9), cursor(10), "", cursor(20)] and one.lost
    assert any("--since=@1" in argv for argv in asked)


def test_what_is_later_than_a_place_that_is_gone_comes(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.directory("/run/systemd/system")
    asked = []

    def stream(argv: list[str], idle: float = 0.2) -> Iterator[bytes]:
        asked.append(argv)
        yield entry(cursor(50, 9_000_000), 9_000_000)

    monkeypatch.setattr(programs, "stream", stream)
    followed = Following(
        tree.host, Config(), Reader(Clock(), tree.host().people), Place(7, cursor(9))
    )
    assert len(next(followed.batches())) == 1
    assert followed.lost and "--since=@8" in asked[-1], "of second 7 some was handed out"

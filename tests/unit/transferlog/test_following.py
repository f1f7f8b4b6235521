"""The journal, followed: whether something is missing behind a place, and how a place moves on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

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
    assert Following._is_there(cursor(9)) is there


def test_a_place_goes_on_while_nobody_writes(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else journald would forget it, and nothing that matters with it."""
    tree.directory("/run/systemd/system")
    pieces = [entry(cursor(9)), entry(cursor(10)), b"", b"", b""]

    def stream(argv: list[str], idle: float = 0.2) -> Iterator[bytes]:
        if "--lines=1" in argv:
            yield entry(cursor(99))
        else:
            yield from pieces if "--follow" in argv else pieces[:1]

    monkeypatch.setattr(programs, "stream", stream)
    monkeypatch.setattr(following, "REST", 0.0)
    monkeypatch.setattr(following, "SURE", 0.0)
    reader = Reader(Clock(), tree.host().people)
    followed = Following(tree.host, Config(), reader, Place(0, cursor(9)))
    batches = followed.batches()
    places = []
    with pytest.raises(SftpJailError, match="journalctl has ended"):
        for _ in itertools.islice(batches, 9):
            assert followed.place
            places.append(followed.place.cursor)
    assert places == [cursor(9), cursor(10), cursor(10), cursor(99), cursor(99)]
    assert not followed.lost


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

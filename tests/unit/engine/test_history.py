"""The chain of lines: where it ends, what is cut off, and what `verify` finds."""

from __future__ import annotations

import calendar
import hashlib
import json
import os
from pathlib import Path

import pytest

from sftpjail.engine.history import Head, History
from sftpjail.engine.packed import Packed
from sftpjail.errors import SftpJailError
from sftpjail.operations.history import shown

MONTHS = [calendar.timegm((2026, month, 3, 0, 0, 0)) for month in (1, 1, 2, 4, 4, 4, 5)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose history has seven transactions in four files."""
    monkeypatch.setattr("sftpjail.system.files.os.fchown", lambda *_: None)
    kept = History(str(tmp_path / "history"))
    for at in MONTHS:
        add(kept, at)
    return tmp_path / "history"


def add(kept: History, at: float) -> Head:
    head = kept.head()
    return kept.append(head, {"id": head.number + 1, "token": f"t{head.number}"}, at)


def said(place: Path, head: str = "") -> list[str]:
    return [problem.what for problem in History(str(place)).verify(head)[1]]


def test_the_line_of_many_accounts_is_not_parsed_for_the_next(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, many = History(str(place)), Packed()
    many.extend({"account": f"user\xe4{n}", "binds": [n, None, True]} for n in range(3000))
    entry = {"id": 8, "token": "0123456789abcdef", "time": 1, "what": [{"a": "b"}, {}], "left": []}
    written = kept.append(kept.head(), entry | {"undo": many}, MONTHS[-1])
    line = (place / "2026-05").read_bytes().splitlines()[-1]
    before = {"previous": json.loads(line)["previous"]}
    assert line.decode() == json.dumps(entry | {"undo": [*many]} | before)
    assert len(line) > 1 << 16
    monkeypatch.setattr("sftpjail.engine.history.json.loads", lambda *_: pytest.fail("parsed"))
    head = kept.head()
    assert (head.number, head.token, head.hash) == (8, entry["token"], written.hash)


def test_one_line_follows_the_other_through_all_files(place: Path) -> None:
    assert [path.name for path in sorted(place.iterdir())] == [
        "2026-01",
        "2026-02",
        "2026-04",
        "2026-05",
    ]
    assert place.stat().st_mode & 0o7777 == 0o700
    assert {path.stat().st_mode & 0o7777 for path in place.iterdir()} == {0o600}
    before = ""
    for path in sorted(place.iterdir()):
        for line in path.read_bytes().splitlines():
            assert json.loads(line)["previous"] == before
            before = hashlib.sha256(line).hexdigest()
    kept = History(str(place))
    assert kept.verify() == (before, []) and kept.head().hash == before
    assert [entry["id"] for entry in kept.entries()] == [1, 2, 3, 4, 5, 6, 7]


def test_a_clock_that_was_set_back_begins_no_earlier_file(place: Path) -> None:
    add(History(str(place)), MONTHS[0])
    assert len(list(place.iterdir())) == 4 and said(place) == []


def test_each_new_or_removed_name_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = list[set[str]]()
    monkeypatch.setattr("sftpjail.system.files.sync_dirs", synced.append)
    monkeypatch.setattr("sftpjail.system.files.make_dir", lambda path, *_: os.mkdir(path))
    kept = History(f"{tmp_path}/history")
    add(kept, MONTHS[0])
    assert synced == [{str(tmp_path)}, {kept.directory}]
    synced.clear()
    (tmp_path / "history/2026-02").write_text('{"format": 1')
    kept.cut_partial()
    assert synced == [{kept.directory}] and kept.names() == ["2026-01"]


def test_a_line_that_was_changed_is_found(place: Path) -> None:
    path = place / "2026-04"
    path.write_text(path.read_text().replace('"t4"', '"t9"'))
    assert said(place) == [
        f"{path}, line 4 does not follow the line before it: something at or after transaction 5"
        " was changed or removed"
    ]


def test_the_last_line_of_a_file_that_was_changed_is_found(place: Path) -> None:
    path = place / "2026-02"
    path.write_text(path.read_text().replace('"t2"', '"t9"'))
    assert said(place) and said(place)[0].startswith(f"{place}/2026-04, line 1 does not follow")


@pytest.mark.parametrize("line", [2, 3])
def test_a_line_that_was_removed_is_found(place: Path, line: int) -> None:
    path = place / "2026-04"
    lines = path.read_text().splitlines(keepends=True)
    del lines[line - 1]
    path.write_text("".join(lines))
    assert len(said(place)) == 1 and f"{path}, line {line} does not follow" in said(place)[0]


def test_a_line_that_is_none_is_found(place: Path) -> None:
    path = place / "2026-02"
    path.write_text(path.read_text() + "[]\n")
    assert said(place) != []
    before = History(str(place)).head().number
    last = place / "2026-05"
    last.write_text(last.read_text() + "nonsense\n")
    assert add(History(str(place)), MONTHS[-1]).number == before + 1, "and nothing stops for it"


def test_a_file_that_is_missing_in_the_middle_is_found(place: Path) -> None:
    (place / "2026-02").unlink()
    assert said(place) == [f"{place}/2026-02 is missing, which {place}/2026-04, line 1 follows"]


def test_a_tail_that_was_cut_off_is_found_by_its_head(place: Path) -> None:
    head = History(str(place)).head().hash
    assert said(place, head) == []
    (place / "2026-05").unlink()
    assert said(place) == [], "nothing is left that knows of it"
    assert said(place, head) == [f"no line of the history has the hash {head}"]


def test_whole_files_go_and_the_anchor_stays(place: Path) -> None:
    kept = History(str(place))
    kept.forget_before(0)
    assert len(kept.names()) == 4
    kept.forget_before(2)
    assert kept.names() == ["2026-04", "2026-05"] and said(place) == []
    anchor = json.loads((place / "2026-04").read_text().splitlines()[0])
    assert anchor["after"] == "2026-02" and len(anchor["previous"]) == 64
    (place / "2026-04").write_text((place / "2026-04").read_text().replace('"t4"', '"t9"'))
    assert said(place) != []


@pytest.mark.parametrize("size", [1, 20, 1 << 17])
def test_a_torn_line_is_cut_off(place: Path, size: int) -> None:
    path = place / "2026-05"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": 8, "x": "' + b"y" * size)
    kept = History(str(place))
    assert kept.head().number == 7 and kept.head().torn
    kept.cut_partial()
    assert path.read_bytes() == whole and not kept.head().torn


@pytest.mark.parametrize("size", [0, 30, 160])
def test_a_torn_file_goes(place: Path, size: int) -> None:
    head = add(History(str(place)), calendar.timegm((2026, 6, 1, 0, 0, 0)))
    path = place / "2026-06"
    assert head.file == "2026-06" and len(path.read_bytes()) > 160
    path.write_bytes(path.read_bytes()[:size])
    kept = History(str(place))
    assert kept.head().number == 7 and kept.head().torn
    kept.cut_partial()
    assert not path.exists() and said(place) == []
    assert add(kept, MONTHS[-1]).number == 8 and said(place) == []


def test_the_end_is_found_without_reading_the_whole(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place / "2026-05"
    kept = History(str(place))
    for _ in range(300):
        kept.append(kept.head(), {"id": 1, "filler": "x" * 1000}, MONTHS[-1])
    assert path.stat().st_size > 300_000
    read: list[int] = []

    class Counting:
        def __init__(self, *arguments: str) -> None:
            self.file = Path(arguments[0]).open("rb")  # noqa: SIM115

        def __enter__(self) -> Counting:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def seek(self, *arguments: int) -> int:
            return int(self.file.seek(*arguments))

        def read(self, size: int) -> bytes:
            read.append(size)
            return bytes(self.file.read(size))

    monkeypatch.setattr("sftpjail.engine.history.open", Counting, raising=False)
    kept.head()
    assert sum(read) == 1 << 16


def test_a_history_that_cannot_be_read_is_an_error(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sftpjail.engine.history.os.listdir", denied)
    with pytest.raises(SftpJailError, match="Permission denied"):
        History(str(place)).head()


STRANGE = [
    "[" * 100_000,
    '{"id": true}',
    '{"id": -1}',
    '{"id": 1e400}',
    '{"id": ' + "9" * 4000 + "}",
]
STRANGE += [f'{{"id": 8, "{name}": 5}}' for name in ("users", "what", "actions", "undo", "command")]
STRANGE += ['{"id": 8, "reverts": []}', '{"id": 8, "who": {}}', '{"id": 8, "time": "now"}']
STRANGE += ['{"id": 8, "undo": [{"event": "x", "bind": {}}]}', '{"id": 8, "users": [1]}']


@pytest.mark.parametrize("line", STRANGE)
def test_a_line_of_another_form_is_no_transaction(place: Path, line: str) -> None:
    with (place / "2026-05").open("a") as handle:
        handle.write(f"{line}\n")
    kept = History(str(place))
    assert [entry["id"] for entry in kept.entries()] == [1, 2, 3, 4, 5, 6, 7]
    assert said(place) and add(kept, MONTHS[-1]).number in (8, 9)
    assert list(shown(kept.entries()))[-1]["users"] == []

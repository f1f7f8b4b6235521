"""Tables and texts for a terminal: as wide as it is, and no word broken that would fit."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from sftpjail.cli.terminal import natural, table, total, wrapped
from sftpjail.errors.escapes import one_line

cells = st.text(st.characters(blacklist_categories=("C", "Z", "M")), max_size=60)


@given(st.lists(st.lists(cells, min_size=4, max_size=4), min_size=1), st.integers(60, 200))
@example([["", "", "\N{HANGUL JUNGSEONG FILLER}", ""]], 60)
def test_a_table_fits_where_cells_may_be_cut(rows: list[list[str]], columns: int) -> None:
    lines = table(rows, columns, (2, 0, 1, 3))
    assert len(lines) == len(rows)
    assert max(map(cell_len, lines)) <= columns
    if total(natural(rows)) <= columns:
        assert all(cell in line for row, line in zip(rows, lines, strict=True) for cell in row)


def test_the_first_that_yields_is_cut_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    rows = [["a" * 20, "/srv/sftp/" + "b" * 20, "ok"]]
    assert table(rows, 50, (1, 0)) == [f"{'a' * 20}  /srv/sftp/b...{'b' * 10}  ok"]
    assert table(rows, 30, (1, 0)) == [f"{'a' * 7}...{'a' * 6}  /sr...bb  ok"]


@given(st.lists(cells.filter(bool)), st.integers(40, 120))
@example(["0" + "⺀" * 30], 40)
@example(["\N{HANGUL CHOSEONG FILLER}"], 40)
def test_a_text_is_broken_between_words(words: list[str], columns: int) -> None:
    lines = wrapped(" ".join(words), columns, "- ", "  > ")
    assert max(map(cell_len, lines)) <= columns
    seen = [one_line(word) for word in words]
    if max(map(cell_len, seen), default=0) < 36:
        assert [word for line in lines for word in line[2:].removeprefix("> ").split()] == seen


def test_a_last_cell_goes_on_below_where_a_word_would_break() -> None:
    rows = [["1", "alice", f"key {'f' * 30}"], ["2", "bob", "none of it is here"]]
    below = ["1  alice", "    > key", f"    > {'f' * 30}"]
    assert table(rows, 36, ()) == [*below, "2  bob    none of it is here"]
    assert table(rows, 27, ())[-2:] == ["2  bob    none of it is", "          > here"]

"""The terminal: how wide it is, what it can show, and how texts are cut to fit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from textwrap import wrap

from ..errors.escapes import one_line

NARROWEST = 40  # columns of a terminal that says that it has fewer, or none at all
_LEAST = 8  # columns to which a cell is cut
_GAP = 2  # columns between two cells


def width() -> int:
    """Return the columns of the terminal or the value of COLUMNS, or 80 if neither is known."""
    return shutil.get_terminal_size().columns


def shows_unicode() -> bool:
    """Return whether the locale has more than ASCII, such as boxes and an ellipsis.

    Python reports UTF-8 even for the locale POSIX (PEP 538, PEP 540). So the variables are read,
    in the order of locale(7).
    """
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    return "utf" in next(filter(None, names), "").lower()


def cell_len(text: str) -> int:
    """Return how many columns TEXT occupies."""
    from rich.cells import cell_len  # late: only a terminal needs it

    return cell_len(text)


def cut(text: str, columns: int) -> str:
    """Return TEXT, cut in the middle if it is longer than that many columns.

    Both ends of a name are more useful than its middle: they show where it is and what it is.
    """
    if cell_len(text) <= columns:
        return text
    mark = "..."
    if shows_unicode():
        mark = "…"
    if columns <= len(mark):
        return mark[:columns]
    first = (columns - len(mark) + 1) // 2
    head, tail = text[:first], text[-columns:]
    while cell_len(head) > first:
        head = head[:-1]
    while cell_len(head) + len(mark) + cell_len(tail) > columns:
        tail = tail[1:]
    return f"{head}{mark}{tail}"


def fill(text: str, columns: int) -> str:
    """Return TEXT, cut or padded to exactly that many columns."""
    text = cut(text, columns)
    return text + " " * (columns - cell_len(text))


def wrapped(text: str, width: int, head: str = "", further: str = "") -> list[str]:
    """Return a text, wrapped to lines of at most that many columns.

    Lines are broken between words. A word that is longer than a line is broken too.

    Args:
        text: one line of text.
        width: the columns.
        head: the beginning of the first line.
        further: the beginning of each further line.
    """
    from rich.cells import get_character_cell_size

    # textwrap(3) counts characters, and some take two columns:
    # with a NUL, which no text has by now, those count so.
    counted = "".join(c + "\0" if get_character_cell_size(c) > 1 else c for c in one_line(text))
    # One column less where a word was broken between such a character and its NUL.
    for columns in (width, width - 1):
        lines = [
            line.replace("\0", "")
            for line in wrap(
                counted,
                columns,
                initial_indent=head,
                subsequent_indent=further,
                break_on_hyphens=False,
            )
        ]
        if all(cell_len(line) <= width for line in lines):
            break
    return lines or [head]


def natural(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the natural widths of the columns of a table."""
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def total(sizes: Sequence[int]) -> int:
    """Return the width of a table whose columns have these widths."""
    return sum(sizes) + _GAP * (len(sizes) - 1)


def table(rows: Sequence[Sequence[str]], columns: int, yielding: Sequence[int]) -> list[str]:
    """Return the lines of a table that fits the terminal.

    Args:
        rows: the rows; the first one has the headings.
        columns: the width of the terminal.
        yielding: the indexes of the cells to cut if a row does not fit, in order. If there are
            none, the last cell is continued on further lines after a mark.
    """
    sizes = natural(rows)
    for at in yielding:
        excess = max(total(sizes) - columns, 0)
        sizes[at] = max(sizes[at] - excess, min(sizes[at], _LEAST))
    if not yielding:
        sizes[-1] = min(sizes[-1], max(columns - total([*sizes[:-1], 0]), 2 * _LEAST))
    gap = " " * _GAP
    lines = []
    for row in rows:
        cells = zip(row[:-1], sizes[:-1], strict=True)
        begin = gap.join(fill(text, size) for text, size in cells)
        if yielding or cell_len(row[-1]) <= sizes[-1]:
            lines.append(f"{begin}{gap}{cut(row[-1], sizes[-1])}".rstrip())
        elif max(map(cell_len, row[-1].split())) > sizes[-1] - len("> "):  # one would be broken
            lines += [begin.rstrip(), *wrapped(row[-1], columns, "    > ", "    > ")]
        else:
            first, *others = wrapped(row[-1], sizes[-1], "", "> ")
            lines.append(f"{begin}{gap}{first}")
            lines += [f"{' ' * cell_len(begin)}{gap}{line}" for line in others]
    return lines

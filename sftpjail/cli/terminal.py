"""The terminal that a person reads on: how wide it is, what it can show, and what is cut to fit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from textwrap import wrap

from ..escapes import one_line

NARROWEST = 40  # columns of a terminal that says that it has fewer, or none at all
_LEAST = 8  # columns to which a cell is cut
_GAP = 2  # columns between two cells


def width() -> int:
    """Return the columns of the terminal, or what COLUMNS says; 80 where neither is known."""
    return shutil.get_terminal_size().columns


def shows_unicode() -> bool:
    """Return whether the locale has more than ASCII, such as boxes and an ellipsis.

    Python itself says UTF-8 for the locale POSIX too (PEP 538, PEP 540), so the variables are
    read, in the order of locale(7).
    """
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    return "utf" in next(filter(None, names), "").lower()


def cell_len(text: str) -> int:
    """Return how many columns TEXT takes."""
    from rich.cells import cell_len  # late: only a terminal needs it

    return cell_len(text)


def cut(text: str, columns: int) -> str:
    """Return TEXT in at most that many columns: what is too long loses its middle.

    Both ends of a name tell more than its middle: where it lies, and what it is.
    """
    if cell_len(text) <= columns:
        return text
    mark = "…" if shows_unicode() else "..."
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
    """Return TEXT in exactly that many columns."""
    from rich.cells import set_cell_size

    return set_cell_size(cut(text, columns), columns)


def wrapped(text: str, width: int, head: str = "", further: str = "") -> list[str]:
    """Return a text in lines of at most that many columns, broken between words.

    A word that no line could hold is broken.

    Args:
        text: of one line.
        width: columns.
        head: before the first line.
        further: before each other line.
    """
    from rich.cells import get_character_cell_size

    # textwrap(3) counts characters, and some take two columns:
    # with a NUL, which no text has by now, those count so.
    counted = "".join(c + "\0" if get_character_cell_size(c) > 1 else c for c in one_line(text))
    lines = wrap(
        counted,
        width,
        initial_indent=head,
        subsequent_indent=further,
        break_on_hyphens=False,
    )
    return [line.replace("\0", "") for line in lines] or [head]


def natural(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the columns that each cell of a table wants."""
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def total(sizes: Sequence[int]) -> int:
    """Return the columns of a table whose cells have these."""
    return sum(sizes) + _GAP * (len(sizes) - 1)


def table(rows: Sequence[Sequence[str]], columns: int, yielding: Sequence[int]) -> list[str]:
    """Return the lines of a table that is at most so wide.

    Args:
        rows: the first one has the headings.
        columns: of the terminal.
        yielding: which cells lose their middles where a row does not fit, in their order; without
            any the last one goes on in further lines, behind a mark.
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

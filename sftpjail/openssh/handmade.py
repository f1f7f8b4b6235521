"""Match blocks that somebody wrote by hand: found in a text, commented out in it, and given back.

sshd is asked what is in force; here is only which lines of a file belong together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..formats.tagged_lines import split
from ..model import frozen
from .connections import conditions

# Before each line of a block that was taken over, and before the line that says so.
MARK = "#sftpjail-import# "
NOTE = "#sftpjail-import: "

_SETTING = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*)(?:\s*=\s*|\s+)(.*?)\s*\Z")
_COMMENT = re.compile(r"\s#.*\Z")
_OURS = re.compile(r"# (BEGIN|END) sftpjail ")


class Option(NamedTuple):
    """One line with a setting: its number, the keyword as written, and the value."""

    number: int
    keyword: str
    value: str

    @property
    def name(self) -> str:
        """The keyword in small letters."""
        return self.keyword.lower()


@frozen
class Block:
    """A Match line and the settings below it, or the settings above the first one.

    Args:
        path: the file.
        number: of its first line.
        lines: from the Match line to the last setting, as they stand, with their newlines.
        criteria: of the Match line, as ("group", "sftponly"); None for the part above all blocks.
        options: the settings.
    """

    path: str
    number: int
    lines: tuple[str, ...]
    criteria: tuple[tuple[str, str], ...] | None
    options: tuple[Option, ...]

    def option(self, name: str) -> Option | None:
        """Return the first setting of a keyword, which is the one that counts."""
        return next((option for option in self.options if option.name == name), None)

    @property
    def heading(self) -> str:
        """The Match line, without the blanks around it; "" where there is none."""
        if self.criteria is None:
            return ""
        return self.lines[0].strip()

    def __str__(self) -> str:
        """FILE:LINE."""
        return f"{self.path}:{self.number}"


def option_of(line: str, number: int = 0) -> Option | None:
    """Return the setting in a line of sshd_config(5), or None."""
    found = _SETTING.match(line)
    if found is None:
        return None
    if '"' in found[2]:
        value = found[2]
    else:
        value = _COMMENT.sub("", " " + found[2]).strip()
    return Option(number, found[1], value)


def blocks(text: str, path: str) -> list[Block]:
    """Return the parts of a configuration, without those that we wrote.

    Args:
        text: of the file.
        path: the file.
    """
    found: list[Block] = []
    lines = split(text)
    begin, criteria, options = 1, None, list[Option]()
    ours = False

    def end() -> None:
        last = begin
        if options:
            last = options[-1].number
        part = tuple(lines[begin - 1 : last])
        found.append(Block(path, begin, part, criteria, tuple(options)))

    for number, line in enumerate(lines, 1):
        mark = _OURS.match(line)
        if mark:
            ours = mark[1] == "BEGIN"
        option = None
        if not ours:
            option = option_of(line, number)
        if option is None:
            continue
        if option.name == "match":
            end()
            begin, criteria, options = number, tuple(conditions(option.value)), []
        else:
            options.append(option)
    end()
    return found


def comment_out(text: str, lines: Sequence[str], note: str) -> str:
    """Return TEXT with a block as comments, below a line that says so.

    Args:
        text: of the file.
        lines: those of the block, with their newlines; if they are not there, nothing changes.
        note: what the line above it says.
    """
    new = [f"{NOTE}{note}\n", *(MARK + line for line in lines)]
    return _exchanged(text, lines, new, _ends)


def uncomment(text: str, lines: Sequence[str], note: str) -> str:
    """Return TEXT as it was before `comment_out` with the same block and note."""
    old = [f"{NOTE}{note}\n", *(MARK + line for line in lines)]
    return _exchanged(
        text, old, lines, lambda there, n: n == len(there) or not there[n].startswith(MARK)
    )


def _ends(lines: Sequence[str], number: int) -> bool:
    """Whether a block ends above a line: no setting follows, or one that begins another block."""
    options = (option_of(lines[n]) for n in range(number, len(lines)))
    following = next((option for option in options if option), None)
    return following is None or following.name == "match"


def _exchanged(
    text: str,
    old: Sequence[str],
    new: Sequence[str],
    ends: Callable[[Sequence[str], int], bool],
) -> str:
    """Return TEXT with other lines for a block's: the first that no longer one begins with.

    Args:
        text: of the file.
        old: the lines of the block.
        new: what comes in their place.
        ends: whether a block ends above the line that has this index.
    """
    lines, size = split(text), len(old)
    bare, there = ([line.rstrip("\n") for line in some] for some in (old, lines))
    places = [n for n in range(len(lines)) if there[n : n + size] == bare]
    if not places or not size:
        return text
    whole = (n for n in places if ends(there, n + size))
    at = next(whole, places[0])
    # Our own block below it may have completed the last line of the file.
    end = ""
    if lines[at + size - 1].endswith("\n"):
        end = "\n"
    return "".join([*lines[:at], *new[:-1], new[-1].rstrip("\n") + end, *lines[at + size :]])


def uncomment_blocks(text: str) -> str:
    """Return TEXT with every block that is such a comment in force again."""
    lines = (line for line in split(text) if not line.startswith(NOTE))
    return "".join(line.removeprefix(MARK) for line in lines)

"""Other people's words in ours: one place for all.

These are names of files, of processes, comments of keys, what programs say. Whoever may choose
such a value could put a line break into it and then a line that looks like one of ours, or what
steers a terminal. So `errors.SftpJailError`, `model.Problem` and `model.Fact` take their texts
through `one_line`, and a command that is to be pasted through `command`; what prints never splits
a text into lines. Escaping twice changes nothing: a backslash stays as it is, so that a text may
pass several hands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# Printable for Python, and nothing to be seen: Unicode's Default_Ignorable_Code_Point
# (DerivedCoreProperties.txt) as far as str.isprintable() lets it through, and the blank of Braille.
_UNSEEN = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
_UNSEEN |= {*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
# On one letter, as Vietnamese and pointed Hebrew have them; more are there to cover other lines.
_MARKS = 2
_PLAIN = re.compile(r"[\w./:@%+=,~-]+").fullmatch


class Advice(str):
    """Words in the place of a command, which nobody is to run."""


def look_at(command: str) -> Advice:
    """Return the advice to look at something: a command that only shows fixes nothing."""
    return Advice(f"look at it with `{command}`")


class Choice(NamedTuple):
    """One of the commands between which a person must decide, and what it is for."""

    label: str
    command: str


class Remedy(NamedTuple):
    """What is to be done about a problem: a command, or commands to choose from, or a sentence."""

    fix: str
    choices: tuple[Choice, ...]
    advice: str


NO_COMMAND = Advice(
    "no command is printed: "
    "a name in it has characters that a terminal does not show (`ls -b` does)"
)


def one_line(text: str) -> str:
    """Return TEXT with an escape, as in Python, for each character that is not simply to be seen.

    These are control characters, line breaks of any kind, what changes the direction of writing,
    what has no width, and bytes that are not UTF-8; combining characters where there is no letter
    that they could belong to.
    """
    if text.isascii() and text.isprintable():
        return text
    import unicodedata  # late: most texts, and hooks of useradd's, need none of it

    parts, marks = [], _MARKS
    for character in text:
        good = character.isprintable() and ord(character) not in _UNSEEN
        if unicodedata.category(character) in ("Mn", "Me"):
            marks += 1
            good = good and marks <= _MARKS
        else:
            marks = 0
            if not character.isalnum():
                marks = _MARKS
        parts.append(character if good else _escape(character))
    return "".join(parts)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode()


def has_controls(text: str) -> bool:
    """Return whether TEXT has a control character, or a line break of any kind."""
    return any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in text)


def is_shown(text: str) -> bool:
    """Return whether TEXT is seen as it is, to the last character."""
    return one_line(text) == text


def shown(value: str) -> str:
    """Return a value so that it cannot be taken for the words around it.

    It is in quotes, unless it is one plain word.
    """
    if is_shown(value) and _PLAIN(value):
        return value
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{one_line(quoted)}"'


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 jail" or "2 jails"."""
    if number == 1:
        return f"{number} {noun}"
    return f"{number} {noun}s"


def some(words: Iterable[str], most: int, between: str = ", ") -> str:
    """Return the first words of a list, and how many more there are.

    Args:
        words: each as it is to be read.
        most: how many are said.
        between: what stands between two.
    """
    known = list(words)
    more = ""
    if len(known) > most:
        more = f" and {len(known) - most} more"
    return between.join(known[:most]) + more


def command(text: str) -> str:
    """Return a command as it is, or "" where it has a character that a terminal does not show.

    shlex.quote(3) leaves a line break within its quotes: whoever copies that pastes two lines, and
    sees neither what they are nor where the first one ends. Escaped it would be about another file.
    """
    if is_shown(text):
        return text
    return ""


def remedy(fix: str, choices: Sequence[tuple[str, str]], advice: str) -> Remedy:
    """Return what is to be done about a problem so that it can be shown, one line each.

    A command that a terminal does not show as it is gives way to words.

    Args:
        fix: a command, or "", or `Advice`, which stands in its place.
        choices: labels with their commands. One whose command is "" is left out, and so is one with
            `Advice` there, which stands in the place of ADVICE.
        advice: what to do where there is no fix: beside one it is dropped.
    """
    given = (fix, *(line for _, line in choices))
    words = next((line for line in given if isinstance(line, Advice)), advice)
    wanted = ""
    if not isinstance(fix, Advice):
        wanted = fix
    asked = [Choice(*one) for one in choices if one[1] and not isinstance(one[1], Advice)]
    good = tuple(Choice(one_line(one.label), one.command) for one in asked if command(one.command))
    if command(wanted):
        return Remedy(wanted, good, "")
    if wanted or len(good) < len(asked):
        words = NO_COMMAND
    return Remedy("", good, one_line(words))

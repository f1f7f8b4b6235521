"""Output for people: coloured texts and problems, no wider than the terminal."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors.escapes import one_line
from ..model import Problem
from .terminal import NARROWEST, width, wrapped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH = 80  # columns of what is no terminal
WIDEST = 120  # longer lines are hard to read
FURTHER = "     "  # before the next line of a command
COLOURS = {"open": "bold red", "broken": "red", "advice": "yellow"}


def picture(draw: Callable[[Console], None]) -> str:
    """Return what a function draws, without blanks at the ends of lines.

    rich itself leaves out colours if there is no terminal, or if NO_COLOR is set.
    """
    from rich.console import Console

    console = Console(highlight=False)
    console.width = min(max(width(), NARROWEST), WIDEST if sys.stdout.isatty() else WIDTH)
    with console.capture() as drawn:
        draw(console)
    return "\n".join(line.rstrip() for line in drawn.get().splitlines())


def cell(text: str, style: str = "") -> Text:
    """Return a text as one line with a style."""
    from rich.text import Text

    return Text(one_line(text), style=style)


def draw_text(
    console: Console, text: str, head: str, style: str = "", further: str = "   > "
) -> None:
    """Draw a text, wrapped to as many lines as it needs.

    We break the lines, and rich must add no breaks of its own.

    Args:
        console: draws it.
        text: the text, which may contain values of others.
        head: the beginning of the first line.
        style: the style of the whole text.
        further: the beginning of each further line, with a mark, so that it cannot look like a
            line of ours.
    """
    for line in wrapped(text, console.width, head, further):
        console.print(cell(line, style), soft_wrap=True)


def draw_problem(console: Console, problem: Problem, head: str) -> None:
    """Draw a problem with its remedies below; HEAD precedes its first line."""
    mark = ""
    if problem.severity == "advice":
        mark = "advice: "
    lead = " " * len(head)
    further = f"{lead}> "
    draw_text(console, mark + problem.what, head, COLOURS[problem.severity], further)
    if problem.why:
        draw_text(console, problem.why, f"{lead}why: ", further=further)
    if problem.fix:
        _draw_command(console, problem.fix, f"{lead}fix: ")
    for choice in problem.choices:
        _draw_command(console, choice.command, f"{lead}choice: {choice.label}: ")
    if problem.advice:
        draw_text(console, problem.advice, f"{lead}advice: ", "bold", further)


def _draw_command(console: Console, command: str, head: str) -> None:
    """Draw a command after a head of ours, so that it can be pasted."""
    for at, line in enumerate(wrap_command(command, console.width - len(head))):
        console.print(cell(f"{FURTHER if at else head}{line}", "bold"), soft_wrap=True)


def wrap_command(command: str, width: int = WIDTH - 3) -> list[str]:
    """Break a shell command into lines that can be pasted as they are.

    Lines are broken between words, with a backslash.
    """
    lines = [""]
    for word in re.findall(r"(?:'[^']*'|\"[^\"]*\"|\\.|[^\s'\"\\])+", command):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("")
        if lines[-1]:
            lines[-1] += f" {word}"
        else:
            lines[-1] += word
    with contextlib.suppress(ValueError):
        if shlex.split(" ".join(line.removesuffix(" \\") for line in lines)) == shlex.split(
            command
        ):
            if lines != [""]:
                return lines
            return []
    return [command]

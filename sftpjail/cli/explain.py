"""explain: why sshd does with one account what it does, as a picture."""

from __future__ import annotations

import contextlib
import re
import shlex
from dataclasses import asdict
from itertools import zip_longest
from textwrap import wrap
from typing import TYPE_CHECKING

from ..escapes import one_line
from ..jails.membership import find
from ..model import Account, Fact, Problem
from ..operations.diagnosis import problems_of, wrong
from .context import Command, Context, counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH = 80  # columns
FURTHER = "     "  # before the next line of a command
# Of the picture, in order; others after.
TOPICS = ("account", "sshd", "keys", "chroot", "session", "mounts", "log")


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("explain", "show what decides about the sessions of an account")
    parser.add_argument("user", metavar="USER")
    parser.set_defaults(run=explain)


def explain(context: Context) -> int:
    """Show what decides about one account, and what is wrong with it."""
    with context.engine(reading=True, tolerant=True) as engine:
        account = find(context.arguments.user, engine.config, engine.host)
        facts = engine.manager.facts(account, engine.host)
        problems = problems_of(engine, account)
    context.answers |= {
        "user": account.name,
        "profile": account.profile.name if account.profile else None,
        "facts": [asdict(fact) for fact in facts],
        "problems": [problem.describe() for problem in problems],
    }
    if not context.json:
        _draw(account, facts, problems)
    return context.close(3 if wrong(problems) else 0)


def _draw(account: Account, facts: list[Fact], problems: list[Problem]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.width = min(console.width, WIDTH)
    where = (
        f"jailed in {account.jail} by profile {account.profile.name}"
        if account.profile
        else "not jailed"
    )
    with console.capture() as picture:
        console.print(_cell(f"{account.name}: {where}", "bold"))
        for topic in sorted(
            {fact.topic: 0 for fact in facts}, key=lambda name: [*TOPICS, name].index(name)
        ):
            console.print()
            console.print(_cell(topic, "bold"))
            draw = _draw_tree if topic == "chroot" else _draw_table
            draw(console, [fact for fact in facts if fact.topic == topic])
        count = len(problems)
        console.print()
        console.print(_cell(counted(count, "problem"), "bold red" if count else "bold green"))
        for number, problem in enumerate(problems, 1):
            _draw_problem(console, number, problem)
    print("\n".join(line.rstrip() for line in picture.get().splitlines()))


def _draw_problem(console: Console, number: int, problem: Problem) -> None:
    """Draw a problem.

    Where a text goes on in a next line that has a mark, so that it is no line of ours.
    """
    mark = "advice: " if problem.severity == "advice" else ""
    _draw_text(console, f"{mark}{problem.what}", f"{number}. ", "red")
    _draw_text(console, problem.why, "   why: ")
    if problem.fix:
        _draw_command(console, problem.fix, "   fix: ")
    for choice in problem.choices:
        _draw_command(console, choice.command, f"   choice: {choice.label}: ")
    if problem.advice:
        _draw_text(console, problem.advice, "   advice: ", "bold")


def _draw_command(console: Console, command: str, head: str) -> None:
    """Draw a command so that it can be pasted, behind a head of ours."""
    for at, line in enumerate(wrap_command(command, console.width - len(head))):
        console.print(_cell(f"{FURTHER if at else head}{line}", "bold"), soft_wrap=True)


def _draw_text(console: Console, text: str, head: str, style: str = "") -> None:
    """Draw a text of one line on as many as it needs.

    Their breaks are ours, and rich must add none of its own.
    """
    from rich.text import Text

    for line in _wrapped(text, console.width, head, "   > "):
        console.print(Text(line, style=style), soft_wrap=True)


def _wrapped(text: str, width: int, head: str, further: str) -> list[str]:
    from rich.cells import get_character_cell_size

    # textwrap(3) counts characters, and some take two columns:
    # with a NUL, which no text has by now, those count so.
    counted = "".join(c + "\0" if get_character_cell_size(c) > 1 else c for c in one_line(text))
    lines = wrap(counted, width, initial_indent=head, subsequent_indent=further)
    return [line.replace("\0", "") for line in lines] or [head]


def _cell(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(one_line(text), style=style, overflow="fold")


def _draw_table(console: Console, facts: list[Fact]) -> None:
    """Draw facts in three columns.

    A cell that goes on in a next line does so behind a mark: it is no line of ours.
    """
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    rows = [
        (" " + "  " * fact.depth + fact.name, fact.value, fact.note) for fact in facts if fact.name
    ]
    longest = [
        max((cell_len(one_line(row[column])) for row in rows), default=0) for column in range(3)
    ]
    first = min(longest[0], console.width // 2)
    left = console.width - first - 4
    second = min(longest[1], max(left - longest[2], left // 2))
    widths = (first, second, left - second)
    for row, fact in zip(rows, (fact for fact in facts if fact.name), strict=True):
        cells = [_folded(text, width) for text, width in zip(row, widths, strict=True)]
        for line in zip_longest(*cells, fillvalue=""):
            sized = [set_cell_size(text, width) for text, width in zip(line, widths, strict=True)]
            note = Text(sized[2], style="red" if fact.bad else "")
            console.print(Text(f"{sized[0]}  {sized[1]}  ").append_text(note), soft_wrap=True)
    for fact in facts:
        if not fact.name:
            _draw_text(console, fact.value, " - ", "red" if fact.bad else "")


def _folded(text: str, width: int) -> list[str]:
    """Return a text in lines of a column's width."""
    lead = text[: len(text) - len(text.lstrip(" "))]
    return _wrapped(text.strip(" "), max(width, 8), lead, f"{lead}> ")


def _draw_tree(console: Console, facts: list[Fact]) -> None:
    from rich.tree import Tree

    branches: list[Tree] = []
    roots: list[Tree] = []
    for fact in facts:
        label = _cell(f"{fact.name}  {fact.value}  {fact.note}".rstrip(), "red" if fact.bad else "")
        del branches[fact.depth :]
        if not branches:
            roots.append(Tree(label))
        branches.append(branches[-1].add(label) if branches else roots[-1])
    for root in roots:
        console.print(root)


def wrap_command(command: str, width: int = WIDTH - 3) -> list[str]:
    """Break a shell command into lines that can be pasted as they are.

    Break between words, with a backslash.
    """
    lines = [""]
    for word in re.findall(r"(?:'[^']*'|\"[^\"]*\"|\\.|[^\s'\"\\])+", command):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    with contextlib.suppress(ValueError):
        if shlex.split(" ".join(line.removesuffix(" \\") for line in lines)) == shlex.split(
            command
        ):
            return lines if lines != [""] else []
    return [command]

"""explain: show as a picture why sshd treats one account as it does."""

from __future__ import annotations

import argparse
import ipaddress
from dataclasses import asdict
from itertools import zip_longest
from typing import TYPE_CHECKING

from ..errors import SftpJailError
from ..errors.escapes import counted, one_line
from ..host import Host
from ..jails.addresses import example, refused_there
from ..jails.closing import reason
from ..jails.membership import find
from ..model import Account, Fact, Problem
from ..openssh.pam_account import LOOPBACK, account_rules
from ..operations.diagnosis import problems_of, wrong
from .context import Command, Context
from .drawing import COLOURS, cell, draw_problem, draw_text, picture
from .terminal import shows_unicode, wrapped

if TYPE_CHECKING:
    from rich.console import Console

FINGERPRINT = "SHA256:"
LEAST = 20  # columns for what is to be said of a value
# Of the picture, in order; others after.
TOPICS = ("account", "sshd", "keys", "chroot", "session", "mounts", "retention", "log")


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("explain", "show what decides about the sessions of an account")
    parser.add_argument("user", metavar="USER")
    parser.add_argument(
        "--from",
        dest="address",
        metavar="ADDRESS",
        type=_address,
        help=f"the client's address; default: {LOOPBACK}, or one from which it may come",
    )
    parser.set_defaults(run=explain)


def _address(text: str) -> str:
    """Return an IP address in its usual form."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def explain(context: Context) -> int:
    """Show the facts that decide about one account, and its problems."""
    with context.engine(reading=True, tolerant=True) as engine:
        account = find(context.arguments.user, engine.config, engine.host)
        facts = engine.manager.facts(account, engine.host)
        problems = problems_of(engine, account)
        if account.exists:
            address = context.arguments.address or example(account, engine.host) or LOOPBACK
            by_address, refused = refused_there(account, engine.host, address)
            by_pam, denied = account_rules(account, engine.host, address)
            if any(one.hides for one in problems) or _is_shut(account, engine.host):
                denied = []  # PAM says so because it is shut out
            facts = [*facts, *by_address, *by_pam]
            problems = [*problems, *refused, *denied]
    context.answers |= {
        "user": account.name,
        "profile": account.profile.name if account.profile else None,
        "facts": [asdict(fact) for fact in facts],
        "problems": [problem.describe() for problem in problems],
    }
    if not context.json:
        context.draw(_draw(account, facts, problems))
    return context.close(3 if wrong(problems) else 0)


def _is_shut(account: Account, host: Host) -> bool:
    """Return whether an account is shut out; not if its record is damaged."""
    try:
        return bool(reason(account, host))
    except SftpJailError:  # a problem by itself, which others report
        return False


def _draw(account: Account, facts: list[Fact], problems: list[Problem]) -> str:
    where = "not jailed"
    if account.profile:
        where = f"jailed in {account.jail} by profile {account.profile.name}"

    def draw(console: Console) -> None:
        draw_text(console, f"{account.name}: {where}", "", "bold")
        for topic in sorted(
            {fact.topic: 0 for fact in facts}, key=lambda name: [*TOPICS, name].index(name)
        ):
            console.print()
            console.print(cell(topic, "bold"), soft_wrap=True)
            draw_facts = _draw_table
            if topic == "chroot":
                draw_facts = _draw_tree
            draw_facts(console, [fact for fact in facts if fact.topic == topic])
        count = len(problems)
        console.print()
        console.print(cell(counted(count, "problem"), "bold red" if count else "bold green"))
        for number, problem in enumerate(problems, 1):
            draw_problem(console, problem, f"{number}. ")

    return picture(draw)


def _draw_table(console: Console, facts: list[Fact]) -> None:
    """Draw facts in three columns.

    Further lines of a cell begin with a mark, so that they cannot look like a line of ours. A
    fingerprint is never broken. If it leaves too little room, the third column is drawn below.
    """
    from rich.cells import cell_len

    named = [fact for fact in facts if fact.name]
    rows = [(" " + "  " * fact.depth + fact.name, fact.value, fact.note) for fact in named]
    longest = [
        max((cell_len(one_line(row[column])) for row in rows), default=0) for column in range(3)
    ]
    first = min(longest[0], console.width // 2)
    left = console.width - first - 4
    second = min(longest[1], max(left - longest[2], left // 2))
    words = [cell_len(word) for fact in named for word in one_line(fact.value).split()]
    second = max(second, min(max(words, default=0), left - LEAST))
    prints = [cell_len(fact.value) for fact in named if fact.value.startswith(FINGERPRINT)]
    if max(prints, default=0) > second:
        for row, fact in zip(rows, named, strict=True):
            _draw_below(console, row, first, fact.bad)
    else:
        widths = (first, second, left - second)
        for row, fact in zip(rows, named, strict=True):
            _draw_row(console, row, widths, fact.bad)
    for fact in facts:
        if not fact.name:
            draw_text(console, fact.value, " - ", COLOURS["broken"] if fact.bad else "")


def _draw_row(
    console: Console, row: tuple[str, str, str], widths: tuple[int, int, int], bad: bool
) -> None:
    from rich.cells import set_cell_size
    from rich.text import Text

    cells = [_folded(text, width) for text, width in zip(row, widths, strict=True)]
    for line in zip_longest(*cells, fillvalue=""):
        sized = [set_cell_size(text, width) for text, width in zip(line, widths, strict=True)]
        note = Text(sized[2], style=COLOURS["broken"] if bad else "")
        console.print(Text(f"{sized[0]}  {sized[1]}  ").append_text(note), soft_wrap=True)


def _draw_below(console: Console, row: tuple[str, str, str], first: int, bad: bool) -> None:
    """Draw a row with the note below its value, and if necessary the value below the name."""
    from rich.cells import cell_len, set_cell_size

    name, value, note = map(one_line, row)
    style = ""
    if bad:
        style = COLOURS["broken"]
    lead, room = " " * (first + 2), console.width - first - 2
    if cell_len(value) <= room and cell_len(name) <= first:
        console.print(cell(f"{set_cell_size(name, first)}  {value}"), soft_wrap=True)
    else:
        lead = " " * (len(name) - len(name.lstrip()) + 2)
        draw_text(console, name.lstrip(), lead[2:], further=f"{lead}> ")
        draw_text(console, value, f"{lead}> ", further=f"{lead}> ")
    if note:
        draw_text(console, note, f"{lead}> ", style, f"{lead}> ")


def _folded(text: str, width: int) -> list[str]:
    """Return a text, wrapped to the width of a column."""
    lead = text[: len(text) - len(text.lstrip(" "))]
    return wrapped(text.strip(" "), max(width, 8), lead, f"{lead}> ")


def _draw_tree(console: Console, facts: list[Fact]) -> None:
    """Draw facts as a tree like tree(1), in ASCII if the locale has no box characters."""
    if shows_unicode():
        bar, tee, corner = ("│   ", "├── ", "└── ")
    else:
        bar, tee, corner = ("|   ", "|-- ", "`-- ")
    depths = _depths(facts)
    for at, (fact, depth) in enumerate(zip(facts, depths, strict=True)):
        label = f"{fact.name}  {fact.value}  {fact.note}".rstrip()
        lasts = [_is_last(depths[at + 1 :], level) for level in range(1, depth + 1)]
        pieces = ["    " if last else bar for last in lasts]
        own = [corner if last else tee for last in lasts[-1:]]
        style = ""
        if fact.bad:
            style = COLOURS["broken"]
        head, further = "".join([*pieces[:-1], *own]), "".join(pieces)
        draw_text(console, label, head, style, f"{further}> ")


def _depths(facts: list[Fact]) -> list[int]:
    """Return the depths of facts, each at most one more than that of its parent."""
    above: list[int] = []
    found = []
    for fact in facts:
        del above[fact.depth :]
        found.append(len(above))
        above.append(fact.depth)
    return found


def _is_last(later: list[int], depth: int) -> bool:
    """Return whether no further fact of this depth follows below the same parent."""
    return next((one for one in later if one <= depth), -1) != depth

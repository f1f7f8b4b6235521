"""The bar: on a terminal, after a second, and gone at the end."""

from __future__ import annotations

import contextlib
import io
from types import SimpleNamespace
from typing import Any

import pytest

from sftpjail.cli import progress


class Terminal(io.StringIO):
    """A standard stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    return made


def drawn(terminal: Terminal, json: bool = False, out: io.StringIO | None = None) -> None:
    """Draw a bar; the streams are set here, for pytest sets its own before each test."""
    context: Any = SimpleNamespace(json=json)
    streams = contextlib.redirect_stdout(out or Terminal()), contextlib.redirect_stderr(terminal)
    with streams[0], streams[1], progress.progress_bar(context) as tell:
        tell("planning", 0, 0)
        tell("files", 3, 40)


def test_a_bar_says_how_far_it_is_and_goes(terminal: Terminal) -> None:
    drawn(terminal)
    said = terminal.getvalue()
    assert "planning" in said and "files" in said and "3/40" in said
    assert said.endswith("\x1b[2K"), "the last line is cleared"
    assert "\x1b[?25l" not in said, "a program that is killed leaves the cursor"


def test_no_bar_within_a_second(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 1e9)
    drawn(terminal)
    assert terminal.getvalue() == ""


def test_no_bar_in_a_pipe_and_in_json(terminal: Terminal) -> None:
    drawn(terminal, json=True)
    drawn(terminal, out=io.StringIO())
    assert terminal.getvalue() == ""


def test_nobody_reads_the_bar(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(text: str) -> int:
        raise OSError("gone")

    monkeypatch.setattr(terminal, "write", fails)
    drawn(terminal)

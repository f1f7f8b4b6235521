"""The form of problems in the source: what is offered as a fix is a command, complete as it stands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sftpjail"
ERRORS = ("SftpJailError", "UsageError", "Unsafe", "ProblemsFound", "RollbackIncomplete")
# Programs that fixes begin with; add one here when a fix needs it.
PROGRAM = re.compile(
    r"(apt|cat|chage|chattr|chmod|chown|cp|df|echo|findmnt|fuser|getent|gpasswd|grep|groupadd"
    r"|install|ls|lsattr|make|mkdir|mount|mv|namei|ps|rm|sed|sensible-editor|sftpjail|ssh-keygen"
    r"|sshd|sudo|syslog-ng-ctl|systemctl|umount|userdel|usermod|§.*) "
)
PLACEHOLDER = re.compile(r"\b(USER|FILE|GROUP|NAME|PROFILE|DIRECTORY|PATH|KEY)\b")


def words_of(node: ast.expr) -> str:
    """The text of a literal; § stands for each value that is put into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(words_of(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "§"
    return ""


def literal_fixes() -> Iterator[tuple[str, str]]:
    """Every literal that is handed to an error or a problem as its fix, or is a choice's command."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            called = ast.unparse(call.func)
            at = 2 if called == "Problem" else 1 if called in ERRORS else 99
            given = [keyword.value for keyword in call.keywords if keyword.arg == "fix"]
            for node in (*call.args[at : at + 1], *given):
                if text := words_of(node):
                    yield f"{path.name}:{node.lineno}", text


FIXES = dict(literal_fixes())


def test_there_are_fixes_to_look_at() -> None:
    assert len(FIXES) > 60


@pytest.mark.parametrize("place", FIXES)
def test_a_fix_is_a_command_and_has_no_placeholder(place: str) -> None:
    text = FIXES[place]
    assert PROGRAM.match(f"{text} "), f"{text!r} is no command: give it as advice"
    assert not PLACEHOLDER.search(text), f"{text!r} has a placeholder: give it as advice"

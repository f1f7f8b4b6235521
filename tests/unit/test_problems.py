"""The form of problems in the source: what is offered as a fix is a command, complete as it stands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lawful import wrongs

pytestmark = pytest.mark.real_program  # sh -n
PACKAGE = Path(__file__).parents[2] / "sftpjail"
ERRORS = ("SftpJailError", "UsageError", "Unsafe", "ProblemsFound", "RollbackIncomplete")
# Programs that fixes begin with; add one here when a fix needs it.
PROGRAM = re.compile(
    r"(apt|chage|chattr|chmod|chown|cp|gpasswd|groupadd|install|loginctl|make|mkdir|mount|mv|rm|sed"
    r"|setfacl|sftpjail|sudo|syslog-ng-ctl|systemctl|umount|userdel|usermod|§.*) "
)


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
    assert len(FIXES) > 40


@pytest.mark.parametrize("place", FIXES)
def test_a_fix_is_a_command_and_has_no_placeholder(place: str) -> None:
    text = FIXES[place]
    assert PROGRAM.match(f"{text} "), f"{text!r} is no command: give it as advice"
    assert wrongs(text) == [], f"{text!r}: give it as advice"


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("sftpjail setup && sftpjail apply", ""),
        ("chown 1001:1001 /home/ann && chmod u+wx /home/ann", ""),
        ("setfacl -m u:1000:rwx /srv/web", ""),
        ("sed -i '3s/^/#/' '/etc/ssh/a b.conf' && kill -HUP 7", ""),
        ("if [ -x /bin/true ; then", "no command"),
        ("look at the log (it says why)", "no command"),
        ("sftpjail key add ann FILE", "placeholder"),
        ("findmnt /srv", "only shows"),
        ("umount /srv/x && ls -l /srv", "only shows"),
        ("sshd -t", "only shows"),
        ("systemctl status ssh", "only shows"),
        ("postconf -e 'allow_mail_to_commands = alias'", "whole host"),
        ("echo /usr/sbin/nologin >>/etc/shells", "whole host"),
        ("chown ann: /home/ann", "a name where"),
        ("setfacl -m u:1000x:rwx /srv/web", "a name where"),
        ("loginctl disable-linger 1000", ""),
        ("rm -rI /srv/sftp/ann", "deletes a tree"),
        ("sftpjail remove ann", "it is a choice"),
        ("sftpjail key remove ann SHA256:abc", "it is a choice"),
        ("sftpjail setup --yes", "it is a choice"),
        ("sftpjail key add ann /root/a.pub", ""),
        ("rm /run/nologin", ""),
    ],
)
def test_what_is_forbidden_in_a_command_is_seen(command: str, wrong: str) -> None:
    found = wrongs(command)
    assert bool(found) == bool(wrong) and all(wrong in one for one in found), found

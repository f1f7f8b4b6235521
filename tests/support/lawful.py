"""What is forbidden in a command that we print: see section 13 of the design, and formats/fixes.py.

Used on each literal in the source, and on each command that a broken host of the gallery prints.
"""

from __future__ import annotations

import re
import shlex
import subprocess

PLACEHOLDER = re.compile(r"\b(USER|FILE|GROUP|NAME|PROFILE|DIRECTORY|PATH|KEY)\b|<[a-z]+>|\.\.\.")
# They only show something, so that nothing is fixed by them; "sshd -t" too.
SHOWS = [
    "cat",
    "df",
    "findmnt",
    "fuser",
    "getent",
    "grep",
    "id",
    "less",
    "ls",
    "lsattr",
    "lsof",
    "man",
    "namei",
    "ps",
    "sshd",
    "stat",
    "vi",
]
SHOWS += ["sensible-editor"]
SUBCOMMANDS = {
    "sftpjail": ("check", "explain", "history", "list", "log", "show", "test"),
    "systemctl": ("status", "show", "cat"),
}
# They take away a jail, an account, or what lies in it.
TAKES = {"sftpjail": ("remove", "teardown", "undo", "disable", "umount")}
# Of services that are the whole host's, whatever becomes of a jail.
SERVICES = re.compile(
    r"/etc/(postfix|exim4|apache2|pam\.d|security|shells|login\.defs|nsswitch\.conf|sudoers)\b|postconf"
)


def wrongs(command: str) -> list[str]:
    """What is forbidden in a command, in words."""
    found = []
    parsed = subprocess.run(
        ["sh", "-n", "-c", command], capture_output=True, text=True, check=False
    )
    if parsed.returncode:
        return [f"no command: {parsed.stderr.strip()}"]
    if PLACEHOLDER.search(command):
        found.append("has a placeholder")
    if SERVICES.search(command):
        found.append("changes a service of the whole host")
    for words in _simple(command):
        name, first = words[0], words[1] if len(words) > 1 else ""
        if name in SHOWS or first in SUBCOMMANDS.get(name, ()):
            found.append(f"{name} {first} only shows something")
        found += _names(words)
        if name == "rm" and first.startswith("-") and "r" in first.lower():
            found.append("deletes a tree")
        if first in TAKES.get(name, ()) or "--yes" in words or words[1:3] == ["key", "remove"]:
            found.append(f"{name} {first} takes something away, or wants a yes: it is a choice")
    return found


def _names(words: list[str]) -> list[str]:
    """The names of accounts where a number is meant."""
    name, *rest = words
    if name == "chown":
        whose = re.fullmatch(r"(root|§|[0-9]+)?(:(root|§|[0-9]+)?)?", rest[0])
        return [] if whose else [f"chown {rest[0]}: a name where a number is meant"]
    pattern = {"setfacl": r"[ug]:(?![0-9§])", "loginctl": r"(?![a-z-]+-linger$|[0-9§])"}.get(name)
    bad = [word for word in rest if pattern and re.match(pattern, word)]
    if name == "setfacl":
        bad += [word for word in rest if re.match(r"[ug]:[0-9]+[^0-9:]", word)]
    return [f"{name} {word}: a name where a number is meant" for word in bad]


def _simple(command: str) -> list[list[str]]:
    """The simple commands of a list, each as words."""
    parts: list[list[str]] = [[]]
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    for word in lexer:
        if set(word) <= set("&|;(){}"):
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]

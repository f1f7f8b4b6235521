"""All lines of one account in the files of shadow, put back exactly as they were.

Whatever useradd(8) or userdel(8) had done when it failed or was killed: neither of the two could
undo the half of the other, nor give back dates, hash and order.
"""

from __future__ import annotations

import os
from typing import Any

from ..errors import SftpJailError
from . import files
from .locks import accounts_still

ETC = "/etc"
# passwd(5) comes last when an account comes back, and first when it goes.
_FILES = ("subuid", "subgid", "gshadow", "group", "shadow", "passwd")
# The fields that list members: of group(5), and administrators too of gshadow(5).
_LISTS = {"group": (3,), "gshadow": (2, 3)}

Lines = dict[str, dict[str, Any]]


def read_lines(name: str) -> Lines:
    """Return the lines of an account and those that list it, by file; for `put_back`, and JSON."""
    there = [file for file in _FILES if os.path.exists(f"{ETC}/{file}")]
    return {file: _lines_of(name, file, _read(file)) for file in there}


def _lines_of(name: str, file: str, lines: list[str]) -> dict[str, Any]:
    own = [
        {"after": _first(lines[at - 1]) if at else "", "line": line}
        for at, line in enumerate(lines)
        if _first(line) == name
    ]
    return {
        "own": own,
        "listed": {_first(line): line for line in lines if _lists(line, name, file)},
    }


def is_another(name: str, before: Lines) -> bool:
    """Return whether an account stands there that is not the one from before, or a part of it."""
    now = read_lines(name)
    return any(
        own["line"] not in [old["line"] for old in before.get(file, {"own": []})["own"]]
        for file in ("passwd", "shadow")
        for own in now.get(file, {"own": []})["own"]
    )


def put_back(name: str, before: Lines) -> None:
    """Make the lines of an account, and its memberships, what they were; others' lines stay.

    Args:
        name: the account.
        before: from `read_lines`; without lines of its own, the account goes.

    Raises:
        SftpJailError: a file cannot be changed, or another program has it locked.
    """
    comes = bool(before.get("passwd", {}).get("own"))
    with accounts_still() as still:
        if not still:
            raise SftpJailError("another program has locked /etc/passwd", "fuser -v /etc/.pwd.lock")
        for file in _FILES if comes else reversed(_FILES):
            if file in before and os.path.exists(f"{ETC}/{file}"):
                _edit(file, name, before[file])
    files.sync_dirs({ETC})


def _edit(file: str, name: str, before: dict[str, Any]) -> None:
    old, path = _read(file), f"{ETC}/{file}"
    kept = [
        _listing(line, name, before["listed"].get(_first(line), ""), file)
        for line in old
        if _first(line) != name
    ]
    for own in before["own"]:
        kept.insert(_place(own["after"], kept), own["line"])
    if kept != old:
        content = "\n".join(kept).encode("utf-8", "surrogateescape")
        files.write_staged(path, content, like=True, mode=0, uid=0, gid=0)
        files.move(files.stage_name(path), path)


def _place(after: str, lines: list[str]) -> int:
    """Return where a line is put that stood below that of AFTER; the end if that is gone."""
    if not after:
        return 0
    places = (at + 1 for at, line in enumerate(lines) if _first(line) == after)
    return next(places, len(lines) - (lines[-1:] == [""]))


def _listing(line: str, name: str, before: str, file: str) -> str:
    """Return a line of a group, with the account in it where it was BEFORE."""
    if line == before or not (before or _lists(line, name, file)):
        return line
    if before and _without(line, name, file) == _without(before, name, file):
        return before  # in its old place among the members
    fields, was = _without(line, name, file).split(":"), before.split(":")
    for at in _LISTS[file]:
        if at < len(was) and name in was[at].split(","):
            fields[at] = f"{fields[at]},{name}".lstrip(",")
    return ":".join(fields)


def _without(line: str, name: str, file: str) -> str:
    fields = line.split(":")
    for at in _LISTS.get(file, ()):
        if at < len(fields):
            fields[at] = ",".join(member for member in fields[at].split(",") if member != name)
    return ":".join(fields)


def _lists(line: str, name: str, file: str) -> bool:
    return _first(line) != name and _without(line, name, file) != line


def _first(line: str) -> str:
    return line.partition(":")[0]


def _read(file: str) -> list[str]:
    """Return the lines of a file; the last one is empty where the file ends as it should."""
    return (files.read_file(f"{ETC}/{file}") or b"").decode("utf-8", "surrogateescape").split("\n")

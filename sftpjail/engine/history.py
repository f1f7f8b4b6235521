"""The history: one line for each finished transaction, each with the hash of the line before it.

A file for each month, in a directory that only root reads. A file's first line is its head: it has
the hash of the last line of the file before. So a line that was changed or removed is found, and
whole files may go from the front. The line of a transaction *is* its commit: it is on the disk
exactly when the change is in force, and the journal of a transaction that was interrupted is
judged by whether its line is here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from syslog import LOG_INFO
from typing import Any

from ..errors import SftpJailError
from ..model import Problem
from ..system import files
from ..system.syslog import tell

Entry = dict[str, Any]
FORMAT = 1
REWRITTEN = "somebody who was root has rewritten the history, or the disk has lost a part of it"
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Head:
    """Where the history ends: the newest line's file, transaction and hash; where that file ends.

    `torn` says that behind it lies a piece of a line, of a transaction that did not commit.
    """

    file: str = ""
    number: int = 0
    hash: str = ""
    end: int = 0
    token: str = ""
    torn: bool = False


class History:
    """The history in DIRECTORY.

    Args:
        directory: /var/lib/sftpjail/history, which need not exist.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """Return the names of the files, the oldest first."""
        try:
            found = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(self.directory, error) from error
        return sorted(name for name in found if re.fullmatch(r"[0-9]{4}-[0-9]{2}", name))

    # -- writing, by the journal alone, under the lock ---------------------------------------------

    def head(self) -> Head:
        """Return where the history ends; what that costs does not grow with it.

        Raises:
            SftpJailError: it cannot be read.
        """
        torn = False
        for name in reversed(self.names()):
            line, end, size = _last_line(self._path(name))
            entry = _parsed(line)
            if "format" in entry or not line:
                torn = True  # a file that was begun, and has no transaction yet
                continue
            # Somebody may have written there: `verify` finds it, and nothing stops for it.
            number = entry.get("id") or max((known["id"] for known in self.entries()), default=0)
            token = str(entry.get("token", ""))
            return Head(name, number, _hash(line), end, token, torn or end < size)
        return Head(torn=torn)

    def append(self, head: Head, entry: Entry, at: float) -> Head:
        """Put a transaction's line on the disk, which commits it.

        Args:
            head: from `head`.
            entry: what the line says beside its id, token and the hash before it.
            at: when, in seconds.

        Raises:
            SftpJailError: it cannot be written; the caller withdraws what came of it.
        """
        # A clock that was set back begins no file before the last one.
        name = max(time.strftime("%Y-%m", time.gmtime(at)), head.file)
        before, text = head.hash, ""
        if name != head.file:
            if not os.path.isdir(self.directory):
                files.make_dir(self.directory, 0o700, 0, 0)
                files.sync_dirs({os.path.dirname(self.directory)})
            text = _line({"format": FORMAT, "after": head.file, "previous": head.hash})
            before = _hash(text.rstrip("\n").encode())
        line = _line(entry | {"previous": before})
        files.append(self._path(name), text + line)
        written = line.rstrip("\n").encode()
        return replace(head, file=name, number=entry["id"], hash=_hash(written))

    def mend(self) -> None:
        """Cut off what a transaction that did not commit has left of its line."""
        head = self.head()
        if head.torn:
            self._cut(head)

    def withdraw(self, head: Head) -> None:
        """Take back a line that was to be the one after HEAD; it may be there, or a piece of it.

        Raises:
            SftpJailError: it cannot be taken back, and counts.
        """
        self._cut(head)

    def _cut(self, head: Head) -> None:
        for name in reversed(self.names()):
            path = self._path(name)
            if name == head.file:
                if os.path.getsize(path) > head.end:
                    files.cut(path, head.end)
                return
            files.unlink(path)
            files.sync_dirs({self.directory})

    def forget_before(self, months: int) -> None:
        """Remove whole files until only the newest MONTHS are left; 0 keeps all."""
        for name in self.names()[:-months] if months else ():
            with contextlib.suppress(SftpJailError, OSError):
                files.unlink(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    # -- reading -----------------------------------------------------------------------------------

    def entries(self) -> Iterator[Entry]:
        """Yield the transactions, the oldest first. A line that is none is left to `verify`.

        Each has all that the history says of one, empty where this one's line says nothing.
        """
        for name in self.names():
            for line in self._lines(name):
                entry = _parsed(line)
                if "id" in entry and _is_transaction(entry):
                    yield _NOTHING | entry

    def _lines(self, name: str) -> Iterator[bytes]:
        try:
            with open(self._path(name), "rb") as handle:
                for line in handle:
                    if line.endswith(b"\n"):
                        yield line[:-1]
        except OSError as error:
            raise _unreadable(self._path(name), error) from error

    def verify(self, wanted: str = "") -> tuple[str, list[Problem]]:
        """Return the hash of the newest line, and what does not fit together.

        Args:
            wanted: a head that was noted before; the line that it is the hash of must be there.
        """
        problems: list[Problem] = []
        before, file, number, found = "", "", 0, False
        for place, name in enumerate(self.names()):
            for count, line in enumerate(self._lines(name), 1):
                entry = _parsed(line)
                where = f"{self._path(name)}, line {count}"
                # The first file's head is the anchor: what it follows has been removed as a whole.
                if (place or count > 1) and entry.get("previous") != before:
                    after = entry.get("after", file)
                    problems.append(_broken(where, number, self._path(after), after != file))
                before, number = _hash(line), entry.get("id", number)
                found = found or before == wanted
            file = name
        if wanted and not found:
            problems.append(
                Problem(
                    f"no line of the history has the hash {wanted}",
                    f"the lines after some point are missing, or {REWRITTEN}",
                )
            )
        return before, problems


def undone_by(entries: Sequence[Entry]) -> dict[int, int]:
    """Return which transactions are undone, and by which; an undone undo does not count."""
    found: dict[int, int] = {}
    for entry in reversed(entries):
        if entry["id"] not in found and "reverts" in entry:
            found[entry["reverts"]] = entry["id"]
    return found


def _broken(where: str, number: int, missing: str, is_missing: bool) -> Problem:
    """Return that a line does not follow the one before it."""
    if is_missing:
        return Problem(f"{missing} is missing, which {where} follows", REWRITTEN)
    after = f"transaction {number}" if number else "the beginning"
    return Problem(
        f"{where} does not follow the line before it: what stands at or after {after} was changed"
        " or removed",
        REWRITTEN,
    )


def _unreadable(path: str, error: OSError) -> SftpJailError:
    return SftpJailError(f"cannot read {path}: {error.strerror}", advice="run sftpjail as root")


def _line(entry: Entry) -> str:
    return json.dumps(entry) + "\n"


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _parsed(line: bytes) -> Entry:
    """Return a line; one that is none of ours is empty."""
    with contextlib.suppress(ValueError, RecursionError):
        entry = json.loads(line)
        if isinstance(entry, dict) and _fits(entry.get("id", 0), _NUMBER):
            return entry
    return {}


# What an entry says where it says nothing.
_NOTHING: Entry = {"time": 0, "who": {"uid": None, "name": "", "how": "command"}, "command": ""}
_NOTHING |= {name: [] for name in ("users", "what", "actions", "undo", "left")}
# The parts of an entry: a type, a range, alternatives, [what all items of a list are], or the
# parts of a dict, which may have more.
_NUMBER = range(1 << 40)
_SHAPE = {
    "id": _NUMBER,
    "time": _NUMBER,
    "who": {"uid": (_NUMBER, type(None)), "name": str, "how": str},
    "command": str,
    "users": [str],
    "what": [{"account": str, "what": str}],
    "actions": [{"account": str, "action": str, "about": [str]}],
    "undo": [{"event": str}],
    "left": [{"host": bool}],
}
_UID = range(-1, 1 << 40)  # -1: of an account that is gone
_KEY = {"account": str, "uid": _UID, "key": str}
_BIND = {"source": str, "target": str, "read_only": bool, "role": str, "options": [str]}
_BIND |= {"kept": str}
_JAIL = {"account": str, "uid": _UID, "profile": str, "deleted": bool, "member": bool}
_JAIL |= {"keyfile": str, "renamed": [str], "forced": bool, "kept": [str], "binds": [_BIND]}
_IMPORTED = {"path": str, "before": (str, type(None)), "profiles": [str], "members": [[str]]}
_IMPORTED |= {"blocks": [[(str, [str])]]}
_DELETED = {"account": str, "lines": dict, "owners": dict}


def _is_transaction(entry: Entry) -> bool:
    """Return whether what a line says of a transaction is of the kind that we write there."""
    return (
        all(_fits(entry[name], shape) for name, shape in _SHAPE.items() if name in entry)
        and _fits(entry.get("reverts", 0), _NUMBER)
        and all(map(_is_kept, entry.get("undo", [])))
    )


def _is_kept(undo: Entry) -> bool:
    """Return whether an undo can use what a transaction keeps for it."""
    if not _fits(undo, {"account": str}) and "account" in undo:
        return False
    sizes = (("members", 2), ("blocks", 3))
    for part, size in sizes:
        if part in undo and any(len(one) != size for one in undo[part] if isinstance(one, list)):
            return False
    for part, whole in (("member", _JAIL), ("lines", _DELETED), ("members", _IMPORTED)):
        if part in undo and not _fits(undo, whole):
            return False
    if "bind" in undo:
        shape = {"account": str, "uid": _UID, "bind": _BIND}
        return _fits(undo, shape) and undo["bind"].keys() == _BIND.keys()
    return "key" not in undo or _fits(undo, _KEY)


def _fits(found: object, shape: Any) -> bool:
    """Return whether FOUND has a shape; see `_SHAPE`."""
    if isinstance(shape, dict):
        return isinstance(found, dict) and all(_fits(found.get(n), s) for n, s in shape.items())
    if isinstance(shape, list):
        return isinstance(found, list) and all(_fits(item, shape[0]) for item in found)
    if isinstance(shape, tuple):
        return any(_fits(found, one) for one in shape)
    if isinstance(shape, range):
        return type(found) is int and found in shape
    return isinstance(found, shape)


def _last_line(path: str) -> tuple[bytes, int, int]:
    """Return a file's last whole line, where it ends, and the file's size."""
    try:
        with open(path, "rb") as handle:
            size = begin = handle.seek(0, os.SEEK_END)
            data = b""
            while begin and data.count(b"\n") < 2:
                step = min(begin, max(_BLOCK, len(data)))
                begin -= step
                handle.seek(begin)
                data = handle.read(step) + data
    except OSError as error:
        raise _unreadable(path, error) from error
    end = data.rfind(b"\n")
    if end < 0:
        return b"", 0, size
    return data[data.rfind(b"\n", 0, end) + 1 : end], begin + end + 1, size


def announce(head: Head | None) -> None:
    """Tell syslog where the history ends, against whoever cuts it off later; it may fail."""
    if head is not None:
        words = f"transaction {head.number} is done; the history's head is {head.hash}"
        fields = {"SFTPJAIL_ID": str(head.number), "SFTPJAIL_HEAD": head.hash}
        tell(LOG_INFO, words, fields)

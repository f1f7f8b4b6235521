"""The history: one line for each finished transaction, each with the hash of the line before it.

There is one file for each month, in a directory that only root can read. The first line of a file
is its head, with the hash of the last line of the previous file. So a changed or removed line is
detected, and the oldest files may be removed as a whole.

The line of a transaction *is* its commit: it is on the disk exactly if the change is in force. An
interrupted transaction is committed if its line is here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from syslog import LOG_INFO
from typing import Any

from ..errors import SftpJailError
from ..formats.digest import sha256
from ..model import Problem, frozen
from ..system import files
from ..system.syslog import tell
from .packed import pieces

Entry = dict[str, Any]
FORMAT = 1
REWRITTEN = "somebody has rewritten the history as root, or the disk has lost a part of it"
_BLOCK = 1 << 16
# How the line of a transaction begins. The one of ten thousand accounts has megabytes, which take
# twenty times as much when they are parsed, and each command asks for the last line.
_BEGIN = re.compile(rb'{"id": ([1-9][0-9]{0,11}), "token": "([0-9a-f]{16})", "time": ')


@frozen
class Head:
    """The end of the history: file, transaction and hash of the newest line, and where it ends.

    `torn` means that a partial line follows, from a transaction that did not commit.
    """

    file: str = ""
    number: int = 0
    hash: str = ""
    end: int = 0
    token: str = ""
    torn: bool = False


class History:
    """The history in a directory.

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

    # -- writing: only the journal, with the lock held ---------------------------------------------

    def head(self) -> Head:
        """Return the end of the history. The cost does not grow with its length.

        Raises:
            SftpJailError: it cannot be read.
        """
        torn = False
        for name in reversed(self.names()):
            line, end, size = _last_line(self._path(name))
            known = _BEGIN.match(line)
            entry = {}
            if not known:
                entry = _parsed(line)
            if "format" in entry or not line:
                torn = True  # a new file that has no transaction yet
                continue
            if known:
                number, token = int(known[1]), known[2].decode()
            else:
                # If somebody has changed the line, `verify` reports it; no reason to fail.
                number = entry.get("id") or max((one["id"] for one in self.entries()), default=0)
                token = str(entry.get("token", ""))
            return Head(name, number, _hash(line), end, token, torn or end < size)
        return Head(torn=torn)

    def append(self, head: Head, entry: Entry, at: float) -> Head:
        """Write a transaction's line to the disk, which commits it.

        Args:
            head: from `head`.
            entry: the content of the line, without the hash of the previous line.
            at: the time in seconds.

        Raises:
            SftpJailError: it cannot be written. The caller must call `withdraw`.
        """
        # If the clock was set back, do not begin a file older than the last one.
        name = max(time.strftime("%Y-%m", time.gmtime(at)), head.file)
        before, text = head.hash, ""
        if name != head.file:
            if not os.path.isdir(self.directory):
                files.make_dir(self.directory, 0o700, 0, 0)
                files.sync_dirs({os.path.dirname(self.directory)})
            text = _line({"format": FORMAT, "after": head.file, "previous": head.hash})
            before = _hash(text.rstrip("\n").encode())
        digest = sha256()

        def parts() -> Iterator[str]:
            yield text
            for piece in pieces(entry | {"previous": before}):
                digest.update(piece.encode())
                yield piece
            yield "\n"

        files.append(self._path(name), parts())
        return replace(head, file=name, number=entry["id"], hash=digest.hexdigest())

    def cut_partial(self) -> None:
        """Cut off the partial line of a transaction that did not commit."""
        head = self.head()
        if head.torn:
            self._cut(head)

    def withdraw(self, head: Head) -> None:
        """Remove the line after HEAD, or a part of it, if there is one.

        Raises:
            SftpJailError: it cannot be removed, and still counts.
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
        """Remove all files except the newest MONTHS; 0 keeps all."""
        for name in self.names()[:-months] if months else ():
            with contextlib.suppress(SftpJailError, OSError):
                files.unlink(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    # -- reading -----------------------------------------------------------------------------------

    def entries(self) -> Iterator[Entry]:
        """Yield the transactions, the oldest first. Invalid lines are left to `verify`.

        Each has all fields; those that are not in its line are empty.
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
        """Return the hash of the newest line, and the problems found in the chain of hashes.

        Args:
            wanted: a hash that was noted earlier. A line with this hash must exist.
        """
        problems: list[Problem] = []
        before, file, number, found = "", "", 0, False
        for place, name in enumerate(self.names()):
            for count, line in enumerate(self._lines(name), 1):
                entry = _parsed(line)
                where = f"{self._path(name)}, line {count}"
                # The first file's head follows nothing: the files before it were removed.
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
    """Return the undone transactions and the transaction that undid each, ignoring undone undos."""
    found: dict[int, int] = {}
    for entry in reversed(entries):
        if entry["id"] not in found and "reverts" in entry:
            found[entry["reverts"]] = entry["id"]
    return found


def _broken(where: str, number: int, missing: str, is_missing: bool) -> Problem:
    """Return the problem that a line does not follow the one before it."""
    if is_missing:
        return Problem(f"{missing} is missing, which {where} follows", REWRITTEN)
    after = "the beginning"
    if number:
        after = f"transaction {number}"
    return Problem(
        f"{where} does not follow the line before it: something at or after {after} was changed"
        " or removed",
        REWRITTEN,
    )


def _unreadable(path: str, error: OSError) -> SftpJailError:
    return SftpJailError(f"cannot read {path}: {error.strerror}", advice="run sftpjail as root")


def _line(entry: Entry) -> str:
    return json.dumps(entry) + "\n"


def _hash(line: bytes) -> str:
    return sha256(line).hexdigest()


def _parsed(line: bytes) -> Entry:
    """Return a parsed line, or an empty entry if it is not one of ours."""
    with contextlib.suppress(ValueError, RecursionError):
        entry = json.loads(line)
        if isinstance(entry, dict) and _fits(entry.get("id", 0), _NUMBER):
            return entry
    return {}


# The default values of an entry.
_NOTHING: Entry = {"time": 0, "who": {"uid": None, "name": "", "how": "command"}, "command": ""}
_NOTHING |= {name: [] for name in ("users", "what", "actions", "undo", "left")}
# The shapes of the fields of an entry: a type, a range, a tuple of alternatives, [the shape of all
# items of a list], or the shapes of a dict's values. A dict may have more keys.
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
_UID = range(-1, 1 << 40)  # -1: an account that no longer exists
_KEY = {"account": str, "uid": _UID, "key": str}
_BIND = {"source": str, "target": str, "read_only": bool, "role": str, "options": [str]}
_BIND |= {"kept": str}
_JAIL = {"account": str, "uid": _UID, "profile": str, "deleted": bool, "member": bool}
_JAIL |= {"keyfile": str, "renamed": [str], "forced": bool, "kept": [str], "binds": [_BIND]}
_IMPORTED = {"path": str, "before": (str, type(None)), "profiles": [str], "members": [[str]]}
_IMPORTED |= {"blocks": [[(str, [str])]]}
_DELETED = {"account": str, "lines": dict, "owners": dict}
_COMMENT = {"account": str, "before": str, "after": str}


def _is_transaction(entry: Entry) -> bool:
    """Return whether the fields of a line have the shapes that we write."""
    return (
        all(_fits(entry[name], shape) for name, shape in _SHAPE.items() if name in entry)
        and _fits(entry.get("reverts", 0), _NUMBER)
        and all(map(_is_kept, entry.get("undo", [])))
    )


def _is_kept(undo: Entry) -> bool:
    """Return whether `sftpjail undo` can use the data that a transaction keeps for it."""
    if not _fits(undo, {"account": str}) and "account" in undo:
        return False
    sizes = (("members", 2), ("blocks", 3))
    for part, size in sizes:
        if part in undo and any(len(one) != size for one in undo[part] if isinstance(one, list)):
            return False
    for part, whole in (
        *(("member", _JAIL), ("lines", _DELETED)),
        *(("members", _IMPORTED), ("after", _COMMENT)),
    ):
        if part in undo and not _fits(undo, whole):
            return False
    if "bind" in undo:
        shape = {"account": str, "uid": _UID, "bind": _BIND}
        return _fits(undo, shape) and undo["bind"].keys() == _BIND.keys()
    return "key" not in undo or _fits(undo, _KEY)


def _fits(found: object, shape: Any) -> bool:
    """Return whether a value has a shape; see `_SHAPE`."""
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
    """Return a file's last complete line, the offset of its end, and the file's size."""
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
    """Log the end of the history to syslog, so that a later truncation is noticed. May fail."""
    if head is not None:
        words = f"transaction {head.number} is done; the history's head is {head.hash}"
        fields = {"SFTPJAIL_ID": str(head.number), "SFTPJAIL_HEAD": head.hash}
        tell(LOG_INFO, words, fields)

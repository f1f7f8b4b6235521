"""The output of `log`: select records, and format them for programs and people."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors.escapes import counted
from ..transferlog.parser import Reader
from ..transferlog.records import Login, Operation, Record, Session, Transfer, Unknown
from .context import Context, printable
from .terminal import cell_len, cut, fill, shows_unicode

# Operations that neither change nor fetch anything. They are not shown to people.
QUESTIONS = {
    "stat",
    "lstat",
    "realpath",
    "readlink",
    "statvfs",
    "expand",
    "home-directory",
    "status",
}
SUMMARY = ("DAY", "USER", "SESSIONS", "DOWN", "UP", "BYTES DOWN", "BYTES UP", "FAILED")
BAR = 16  # characters
_encode = json.JSONEncoder().encode
_PLAIN = re.compile(r"[^\s\"'\\]+").fullmatch


@dataclass
class Sums:
    """The totals of a user and day: sessions, files fetched and stored, bytes and failures."""

    sessions: int = 0
    down: int = 0
    up: int = 0
    read: int = 0
    written: int = 0
    failed: int = 0


@dataclass
class View:
    """A selection of the log, and its totals, also by day for --summary.

    Args:
        user: the user, or "" for all.
        since: in epoch seconds, or None.
        until: in epoch seconds, inclusive, or None.
    """

    user: str = ""
    since: int | None = None
    until: int | None = None
    sessions: int = 0
    transfers: int = 0
    operations: int = 0
    read: int = 0
    written: int = 0
    unverified: int = 0
    failed_logins: int = 0
    days: dict[tuple[str, str, bool], Sums] = field(default_factory=dict)

    def choose(self, records: Iterable[Record]) -> list[Record]:
        """Return the selected records, and count them."""
        chosen = [record for record in records if self._wanted(record)]
        for record in chosen:
            self._count(record)
        return chosen

    def _wanted(self, record: Record) -> bool:
        if isinstance(record, Session):
            first = record.began
        else:
            first = record.at
        if (self.until is not None and first > self.until) or (
            self.since is not None and record.at < self.since
        ):
            return False
        if not self.user or record.user == self.user:
            return True
        return isinstance(record, Unknown) and record.user is None  # it could be anybody's

    def _count(self, record: Record) -> None:
        if isinstance(record, Login):
            self.failed_logins += 1
            return
        self.unverified += not record.verified
        if isinstance(record, Transfer):
            self.transfers += 1
            self.read += record.read
            self.written += record.written
            day = self._day(record, record.time)
            if record.failed:
                day.failed += 1
            else:
                day.down += record.read > 0 or not record.up
                day.up += record.up
            day.read += record.read
            day.written += record.written
        elif isinstance(record, Session) and record.how != "test":
            self.sessions += 1
            self._day(record, record.opened or record.closed or "").sessions += 1
        elif isinstance(record, Operation):
            self.operations += 1

    def _day(self, record: Session | Transfer, moment: str) -> Sums:
        return self.days.setdefault((moment[:10], record.user or "", record.verified), Sums())


# -- for programs ----------------------------------------------------------------------------------


_INNER = ("at", "began", "up")  # what the fields of a record have for us alone
_KEYS = {
    kind: ("kind", *(name.replace("address", "from") for name in kind._fields))
    for kind in (Session, Transfer, Operation, Login, Unknown)
}


def as_json(record: Record) -> str:
    """Return a record as a line of JSON."""
    kind = type(record)
    values: dict[str, object] = dict(
        zip(_KEYS[kind], (kind.__name__.lower(), *record), strict=True)
    )
    for name in _INNER:
        values.pop(name, None)
    if isinstance(record, Session):
        values["bytes"] = record.read + record.written
    return _encode(values)


# -- for people ------------------------------------------------------------------------------------


def _name(text: str) -> str:
    """Return a name, quoted unless it is plain, so that it cannot look like another text."""
    if text.isprintable() and _PLAIN(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    return f'"{printable(escaped)}"'


class Cells(NamedTuple):
    """A record formatted for people. The name is quoted if necessary; the remark is our text."""

    moment: str
    user: str
    address: str
    what: str
    size: str
    name: str
    remark: str = ""


def _cells(record: Record, size: Callable[[int], str]) -> Cells | None:
    """Return a record formatted for people, or None if it is not shown to them."""
    cells = _told(record, size)
    if cells is None or record.verified:
        return cells
    return cells._replace(remark=f"{cells.remark} (unverified)".lstrip())


def _told(record: Record, size: Callable[[int], str]) -> Cells | None:
    """Return the same without the mark of unverified records."""
    if isinstance(record, Unknown):
        why = printable(record.why).replace("\t", "\\t")
        user, name = _name(record.user or "-"), _name(record.line)
        return Cells(record.time or "-", user, "-", "?", "-", name, f"({why})")
    who = _name(record.user or "-"), _name(record.address or "-")
    if isinstance(record, Transfer):
        what = "get"
        if record.up:
            what = "put"
        if record.read and record.written:
            what = "get+put"
        remark = ""
        if record.forced:
            remark = "(session ended before it was closed)"
        if record.failed and not record.forced:
            words = printable(record.failed).replace("\t", "\\t")
            remark = f"failed: {words}"
        number = size(record.read + record.written)
        return Cells(record.time, *who, what, number, _name(record.path), remark)
    if isinstance(record, Session):
        moment = record.closed or record.opened or "-"
        remark = f"since {record.opened or '?'}: {record.how}{_by(record)}"
        return Cells(moment, *who, "session", size(record.read + record.written), "", remark)
    if isinstance(record, Login):
        words = printable(record.failed or "").replace("\t", "\\t")
        if not words:
            return None
        return Cells(record.time, *who, "login", "-", "", f"failed: {words}")
    return _operation(record, who)


def _by(session: Session) -> str:
    """Return a phrase with the key or method that opened a session, and the client's port."""
    words = [word for word in (session.key, session.key_name) if word] or [session.method or ""]
    by = ""
    if words[0]:
        by = f", by {printable(' '.join(words))}"
    return by.replace("\t", "\\t") + (f", port {session.port}" if session.port else "")


def _operation(record: Operation, who: tuple[str, str]) -> Cells | None:
    if record.operation in QUESTIONS or (record.operation == "open" and not record.failed):
        return None
    name = ""
    if record.path is not None:
        name = _name(record.path)
    remarks = []
    if record.to is not None and record.operation == "set":
        remarks.append(record.to)
    elif record.to is not None and record.operation != "open":
        name += f" -> {_name(record.to)}"
    if record.ambiguous:
        remarks.append("(where one name ends is not known)")
    if record.failed is not None:
        words = printable(record.failed).replace("\t", "\\t")
        remarks.append(f"failed: {words}")
    return Cells(record.time, *who, record.operation, "-", name, " ".join(remarks))


def as_fields(record: Record) -> str:
    """Return a record as tab-separated fields, or ""."""
    cells = _cells(record, str)
    if not cells:
        return ""
    return "\t".join((*cells[:5], f"{cells.name} {cells.remark}".strip()))


class Rows:
    """Format records as rows for a terminal, grouped by day.

    Rows are cut to its width. The output to a pipe and of --json has exact times and full names.

    Args:
        width: columns of the terminal.
    """

    _FIXED = (8, 10, 15, 8, 8)  # the columns before the name: time, user, from, what, bytes
    _LEAST = 12  # columns for a name, however long the remark is

    def __init__(self, width: int) -> None:
        self._room = max(width - sum(self._FIXED) - len(self._FIXED), 2 * self._LEAST)
        self._day = ""

    def row(self, record: Record) -> str:
        """Return the row of a record, or "". The first one of a day is preceded by a heading."""
        cells = _cells(record, _size)
        if not cells:
            return ""
        day, moment = cells.moment[:10], cells.moment[11:19] or "-"
        if isinstance(record, Session):
            cells = cells._replace(remark=_since(record, day))
        texts = (moment, cells.user, cells.address, cells.what)
        fixed = [fill(text, size) for text, size in zip(texts, self._FIXED, strict=False)]
        row = f"{' '.join(fixed)} {cells.size:>8} {self._rest(cells)}".rstrip()
        if day == self._day:
            return row
        heading = f"\n{day}\n" if self._day else f"{day}\n"
        self._day = day
        return heading + row

    def _rest(self, cells: Cells) -> str:
        """Return the name and the remark, cut to the room that is left, the name first."""
        if not cells.name or not cells.remark:
            return cut(cells.name or cells.remark, self._room)
        name = cut(cells.name, max(self._room - len(cells.remark) - 1, self._LEAST))
        return f"{name} {cut(cells.remark, self._room - cell_len(name) - 1)}"


def _since(session: Session, day: str) -> str:
    """Return when a session was opened, without the date if it is the same day."""
    opened = (session.opened or "?")[:19].replace("T", " ")
    return f"since {opened.removeprefix(day).lstrip()}: {session.how}"


def _size(number: int) -> str:
    """Return a number of bytes in at most eight characters."""
    value, units = float(number), iter(("kB", "MB", "GB", "TB", "PB", "EB"))
    unit = "B"
    while value >= 999.5:
        value, unit = value / 1000, next(units)
    if unit == "B" or value >= 99.95:
        return f"{value:.0f} {unit}"
    return f"{value:.1f} {unit}"


def show_days(context: Context, view: View) -> None:
    """Print the totals of each user and day, with a bar on a terminal."""
    days = sorted(view.days.items(), key=lambda item: item[0])
    if context.json:
        for (day, user, verified), sums in days:
            who = {"kind": "day", "day": day, "user": user or None}
            print(_encode(who | vars(sums) | {"verified": verified}))
        return
    drawn = sys.stdout.isatty()
    down_mark, up_mark = "▒█" if shows_unicode() else "-="
    size = _size if drawn else str
    mark = " (?)" if drawn else " (unverified)"  # a bar needs the room
    most = max((sums.read + sums.written for _, sums in days), default=0) or 1
    rows = []
    for (day, user, verified), sums in days:
        name = _name(user or "-") + ("" if verified else mark)
        counts = map(str, (sums.sessions, sums.down, sums.up))
        row = [day, name, *counts, size(sums.read), size(sums.written), str(sums.failed)]
        if drawn:
            down = round(BAR * sums.read / most)
            up = round(BAR * (sums.read + sums.written) / most) - down
            row.append(down_mark * down + up_mark * up)
        rows.append(row)
    bar = (f"{down_mark} DOWN {up_mark} UP",) if drawn else ()
    context.table((*SUMMARY, *bar), rows, yielding=(1,))


_LINES = ("lines", "understood", "other", "unknown")
_SEEN = ("sessions", "transfers", "operations", "read", "written", "unverified", "failed_logins")


def show_end(context: Context, view: View, reader: Reader, path: str) -> None:
    """Print the totals, and how many lines of the log at PATH were not understood."""
    if context.json:
        values: dict[str, object] = {"kind": "summary"}
        values |= {name: getattr(reader, name) for name in _LINES}
        values |= {name: getattr(view, name) for name in _SEEN}
        print(_encode(values))
    elif sys.stdout.isatty():
        told = (
            f"{counted(view.sessions, 'session')}, {counted(view.transfers, 'transfer')}: "
            f"{_size(view.read)} down, {_size(view.written)} up"
        )
        lines = counted(reader.unknown, "line")
        unknown = ""
        if reader.unknown:
            unknown = f"; {lines} of the log not understood"
        print(told + unknown)
    if view.unverified and not context.json:
        why = "the log does not say which user's process wrote them, or the account is gone"
        context.warn([f"{counted(view.unverified, 'unverified record')}: {why}"])
    if not reader.lines:
        context.warn(
            [f"the log is empty: nothing has been transferred yet, or {path} is not written"]
        )

"""What `log` shows: which records, and how they look to programs and to people."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable

from ..transferlog.parser import Reader
from ..transferlog.records import Operation, Record, Session, Transfer, Unknown
from .context import Context, counted, printable

# What a client asks without changing or fetching anything; people do not want to read it.
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
SUMMARY = ("DAY", "USER", "SESSIONS", "DOWN", "UP", "BYTES DOWN", "BYTES UP")
BAR = 16  # characters
_encode = json.JSONEncoder().encode
_PLAIN = re.compile(r"[^\s\"'\\]+").fullmatch


class View:
    """What of the log is wanted, and what of that was seen: sums, and days for --summary.

    Args:
        user: or "" for everybody.
        since: epoch seconds, or None.
        until: epoch seconds, or None; that second is in.
    """

    def __init__(self, user: str = "", since: int | None = None, until: int | None = None) -> None:
        self.user, self.since, self.until = user, since, until
        self.sessions = self.transfers = self.operations = self.read = self.written = 0
        self.unverified = 0
        self.days: dict[tuple[str, str, bool], list[int]] = {}

    def choose(self, records: Iterable[Record]) -> list[Record]:
        """Return the records that are wanted, and count them."""
        chosen = [record for record in records if self._wanted(record)]
        for record in chosen:
            self._count(record)
        return chosen

    def _wanted(self, record: Record) -> bool:
        first = record.began if isinstance(record, Session) else record.at
        if (self.until is not None and first > self.until) or (
            self.since is not None and record.at < self.since
        ):
            return False
        if not self.user or record.user == self.user:
            return True
        return isinstance(record, Unknown) and record.user is None  # it could be anybody's

    def _count(self, record: Record) -> None:
        self.unverified += not record.verified
        if isinstance(record, Transfer):
            self.transfers += 1
            self.read += record.read
            self.written += record.written
            day = self._day(record, record.time)
            day[1] += record.read > 0 or not record.up
            day[2] += record.up
            day[3] += record.read
            day[4] += record.written
        elif isinstance(record, Session):
            self.sessions += 1
            self._day(record, record.opened or record.closed or "")[0] += 1
        elif isinstance(record, Operation):
            self.operations += 1

    def _day(self, record: Session | Transfer, moment: str) -> list[int]:
        return self.days.setdefault(
            (moment[:10], record.user or "", record.verified), [0, 0, 0, 0, 0]
        )


# -- for programs ----------------------------------------------------------------------------------


def as_json(record: Record) -> str:
    """Return a record as a line of JSON.

    Put together by hand where there are many, which takes half the time.
    """
    if isinstance(record, Transfer):
        forced = _flag(record.forced)
        return (
            f'{{"kind": "transfer", {_whose(record)}, "path": {_string(record.path)}, '
            f'"read": {record.read}, "written": {record.written}, "forced": {forced}, '
            f'"verified": {_flag(record.verified)}}}'
        )
    if isinstance(record, Operation):
        to, failed = _string(record.to), _string(record.failed)
        return (
            f'{{"kind": "operation", {_whose(record)}, "operation": "{record.operation}", '
            f'"path": {_string(record.path)}, "to": {to}, "failed": {failed}, '
            f'"ambiguous": {_flag(record.ambiguous)}, "verified": {_flag(record.verified)}}}'
        )
    if isinstance(record, Unknown):
        values = {
            "kind": "unknown",
            "time": record.time,
            "user": record.user,
            "line": record.line,
            "why": record.why,
        }
        return json.dumps(values | {"verified": record.verified})
    times = {
        "opened": record.opened,
        "closed": record.closed,
        "how": record.how,
        "transfers": record.transfers,
    }
    sums = {"bytes": record.read + record.written, "read": record.read, "written": record.written}
    who = {"kind": "session", "user": record.user, "from": record.address, "pid": record.pid}
    return json.dumps(who | times | sums | {"verified": record.verified})


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _whose(record: Transfer | Operation) -> str:
    user, address = _string(record.user), _string(record.address)
    return f'"time": "{record.time}", "user": {user}, "from": {address}, "pid": {record.pid}'


def _string(text: str | None) -> str:
    return "null" if text is None else _encode(text)


# -- for people ------------------------------------------------------------------------------------


def _name(text: str) -> str:
    """Return a name so that no other text looks like it: quoted, unless it is plain."""
    if text.isprintable() and _PLAIN(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    return f'"{printable(escaped)}"'


def _cells(
    record: Record, size: Callable[[int], str]
) -> tuple[str, str, str, str, str, str] | None:
    """Return time, user, from, what, bytes and the rest of a record.

    None where people do not want it.
    """
    cells = _told(record, size)
    if cells is None or record.verified:
        return cells
    return *cells[:5], f"{cells[5]} (unverified)".lstrip()


def _told(record: Record, size: Callable[[int], str]) -> tuple[str, str, str, str, str, str] | None:
    """Return the same without the word that nobody knows who wrote it."""
    if isinstance(record, Unknown):
        why = printable(record.why).replace("\t", "\\t")
        return (
            record.time or "-",
            _name(record.user or "-"),
            "-",
            "?",
            "-",
            f"{_name(record.line)} ({why})",
        )
    who = _name(record.user or "-"), _name(record.address or "-")
    if isinstance(record, Transfer):
        what = "put" if record.up else "get"
        if record.read and record.written:
            what = "get+put"
        rest = _name(record.path) + (
            " (session ended before it was closed)" if record.forced else ""
        )
        return record.time, *who, what, size(record.read + record.written), rest
    if isinstance(record, Session):
        moment = record.closed or record.opened or "-"
        rest = f"since {record.opened or '?'}: {record.how}"
        return moment, *who, "session", size(record.read + record.written), rest
    if record.operation in QUESTIONS or (record.operation == "open" and not record.failed):
        return None
    rest = "" if record.path is None else _name(record.path)
    if record.to is not None and record.operation != "open":
        rest += f" {record.to}" if record.operation == "set" else f" -> {_name(record.to)}"
    if record.ambiguous:
        rest += " (where one name ends cannot be told)"
    if record.failed is not None:
        words = printable(record.failed).replace("\t", "\\t")
        rest = f"{rest} failed: {words}".lstrip()
    return record.time, *who, record.operation, "-", rest


def as_fields(record: Record) -> str:
    """Return a record as tab-separated fields, or ""."""
    cells = _cells(record, str)
    return "\t".join(cells) if cells else ""


def as_row(record: Record) -> str:
    """Return a record as a row for a terminal, or ""."""
    cells = _cells(record, _size)
    if not cells:
        return ""
    moment, user, address, what, size, rest = cells
    return (
        f"{moment[:19].replace('T', ' '):19} {user:10} {address:15} {what:8} {size:>8} {rest}"
    ).rstrip()


def _size(number: int) -> str:
    """Return a number of bytes in at most eight characters."""
    value, units = float(number), iter(("kB", "MB", "GB", "TB", "PB", "EB"))
    unit = "B"
    while value >= 999.5:
        value, unit = value / 1000, next(units)
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def show_days(context: Context, view: View) -> None:
    """Print the sums of each user and day; on a terminal with a bar."""
    days = sorted(view.days.items())
    if context.json:
        for (day, user, verified), (sessions, down, up, read, written) in days:
            values = {
                "kind": "day",
                "day": day,
                "user": user or None,
                "sessions": sessions,
                "down": down,
                "up": up,
            }
            print(json.dumps(values | {"read": read, "written": written, "verified": verified}))
        return
    drawn = sys.stdout.isatty()
    size = _size if drawn else str
    most = max((sums[3] + sums[4] for _, sums in days), default=0) or 1
    rows = []
    for (day, user, verified), (sessions, down, up, read, written) in days:
        mark = " (?)" if drawn else " (unverified)"  # a bar needs the room
        name = _name(user or "-") + ("" if verified else mark)
        row = [day, name, str(sessions), str(down), str(up), size(read), size(written)]
        if drawn:
            down_part = round(BAR * read / most)
            row.append("▒" * down_part + "█" * (round(BAR * (read + written) / most) - down_part))
        rows.append(row)
    context.table((*SUMMARY, "▒ DOWN █ UP") if drawn else SUMMARY, rows)


def show_end(context: Context, view: View, reader: Reader, path: str) -> None:
    """Print how much that was, and what of the log was not understood; PATH is the log's."""
    if context.json:
        counts = {
            name: getattr(reader, name) for name in ("lines", "understood", "other", "unknown")
        }
        names = ("sessions", "transfers", "operations", "read", "written", "unverified")
        print(
            json.dumps({"kind": "summary"} | counts | {name: getattr(view, name) for name in names})
        )
    elif sys.stdout.isatty():
        told = (
            f"{counted(view.sessions, 'session')}, {counted(view.transfers, 'transfer')}: "
            f"{_size(view.read)} down, {_size(view.written)} up"
        )
        lines = counted(reader.unknown, "line")
        unknown = f"; {lines} of the log not understood" if reader.unknown else ""
        print(told + unknown)
    if view.unverified and not context.json:
        why = "the log does not say whose process wrote them, or the account is gone"
        context.warn([f"{counted(view.unverified, 'unverified record')}: {why}"])
    if not reader.lines:
        context.warn(
            [f"the log is empty: nothing has been transferred yet, or {path} is not written"]
        )

"""The times of log lines: RFC 3339, the traditional ones without a year, and journald's.

Pure, and quick by memory.
"""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name.encode(): number for number, name in enumerate(_NAMES, 1)}
_DAYS = re.compile(rb"^([A-Z][a-z]{2} [ \d]\d) ", re.MULTILINE)
JITTER = 2  # days that lines may be out of order by


class Stamp(NamedTuple):
    """A point in time: whole seconds since 1970, and as RFC 3339 text in the log's own zone."""

    at: int
    text: str


class Clock:
    """Reads the times of one log, whose lines come in their order.

    Args:
        year: of the first line, for traditional times; see `first_year`.
    """

    def __init__(self, year: int = 1970) -> None:
        self.year = year
        self._bases: dict[bytes, tuple[int, str, str]] = {}
        self._day = b""
        self._last: tuple[bytes | int, Stamp] = (b"", Stamp(0, ""))

    def __call__(self, word: bytes) -> Stamp | None:
        """Return the time that WORD tells, or None if there is no such time, as a 31 February."""
        if word == self._last[0]:
            return self._last[1]
        try:
            stamp = self._traditional(word) if word[0] > 57 else self._rfc3339(word)
        except (ValueError, KeyError, OverflowError, OSError):
            return None
        self._last = word, stamp
        return stamp

    def journal(self, microseconds: int) -> Stamp:
        """Return journald's time, in the zone of this host.

        Raises OverflowError, OSError or ValueError.
        """
        if microseconds == self._last[0]:
            return self._last[1]
        seconds, rest = divmod(microseconds, 1_000_000)
        minute, second = divmod(seconds, 60)
        key = b"%d" % minute
        if key not in self._bases:
            self._keep(key, minute * 60, *_local("%Y-%m-%dT%H:%M:", minute * 60))
        _, text, zone = self._bases[key]
        stamp = Stamp(seconds, f"{text}{second:02}.{rest:06}{zone}")
        self._last = microseconds, stamp
        return stamp

    def _keep(self, key: bytes, at: int, text: str, zone: str) -> None:
        if len(self._bases) > 1000:
            self._bases.clear()
        self._bases[key] = at, text, zone

    def _rfc3339(self, word: bytes) -> Stamp:
        zone = word[19:].lstrip(b".0123456789")
        key = word[:13] + zone
        if key not in self._bases:
            offset = "+00:00" if zone == b"Z" else zone.decode("ascii")
            hour = datetime.datetime.fromisoformat(f"{word[:13].decode('ascii')}:00{offset}")
            self._keep(key, int(hour.timestamp()), "", "")
        return Stamp(self._bases[key][0] + _seconds(word[14:19]), word.decode("ascii"))

    def _traditional(self, word: bytes) -> Stamp:
        key = word[:9]
        if key not in self._bases or self._day != key[:6]:
            self._turn(key[:6])
        if key not in self._bases:
            hour = datetime.datetime(self.year, _MONTHS[word[:3]], int(word[4:6]), int(word[7:9]))
            at = int(hour.timestamp())
            self._keep(key, at, *_local("%Y-%m-%dT%H:", at))
        at, text, zone = self._bases[key]
        return Stamp(at + _seconds(word[10:15]), f"{text}{word[10:].decode('ascii')}{zone}")

    def _turn(self, day: bytes) -> None:
        step = _years(_number(day) - _number(self._day)) if self._day else 0
        if step:
            self.year += step
            self._bases.clear()
        self._day = day


def _seconds(text: bytes) -> int:
    minute, second = int(text[:2]), int(text[3:])
    if minute > 59 or second > 60:
        raise ValueError(text)
    return minute * 60 + second


def _number(day: bytes) -> int:
    return _MONTHS[day[:3]] * 31 + int(day[4:])


def _local(form: str, at: int) -> tuple[str, str]:
    moment = time.localtime(at)
    zone = time.strftime("%z", moment)
    return time.strftime(form, moment), f"{zone[:3]}:{zone[3:]}"


def _years(step: int) -> int:
    # Back in the calendar is forward in time, but for lines that are a little out of order.
    if step < -JITTER:
        return 1
    return -1 if step > 12 * 31 - JITTER - 1 else 0


def first_year(blocks: Iterable[bytes], modified: float) -> int:
    """Return the year of a log's first line, told by its days and by when it was written last.

    Args:
        blocks: the log, in pieces that end where lines do.
        modified: epoch seconds.
    """
    years, last = 0, 0
    for block in blocks:
        for name, _ in groupby(_DAYS.findall(block)):
            day = _number(name) if name[:3] in _MONTHS else last
            years += _years(day - last) if last else 0
            last = day
    end = time.localtime(modified)
    return end.tm_year - (last > end.tm_mon * 31 + end.tm_mday + JITTER) - years

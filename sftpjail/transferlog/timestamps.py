"""Read the times of log lines: RFC 3339, the traditional format without a year, and journald's.

Pure. Recent results are cached for speed.
"""

from __future__ import annotations

import datetime
import time
from typing import NamedTuple

_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name.encode(): number for number, name in enumerate(_NAMES, 1)}
SLACK = 2 * 86400  # seconds by which a line may be later than the last change of its file


class Stamp(NamedTuple):
    """A point in time: whole seconds since 1970, and as RFC 3339 text in the log's own zone."""

    at: int
    text: str


class Clock:
    """Reads the times of one log.

    Args:
        written: when the log was written last, in epoch seconds. A time without a year is the last
            one before that.
    """

    def __init__(self, written: float = 0) -> None:
        self.written = written
        self._bases: dict[bytes, tuple[int, str, str]] = {}
        self._last: tuple[bytes | int, Stamp] = (b"", Stamp(0, ""))

    def __call__(self, word: bytes) -> Stamp | None:
        """Return the time in WORD, or None if there is no such time, such as 31 February."""
        if not word:
            return None
        if word == self._last[0]:
            return self._last[1]
        try:
            if word[0] > 57:
                stamp = self._traditional(word)
            else:
                stamp = self._rfc3339(word)
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
            if zone == b"Z":
                offset = "+00:00"
            else:
                offset = zone.decode("ascii")
            hour = datetime.datetime.fromisoformat(f"{word[:13].decode('ascii')}:00{offset}")
            self._keep(key, int(hour.timestamp()), "", "")
        return Stamp(self._bases[key][0] + _seconds(word[14:19]), word.decode("ascii"))

    def _traditional(self, word: bytes) -> Stamp:
        key = word[:9]
        if key not in self._bases:
            at = self._hour(_MONTHS[word[:3]], int(word[4:6]), int(word[7:9]))
            self._keep(key, at, *_local("%Y-%m-%dT%H:", at))
        at, text, zone = self._bases[key]
        return Stamp(at + _seconds(word[10:15]), f"{text}{word[10:].decode('ascii')}{zone}")

    def _hour(self, month: int, day: int, hour: int) -> int:
        """Return the last hour of that name in the host's zone, in epoch seconds."""
        latest = time.localtime(self.written + SLACK)
        year = latest.tm_year
        if (month, day, hour) > latest[1:4]:
            year -= 1
        return int(datetime.datetime(year, month, day, hour).timestamp())


def _seconds(text: bytes) -> int:
    minute, second = int(text[:2]), int(text[3:])
    if minute > 59 or second > 60:
        raise ValueError(text)
    return minute * 60 + second


def _local(form: str, at: int) -> tuple[str, str]:
    moment = time.localtime(at)
    zone = time.strftime("%z", moment)
    return time.strftime(form, moment), f"{zone[:3]}:{zone[3:]}"

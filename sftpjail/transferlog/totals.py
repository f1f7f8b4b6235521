"""How far the logs were counted, and the sums, so that counters outlive rotated logs. Pure.

They are stored together in one JSON file, so that the place and the sums always match.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from ..model import frozen


@frozen
class Place:
    """How far a log was read.

    Args:
        at: the time of the last line in epoch seconds, or when reading began.
        cursor: of the journal's last entry, "" where there was none.
        head: the digest of the first line of the file in which that was; "" where there was no
            whole line.
        offset: where in that file the next line begins.
    """

    at: int = 0
    cursor: str = ""
    head: str = ""
    offset: int = 0


@dataclass
class Count:
    """What was counted in one log.

    Args:
        place: how far; None where it was never read.
        sums: of each account by name, as many numbers for each.
        every: the sums of all accounts, including deleted ones.
        gaps: how often the place was lost.
    """

    place: Place | None = None
    sums: dict[str, list[int]] = field(default_factory=dict)
    every: list[int] = field(default_factory=list)
    gaps: int = 0

    def add(self, name: str, numbers: list[int]) -> None:
        """Add numbers to an account's sums, and to those of all."""
        self.sums[name] = _added(self.sums.get(name, []), numbers)
        self.every = _added(self.every, numbers)

    def keep(self, names: Collection[str]) -> None:
        """Forget the sums of all other accounts; those of all together stay."""
        self.sums = {name: sums for name, sums in self.sums.items() if name in names}


def _added(before: list[int], more: list[int]) -> list[int]:
    known = before or [0] * len(more)
    return [one + another for one, another in zip(known, more, strict=True)]


@dataclass
class Totals:
    """All that is kept.

    Args:
        file: what was written last for node_exporter as the configuration says, or "".
        transfers: bytes up and down.
        logins: how many failed.
    """

    file: str = ""
    transfers: Count = field(default_factory=Count)
    logins: Count = field(default_factory=Count)


def as_text(totals: Totals) -> str:
    """Return what `read` reads."""
    return json.dumps(asdict(totals), indent=1) + "\n"


def read(text: str) -> Totals:
    """Return what a file has; where it is damaged, as if nothing had been counted yet."""
    try:
        raw = json.loads(text)
        return Totals(_text(raw["file"]), _count(raw["transfers"], 2), _count(raw["logins"], 1))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Totals()


def _count(raw: dict[str, Any], numbers: int) -> Count:
    sums = {_text(name): _numbers(value, numbers) for name, value in raw["sums"].items()}
    every = []
    if raw["every"]:
        every = _numbers(raw["every"], numbers)
    return Count(_place(raw["place"]), sums, every, _number(raw["gaps"]))


def _place(raw: dict[str, Any] | None) -> Place | None:
    if raw is None:
        return None
    texts = _text(raw["cursor"]), _text(raw["head"])
    return Place(_number(raw["at"]), *texts, _number(raw["offset"]))


def _numbers(raw: list[Any], count: int) -> list[int]:
    if len(raw) != count:
        raise ValueError
    return [_number(value) for value in raw]


def _number(raw: Any) -> int:
    if type(raw) is not int or not 0 <= raw < 1 << 63:
        raise ValueError
    return raw


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or "\0" in raw:
        raise ValueError
    return raw

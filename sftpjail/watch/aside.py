"""Events that could not be handed out: they lie aside until somebody sends them again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ..errors import SftpJailError
from ..paths import EVENTS
from ..system import events as store
from .event import TransferEvent

_COUNTED = 60.0  # seconds for which it is known how many lie there
_ID = re.compile(r"[0-9a-z-]{1,100}").fullmatch


@dataclass(frozen=True)
class Aside:
    """One event that lies aside.

    Args:
        event: it.
        why: what its last failure was.
        tries: how often it was handed out.
        since: when it was put aside, in epoch seconds.
    """

    event: TransferEvent
    why: str
    tries: int
    since: int

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "event": self.event.as_json(),
            "why": self.why,
            "tries": self.tries,
            "since": self.since,
        }


class Spool:
    """The events that lie aside, and those that are to be sent again: a file each.

    Args:
        directory: where they are kept.
        most: how many of an account may lie aside; then a gap stands for the others.
    """

    def __init__(self, directory: str = EVENTS, most: int = sys.maxsize) -> None:
        self._aside = f"{directory}/{store.ASIDE}"
        self._again = f"{directory}/{store.AGAIN}"
        self._most, self._lock = most, threading.Lock()
        self._counts, self._counted = Counter[str](), -_COUNTED

    def put(self, event: TransferEvent, why: str, tries: int) -> TransferEvent:
        """Put an event aside, or the gap that stands for it; return which. Raises SftpJailError."""
        kept = event if self._has_room(event) else _overflow(event, self._most)
        found = Aside(kept, why, tries, int(time.time()))
        store.put(f"{self._aside}/{kept.id}", json.dumps(found.as_json(), indent=1).encode())
        store.remove(f"{self._again}/{event.id}")
        return kept

    def _has_room(self, event: TransferEvent) -> bool:
        user = event.user
        if event.id == _overflow(event, self._most).id:
            return True
        with self._lock:
            if self._counts[user] >= self._most or self._counted < 0:
                self._count()
            self._counts[user] += 1
            return self._counts[user] <= self._most

    def _count(self) -> None:
        """Count what lies aside, if that was not done just before: `events` takes from it too."""
        if time.monotonic() < self._counted + _COUNTED:
            return
        self._counted = time.monotonic()
        self._counts.clear()
        for name in _names(self._aside):
            with contextlib.suppress(SftpJailError):
                found = self._read(f"{self._aside}/{name}")
                self._counts.update([found.event.user] if found else [])

    def done(self, event: TransferEvent) -> None:
        """Forget an event, wherever it lies. Raises SftpJailError."""
        store.remove(f"{self._aside}/{event.id}")
        store.remove(f"{self._again}/{event.id}")

    def listed(self) -> list[Aside]:
        """Return what lies aside, in the order in which it happened.

        Raises:
            SftpJailError: one cannot be read.
        """
        found = [self._read(f"{self._aside}/{name}") for name in _names(self._aside)]
        kept = [one for one in found if one]
        return sorted(kept, key=lambda one: (one.event.at, one.since, one.event.id))

    def again(self, known: Collection[str] = ()) -> list[TransferEvent]:
        """Return the events that are to be sent again, in the order in which they happened.

        One that cannot be read is passed over: others are not to wait for it.

        Args:
            known: the ids of those that are not wanted.
        """
        found = list[Aside | None]()
        for name in set(_names(self._again)).difference(known):
            with contextlib.suppress(SftpJailError):
                found.append(self._read(f"{self._again}/{name}"))
        return sorted((one.event for one in found if one), key=lambda one: (one.at, one.id))

    def send_again(self, names: Collection[str]) -> list[str]:
        """Have events sent again by the `watch` that runs, or by the next one.

        Args:
            names: their ids; all that lie aside if empty.

        Returns:
            those of these ids of which nothing lies aside.

        Raises:
            SftpJailError: one cannot be moved.
        """
        missing = []
        for name in names or _names(self._aside):
            there = bool(_ID(name)) and store.move(f"{self._aside}/{name}", f"{self._again}/{name}")
            if not there:
                missing.append(name)
        return missing

    @staticmethod
    def _read(path: str) -> Aside | None:
        try:
            with open(path, encoding="ascii") as handle:
                raw = json.load(handle)
            return Aside(
                TransferEvent.from_json(raw["event"]), raw["why"], raw["tries"], raw["since"]
            )
        except FileNotFoundError:  # it has just been sent
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SftpJailError(f"cannot read {path}: {error}") from error


def _overflow(event: TransferEvent, most: int) -> TransferEvent:
    """Return what stands for all events of an account that have no room: one, of the last."""
    name = hashlib.sha256(event.user.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    why = f"{most} events of this account lie aside already, and this one or more were dropped"
    return TransferEvent(f"0-0-{name}", "gap", event.at, event.user, event.uid, reason=why)


def _names(directory: str) -> list[str]:
    try:
        return sorted(filter(_ID, os.listdir(directory)))
    except FileNotFoundError:
        return []

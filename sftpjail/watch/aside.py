"""Events that could not be delivered. They are put aside until an administrator retries them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection
from typing import Any

from ..errors import SftpJailError
from ..formats.digest import sha256
from ..model import frozen
from ..paths import EVENTS
from ..system import events as store
from .event import TransferEvent

_COUNTED = 60.0  # seconds for which a count of the files is trusted
_ID = re.compile(r"[0-9a-z-]{1,100}").fullmatch


@frozen
class Aside:
    """One event that was put aside.

    Args:
        event: the event.
        why: why it failed the last time.
        tries: how often it was tried.
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
    """The events that were put aside, and those that are to be retried, each in a file of its own.

    Args:
        directory: where they are kept.
        most: how many are kept for each account; one gap event stands for the rest.
    """

    def __init__(self, directory: str = EVENTS, most: int = sys.maxsize) -> None:
        self._aside = f"{directory}/{store.ASIDE}"
        self._again = f"{directory}/{store.AGAIN}"
        self._most, self._lock = most, threading.Lock()
        self._counts, self._counted = Counter[str](), -_COUNTED

    def put(self, event: TransferEvent, why: str, tries: int) -> TransferEvent:
        """Put an event aside, or a gap in its place; return which. Raises SftpJailError."""
        if self._has_room(event):
            kept = event
        else:
            kept = _overflow(event, self._most)
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
        """Count the files, unless that was done recently. `sftpjail events` removes some, too."""
        if time.monotonic() < self._counted + _COUNTED:
            return
        self._counted = time.monotonic()
        self._counts.clear()
        for name in _names(self._aside):
            with contextlib.suppress(SftpJailError):
                found = self._read(f"{self._aside}/{name}")
                self._counts.update([found.event.user] if found else [])

    def done(self, event: TransferEvent) -> None:
        """Delete an event, whether it was put aside or is to be retried. Raises SftpJailError."""
        store.remove(f"{self._aside}/{event.id}")
        store.remove(f"{self._again}/{event.id}")

    def listed(self) -> list[Aside]:
        """Return the events that were put aside, in the order in which they happened.

        Raises:
            SftpJailError: one cannot be read.
        """
        found = [self._read(f"{self._aside}/{name}") for name in _names(self._aside)]
        kept = [one for one in found if one]
        return sorted(kept, key=lambda one: (one.event.at, one.since, one.event.id))

    def again(self, known: Collection[str] = ()) -> list[TransferEvent]:
        """Return the events that are to be retried, in the order in which they happened.

        A file that cannot be read is skipped, so that it does not block the others.

        Args:
            known: the ids of events to leave out.
        """
        found = list[Aside | None]()
        for name in set(_names(self._again)).difference(known):
            with contextlib.suppress(SftpJailError):
                found.append(self._read(f"{self._again}/{name}"))
        return sorted((one.event for one in found if one), key=lambda one: (one.at, one.id))

    def send_again(self, names: Collection[str]) -> list[str]:
        """Have events retried by the running `watch`, or by the next one.

        Args:
            names: their ids; all events that were put aside if empty.

        Returns:
            The ids for which no event was put aside.

        Raises:
            SftpJailError: a file cannot be moved.
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
    """Return the gap event that stands for all events of an account that are not kept."""
    name = sha256(event.user.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    why = f"{most} events of this account were put aside already; this one or more were dropped"
    return TransferEvent(f"0-0-{name}", "gap", event.at, event.user, event.uid, reason=why)


def _names(directory: str) -> list[str]:
    try:
        return sorted(filter(_ID, os.listdir(directory)))
    except FileNotFoundError:
        return []

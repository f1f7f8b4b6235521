"""Limit the number of events that may wait for one account, so that no client fills the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from .event import TransferEvent


class Limit:
    """Drops an account's events while too many of them wait in the queue.

    Once one was dropped, all further events of the account are, until half of those that wait are
    done. A gap event takes the place of the first. It is delivered after all that wait before it,
    when the last one was dropped already.

    Args:
        most: how many events may wait for one account.
        waiting: returns how many events of an account wait.
        gap: returns the gap event for a time in epoch seconds, a reason and an account.
        tell: called with messages for the administrator.
    """

    def __init__(
        self,
        most: int,
        waiting: Callable[[str], int],
        gap: Callable[[int, str, str], TransferEvent],
        tell: Callable[[str], None],
    ) -> None:
        self._most, self._waiting, self._gap, self._tell = most, waiting, gap, tell
        self._dropped = Counter[str]()  # by account, while it has no room

    def admit(self, events: list[TransferEvent]) -> list[TransferEvent]:
        """Return the events to queue, in the same order."""
        admitted = list[TransferEvent]()
        counts = {user: self._waiting(user) for user in {event.user for event in events}}
        for event in events:
            user = event.user
            if user in self._dropped and counts[user] > self._most // 2:
                self._dropped[user] += 1
                continue
            if user in self._dropped:
                many = self._dropped.pop(user)
                self._tell(f"{many} events of {user or 'the log'} were dropped")
            if counts[user] >= self._most:
                self._dropped[user] += 1
                why = f"{self._most} events of this account wait: later ones were dropped"
                event = self._gap(event.at, why, user)
                self._tell(f"{self._most} events of {user or 'the log'} wait: others are dropped")
            admitted.append(event)
            counts[user] += 1
        return admitted

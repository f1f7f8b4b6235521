"""How many events of one account may wait, so that no client fills the disk with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from .event import TransferEvent


class Limit:
    """Keeps events of an account from the queue when too many of them wait in it.

    From the first one that is dropped until half of those that wait are done, all of the account
    are. A gap is queued in place of the first: it is handed out after all that wait, and so when
    the last one has been dropped.

    Args:
        most: how many may wait for one account.
        waiting: returns how many do.
        gap: makes the event of an account, and a time in epoch seconds, that says why.
        tell: is told when an account has room again.
    """

    def __init__(
        self,
        most: int,
        waiting: Callable[[str], int],
        gap: Callable[[int, str, str], TransferEvent],
        tell: Callable[[str], None],
    ) -> None:
        self._most, self._waiting, self._gap, self._tell = most, waiting, gap, tell
        self._dropped = Counter[str]()  # of each account that has no room

    def admit(self, events: list[TransferEvent]) -> list[TransferEvent]:
        """Return the events that are to be queued, in their order."""
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

"""Hands events out: those of one account in order, several accounts at once."""

from __future__ import annotations

import heapq
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import SftpJailError
from .aside import Spool
from .event import TransferEvent
from .handout import Outcome, Result, Worker
from .queue import Queue

PAUSES = (2, 8, 32, 128, 512, 1800)  # seconds before an event is handed out again; then the last
PATIENCE = 10.0  # seconds for what runs when the watcher is to end

Deliver = Callable[[TransferEvent, Worker], Outcome]
Tell = Callable[[str], None]


class _Positions:
    """Positions in the queue, eight bytes each: a million may wait."""

    def __init__(self) -> None:
        self._kept, self._first = array("Q"), 0

    def __len__(self) -> int:
        return len(self._kept) - self._first

    def add(self, position: int) -> None:
        self._kept.append(position)

    def first(self) -> int:
        return self._kept[self._first]

    def drop(self) -> None:
        self._first += 1
        if self._first > 1000 and self._first > len(self._kept) // 2:
            del self._kept[: self._first]
            self._first = 0


@dataclass
class _Line:
    """What waits for one account.

    Args:
        sent: events that somebody sends again.
        positions: the others.
        tries: how often the first one was handed out.
        resends: that one is of `sent`.
        waits: it is ready, busy or in its pause, and so known to the dispatcher.
    """

    sent: deque[TransferEvent] = field(default_factory=deque)
    positions: _Positions = field(default_factory=_Positions)
    tries: int = 0
    resends: bool = False
    waits: bool = False


class Dispatcher:
    """Threads that hand events out.

    An event that fails is handed out again after a pause, in which its account waits and no other
    one does. When it was tried often enough it is put aside, and the account goes on.

    Args:
        queue: has the events.
        spool: gets those that fail.
        deliver: hands one out.
        workers: how many accounts at once.
        retries: how often an event that failed is handed out again.
        tell: is told what an administrator should know.
    """

    def __init__(
        self,
        queue: Queue,
        spool: Spool,
        deliver: Deliver,
        workers: list[Worker],
        retries: int,
        tell: Tell,
    ) -> None:
        self._queue, self._spool, self._deliver = queue, spool, deliver
        self._workers, self._retries, self._tell = workers, retries, tell
        self._lines: dict[str, _Line] = {}
        self._ready = deque[str]()
        self._pauses: list[tuple[float, str]] = []
        self._sending = set[str]()  # the ids of events that are sent again
        self._changed = threading.Condition()
        self._ends = False
        self._threads = [
            threading.Thread(target=self._work, args=(worker,), daemon=True) for worker in workers
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def put(self, user: str, position: int) -> None:
        """Hand out an event of the queue after all others of its account."""
        with self._changed:
            line = self._lines.setdefault(user, _Line())
            line.positions.add(position)
            self._wake(user, line)

    def send_again(self, events: list[TransferEvent]) -> None:
        """Hand out events that were aside, before others of their accounts that have not begun."""
        with self._changed:
            for event in events:
                if event.id not in self._sending:
                    self._sending.add(event.id)
                    line = self._lines.setdefault(event.user, _Line())
                    line.sent.append(event)
                    self._wake(event.user, line)

    @property
    def waiting(self) -> int:
        """How many events are not done."""
        with self._changed:
            lines = self._lines.values()
            return sum(len(line.positions) + len(line.sent) for line in lines)

    def waiting_of(self, user: str) -> int:
        """Return how many events of the queue are not done of an account."""
        with self._changed:
            line = self._lines.get(user)
            return len(line.positions) if line else 0

    @property
    def sending(self) -> set[str]:
        """The ids of the events that are being sent again."""
        with self._changed:
            return set(self._sending)

    def end(self) -> None:
        """Begin nothing new, wait a little for what runs, and leave the rest for the next start."""
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        until = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        for worker in self._workers:
            worker.end()
        for thread in self._threads:
            thread.join(1.0)

    def _wake(self, user: str, line: _Line) -> None:
        if not line.waits:
            line.waits = True
            self._ready.append(user)
            self._changed.notify()

    # -- in a thread of a worker -------------------------------------------------------------------

    def _work(self, worker: Worker) -> None:
        while (user := self._take()) is not None:
            line = self._lines[user]
            line.resends = bool(line.sent) if not line.tries else line.resends
            sent = line.sent[0] if line.resends else None
            try:
                event = sent or self._queue.event(line.positions.first())
            except SftpJailError as error:
                self._tell(f"an event of {user or 'the log'} is lost: {error.message}")
                self._over(user, line, None)
                continue
            except OSError as error:
                self._tell(f"an event of {user or 'the log'} cannot be read yet: {error}")
                self._wait(user, PAUSES[0])
                continue
            outcome = self._outcome(event, worker)
            if self._ends and outcome.result is Result.FAILED:
                return  # maybe because it was ended: the next start hands it out again
            self._ended(user, line, event, sent is not None, outcome)

    def _outcome(self, event: TransferEvent, worker: Worker) -> Outcome:
        """Hand an event out. A fault of ours is its failure: the thread serves others too."""
        try:
            return self._deliver(event, worker)
        except Exception as error:
            return Outcome(Result.FAILED, f"{type(error).__name__}: {error}")

    def _take(self) -> str | None:
        """Return an account of which the first event is to be handed out; None at the end."""
        with self._changed:
            while not self._ends:
                now = time.monotonic()
                while self._pauses and self._pauses[0][0] <= now:
                    self._ready.append(heapq.heappop(self._pauses)[1])
                if self._ready:
                    return self._ready.popleft()
                self._changed.wait(self._pauses[0][0] - now if self._pauses else None)
            return None

    def _ended(
        self, user: str, line: _Line, event: TransferEvent, sent: bool, outcome: Outcome
    ) -> None:
        line.tries += 1
        failed = outcome.result is Result.FAILED
        if outcome.why:
            self._tell(f"{event.kind} {event.id} of {user or 'the log'}: {outcome.why}")
        if failed and line.tries <= self._retries:
            pause = PAUSES[min(line.tries, len(PAUSES)) - 1]
            self._wait(user, pause)
            return
        try:
            if failed:
                kept = self._spool.put(event, outcome.why, line.tries)
                what = "" if kept is event else f"{event.kind} {event.id} is dropped, since "
                what += kept.reason if what else f"{event.kind} {event.id} is put aside"
                self._tell(f"{what}: sftpjail events")
            elif sent:
                self._spool.done(event)
        except SftpJailError as error:
            self._tell(f"{error.message}; {event.kind} {event.id} is handed out again")
            self._wait(user, PAUSES[-1])
            return
        self._over(user, line, event if sent else None)

    def _wait(self, user: str, pause: float) -> None:
        """Go on with the account's event after a pause in seconds."""
        with self._changed:
            heapq.heappush(self._pauses, (time.monotonic() + pause, user))
            self._changed.notify()

    def _over(self, user: str, line: _Line, sent: TransferEvent | None) -> None:
        """Go on with the account's next event."""
        if sent is None:
            try:
                self._queue.done(line.positions.first())
            except SftpJailError as error:  # it will be handed out once more
                self._tell(error.message)
        with self._changed:
            line.tries = 0
            if sent:
                line.sent.popleft()
                self._sending.discard(sent.id)
            else:
                line.positions.drop()
            if line.sent or line.positions:
                self._ready.append(user)
                self._changed.notify()
            else:
                del self._lines[user]

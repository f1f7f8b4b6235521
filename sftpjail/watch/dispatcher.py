"""Delivers events: those of one account in order, those of several accounts in parallel."""

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

PAUSES = (2, 8, 32, 128, 512, 1800)  # seconds before each retry; the last one repeats
PATIENCE = 10.0  # seconds for which running deliveries may go on when the watcher stops

Deliver = Callable[[TransferEvent, Worker], Outcome]
Tell = Callable[[str], None]


class _Positions:
    """Positions in the queue. Each takes eight bytes, since a million may wait."""

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
        sent: events that an administrator retries.
        positions: all other events.
        tries: how often the first one was tried.
        resends: whether the first one is in `sent`.
        waits: whether the dispatcher knows of the account: it is ready, busy or pausing.
    """

    sent: deque[TransferEvent] = field(default_factory=deque)
    positions: _Positions = field(default_factory=_Positions)
    tries: int = 0
    resends: bool = False
    waits: bool = False


class Dispatcher:
    """Threads that deliver events.

    An event that fails is retried after a pause. Meanwhile the events of its account wait, and
    those of other accounts do not. After the last retry it is put aside, and the next one follows.

    Args:
        queue: holds the events.
        spool: holds the events that failed.
        deliver: delivers one event.
        workers: one for each account that is served in parallel.
        retries: how often an event that failed is retried.
        tell: called with messages for the administrator.
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
        self._sending = set[str]()  # the ids of events that an administrator retries
        self._changed = threading.Condition()
        self._ends = False
        self._threads = [
            threading.Thread(target=self._work, args=(worker,), daemon=True) for worker in workers
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def put(self, user: str, position: int) -> None:
        """Deliver an event of the queue after all others of its account."""
        with self._changed:
            line = self._lines.setdefault(user, _Line())
            line.positions.add(position)
            self._wake(user, line)

    def send_again(self, events: list[TransferEvent]) -> None:
        """Retry events that were put aside, before other events of their accounts."""
        with self._changed:
            for event in events:
                if event.id not in self._sending:
                    self._sending.add(event.id)
                    line = self._lines.setdefault(event.user, _Line())
                    line.sent.append(event)
                    self._wake(event.user, line)

    @property
    def waiting(self) -> int:
        """The number of events that are not done."""
        with self._changed:
            lines = self._lines.values()
            return sum(len(line.positions) + len(line.sent) for line in lines)

    def waiting_of(self, user: str) -> int:
        """Return the number of an account's events in the queue that are not done."""
        with self._changed:
            line = self._lines.get(user)
            if not line:
                return 0
            return len(line.positions)

    @property
    def sending(self) -> set[str]:
        """The ids of the events that an administrator retries."""
        with self._changed:
            return set(self._sending)

    def end(self) -> None:
        """Stop: wait briefly for running deliveries, and leave the rest to the next start."""
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
            if not line.tries:
                line.resends = bool(line.sent)
            sent = None
            if line.resends:
                sent = line.sent[0]
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
                return  # perhaps because it was killed just now; the next start delivers it again
            self._ended(user, line, event, sent is not None, outcome)

    def _outcome(self, event: TransferEvent, worker: Worker) -> Outcome:
        """Deliver an event. An exception counts as a failure, since the thread must go on."""
        try:
            return self._deliver(event, worker)
        except Exception as error:
            return Outcome(Result.FAILED, f"{type(error).__name__}: {error}")

    def _take(self) -> str | None:
        """Return an account whose first event is due, or None when the dispatcher stops."""
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
                what = ""
                if kept is not event:
                    what = f"{event.kind} {event.id} is dropped, since "
                if what:
                    what += kept.reason
                else:
                    what += f"{event.kind} {event.id} is put aside"
                self._tell(f"{what}: sftpjail events")
            elif sent:
                self._spool.done(event)
        except SftpJailError as error:
            self._tell(f"{error.message}; {event.kind} {event.id} is retried")
            self._wait(user, PAUSES[-1])
            return
        self._over(user, line, event if sent else None)

    def _wait(self, user: str, pause: float) -> None:
        """Try the account's first event again after a pause, in seconds."""
        with self._changed:
            heapq.heappush(self._pauses, (time.monotonic() + pause, user))
            self._changed.notify()

    def _over(self, user: str, line: _Line, sent: TransferEvent | None) -> None:
        """Drop the account's first event, which is done, and continue with the next one."""
        if sent is None:
            try:
                self._queue.done(line.positions.first())
            except SftpJailError as error:  # it will be delivered once more
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

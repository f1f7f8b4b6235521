"""`sftpjail watch`: follow the log, keep the events in the queue, and have them delivered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..jails.membership import members
from ..model import Account
from ..openssh.match_blocks import start_of
from ..transferlog import sources
from ..transferlog.following import Dropped, Following
from ..transferlog.parser import Reader
from ..transferlog.records import Operation, Record
from ..transferlog.timestamps import Clock
from ..transferlog.totals import Place
from .aside import Spool
from .conversion import Converter
from .dispatcher import Deliver, Dispatcher, Tell
from .event import TransferEvent
from .handout import Worker
from .limit import Limit
from .queue import Known, Queue

FRESH = 60.0  # seconds after which the facts are read again even if no file has changed
MISSED = 1.0  # seconds between two lookups of an unknown account
KEEP = 5.0  # seconds after which the place in the log is saved even without events
SLOW = 2.0  # seconds within which the failure of an operation is logged
LOOK = 30.0  # seconds between two searches for sessions whose process has gone
AGAIN = 1.0  # seconds between two searches for events that are to be retried
PAUSE = 5.0  # seconds to wait if the log cannot be read or the queue cannot be written
_FILES = ("/etc/passwd", "/etc/group")
_LOST = (
    "the place up to which the log was read is not there any more: it was rotated away, or is of"
    " another log"
)
_DAMAGED = "part of the saved events is damaged or missing"
_T = TypeVar("_T")


class Accounts:
    """Who is jailed now; the facts are read again when they change.

    Args:
        config: which accounts are jailed.
        make: makes the facts.

    `changed` says that earlier answers may be outdated; the caller resets it.
    """

    def __init__(self, config: Config, make: Callable[[], Host]) -> None:
        self._config, self._make = config, make
        self._read(make())

    def _read(self, host: Host) -> None:
        self.host = host
        self._at, self._files = time.monotonic(), self._signature()
        self._members: Mapping[str, Account] = members(self._config, host)
        self._uids = {account.uid: account for account in self._members.values()}
        self._starts = dict[str, str]()
        self.changed = True

    def _signature(self) -> list[tuple[int, int] | None]:
        found = map(self.host.stat, _FILES)
        return [(one.st_ino, one.st_mtime_ns) if one else None for one in found]

    def refresh(self) -> None:
        """Read the facts again if they may have changed."""
        if time.monotonic() > self._at + FRESH or self._signature() != self._files:
            self._read(self._make())

    def member(self, name: str) -> Account | None:
        """Return a jailed account, or None."""
        return self._members.get(name)

    def by_uid(self, uid: int) -> Account | None:
        """Return a jailed account by its uid, or None."""
        return self._uids.get(uid)

    def start_of(self, account: Account) -> str:
        """Return where a jailed account's sessions start."""
        if account.name not in self._starts:
            self._starts[account.name] = start_of(account, self.host, self._config)
        return self._starts[account.name]

    # -- for the reader of the log: see `Writers` ----------------------------------------------

    def name_of(self, uid: int) -> str | None:
        """Return the name of a uid, or None."""
        return self._asked(lambda: self.host.people.name_of(uid))

    def uid_of(self, name: str) -> int | None:
        """Return the uid of a name, or None."""
        return self._asked(lambda: self.host.people.uid_of(name))

    def _asked(self, ask: Callable[[], _T | None]) -> _T | None:
        found = ask()
        late = time.monotonic() > self._at + MISSED
        if found is None and (late or self._signature() != self._files):  # it may be new
            self._read(self._make())
            found = ask()
        self.changed = self.changed or found is None
        return found


class Watcher:
    """One run of `watch`.

    Args:
        config: the configuration.
        deliver: delivers one event.
        workers: the processes in which that is done.
        tell: called with messages for the administrator.
        is_over: returns whether the configuration has changed, so that `run` returns.
        make: returns fresh facts.
        queue: holds events until they are done.
        spool: holds events that failed.
    """

    def __init__(
        self,
        config: Config,
        deliver: Deliver,
        workers: list[Worker],
        tell: Tell,
        is_over: Callable[[], bool] = lambda: False,
        make: Callable[[], Host] = Host,
        queue: Queue | None = None,
        spool: Spool | None = None,
    ) -> None:
        self._tell, self._is_over = tell, is_over
        self._queue, self._spool = queue or Queue(), spool or Spool(most=config.events.queue)
        self._make, self._accounts = make, Accounts(config, make)
        self._reader = Reader(Clock(), self._accounts)
        self._reader.starts, self._reader.touched = True, set()
        accounts = self._accounts
        self._converter = Converter(accounts.member, accounts.by_uid, accounts.start_of)
        self.dispatcher = Dispatcher(
            self._queue, self._spool, deliver, workers, config.events.retries, tell
        )
        self._limit = Limit(
            config.events.queue, self.dispatcher.waiting_of, self._converter.lost, tell
        )
        self._following = Following(
            lambda: self._accounts.host, config, self._reader, self._recover()
        )
        self._place = self._queue.known.place
        self._known = self._place is not None
        self._kept = self._looked = self._asked = self._waited = time.monotonic()
        self._gone: set[bytes] = set()
        self._settles, self._unsettled = 0.0, dict[bytes, Operation]()
        self._ready: Callable[[], None] = lambda: None

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Follow the log until the configuration changes or a signal is raised.

        Call `end` afterwards.

        Args:
            ready: called when the place in the log was saved, so that nothing that comes later is
                missed. Also called when the log cannot be read or the queue cannot be written,
                which `tell` reports.
        """
        self._ready = ready
        self.dispatcher.start()
        told = ""
        while not self._is_over():
            try:
                self._following.begin()
                self._keep(self._limit.admit(self._gaps()))
                ready()
                for batch in self._following.batches():
                    self._take(batch)
                    told = ""
                    if not batch and self._is_over():
                        return
            except SftpJailError as error:
                if error.message != told:
                    told = error.message
                    self._tell(f"{told}; it is retried")
                ready()
                time.sleep(PAUSE)

    def end(self) -> None:
        """Stop delivering, and leave the remaining events to the next start."""
        self.dispatcher.end()
        self._queue.close()

    def _recover(self) -> Place | None:
        """Restore the state of the last run, and return how far it has read the log."""
        for user, position in self._queue.recover():
            self.dispatcher.put(user, position)
        known = self._queue.known
        for name, state in known.parser.items():
            self._reader.recall(name.encode("latin-1"), state)
        for name, state in known.converter.items():
            self._converter.recall(name, state)
        self._reader.tests = known.tests
        return known.place

    def _take(self, batch: list[Record | Dropped]) -> None:
        """Save the events of a batch, and have them delivered."""
        self._refresh()
        if self._accounts.changed:
            self._accounts.changed = False
            self._reader.look_again(self._accounts)
        now = time.time()
        if not batch or batch[-1].at > now - SLOW:  # the end of the log was reached
            events = self._converter.convert([*batch, *self._settled(), *self._ended()])
            # After a start, the rename may be among the lines that were not read yet.
            if time.monotonic() > self._waited + LOOK:
                self._waited = time.monotonic()
                events += self._converter.overdue(now)
        else:
            events = self._converter.convert(batch)
        self._keep(self._limit.admit([*self._gaps(), *events]))
        if time.monotonic() > self._asked + AGAIN:
            self._asked = time.monotonic()
            self.dispatcher.send_again(self._spool.again(self.dispatcher.sending))

    def _gaps(self) -> list[TransferEvent]:
        """Return gap events, of no account, for what is missing of the log and of the queue."""
        found = []
        for was_lost, why in ((self._following.lost, _LOST), (self._queue.damaged, _DAMAGED)):
            if was_lost:
                found.append(self._converter.lost(int(time.time()), why))
                self._tell(why)
        self._queue.damaged = self._following.lost = False
        return found

    def _refresh(self) -> None:
        """Read the facts again, and retry until that succeeds, since the batch would be lost."""
        while True:
            try:
                return self._accounts.refresh()
            except SftpJailError as error:
                self._tell(f"{error.message}; no events are delivered until that can be read")
                time.sleep(PAUSE)

    def _keep(self, events: list[TransferEvent]) -> None:
        """Save events together with the place in the log. Without events, save it now and then.

        What was not saved is read from the log again after a restart.
        """
        place = self._following.place
        changed = bool(self._reader.touched or self._converter.touched) or place != self._place
        changed = changed and time.monotonic() > self._kept + KEEP
        if place is None or not (events or changed or not self._known):
            return
        later = self._state(self._reader.touched or (), self._converter.touched)
        while True:
            try:
                positions = self._queue.append(events, later, self._whole)
                break
            except SftpJailError as error:  # the disk is full; meanwhile the log keeps everything
                self._tell(f"{error.message}; no events are delivered until it can be written")
                self._ready()  # systemctl(1) must not wait for that
                time.sleep(PAUSE)
        self._known, self._kept, self._place = True, time.monotonic(), place
        self._reader.touched = set()
        self._converter.touched.clear()
        for event, position in zip(events, positions, strict=True):
            self.dispatcher.put(event.user, position)

    def _whole(self) -> Known:
        """Return the complete state."""
        return self._state(self._reader.sessions, self._converter.sessions)

    def _state(self, of_reader: Iterable[bytes], of_converter: Iterable[str]) -> Known:
        return Known(
            self._following.place,
            {key.decode("latin-1"): self._reader.remembered(key) for key in of_reader},
            {key: self._converter.remembered(key) for key in of_converter},
            self._reader.tests,
        )

    def _settled(self) -> list[Record]:
        """Return the operations that succeeded: no failure was logged for a while."""
        if time.monotonic() < self._settles:
            return []
        self._settles = time.monotonic() + SLOW
        waiting = self._reader.unsettled
        keys = [key for key, one in waiting.items() if self._unsettled.get(key) is one]
        self._unsettled = waiting
        return self._reader.settle(keys)

    def _ended(self) -> list[Record]:
        """Return the ends of sessions whose process has gone without logging the end."""
        if time.monotonic() < self._looked + LOOK:
            return []
        self._looked = time.monotonic()
        host, now, gone, records = self._make(), time.time(), set[bytes](), list[Record]()
        for key, (pid, began, seen) in self._reader.sessions.items():
            if seen > now - LOOK or sources.alive(host, pid, began):
                continue
            gone.add(key)
            if key in self._gone:  # the last time, its last line may still have been on the way
                records += self._reader.lose(key)
        self._gone = gone
        return records

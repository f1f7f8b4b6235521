"""A log read from a place on, and then followed, for a reader that must not miss anything.

Under systemd the log is the journal, elsewhere the log daemon's file. Where the place is no longer
found, that is reported as a loss, as by `since`. The journal also says which messages journald
dropped.

Following the journal takes two runs of journalctl(1). One, with --follow, only says that something
has come: it misses entries, see `Following._of_journal`. Each time it does, a second run looks at
everything from the place up to that moment (`_Look`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import takewhile
from typing import NamedTuple

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..system import programs
from . import sources
from .journal_export import Entries, Entry, cursor_of, follows, is_later, is_same, seconds_of
from .parser import Reader
from .records import Record
from .since import Since
from .totals import Place

AGAIN = 5.0  # seconds after which a file is read again even if its size has not changed
IDLE = 30.0  # seconds between two looks into the journal when nothing seems to have come
BUSY = 0.5  # seconds between two looks when entries keep coming
REST = 600.0  # seconds without an entry of ours, after which the place moves on to somebody else's
NEAR = 1000  # entries of one moment that are searched for the one of the place

# SD_MESSAGE_JOURNAL_DROPPED of sd-messages.h. No process can claim the transport "driver", which is
# journald itself (systemd.journal-fields(7)).
_DROPPED = ("MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e", "_TRANSPORT=driver")
_MATCHES = ("SYSLOG_IDENTIFIER=internal-sftp", "+", *_DROPPED)
_ALL = ("journalctl", "--quiet", "--no-pager", "--all", "--output=export")
_READ = (
    *_ALL,
    "--output-fields=_UID,_PID,SYSLOG_PID,MESSAGE,_HOSTNAME,_TRANSPORT,N_DROPPED,OBJECT_UID,"
    "OBJECT_SYSTEMD_UNIT",
)
_FOLLOW = (*_ALL, "--output-fields=_UID", "--follow", "--lines=0")
_JOURNALS = ("/run/log/journal", "/var/log/journal")


class Dropped(NamedTuple):
    """A report of journald's that it dropped messages.

    Args:
        at: when, in epoch seconds.
        uid: of a process that had sent one of them; -1 if journald does not say.
        unit: the unit of that process, or "".
        messages: how many.
    """

    at: int
    uid: int
    unit: str
    messages: int


class Following:
    """One log, followed.

    Args:
        host: returns fresh facts.
        config: says which log.
        reader: makes records of lines; it keeps the state of sessions from batch to batch.
        place: how far the log was read, or None to begin at its end.

    Attributes:
        place: how far the log was read, after each batch.
        lost: whether a place was not found again. The caller resets it after reporting that.
    """

    def __init__(
        self, host: Callable[[], Host], config: Config, reader: Reader, place: Place | None
    ) -> None:
        self._host, self._config, self._reader = host, config, reader
        self.place = place
        self.lost = False
        self._told = _Told()
        self._quiet_since = 0.0  # on the monotonic clock: the last entry of ours
        self._next_place: Place | None = None  # where the place moves if no entry of ours comes

    def begin(self) -> None:
        """Set the place to the end of the log if it was never read.

        Raises:
            SftpJailError: the log cannot be read.
        """
        if self.place is None:
            self.place = self._end_of_log()

    def batches(self) -> Iterator[list[Record | Dropped]]:
        """Yield records as they come, without end, and [] when nothing has come for a moment.

        Raises:
            SftpJailError: nothing is logged, or the log cannot be read.
        """
        if sources.in_journal(self._host(), self._config):
            yield from self._of_journal()
        else:
            yield from self._of_files()

    def _end_of_log(self) -> Place:
        since = Since(self._host(), None)
        for _ in since.transfers(self._config, self._reader):
            pass
        return since.place

    # -- files -------------------------------------------------------------------------------------

    def _of_files(self) -> Iterator[list[Record | Dropped]]:
        """Read what is new whenever the file has another size or is another file."""
        before, read_at = object(), 0.0
        while True:
            host = self._host()
            found = host.stat(self._config.logs.file)
            now = None
            if found:
                now = (found.st_ino, found.st_size)
            if now == before and time.monotonic() < read_at + AGAIN:
                yield []
                time.sleep(sources.POLL)
                continue
            before, read_at = now, time.monotonic()
            yield from self._new_in_files(host)

    def _new_in_files(self, host: Host) -> Iterator[list[Record | Dropped]]:
        since, reported = Since(host, self.place), False
        for batch in since.transfers(self._config, self._reader):
            reported = self._follow(since, reported)
            yield [*batch]
        self._follow(since, reported)

    def _follow(self, since: Since, reported: bool) -> bool:
        """Take over how far a log was read, and a loss, which counts once for each reading.

        Args:
            since: the reading.
            reported: whether a loss of this reading was taken over already.
        """
        self.place = since.place
        self.lost = self.lost or (since.lost and not reported)
        return since.lost

    # -- the journal -------------------------------------------------------------------------------

    def _of_journal(self) -> Iterator[list[Record | Dropped]]:
        """Look into the journal whenever `journalctl --follow` says that something has come.

        What that prints is not enough. journald has a file for each user, and journalctl merges
        them: if it learns late of a file, as at a user's first session or after a rotation, it
        skips entries in it that are older than what it has printed from another file.
        """
        self.begin()
        assert self.place
        if self.place.cursor and not is_unbroken(self.place.cursor):
            self._lose()
        self._quiet_since, self._next_place = time.monotonic(), None
        more, looked_at = True, -IDLE
        for piece in programs.stream([*_FOLLOW, *_MATCHES], sources.POLL):
            now = time.monotonic()
            more = more or bool(piece)
            if now < looked_at + (BUSY if more else IDLE):
                if not piece:
                    yield []
                continue
            looked_at = now
            more = yield from self._up_to(now)
            yield []
        raise SftpJailError("journalctl has ended while following the journal")

    def _up_to(self, moment: float) -> Generator[list[Record | Dropped], None, bool]:
        """Yield the records up to a moment, and return whether to look again soon.

        Args:
            moment: seconds on the monotonic clock.
        """
        assert self.place
        look = _Look(self._host, self.place, self._told, moment)
        with contextlib.closing(look.entries()) as batches:
            for entries in batches:
                records = self._records(entries)
                if entries:
                    self._go_behind(entries)
                yield records
        if look.has_lost:
            self._lose()
        if not look.is_complete:
            return True
        if look.is_empty:
            self._rest()
        else:
            self._quiet_since, self._next_place = moment, None
        return False

    def _lose(self) -> None:
        """Note that the place is gone, and read on from the next second.

        Entries of the same second were handed out, or are among what is lost.
        """
        assert self.place
        self.lost, self.place = True, Place(self.place.at + 1)

    def _rest(self) -> None:
        """After a while without an entry of ours, move the place to a newer entry of anybody's.

        journald would delete the entry of the place in the end, and that would look like a loss.
        The new place is noted first and used after the next look, so that everything before it was
        read.
        """
        now = time.monotonic()
        if self._next_place:
            self._quiet_since, self.place, self._next_place = now, self._next_place, None
        elif now > self._quiet_since + REST:
            end = self._end_of_log()
            self._quiet_since, self._next_place = now, end if end.cursor else None

    def _records(self, entries: list[Entry]) -> list[Record | Dropped]:
        """Return the records of entries, and journald's reports, in the order of the journal."""
        records, lines = list[Record | Dropped](), list[Entry]()
        for entry in entries:
            if entry.get(b"_TRANSPORT") != b"driver":
                lines.append(entry)
                continue
            records += self._reader.read_journal(lines)
            lines = []
            with contextlib.suppress(KeyError, ValueError):
                records.append(_dropped(entry))
        return [*records, *self._reader.read_journal(lines)]

    def _go_behind(self, entries: list[Entry]) -> None:
        """Move the place to the last of some entries that are handed out."""
        self._told.add(entries, self.place.cursor if self.place else "")
        last = entries[-1]
        with contextlib.suppress(KeyError, ValueError):
            self.place = Place(seconds_of(last), cursor_of(last))


class _Look:
    """One look into the journal: what comes after a place, up to a moment.

    journald writes one entry after the other, so every entry up to the moment is in its files when
    the look begins. Of later ones, some may be in a file that journalctl has already read to its
    end. They wait for the next look.

    Args:
        host: returns fresh facts.
        place: how far the journal was read.
        told: which entries were handed out; whoever takes entries from here adds them.
        moment: seconds on the monotonic clock.

    Attributes:
        is_complete: whether nothing up to the moment is missing, and nothing later was seen.
        is_empty: whether nothing new was found.
        has_lost: whether journald has deleted the place and what came after it.
    """

    def __init__(self, host: Callable[[], Host], place: Place, told: _Told, moment: float) -> None:
        self._host, self._place, self._told, self._moment = host, place, told, moment
        self.is_complete = False
        self.is_empty = True
        self.has_lost = False

    def entries(self) -> Generator[list[Entry], None, None]:
        """Yield the new entries as journalctl prints them, in batches that may be empty.

        Raises:
            SftpJailError: journalctl failed.
        """
        boot, parts, begun = sources.boot_id(self._host()), Entries(dropped=True), False
        with contextlib.closing(self._output()) as pieces:
            for piece in pieces:
                found = parts.split(piece)
                if found and not begun:
                    if not self._continues(found[0]):
                        self.has_lost = True
                        return
                    begun = True
                new = self._told.without(found, self._place.cursor)
                early = list(
                    takewhile(lambda one: not is_later(cursor_of(one), boot, self._moment), new)
                )
                self.is_empty = self.is_empty and not early
                yield early
                if len(early) < len(new):
                    return

    def _output(self) -> Generator[bytes, None, None]:
        """Yield what journalctl prints, and at its end set `is_complete`.

        If a file of the journal comes or is renamed before journalctl has opened all of them,
        nobody knows which it has missed: then this ends at once.
        """
        cursor = self._place.cursor
        # Not --after-cursor, which skips an entry in systemd 252 when there are matches.
        if cursor:
            begin = f"--cursor={cursor}"
        else:
            begin = f"--since=@{self._place.at}"
        files, is_open = self._files(), False
        pieces = programs.stream([*_READ, begin, *_MATCHES])
        with contextlib.closing(pieces):  # type: ignore[type-var]
            for piece in pieces:
                if not piece:
                    continue  # journalctl is slow; [] would say that all was read
                if not is_open and self._files() != files:
                    return
                is_open = True
                yield piece
        self.is_complete = is_open or self._files() == files

    def _continues(self, entry: Entry) -> bool:
        """Return whether nothing is missing between the place and the first entry that is found."""
        known = self._place.cursor
        return not known or is_same(cursor_of(entry), known) or is_unbroken(known)

    def _files(self) -> list[str]:
        host = self._host()
        directories = [f"{top}/{name}" for top in _JOURNALS for name in host.listdir(top)]
        return [f"{path}/{name}" for path in directories for name in host.listdir(path)]


class _Told:
    """Which entries were handed out, of those that a look may find again.

    A look begins at the entry of the place, and may find others of the same moment again. A report
    of dropped messages and the message after it have the same moment and are in different files,
    and journalctl of systemd 252 prints both whichever it begins at.
    """

    def __init__(self) -> None:
        self._cursors = set[str]()

    def without(self, entries: Iterable[Entry], place: str) -> list[Entry]:
        """Return the entries that were not handed out.

        Args:
            entries: as a look finds them.
            place: the cursor at which the look begins, or "".
        """
        told = {place, *self._cursors} - {""}
        return [
            entry for entry in entries if not any(is_same(cursor_of(entry), one) for one in told)
        ]

    def add(self, entries: list[Entry], place: str) -> None:
        """Add entries that are handed out, and forget those of earlier moments.

        Args:
            entries: at least one, in the order of the journal.
            place: the cursor of the entry before them, or "".
        """
        last = entries[-1]
        of_last = takewhile(lambda one: _is_of(one, cursor_of(last)), reversed(entries))
        before = (one for one in {*self._cursors, place} if _is_of(last, one))
        self._cursors = {*before, *map(cursor_of, of_last)}


def is_unbroken(cursor: str) -> bool:
    """Return whether nothing is missing from the journal after the entry of a cursor.

    Either the entry is there, or it alone is gone: then the next one in its file is there, whoever
    wrote it. Where it is gone, journalctl begins at an entry that is near.

    Args:
        cursor: of an entry that was read.
    """
    entries, seen = Entries(cursors=True), 0
    with contextlib.suppress(SftpJailError):  # journalctl says that it is no cursor
        pieces = programs.stream([*_ALL, f"--cursor={cursor}"])
        with contextlib.closing(pieces):  # type: ignore[type-var]
            for piece in pieces:
                for entry in entries.split(piece):
                    found = cursor_of(entry)
                    if is_same(found, cursor) or follows(found, cursor):
                        return True
                    seen += 1
                    if seen >= NEAR or not _is_of(entry, cursor):
                        return False
    return False


def _is_of(entry: Entry, cursor: str) -> bool:
    """Return whether an entry is of the same microsecond as the entry of a cursor."""
    at = entry.get(b"__REALTIME_TIMESTAMP", b"").decode("ascii", "replace")
    return at.isdecimal() and f";t={int(at):x};" in f";{cursor};"


def _dropped(entry: Entry) -> Dropped:
    unit = entry.get(b"OBJECT_SYSTEMD_UNIT", b"").decode("ascii", "replace")
    uid, messages = int(entry.get(b"OBJECT_UID", b"-1")), int(entry[b"N_DROPPED"])
    return Dropped(seconds_of(entry), uid, unit, messages)

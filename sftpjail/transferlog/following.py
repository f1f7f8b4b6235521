"""The log from a place on, and then what comes to it: for whoever must miss nothing.

As `since`, this begins at a place and says when it was not found again. Under systemd it reads the
journal, which also tells that journald dropped messages.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..system import programs
from . import sources
from .journal_export import Entries, Entry, cursor_of, follows, is_same
from .parser import Reader
from .records import Record
from .since import Since
from .totals import Place

AGAIN = 5.0  # seconds after which files are read whatever their sizes say
REST = 600.0  # seconds without an entry of ours, after which the place goes on to one of others
SURE = 10.0  # seconds in which an entry that journald has is read
NEAR = 1000  # entries of one moment, of which one may be that of the place

# SD_MESSAGE_JOURNAL_DROPPED of sd-messages.h; what journald itself writes is of the transport
# "driver", which no process can claim (systemd.journal-fields(7)).
_DROPPED = ("MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e", "_TRANSPORT=driver")
_ALL = ("journalctl", "--quiet", "--no-pager", "--all", "--output=export")
_FOLLOW = (
    *_ALL,
    "--output-fields=_UID,_PID,SYSLOG_PID,MESSAGE,_HOSTNAME,_TRANSPORT,N_DROPPED,OBJECT_UID,"
    "OBJECT_SYSTEMD_UNIT",
    *("--follow", "--no-tail"),
)
_MATCHES = ("SYSLOG_IDENTIFIER=internal-sftp", "+", *_DROPPED)


class Dropped(NamedTuple):
    """Messages that journald dropped.

    `uid` and `unit` are of a process that had sent one of them.
    """

    at: int
    uid: int
    unit: str
    messages: int


class Following:
    """One log, followed.

    Args:
        host: makes the facts anew.
        config: which log.
        reader: makes records of lines; it goes on from where it was.
        place: how far the log was read; None where it never was: then it is read from its end on.

    `place` is how far it was read after each batch. `lost` is set where a place was not found
    again; whoever has told it sets it back.
    """

    def __init__(
        self, host: Callable[[], Host], config: Config, reader: Reader, place: Place | None
    ) -> None:
        self._host, self._config, self._reader = host, config, reader
        self.place = place
        self.lost = False
        self._quiet = 0.0  # when the last entry came
        self._ahead: Place | None = None  # to which it goes on if none comes

    def begin(self) -> None:
        """Go to the end of the log, if it was never read.

        Raises:
            SftpJailError: the log cannot be read.
        """
        if self.place is None:
            since = Since(self._host(), None)
            for _ in since.transfers(self._config, self._reader):
                pass
            self.place = since.place

    def batches(self) -> Iterator[list[Record | Dropped]]:
        """Yield records as they come; [] when nothing has come for a moment.

        Raises:
            SftpJailError: nothing is logged, or the log cannot be read.
        """
        while True:
            if sources.in_journal(self._host(), self._config):
                yield from self._of_journal()
            else:
                yield from self._of_files()

    # -- files -------------------------------------------------------------------------------------

    def _of_files(self) -> Iterator[list[Record | Dropped]]:
        known, read = object(), 0.0
        while True:
            host = self._host()
            found = host.stat(self._config.logs.file)
            now = (found.st_ino, found.st_size) if found else None
            if now == known and time.monotonic() < read + AGAIN:
                yield []
                time.sleep(sources.POLL)
                continue
            known, read = now, time.monotonic()
            since, told = Since(host, self.place), False
            for batch in since.transfers(self._config, self._reader):
                self.place = since.place
                self.lost, told = self.lost or (since.lost and not told), since.lost
                yield [*batch]
            self.place, self.lost = since.place, self.lost or (since.lost and not told)

    # -- the journal -------------------------------------------------------------------------------

    def _of_journal(self) -> Iterator[list[Record | Dropped]]:
        self.begin()
        assert self.place
        known, begin = self.place.cursor, f"--since=@{self.place.at}"
        if known and not self._is_there(known):
            # What is of the same second was handed out, or is in the gap.
            self.lost, self.place = True, Place(self.place.at + 1)
            known, begin = "", f"--since=@{self.place.at}"
        elif known:
            begin = f"--cursor={known}"
        self._quiet, self._ahead = time.monotonic(), None
        entries = Entries(dropped=True)
        for piece in programs.stream([*_FOLLOW, begin, *_MATCHES], sources.POLL):
            found = entries.split(piece) if piece else []
            if found and known:
                # Not --after-cursor: with a filter that skips an entry in systemd 252.
                found = [one for one in found if not is_same(cursor_of(one), known)]
            batch = self._records(found)
            if found:
                self._go_to(found[-1])
                self._quiet, self._ahead = time.monotonic(), None
            elif not piece:
                self._rest()
            yield batch
        raise SftpJailError("journalctl has ended, which was to follow the journal")

    def _rest(self) -> None:
        """After a while without an entry, let the place be one that journald keeps for longer."""
        now = time.monotonic()
        if self._ahead is None and now > self._quiet + REST:
            since = Since(self._host(), None)
            for _ in since.transfers(self._config, self._reader):
                pass
            self._quiet, self._ahead = now, since.place if since.place.cursor else None
        elif self._ahead and now > self._quiet + SURE:  # all up to there would have come
            self._quiet, self.place, self._ahead = now, self._ahead, None

    @staticmethod
    def _is_there(cursor: str) -> bool:
        """Return whether nothing is missing behind an entry; else it goes on at one that is near.

        It is there, or it is gone and the next one, of whomever, is.
        """
        entries, before = Entries(cursors=True), 0
        with contextlib.suppress(SftpJailError):  # it takes the cursor for none
            pieces = programs.stream([*_ALL, f"--cursor={cursor}"])
            with contextlib.closing(pieces):  # type: ignore[type-var]
                for piece in pieces:
                    for entry in entries.split(piece):
                        found = cursor_of(entry)
                        if is_same(found, cursor) or follows(found, cursor):
                            return True
                        before += 1
                        if before >= NEAR or not _is_of(entry, cursor):
                            return False
        return False

    def _records(self, entries: list[Entry]) -> list[Record | Dropped]:
        records, run = list[Record | Dropped](), list[Entry]()
        for entry in entries:
            if entry.get(b"_TRANSPORT") != b"driver":
                run.append(entry)
                continue
            records += self._reader.read_journal(run)
            run = []
            with contextlib.suppress(KeyError, ValueError):
                records.append(_dropped(entry))
        return [*records, *self._reader.read_journal(run)]

    def _go_to(self, entry: Entry) -> None:
        with contextlib.suppress(KeyError, ValueError):
            at = int(entry[b"__REALTIME_TIMESTAMP"]) // 1_000_000
            self.place = Place(at, cursor_of(entry))


def _is_of(entry: Entry, cursor: str) -> bool:
    """Return whether an entry is of the moment of a cursor; several may be."""
    at = entry.get(b"__REALTIME_TIMESTAMP", b"").decode("ascii", "replace")
    return at.isdecimal() and f";t={int(at):x};" in f";{cursor};"


def _dropped(entry: Entry) -> Dropped:
    unit = entry.get(b"OBJECT_SYSTEMD_UNIT", b"").decode("ascii", "replace")
    at = int(entry[b"__REALTIME_TIMESTAMP"]) // 1_000_000
    return Dropped(at, int(entry.get(b"OBJECT_UID", b"-1")), unit, int(entry[b"N_DROPPED"]))

"""The log from a place on, and then what comes to it: for whoever must miss nothing.

As `since`, this begins at a place and says when it was not found again. Under systemd it reads the
journal, which also tells that journald dropped messages.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from itertools import takewhile
from typing import NamedTuple

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..system import programs
from . import sources
from .journal_export import Entries, Entry, cursor_of, follows, is_later, is_same
from .parser import Reader
from .records import Record
from .since import Since
from .totals import Place

AGAIN = 5.0  # seconds after which files are read whatever their sizes say
IDLE = 30.0  # seconds after which the journal is read although nothing seems to have come
BUSY = 0.5  # seconds from one look into the journal to the next where there is much
REST = 600.0  # seconds without an entry of ours, after which the place goes on to one of others
NEAR = 1000  # entries of one moment, of which one may be that of the place

# SD_MESSAGE_JOURNAL_DROPPED of sd-messages.h; what journald itself writes is of the transport
# "driver", which no process can claim (systemd.journal-fields(7)).
_DROPPED = ("MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e", "_TRANSPORT=driver")
_ALL = ("journalctl", "--quiet", "--no-pager", "--all", "--output=export")
_READ = (
    *_ALL,
    "--output-fields=_UID,_PID,SYSLOG_PID,MESSAGE,_HOSTNAME,_TRANSPORT,N_DROPPED,OBJECT_UID,"
    "OBJECT_SYSTEMD_UNIT",
)
_FOLLOW = (*_ALL, "--output-fields=_UID", "--follow", "--lines=0")
_JOURNALS = ("/run/log/journal", "/var/log/journal")
_BOOT = "/proc/sys/kernel/random/boot_id"
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
        self._told = set[str]()  # the cursors of all that was read of the moment of `place`

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
        """Read the journal again and again, whenever journalctl tells that something has come.

        What that prints as it follows is not enough. journald has a file for each user, which
        journalctl reads in turns: an entry in a file that it learns of late, as of a user's first
        session or of a rotation, is left out if it is older than what was printed from another.
        """
        self.begin()
        assert self.place
        if self.place.cursor and not self._is_there(self.place.cursor):
            self._lose()
        self._quiet, self._ahead = time.monotonic(), None
        more, read = True, -IDLE
        for piece in programs.stream([*_FOLLOW, *_MATCHES], sources.POLL):
            now = time.monotonic()
            more = more or bool(piece)
            if now < read + (BUSY if more else IDLE):
                if not piece:
                    yield []
                continue
            read = now
            more = yield from self._up_to(now)
            yield []
        raise SftpJailError("journalctl has ended, which was to follow the journal")

    def _up_to(self, now: float) -> Generator[list[Record | Dropped], None, bool]:
        """Yield the records up to a moment, and return whether there are more.

        journald writes one entry after the other, so all up to now are in its files. Of later ones
        some may be in files that were read already.

        Args:
            now: of the clock that counts from the boot, in seconds.
        """
        assert self.place
        known, first = self.place.cursor, True
        begin = f"--cursor={known}" if known else f"--since=@{self.place.at}"
        boot = (self._host().read(_BOOT) or b"").decode("ascii", "replace").replace("-", "").strip()
        files: list[str] | None = self._files()
        entries, quiet = Entries(dropped=True), True
        with contextlib.closing(programs.stream([*_READ, begin, *_MATCHES])) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                if not piece:  # it is slow, and not at the end, which [] would say
                    continue
                if files is not None and files != self._files():
                    return True  # one may have been renamed before it was opened
                files, found = None, entries.split(piece)
                if first and found and not self._is_behind(found[0]):
                    self._lose()
                    return True
                first = first and not found
                # Not --after-cursor: with a filter that skips an entry in systemd 252.
                told = {known, *self._told} - {""}
                found = [
                    one for one in found if not any(is_same(cursor_of(one), name) for name in told)
                ]
                early = list(takewhile(lambda one: not is_later(cursor_of(one), boot, now), found))
                batch = self._records(early)
                if early:
                    self._go_behind(early)
                    quiet = False
                yield batch
                if len(early) < len(found):
                    return True
        if files is not None and files != self._files():
            return True  # likewise, so that nobody knows whether there was nothing
        if quiet:
            self._rest()
        else:
            self._quiet, self._ahead = now, None
        return False

    def _is_behind(self, entry: Entry) -> bool:
        """Return whether nothing is missing between the place and the first entry from there."""
        known = self.place.cursor if self.place else ""
        return not known or is_same(cursor_of(entry), known) or self._is_there(known)

    def _lose(self) -> None:
        """Go on behind a place that is not there any more."""
        assert self.place
        # What is of the same second was handed out, or is in the gap.
        self.lost, self.place = True, Place(self.place.at + 1)

    def _files(self) -> list[str]:
        host = self._host()
        directories = [f"{top}/{name}" for top in _JOURNALS for name in sorted(host.listdir(top))]
        return [f"{path}/{name}" for path in directories for name in sorted(host.listdir(path))]

    def _rest(self) -> None:
        """After a while without an entry, let the place be one that journald keeps for longer."""
        now = time.monotonic()
        if self._ahead:  # all up to there would have been read
            self._quiet, self.place, self._ahead = now, self._ahead, None
        elif now > self._quiet + REST:
            since = Since(self._host(), None)
            for _ in since.transfers(self._config, self._reader):
                pass
            self._quiet, self._ahead = now, since.place if since.place.cursor else None

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

    def _go_behind(self, entries: list[Entry]) -> None:
        """Go to the last of some entries, and note which others are of its moment.

        What journald says of messages that it dropped and the next message are so, in different
        files, of which journalctl of systemd 252 prints both from either on.
        """
        last, before = entries[-1], self.place.cursor if self.place else ""
        same = map(
            cursor_of, takewhile(lambda one: _is_of(one, cursor_of(last)), reversed(entries))
        )
        known = (one for one in {*self._told, before} if _is_of(last, one))
        self._told = {*known, *same}
        self._go_to(last)

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

"""Read what was added to a log since it was last read, each line once.

The place in a file is the digest of its first line and an offset. So it is found again if the file
was renamed, compressed, or copied and truncated, all of which logrotate(8) does. The place in the
journal is a cursor. If the place is gone, everything after the time of the last line is read.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import BinaryIO

from ..config import Config
from ..errors import SftpJailError
from ..formats.digest import sha256
from ..host import Host
from ..system import programs
from . import sources, sshd_lines
from .journal_export import Entries, Entry, cursor_of, is_later, is_same, seconds_of
from .logins import Logins
from .parser import Reader
from .records import Login, Record
from .timestamps import Clock
from .totals import Place

_NEWEST = ("journalctl", "--quiet", "--no-pager", "--lines=1", "--output=export")


class Since:
    """The records of one log since a place.

    Args:
        host: the facts.
        place: how far it was read. If None, there are no records yet, and the place is set to the
            end of the log.

    Afterwards, `place` is how far it was read, and `lost` says that the place was not found.
    """

    def __init__(self, host: Host, place: Place | None) -> None:
        self._host = host
        self._first = place is None
        self.place = place or Place(int(time.time()))
        self.lost = False

    def transfers(self, config: Config, reader: Reader | None = None) -> Iterator[list[Record]]:
        """Yield the records of internal-sftp's log, in batches; see `sources.read`.

        Args:
            config: which log.
            reader: with the state of earlier lines; a new one by default.

        Raises:
            SftpJailError: nothing is logged, or the log cannot be read.
        """
        reader = reader or Reader(Clock(), self._host.people)
        if sources.in_journal(self._host, config):
            for entries in self._journal(sources.JOURNALCTL):
                yield reader.read_journal(entries)
        else:
            for clock, after, lines in self._files(config.logs.file):
                reader.clock = clock
                yield [one for one in reader.read(lines) if one.at >= after]

    def logins(self) -> Iterator[list[Login]]:
        """Yield the logins in sshd's own lines, in batches; see `sshd_lines.logins`.

        Raises:
            SftpJailError: there is no log of them, or it cannot be read.
        """
        reader = Logins()
        if self._host.systemd:
            for entries in self._journal(sshd_lines.JOURNALCTL, *sshd_lines.OURS):
                lines = sshd_lines.lines_of(entries, Clock())
                yield [one for line in lines for one in reader.read(*line, verified=True)]
        else:
            for clock, after, texts in self._files(sshd_lines.path(self._host)):
                found = (sshd_lines.line_of(text, clock) for text in texts)
                yield [
                    login
                    for line in found
                    if line and line[0].at >= after
                    for login in reader.read(*line, verified=False)
                ]

    # -- the journal -------------------------------------------------------------------------------

    def _journal(self, command: tuple[str, ...], *matches: str) -> Iterator[list[Entry]]:
        if self._first:
            for entry in self._entries(_NEWEST):
                self._go_to(entry)
            return
        after = f"--since=@{self.place.at}"
        if self.place.cursor:
            # Not --after-cursor, which skips an entry in systemd 252 when there are matches.
            after = f"--cursor={self.place.cursor}"
        known = self.place.cursor
        try:
            yield from self._batches((*command, after, *matches), known)
        except SftpJailError:
            if self.place.cursor != known or not known:
                raise
            self.lost = True  # journalctl does not accept the cursor
            self.place = replace(self.place, cursor="", at=self.place.at + 1)
            yield from self._batches((*command, f"--since=@{self.place.at}", *matches), "")

    def _batches(self, command: tuple[str, ...], known: str) -> Iterator[list[Entry]]:
        """Yield the entries up to now.

        Of later ones some may be in a file that journald makes while the others are read, so the
        place must not go behind those.
        """
        batch, boot, now = list[Entry](), sources.boot_id(self._host), time.monotonic()
        with contextlib.closing(self._entries(command)) as entries:
            for entry in entries:
                if is_later(cursor_of(entry), boot, now):
                    break
                if known and is_same(cursor_of(entry), known):
                    continue
                batch.append(entry)
                self._go_to(entry)
                if len(batch) == 1000:
                    yield batch
                    batch = []
        yield batch

    @staticmethod
    def _entries(command: tuple[str, ...]) -> Generator[Entry, None, None]:
        entries = Entries(cursors=True)
        for piece in programs.stream(command):
            yield from entries.split(piece)

    def _go_to(self, entry: Entry) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self.place = Place(seconds_of(entry), entry[b"__CURSOR"].decode("ascii"))

    # -- files -------------------------------------------------------------------------------------

    def _files(self, path: str) -> Iterator[tuple[Clock, int, list[bytes]]]:
        """Yield complete lines, with their clock and the second from which on they count."""
        files = [(name, handle) for name, handle in sources.opened_all(self._host, path)]
        try:
            if self._first:
                self._go_to_end(files)
                return
            begin, after = self._found(files), 0
            if begin is None:
                begin = 0
                if self.place.head:  # reported once, since this place is dropped now
                    self.lost = True
                    self.place = Place(self.place.at + 1)
                after = self.place.at
            offset = self.place.offset
            for number, (name, handle) in enumerate(files[begin:], begin):
                # After a rotation, the daemon writes to the old file until it opens the new one. So
                # the old file is complete once the new one is not empty.
                is_last = not any(_size(later) for _, later in files[number + 1 :])
                yield from self._of_file(name, handle, after, offset)
                if is_last:
                    return
                offset = 0
        finally:
            for _, handle in files:
                handle.close()

    def _go_to_end(self, files: list[tuple[str, BinaryIO]]) -> None:
        """Set the place to the end of the newest file that has a line."""
        for name, handle in reversed(files):
            for _ in self._of_file(name, handle, 0, 0):
                pass
            if self.place.head:
                return

    def _found(self, files: list[tuple[str, BinaryIO]]) -> int | None:
        """Return the index of the file with the place, or None. FILES are oldest first."""
        for number in reversed(range(len(files))) if self.place.head else ():
            name, packed = files[number]
            with self._whole(name):
                handle = sources.unpacked(name, packed)
                first = handle.readline(sources.LONGEST)
                if _digest(first) == self.place.head:
                    handle.seek(max(0, self.place.offset - 1))
                    if handle.read(1) == b"\n":
                        return number
        return None

    def _of_file(
        self, name: str, packed: BinaryIO, after: int, offset: int
    ) -> Iterator[tuple[Clock, int, list[bytes]]]:
        """Yield the complete lines of a file from an offset on, and move the place."""
        clock = Clock(os.fstat(packed.fileno()).st_mtime)
        packed.seek(0)
        with self._whole(name):
            handle = sources.unpacked(name, packed)
            head = _digest(handle.readline(sources.LONGEST))
            if not head or (offset and head != self.place.head):
                return
            handle.seek(offset)
            rest, seen = b"", offset
            while piece := handle.read(sources.BLOCK):
                if _is_emptied(name, packed, head):
                    return  # this piece may be mixed; the copy has everything
                seen += len(piece)
                *lines, last = (rest + piece).split(b"\n")
                if lines:
                    at = _time(lines[-1], clock) or self.place.at
                    self.place = Place(at, head=head, offset=seen - len(last))
                    yield clock, after, [line[: sources.LONGEST] for line in lines]
                rest = last[: sources.LONGEST]

    @contextlib.contextmanager
    def _whole(self, name: str) -> Iterator[None]:
        """Note a loss if a compressed file is damaged.

        Raises:
            SftpJailError: a file that is not compressed cannot be read.
        """
        import lzma

        try:
            yield
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if not sources.is_packed(name):
                raise SftpJailError(f"cannot read {name}: {error}") from error
            self.lost = True


def _size(handle: BinaryIO) -> int:
    return os.fstat(handle.fileno()).st_size


def _is_emptied(name: str, handle: BinaryIO, head: str) -> bool:
    """Return whether a file has another first line now: logrotate has copied and truncated it."""
    if sources.is_packed(name):
        return False
    line, newline, _ = os.pread(handle.fileno(), sources.LONGEST, 0).partition(b"\n")
    return _digest(line + newline) != head


def _digest(line: bytes) -> str:
    """Return the digest of a log file's first line, or "" while that is incomplete."""
    whole = line.endswith(b"\n") or len(line) >= sources.LONGEST
    if not whole:
        return ""
    return sha256(line).hexdigest()


def _time(line: bytes, clock: Clock) -> int:
    """Return the time of a line, or 0."""
    if line[:1].isalpha():
        word = line[:15]
    else:
        word = line.partition(b" ")[0]
    stamp = clock(word)
    if not stamp:
        return 0
    return stamp.at

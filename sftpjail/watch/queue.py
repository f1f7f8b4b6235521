"""Events on disk, from when they are read from the log until each is done.

Batches are appended to a segment, a file of lines: one for each event, then one that commits the
batch. That line also says how far the log was read, and has the state of the sessions that changed.
A batch without it does not count, and is read from the log again. Each segment begins with the
complete state, so that earlier segments are needed only for their events, and are deleted when
these are done. A file beside the segment has a mark for each event that is done. If marks are lost,
as in a crash, their events are delivered once more. Nothing else can be lost.

A segment whose events are mostly done is rewritten without these, so that a few events that wait
for long do not keep the others on disk. The rewritten lines start after a hole as long as the old
segment, so that no old mark has the offset of an event that is left.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import SftpJailError
from ..paths import EVENTS
from ..system import events as store
from ..transferlog.totals import Place
from .event import TransferEvent

SEGMENT = 8 << 20  # bytes after which a new segment begins
_BITS = 40  # the bits of a position that are the offset in its segment
_MARK = 6  # bytes of an offset in a file of marks
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # errors that pass by themselves


@dataclass
class Known:
    """How far the log was read, and the state that is needed to read on.

    Args:
        place: how far, or None if nothing was read yet.
        parser: the sessions of `Reader`; None for one that has ended.
        converter: the same for `Converter`.
        tests: see `Reader.tests`.
    """

    place: Place | None = None
    parser: dict[str, Any] = field(default_factory=dict)
    converter: dict[str, Any] = field(default_factory=dict)
    tests: dict[str, int] = field(default_factory=dict)

    def add(self, later: Known) -> None:
        """Add what has changed later."""
        self.place, self.tests = later.place, later.tests
        for mine, new in ((self.parser, later.parser), (self.converter, later.converter)):
            mine |= new
            for key in [key for key, value in new.items() if value is None]:
                del mine[key]


@dataclass
class _Segment:
    """One segment.

    Args:
        events: how many events were appended to it.
        done: how many of these are done.
        stored: how many are on disk.
        moved: the present offsets of events that a rewrite has moved, by the former ones.
    """

    events: int = 0
    done: int = 0
    stored: int = 0
    moved: dict[int, int] = field(default_factory=dict)


class Queue:
    """The queue of one watcher; several threads may use it.

    Args:
        directory: where it is kept; created if missing.

    `known` is the state at the end of the last run. `damaged` says that part of the queue is lost.
    """

    def __init__(self, directory: str = EVENTS) -> None:
        self._directory = directory
        was_there = os.path.isdir(directory)
        store.make_place(directory)
        # A queue that exists counts as damaged until a place is found in it.
        self.known, self.damaged = Known(), was_there
        self._segments: dict[int, _Segment] = {}
        self._lock = threading.Lock()
        self._last: store.Appended | None = None
        self._full = 0  # the size in bytes at which the last segment is followed by a new one
        self._number = max(self._numbers(), default=0)
        self._sequence = 0
        self._follows = False  # the segment that is read is the one after the last

    # -- what the last run has left ----------------------------------------------------------------

    def recover(self) -> Iterator[tuple[str, int]]:
        """Yield account and position of each event that is not done, oldest first."""
        before, was_there, self.damaged = -1, self.damaged, False
        for number in self._numbers():
            segment = self._segments[number] = _Segment()
            self._follows, before = number == before + 1, number
            marked = self._marked(number)
            for user, offset in self._events_of(number):
                segment.events += 1
                segment.stored += 1
                if offset in marked:
                    segment.done += 1
                else:
                    yield user, number << _BITS | offset
        self.damaged = self.damaged or (was_there and self.known.place is None)

    def _numbers(self) -> list[int]:
        names = [name for name in os.listdir(self._directory) if name.startswith("queue.")]
        return sorted(int(name[6:]) for name in names if name[6:].isdecimal())

    def _marked(self, number: int) -> set[int]:
        try:
            with open(self._path("done", number), "rb") as handle:
                data = handle.read()
        except FileNotFoundError:
            return set()
        whole = range(0, len(data) - len(data) % _MARK, _MARK)
        return {int.from_bytes(data[at : at + _MARK], "big") for at in whole}

    def _events_of(self, number: int) -> Iterator[tuple[str, int]]:
        """Yield account and offset of the events of the batches of a segment that are whole."""
        for batch, text in self._batches(number):
            self._commit(json.loads(text))
            for line, offset in batch:
                yield _text(line[2:].partition(b"\t")[0]), offset

    def _batches(self, number: int) -> Iterator[tuple[list[tuple[bytes, int]], bytes]]:
        """Yield events, with their offsets, and the JSON that commits them, as long as it does."""
        offset, checksum, batch = 0, 0, list[tuple[bytes, int]]()
        with open(self._path("queue", number), "rb") as handle:
            for line in handle:
                if line.startswith(b"E ") and line.endswith(b"\n"):
                    checksum = zlib.crc32(line, checksum)
                    batch.append((line, offset))
                elif line.strip(b"\0") != b"\n":
                    text = _committed(line, checksum)
                    if text is None:
                        return
                    yield batch, text
                    checksum, batch = 0, []
                offset += len(line)

    def _commit(self, found: Mapping[str, Any]) -> None:
        """Take in what a line that commits a batch has."""
        place = found["place"]
        later = Known(
            Place(**place) if place else None, found["parser"], found["converter"], found["tests"]
        )
        if found["whole"]:
            self.known = Known()
            # Where a number is missing, that segment was done.
            gone = found.get("first", found["sequence"]) > self._sequence + 1
            self.damaged = self.damaged or (self._follows and gone)
        self._sequence = max(found["sequence"], self._sequence)
        self.known.add(later)

    # -- more --------------------------------------------------------------------------------------

    def append(
        self, events: list[TransferEvent], later: Known, whole: Callable[[], Known]
    ) -> list[int]:
        """Keep events, and how far the log was read with them: all on the disk, or nothing.

        Args:
            events: in their order.
            later: what has changed since the last call.
            whole: returns all that is known, for the beginning of a segment.

        Returns:
            the position of each event.

        Raises:
            SftpJailError: it cannot be written. Then call it again with the same.
        """
        fresh = self._last is None or self._last.size > self._full
        segment = self._begin() if fresh else self._last
        assert segment
        known = later
        if fresh:
            known = whole()
        lines, offsets, offset = list[bytes](), list[int](), segment.size
        for event in events:
            text = json.dumps(event.as_json())
            lines.append(f"E {json.dumps(event.user)[1:-1]}\t{text}\n".encode("ascii"))
            offsets.append(offset)
            offset += len(lines[-1])
        data = b"".join(lines)
        commit = json.dumps(
            {"sequence": self._sequence + 1, "whole": fresh, **asdict(known)}
        ).encode("ascii")
        commit += b"\n"
        checksum = zlib.crc32(commit, zlib.crc32(data))
        try:
            segment.append(b"%sC %08x %s" % (data, checksum, commit), sync=True)
            if fresh:
                store.settle(self._directory)
        except BaseException:
            self._give_up()  # its end may be a part of a batch
            raise
        self._sequence += 1
        if fresh:  # what many sessions with long names are known by may be longer than a segment
            self._full = max(SEGMENT, 4 * segment.size)
        with self._lock:
            self._segments[self._number].events += len(events)
            self._segments[self._number].stored += len(events)
            if fresh:
                self._drop()
                self._write_anew()
        return [self._number << _BITS | offset for offset in offsets]

    def _begin(self) -> store.Appended:
        self._give_up()
        self._number += 1
        self._last = store.Appended(self._path("queue", self._number))
        with self._lock:
            self._segments[self._number] = _Segment()
        return self._last

    def close(self) -> None:
        """Append no more."""
        self._give_up()

    def _give_up(self) -> None:
        if self._last:
            self._last.close()
            self._last = None

    # -- handing out -------------------------------------------------------------------------------

    def event(self, position: int) -> TransferEvent:
        """Return an event.

        Raises:
            SftpJailError: it cannot be read.
            OSError: not now: the host lacks memory or descriptors.
        """
        number = position >> _BITS
        path = self._path("queue", number)
        try:
            with self._lock, open(path, "rb") as handle:
                handle.seek(self._offset(position))
                line = handle.readline()
            return TransferEvent.from_json(json.loads(line.partition(b"\t")[2]))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            if isinstance(error, OSError) and error.errno in _SCARCE:
                raise
            raise SftpJailError(f"cannot read {path}: {error}") from error

    def done(self, position: int) -> None:
        """Mark an event as done.

        Raises:
            SftpJailError: the mark could not be written. The event is done in this run all the
                same: what has filled the disk may be the queue, which is to be removed.
        """
        number = position >> _BITS
        with self._lock:
            segment, offset = self._segments[number], self._offset(position)
            segment.done += 1
            if segment.done >= segment.events and number != self._number:
                self._drop()
                return
            # Opened each time: there may be more segments than a process may have files open.
            with contextlib.closing(store.Appended(self._path("done", number))) as marks:
                torn = b"\xff" * (-marks.size % _MARK)  # when the disk was full
                marks.append(torn + offset.to_bytes(_MARK, "big"), sync=False)

    def _drop(self) -> None:
        """Remove the segments of which all is done; the last one stays."""
        for number, segment in list(self._segments.items()):
            if number == self._number or segment.done < segment.events:
                continue
            # In this order: marks without their segment say nothing.
            store.remove(self._path("queue", number))
            store.remove(self._path("done", number))
            del self._segments[number]

    def _offset(self, position: int) -> int:
        """Return where an event is in its segment."""
        offset = position & (1 << _BITS) - 1
        segment = self._segments.get(position >> _BITS)
        if segment:
            return segment.moved.get(offset, offset)
        return offset

    def _write_anew(self) -> None:
        """Write the segments anew of which most is done; those that cannot be stay as they are."""
        for number, segment in self._segments.items():
            left = segment.events - segment.done
            if number != self._number and left * 4 <= segment.stored:
                with contextlib.suppress(SftpJailError, OSError):
                    self._write_what_is_left(number, segment)

    def _write_what_is_left(self, number: int, segment: _Segment) -> None:
        """Raises SftpJailError or OSError."""
        path, marked = self._path("queue", number), self._marked(number)
        hole = os.path.getsize(path)
        lines, moved, texts, offset = [b"\n"], dict[int, int](), list[bytes](), hole + 1
        for batch, text in self._batches(number):
            texts = [*texts[:1], text]
            for line, before in batch:
                if before not in marked:
                    lines.append(line)
                    moved[before] = offset
                    offset += len(line)
        if not texts:
            return
        first, last = json.loads(texts[0]), json.loads(texts[-1])
        known = {
            "sequence": last["sequence"],
            "first": first.get("first", first["sequence"]),
            "whole": True,  # what comes behind begins with all that is known
            **asdict(Known()),
        }
        commit = json.dumps(known).encode("ascii") + b"\n"
        checksum = zlib.crc32(commit, zlib.crc32(b"".join(lines[1:])))
        lines.append(b"C %08x %s" % (checksum, commit))
        store.put_behind(path, hole, b"".join(lines))
        segment.stored = len(moved)
        origins = {now: origin for origin, now in segment.moved.items()}
        segment.moved = {origins.get(before, before): now for before, now in moved.items()}
        store.remove(self._path("done", number))

    def _path(self, what: str, number: int) -> str:
        return f"{self._directory}/{what}.{number}"


def _committed(line: bytes, checksum: int) -> bytes | None:
    """Return the JSON of a line that commits a batch, or None: it is none, or not whole.

    Args:
        line: with its newline, if it has one.
        checksum: of the batch.
    """
    mark, _, rest = line.partition(b" ")
    digest, _, text = rest.partition(b" ")
    if mark == b"C" and digest == b"%08x" % zlib.crc32(text, checksum):
        return text
    return None


def _text(word: bytes) -> str:
    return str(json.loads(b'"%s"' % word))

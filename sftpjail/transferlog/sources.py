"""Where internal-sftp's log lines come from.

The log daemon's file, those it was rotated to, or the journal.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import stat
import time
import zlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO, cast

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..system import programs
from .backend import backend

if TYPE_CHECKING:
    from .journal_export import Entry
    from .parser import Reader
    from .records import Record

JOURNALCTL = (
    "journalctl",
    "--quiet",
    "--no-pager",
    "--all",
    "--identifier=internal-sftp",
    "--output=export",
    "--output-fields=_UID,_PID,SYSLOG_PID,MESSAGE,_HOSTNAME",
)
BLOCK = 1 << 18
LONGEST = 1 << 16  # bytes of a line; the rest is dropped
POLL = 0.2  # seconds between two looks at a file


def boot_id(host: Host) -> str:
    """Return the kernel's identifier of this boot as journald writes it, or ""; see random(4)."""
    found = host.read("/proc/sys/kernel/random/boot_id") or b""
    return found.decode("ascii", "replace").replace("-", "").strip()


def recent(host: Host, config: Config, since: float) -> Iterator[bytes]:
    """Yield the texts of internal-sftp's messages since a moment, cheaply.

    Only the end of the log is read.

    Args:
        host: the facts.
        config: which log.
        since: epoch seconds, rounded down.

    Raises:
        SftpJailError: nothing is logged, or the log cannot be read.
    """
    if logged(host, config) == "journald":
        for entry in _entries(programs.stream([*JOURNALCTL, f"--since=@{int(since)}"])):
            yield entry.get(b"MESSAGE", b"")
        return
    path = config.logs.file
    rotated = host.stat(f"{path}.1")
    for name in (*((f"{path}.1",) if rotated and rotated.st_mtime >= since else ()), path):
        yield from (text for at, text in _tail(host, name, since) if at >= int(since))


def _entries(pieces: Iterable[bytes]) -> Iterator[Entry]:
    from .journal_export import Entries

    entries = Entries()
    for piece in pieces:
        yield from entries.split(piece)


def logged(host: Host, config: Config) -> str:
    """Return the daemon that writes the log. Raises SftpJailError if there is none."""
    name = backend(host, config)
    if name == "none":
        raise SftpJailError(
            (
                "nothing is logged: no log daemon is here, "
                "or the configuration has [logs] backend = none"
            ),
            advice="install rsyslog, set backend = auto in /etc/sftpjail/sftpjail.conf, "
            "then run sftpjail setup && sftpjail apply",
        )
    return name


def in_journal(host: Host, config: Config) -> bool:
    """Return whether to read the journal instead of a file.

    Under systemd, rsyslog does not know who has written a line; the journal does. And syslog-ng
    follows the journal as `journalctl --follow` does, which misses some entries of users' files:
    see `following`.

    Raises:
        SftpJailError: nothing is logged.
    """
    return logged(host, config) == "journald" or host.systemd


def _open(host: Host, path: str) -> BinaryIO | None:
    """Return a log file, open, or None if there is none.

    Raises:
        SftpJailError: it cannot be read.
    """
    try:
        fd = os.open(host.files.root + path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SftpJailError(
            f"cannot read {path}: {error.strerror}", advice="run sftpjail as root"
        ) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SftpJailError(f"cannot read {path}: it is not a file")
    return open(fd, "rb")


def _tail(host: Host, path: str, since: float) -> list[tuple[int, bytes]]:
    """Return the time and message of the last lines of a file, at least those since a moment."""
    from .parser import line_of
    from .timestamps import Clock

    handle = _open(host, path)
    if not handle:
        return []
    clock = Clock(time.time())
    with handle:
        size, length = os.fstat(handle.fileno()).st_size, BLOCK
        while True:
            handle.seek(max(0, size - length))
            first = 1 if size > length else 0  # of which the beginning may be missing
            told = []
            for word, message in filter(None, map(line_of, handle.read().split(b"\n")[first:-1])):
                stamp = clock(word)
                if stamp:
                    told.append((stamp.at, message))
            if size <= length or (told and told[0][0] < int(since)):
                return told
            length *= 4


# -- the whole log ---------------------------------------------------------------------------------


def read(
    host: Host, config: Config, reader: Reader, follow: bool = False
) -> Iterator[list[Record]]:
    """Yield the records of the whole log, oldest first, in batches.

    Args:
        host: the facts.
        config: which log.
        reader: makes records of lines.
        follow: continue with new lines. An empty batch says that none has come for a moment.

    Raises:
        SftpJailError: nothing is logged, or the log cannot be read.
    """
    name = logged(host, config)
    # Under systemd, rsyslog gets messages from the journal without their writers;
    # the journal knows.
    if name == "journald" or (follow and name == "rsyslog" and host.systemd):
        from .journal_export import Entries

        entries = Entries()
        more = ("--follow", "--no-tail") if follow else ()
        for piece in programs.stream([*JOURNALCTL, *more], POLL):
            if piece:
                yield reader.read_journal(entries.split(piece))
            elif follow:
                yield reader.settle()
        if not entries.whole:
            yield reader.broken(b"", "the last entry of the journal is not whole")
        return
    if name == "rsyslog" and host.systemd:
        reader.vouch = JournalWriters(programs.stream(JOURNALCTL)).find
    yield from _read_files(host, config.logs.file, reader, follow)


class JournalWriters:
    """Finds the writer of a line of a log file in the journal.

    Both are ordered by time, so the journal is read only once.

    Args:
        pieces: of the journal, as JOURNALCTL prints it.
    """

    AHEAD = 5  # seconds by which rsyslog's time of a message may differ from journald's
    KEPT = 100_000  # entries after which old ones are dropped

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._sent = self._read(pieces)
        self._next: tuple[int, tuple[bytes, bytes], int, bytes] | None = None
        self._seen = defaultdict[tuple[bytes, bytes], deque[tuple[int, int, bytes]]](deque)
        self._count = 0

    def find(self, at: int, pid: bytes, message: bytes) -> tuple[int, bytes] | None:
        """Return the uid and pid of the process that sent MESSAGE at about that time, or None.

        PID is what the line claims.
        """
        self._next = self._next or next(self._sent, None)
        while self._next and self._next[0] <= at + self.AHEAD:
            when, key, uid, true = self._next
            self._seen[key].append((when, uid, true))
            self._count += 1
            self._next = next(self._sent, None)
        if self._count > self.KEPT:
            self._drop(at - self.AHEAD)
        found = self._seen.get((pid, message))
        while found:
            when, uid, true = found.popleft()
            if when >= at - self.AHEAD:
                return uid, true
        return None

    def _drop(self, before: int) -> None:
        """Drop the entries before a moment."""
        for key, found in list(self._seen.items()):
            while found and found[0][0] < before:
                found.popleft()
            if not found:
                del self._seen[key]
        self._count = sum(map(len, self._seen.values()))

    @staticmethod
    def _read(pieces: Iterable[bytes]) -> Iterator[tuple[int, tuple[bytes, bytes], int, bytes]]:
        with contextlib.suppress(SftpJailError):  # there is no journal, so nothing is verified
            for entry in _entries(pieces):
                with contextlib.suppress(KeyError, ValueError):
                    at, true = int(entry[b"__REALTIME_TIMESTAMP"]), entry[b"_PID"]
                    key = entry.get(b"SYSLOG_PID", true), entry[b"MESSAGE"]
                    yield at // 1_000_000, key, int(entry[b"_UID"]), b"%d" % int(true)


def alive(host: Host, pid: int, at: int) -> bool:
    """Return whether a process is an sshd that existed at a time, in epoch seconds.

    See proc_pid_stat(5).
    """
    try:
        text = host.text(f"/proc/{pid}/stat")
        boot = re.search(r"^btime (\d+)$", host.text("/proc/stat"), re.MULTILINE)
    except SftpJailError:
        return False
    name, _, fields = text.partition("(")[2].rpartition(")")
    if not name.startswith("sshd") or not boot:
        return False
    return int(boot[1]) + int(fields.split()[19]) / os.sysconf("SC_CLK_TCK") <= at + 2


class _Lines:
    """Splits pieces into lines; `rest` is the beginning of an incomplete line."""

    def __init__(self) -> None:
        self.rest = b""

    def split(self, piece: bytes) -> list[bytes]:
        """Return the lines that end in PIECE, without their newlines."""
        lines = (self.rest + piece).split(b"\n")
        self.rest = lines.pop()[:LONGEST]
        return lines


def _read_files(host: Host, path: str, reader: Reader, follow: bool) -> Iterator[list[Record]]:
    handles = opened_all(host, path)
    try:
        while handles:
            name, handle = handles[0]
            last = follow and name == path
            yield from _read_file(name, handle, reader, last)
            if last:
                break
            handles.pop(0)[1].close()
        if follow:
            yield from _follow(host, path, handles.pop()[1] if handles else None, reader)
    finally:
        for _, handle in handles:
            handle.close()


def opened(host: Host, path: str) -> Iterator[tuple[str, BinaryIO]]:
    """Yield the names of a log file and its rotated versions, oldest first, and each file open.

    Raises:
        SftpJailError: one cannot be read.
    """
    for name, handle in opened_all(host, path):
        with handle:
            yield name, handle


def lines_of(name: str, handle: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of such a file, which may be compressed.

    Raises:
        SftpJailError: it cannot be read to its end.
    """
    import lzma

    lines = _Lines()
    try:
        whole = unpacked(name, handle)
        while piece := whole.read(BLOCK):
            yield from lines.split(piece)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise SftpJailError(f"cannot read {name}: {error}") from error
    if lines.rest:
        yield lines.rest


def opened_all(host: Host, path: str) -> list[tuple[str, BinaryIO]]:
    """Return the log's files, open, oldest first.

    They are opened newest first, and again if logrotate has renamed some meanwhile.
    """
    for _ in range(5):
        names = _rotated(host, path)
        before = [(name, found.st_ino) for name in names if (found := host.stat(name))]
        handles = [(name, handle) for name in reversed(names) if (handle := _open(host, name))]
        opened = [(name, os.fstat(handle.fileno()).st_ino) for name, handle in reversed(handles)]
        if before == opened and names == _rotated(host, path):
            break
        for _, handle in handles:
            handle.close()
    else:
        raise SftpJailError(f"{path} is rotated again and again", advice="try again")
    return handles[::-1]


def _rotated(host: Host, path: str) -> list[str]:
    """Return the log's files, oldest first.

    PATH.2.gz PATH.1 PATH, or PATH-20261101.gz PATH (logrotate(8)).
    """
    directory, base = posixpath.split(path)
    form = re.compile(re.escape(base) + r"(?:\.(\d{1,6})|-(\d[\d-]*))(\.gz|\.xz|\.bz2)?")
    numbered, dated = dict[int, str](), dict[str, str]()
    for name in host.listdir(directory):  # sorted, so that a file comes before its compressed copy
        match = form.fullmatch(name)
        if match and match[1]:
            numbered.setdefault(int(match[1]), f"{directory}/{name}")
        elif match:
            dated.setdefault(match[2], f"{directory}/{name}")
    groups = [
        [numbered[key] for key in sorted(numbered, reverse=True)],
        [dated[key] for key in sorted(dated)],
    ]
    # Both kinds exist if dateext was switched on or off.
    groups.sort(key=lambda names: max((_modified(host, name) for name in names), default=0))
    live = []
    if host.lstat(path):
        live = [path]
    return [*groups[0], *groups[1], *live]


def _modified(host: Host, path: str) -> float:
    found = host.stat(path)
    if not found:
        return 0
    return found.st_mtime


_PACKERS = {".gz": "gzip", ".xz": "lzma", ".bz2": "bz2"}


def is_packed(name: str) -> bool:
    """Return whether a log file's name says that it is compressed."""
    return posixpath.splitext(name)[1] in _PACKERS


def unpacked(name: str, handle: BinaryIO) -> BinaryIO:
    """Return a file that reads a log file, which may be compressed."""
    packer = _PACKERS.get(posixpath.splitext(name)[1])
    if packer:
        return cast(BinaryIO, import_module(packer).open(handle, "rb"))
    return handle


def _read_file(
    name: str, handle: BinaryIO, reader: Reader, unfinished: bool
) -> Iterator[list[Record]]:
    """Yield the records of one file to its end.

    Args:
        name: its path.
        handle: open, at its beginning.
        reader: makes records.
        unfinished: the last line may be incomplete; then the handle is left at its beginning.
    """
    import lzma

    from .timestamps import Clock

    reader.clock = Clock(os.fstat(handle.fileno()).st_mtime)
    packed = handle
    lines = _Lines()
    try:
        handle = unpacked(name, handle)
        while piece := handle.read(BLOCK):
            yield reader.read(lines.split(piece))
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if handle is packed:
            raise SftpJailError(f"cannot read {name}: {error}") from error
        yield reader.broken(name.encode(), f"cannot be decompressed to the end: {error}")
    if unfinished:
        handle.seek(-len(lines.rest), os.SEEK_CUR)
    elif lines.rest:
        yield reader.broken(lines.rest, "no end of line")


def _follow(
    host: Host, path: str, handle: BinaryIO | None, reader: Reader
) -> Iterator[list[Record]]:
    """Yield what is added to a file, also after it is rotated or truncated.

    HANDLE is closed at the end.
    """
    lines, handle = _Lines(), handle or _nothing()
    try:
        while True:
            piece = handle.read(BLOCK)
            if piece:
                reader.clock.written = time.time()
                yield reader.read(lines.split(piece))
                continue
            now, mine = host.stat(path), os.fstat(handle.fileno())
            emptied = mine.st_size < handle.tell()
            # The daemon writes to the old file until it has the new one:
            # that has a byte, so the old one has its last.
            moved = now is not None and now.st_size > 0 and not os.path.samestat(now, mine)
            if emptied or moved:
                if not emptied:
                    yield reader.read(lines.split(handle.read()))
                if lines.rest:
                    yield reader.broken(lines.rest, "no end of line")
                lines = _Lines()
                handle.close()
                handle = _open(host, path) or _nothing()
                continue
            yield reader.settle()
            time.sleep(POLL)
    finally:
        handle.close()


def _nothing() -> BinaryIO:
    """Return an empty file in place of a log file that does not exist yet."""
    return open(os.devnull, "rb")

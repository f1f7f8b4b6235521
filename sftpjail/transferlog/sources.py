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
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..system import programs
from .backend import backend

if TYPE_CHECKING:
    from .parser import Reader
    from .records import Record

# Fmt: skip.
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
LONGEST = 1 << 16  # of a line nothing behind this is kept
POLL = 0.2  # seconds between two looks at a file


def recent(host: Host, config: Config, since: float) -> Iterator[bytes]:
    """Yield the texts of internal-sftp's messages since a moment, cheaply.

    Only the end of the log is read.

    Args:
        host: the facts.
        config: which log.
        since: epoch seconds; the second in which it lies counts whole.

    Raises:
        SftpJailError: nothing is logged, or the log cannot be read.
    """
    if _logged(host, config) == "journald":
        from .journal_export import Entries

        entries = Entries()
        for piece in programs.stream([*JOURNALCTL, f"--since=@{int(since)}"]):
            for entry in entries.split(piece):
                yield entry.get(b"MESSAGE", b"")
        return
    from .parser import line_of
    from .timestamps import Clock, first_year

    path = config.logs.file
    rotated = host.stat(f"{path}.1")
    for name in (*((f"{path}.1",) if rotated and rotated.st_mtime >= since else ()), path):
        lines = _tail(host, name, since)
        clock = Clock(first_year((line + b"\n" for line in lines), time.time()))
        for line in lines:
            found = line_of(line)
            stamp = found and clock(found[0])
            if found and stamp and stamp.at >= int(since):
                yield found[1]


def _logged(host: Host, config: Config) -> str:
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


def _open(host: Host, path: str) -> BinaryIO | None:
    """Return a log file, or None where there is none.

    Raises:
        SftpJailError: it cannot be read.
    """
    try:
        fd = os.open(host.root + path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SftpJailError(
            f"cannot read {path}: {error.strerror}", advice="run sftpjail as root"
        ) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise SftpJailError(f"cannot read {path}: it is no file")
    return open(fd, "rb")


def _tail(host: Host, path: str, since: float) -> list[bytes]:
    """Return the last lines of a file, from at least that moment on."""
    from .parser import line_of
    from .timestamps import Clock, first_year

    handle = _open(host, path)
    if not handle:
        return []
    with handle:
        size, length = os.fstat(handle.fileno()).st_size, BLOCK
        while True:
            handle.seek(max(0, size - length))
            lines = handle.read().split(b"\n")[(1 if size > length else 0) : -1]
            clock = Clock(first_year((line + b"\n" for line in lines[:1]), time.time()))
            stamp = next(
                filter(None, (clock(found[0]) for found in map(line_of, lines) if found)), None
            )
            if size <= length or (stamp and stamp.at < int(since)):
                return lines
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
        follow: go on with what comes; an empty batch says that nothing has come for a moment.

    Raises:
        SftpJailError: nothing is logged, or the log cannot be read.
    """
    name = _logged(host, config)
    # Under systemd rsyslog has what the journal hands on, and no word of whose it was;
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
        reader.vouch = Vouchers(programs.stream(JOURNALCTL)).find
    yield from _read_files(host, config.logs.file, reader, follow)


class Vouchers:
    """Finds in the journal who has written a line of a log file.

    Both are in the order of time, so it is read once.

    Args:
        pieces: of the journal, as JOURNALCTL prints it.
    """

    AHEAD = 5  # seconds by which rsyslog's time of a message may differ from journald's
    KEPT = 100_000  # entries after which old ones that nobody asked for are dropped

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._entries = self._read(pieces)
        self._seen: dict[tuple[bytes, bytes], list[tuple[int, int, bytes]]] = {}
        self._next: tuple[int, tuple[bytes, bytes], int, bytes] | None = None
        self._count = 0

    def find(self, at: int, pid: bytes, message: bytes) -> tuple[int, bytes] | None:
        """Return uid and pid of the process that sent MESSAGE at about that time, or None.

        It called itself PID.
        """
        while (self._next or self._advance()) and self._next and self._next[0] <= at + self.AHEAD:
            when, key, uid, true = self._next
            self._seen.setdefault(key, []).append((when, uid, true))
            self._next = None
            self._count += 1
        if self._count > self.KEPT:
            self._drop(at - self.AHEAD)
        found = self._seen.get((pid, message), [])
        while found:
            when, uid, true = found.pop(0)
            if when >= at - self.AHEAD:
                return uid, true
        return None

    def _advance(self) -> bool:
        self._next = next(self._entries, None)
        return self._next is not None

    def _drop(self, before: int) -> None:
        self._seen = {
            key: kept
            for key, all_ in self._seen.items()
            if (kept := [e for e in all_ if e[0] >= before])
        }
        self._count = sum(map(len, self._seen.values()))

    @staticmethod
    def _read(pieces: Iterator[bytes]) -> Iterator[tuple[int, tuple[bytes, bytes], int, bytes]]:
        from .journal_export import Entries

        entries = Entries()
        with contextlib.suppress(SftpJailError):  # no journal: nobody vouches
            for piece in pieces:
                for entry in entries.split(piece):
                    with contextlib.suppress(KeyError, ValueError):
                        at, uid, true = (
                            int(entry[b"__REALTIME_TIMESTAMP"]),
                            int(entry[b"_UID"]),
                            entry[b"_PID"],
                        )
                        key = entry.get(b"SYSLOG_PID", true), entry[b"MESSAGE"]
                        yield at // 1_000_000, key, uid, b"%d" % int(true)


def alive(host: Host, pid: int, at: int) -> bool:
    """Return whether a process is an sshd that was there at that time, in epoch seconds.

    See proc_pid_stat(5).
    """
    try:
        text, boot = (
            host.text(f"/proc/{pid}/stat"),
            re.search(r"^btime (\d+)$", host.text("/proc/stat"), re.MULTILINE),
        )
    except SftpJailError:
        return False
    name, _, fields = text.partition("(")[2].rpartition(")")
    if not name.startswith("sshd") or not boot:
        return False
    return int(boot[1]) + int(fields.split()[19]) / os.sysconf("SC_CLK_TCK") <= at + 2


class _Lines:
    """Cuts pieces into lines; `rest` is the beginning of a line whose end has not come."""

    def __init__(self) -> None:
        self.rest = b""

    def split(self, piece: bytes) -> list[bytes]:
        """Return the lines that end in PIECE, without their newlines."""
        lines = (self.rest + piece).split(b"\n")
        self.rest = lines.pop()[:LONGEST]
        return lines


def _read_files(host: Host, path: str, reader: Reader, follow: bool) -> Iterator[list[Record]]:
    handles = _files(host, path)
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


def _files(host: Host, path: str) -> list[tuple[str, BinaryIO]]:
    """Return the log's files, open, oldest first.

    They are opened newest first, and again if logrotate was at work meanwhile.
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
        raise SftpJailError(f"{path} is being rotated all the time", advice="try again")
    return handles[::-1]


def _rotated(host: Host, path: str) -> list[str]:
    """Return the log's files, oldest first.

    PATH.2.gz PATH.1 PATH, or PATH-20261101.gz PATH (logrotate(8)).
    """
    folder, base = posixpath.split(path)
    form = re.compile(re.escape(base) + r"(?:\.(\d{1,6})|-(\d[\d-]*))(\.gz|\.xz|\.bz2)?")
    numbered, dated = dict[int, str](), dict[str, str]()
    for name in host.listdir(folder):  # sorted: a plain file stands before its compressed twin
        match = form.fullmatch(name)
        if match and match[1]:
            numbered.setdefault(int(match[1]), f"{folder}/{name}")
        elif match:
            dated.setdefault(match[2], f"{folder}/{name}")
    groups = [
        [numbered[key] for key in sorted(numbered, reverse=True)],
        [dated[key] for key in sorted(dated)],
    ]
    # Both kinds are there when dateext was switched on or off.
    groups.sort(
        key=lambda names: max(
            (found.st_mtime for name in names if (found := host.stat(name))), default=0
        )
    )
    live = [path] if host.lstat(path) else []
    return [*groups[0], *groups[1], *live]


def _unpacked(name: str, handle: BinaryIO) -> BinaryIO:
    if name.endswith(".gz"):
        import gzip

        return cast(BinaryIO, gzip.open(handle, "rb"))
    if name.endswith(".xz"):
        import lzma

        return cast(BinaryIO, lzma.open(handle, "rb"))
    if name.endswith(".bz2"):
        import bz2

        return cast(BinaryIO, bz2.open(handle, "rb"))
    return handle


def _read_file(
    name: str, handle: BinaryIO, reader: Reader, unfinished: bool
) -> Iterator[list[Record]]:
    """Yield the records of one file to its end.

    Args:
        name: its path.
        handle: open, at its beginning.
        reader: makes records.
        unfinished: its last line may yet come; the handle is left where that begins.
    """
    import lzma

    from .timestamps import Clock, first_year

    modified = os.fstat(handle.fileno()).st_mtime
    packed = handle
    lines = _Lines()
    try:
        handle = _unpacked(name, handle)
        first = handle.read(BLOCK)
        handle.seek(0)
        if re.search(rb"^[A-Z]", first, re.MULTILINE):
            # Times without a year: look at the days of the whole file first.
            ends = _Lines()
            reader.clock = Clock(
                first_year((b"\n".join(ends.split(p)) for p in _pieces(handle)), modified)
            )
            handle.seek(0)
        else:
            reader.clock = Clock(first_year((), modified))
        for piece in _pieces(handle):
            yield reader.read(lines.split(piece))
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if handle is packed:
            raise SftpJailError(f"cannot read {name}: {error}") from error
        yield reader.broken(name.encode(), f"cannot be unpacked to its end: {error}")
    if unfinished:
        handle.seek(-len(lines.rest), os.SEEK_CUR)
    elif lines.rest:
        yield reader.broken(lines.rest, "no end of line")


def _pieces(handle: BinaryIO) -> Iterator[bytes]:
    while piece := handle.read(BLOCK):
        yield piece


def _follow(
    host: Host, path: str, handle: BinaryIO | None, reader: Reader
) -> Iterator[list[Record]]:
    """Yield what comes to a file, also when it is rotated or emptied.

    HANDLE is closed in the end.
    """
    lines = _Lines()
    try:
        while True:
            piece = handle.read(BLOCK) if handle else b""
            if piece:
                yield reader.read(lines.split(piece))
                continue
            now = host.stat(path)
            mine = os.fstat(handle.fileno()) if handle else None
            emptied = bool(handle and mine and mine.st_size < handle.tell())
            # The daemon writes to the old file until it has the new one:
            # that has a byte, so the old one has its last.
            moved = (
                now is not None
                and now.st_size > 0
                and (not mine or (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino))
            )
            if emptied or moved:
                if handle and not emptied:
                    yield reader.read(lines.split(handle.read()))
                if lines.rest:
                    yield reader.broken(lines.rest, "no end of line")
                lines = _Lines()
                if handle:
                    handle.close()
                handle = _open(host, path)
                continue
            yield reader.settle()
            time.sleep(POLL)
    finally:
        if handle:
            handle.close()

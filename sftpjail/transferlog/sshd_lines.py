"""Find sshd's own lines: in the journal, or in the file to which a log daemon writes logins."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator

from ..errors import SftpJailError
from ..host import Host
from ..system import programs
from . import sources
from .journal_export import Entries, Entry
from .logins import Logins
from .records import Login
from .timestamps import Clock, Stamp

# Debian's rsyslog and syslog-ng, and other distributions'.
FILES = ("/var/log/auth.log", "/var/log/secure")
GAP = 7 * 86400  # seconds; a log that was not written for longer may lack logins
# Since OpenSSH 9.8, a session is a program of its own. A process of root can be trusted to give its
# right name.
JOURNALCTL = (
    *("journalctl", "--quiet", "--no-pager", "--all", "--output=export"),
    "--output-fields=_UID,_PID,SYSLOG_PID,MESSAGE,_HOSTNAME",
)
OURS = ("_UID=0", "SYSLOG_IDENTIFIER=sshd", "SYSLOG_IDENTIFIER=sshd-session")
_LINE = re.compile(
    rb"(\d{4}-\S+|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) \S+ sshd(?:-session)?\[(\d{1,10})\]: (.*)",
    re.DOTALL,
).fullmatch
_STAMP = re.compile(rb"\d{4}-\S+|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d").match


def logins(host: Host, since: float = 0) -> Iterator[list[Login]]:
    """Yield the logins since a moment, oldest first, in batches.

    Args:
        host: the facts.
        since: in epoch seconds.

    Raises:
        SftpJailError: there is no log of them, or it cannot be read.
    """
    reader = Logins()
    for lines in _journal(since) if host.systemd else _from_files(host, since):
        yield [
            login
            for stamp, pid, message in lines
            if stamp.at >= int(since)
            for login in reader.read(stamp, pid, message, host.systemd)
        ]


def following() -> Iterator[list[Login]]:
    """Yield logins as they come to the journal from now on; [] while there are none.

    Raises:
        SftpJailError: there is no journal.
    """
    reader = Logins()
    for lines in _read(programs.stream([*JOURNALCTL, "--follow", "--lines=0", *OURS], 0.0)):
        yield [login for line in lines for login in reader.read(*line, verified=True)]


def begin(host: Host) -> int:
    """Return since when the log of logins is complete, in epoch seconds.

    That is its beginning. With log files, it is the end of the last gap, since the daemon may not
    have run meanwhile.

    Raises:
        SftpJailError: there is no log, it is empty, or nothing was written to it for long.
    """
    if host.systemd:
        lines = (line for batch in _read(programs.stream(JOURNALCTL)) for line in batch)
        with contextlib.closing(lines):
            first = next(lines, None)
        if first:
            return first[0].at
        raise SftpJailError(_EMPTY)
    return _begin_of_files(host)


_EMPTY = "the log of logins is empty"


def _begin_of_files(host: Host) -> int:
    begin = last = written = 0
    for name, handle in sources.opened(host, path(host)):
        modified = os.fstat(handle.fileno()).st_mtime
        clock = Clock(modified)
        for line in sources.lines_of(name, handle):
            word = _STAMP(line)
            stamp = None
            if word:
                stamp = clock(word[0])
            if stamp:
                # Backwards too, since a line may have a time of its own, which must not hide a gap.
                if not begin or abs(stamp.at - last) > GAP:
                    begin = stamp.at
                last = stamp.at
                written = min(last, int(modified))
    if not begin:
        raise SftpJailError(_EMPTY)
    if time.time() - written > GAP:
        day = time.strftime("%Y-%m-%d", time.localtime(written))
        raise SftpJailError(f"nothing has been written to {path(host)} since {day}")
    return begin


Line = tuple[Stamp, int, bytes]
Lines = list[Line]


def _journal(since: float) -> Iterator[Lines]:
    yield from _read(programs.stream([*JOURNALCTL, f"--since=@{int(since)}", *OURS]))


def _read(pieces: Iterator[bytes]) -> Iterator[Lines]:
    entries, clock = Entries(), Clock()
    for piece in pieces:
        yield lines_of(entries.split(piece), clock)


def lines_of(entries: Iterable[Entry], clock: Clock) -> Lines:
    """Return time, pid and message of entries of the journal."""
    lines = Lines()
    for entry in entries:
        with contextlib.suppress(KeyError, ValueError, OverflowError, OSError):
            stamp = clock.journal(int(entry[b"__REALTIME_TIMESTAMP"]))
            lines.append((stamp, int(entry[b"_PID"]), entry[b"MESSAGE"]))
    return lines


def line_of(text: bytes, clock: Clock) -> Line | None:
    """Return the time, pid and message of a line of a log file, or None if it is not sshd's."""
    match = _LINE(text)
    stamp = None
    if match:
        stamp = clock(match[1])
    if match and stamp:
        return (stamp, int(match[2]), match[3])
    return None


def path(host: Host) -> str:
    """Return the file with the logins. Raises SftpJailError if there is none."""
    path = next((path for path in FILES if host.lstat(path)), "")
    if not path:
        raise SftpJailError("no daemon writes a log of logins")
    return path


def _from_files(host: Host, since: float) -> Iterator[Lines]:
    for name, handle in sources.opened(host, path(host)):
        written = os.fstat(handle.fileno()).st_mtime
        if written < since:
            continue
        clock = Clock(written)
        for line in sources.lines_of(name, handle):
            found = line_of(line, clock)
            if found:
                yield [found]

"""Read internal-sftp's log: from lines to records of what sessions did. Pure.

The messages are those of OpenSSH's sftp-server.c (9.2 to 10.6), each escaped as a whole by do_log()
of log.c: printable ASCII stays, a backslash is doubled, everything else is \\n or octal. A quote is
*not* escaped, so a name can look like the rest of a message; messages are therefore matched as a
whole, and where more than one reading is possible none is chosen. A record is one thing that a
session did. A line that cannot be understood is a record too.

Everybody on a host may write to its log. So the writer of a line is the process that the log daemon
names, from SCM_CREDENTIALS of unix(7): internal-sftp runs with the uid of its user. A line that
claims to be from somebody else is attributed to its writer. If the daemon names no process, the
line is not verified, and neither is its record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .journal_export import Entry
from .records import Operation, Record, Session, Transfer, Unknown
from .timestamps import Clock, Stamp

# do_log() gives syslog(3) "%.500s": a message of that length may have lost its end,
# and with it the true byte counts.
LIMIT = 500
REPEATS = 100_000  # more than a log daemon suppresses in its ten seconds
# Each line adds this many. Anybody can write that a message was repeated, and a few such lines must
# not become more records than fit into memory.
REPEATS_A_LINE = 10

_STAMP = (
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)"
    rb"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?)"
)
# Our rule for the log daemon (plugins/logs) puts `uid=` there, in front of everything that a
# process can send.
_OURS = re.compile(
    _STAMP + rb" ([^ ]+ (?:uid=(\d{0,10}) )?internal-sftp\[(\d{1,10})\]): (.*)", re.DOTALL
).fullmatch
_OTHER = re.compile(_STAMP + rb" [^ ]+ (?!internal-sftp\b|uid=)[^ ]", re.DOTALL).match
_REPEATED = re.compile(rb"message repeated (\d{1,9}) times: \[ (.*)\]", re.DOTALL).fullmatch
# What root writes before a test, and the address of the test's login. It comes through a pipe, and
# no user's login does.
_TEST = re.compile(rb"sftpjail test of ([!-\[\]-~]+)").fullmatch
_NOWHERE = "UNKNOWN"
TEST_SECONDS = 30  # in which the login comes
_VISIBLE = re.compile(rb"[ -~]*").fullmatch
_ESCAPE = re.compile(rb"\\(\\|[0-7]{3}|[nrbavtf0]|)")
_LETTERS = {
    b"n": b"\n",
    b"r": b"\r",
    b"b": b"\b",
    b"a": b"\a",
    b"v": b"\v",
    b"t": b"\t",
    b"f": b"\f",
    b"0": b"\0",
}

# A greedy match of the name is safe if nothing after it can contain a quote: then the last quote is
# the server's.
_SESSION = re.compile(rb"session (opened|closed) for local user (.+) from \[([^\[\]]*)\]").fullmatch
_CLOSE = re.compile(rb'(forced )?close "(.*)" bytes read (\d{1,20}) written (\d{1,20})').fullmatch
_OPEN = re.compile(rb'open "(.*)" flags ([A-Z,]*) mode 0[0-7]+').fullmatch
# Messages about one name: the operation, the name, and maybe more.
_NAMED = re.compile(rb'([a-z-]+) (?:name )?"(.*)"').fullmatch
_NAMED_AND_MORE = {
    b"mkdir": re.compile(rb'(mkdir) name "(.*)" mode 0[0-7]+').fullmatch,
    b"set": re.compile(
        rb'(set) "(.*)" (size \d+|mode [0-7]+|modtime [0-9:-]+|owner \d+ group \d+)'
    ).fullmatch,
}
_TWO = re.compile(rb'([a-z-]+) old "(.*)"').fullmatch
_BETWEEN = b'" new "'
_STATUS = re.compile(
    rb"sent status (Success|End of file|No such file|Permission denied|Failure|Bad message"
    rb"|No connection|Connection lost|Operation unsupported|Unknown error)"
).fullmatch
_REFUSING = re.compile(
    rb"Refusing (?:non-allowlisted |denylisted |)([a-z-]+) request(?: in read-only mode)?"
).fullmatch
# The name is cut at 100 bytes, the reason is strerror(3)'s.
_IN_FILE = re.compile(r'process_(?:read|write): [a-z]+ "(.*)": ([^"]+)', re.DOTALL).fullmatch
_NAME = 100
_CUT_OFF = "the session ended before it was closed"
_FAULT = re.compile(rb"(?:error|fatal): (.*)").fullmatch
_SILENT = re.compile(
    rb'received client version \d+|(?:forced )?closedir ".*"'
    rb"|users-groups-by-id: \d+ users, \d+ groups|debug[123]: .*"
).fullmatch
_ANSWERED = re.compile(rb"debug1: request \d+: sent (?:handle|names|attrib|data) ").match
_FINE = (b"Success", b"End of file")
# Open files that are remembered for each session; sshd's own limit is usually 1024.
_HANDLES = 1000


@dataclass(slots=True)
class _Open:
    """An open session: who, since when, sums, and whether its open files are for writing."""

    key: bytes
    pid: int
    uid: int | None
    user: str | None = None
    address: str | None = None
    verified: bool = False
    stamp: Stamp | None = None
    seen: int = 0
    transfers: int = 0
    read: int = 0
    written: int = 0
    is_test: bool = False
    handles: dict[str, bool] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    # Files whose opening for writing seems to have failed, and how: see `Reader._status`.
    doubted: dict[str, str] = field(default_factory=dict)

    def blame(self, name: str, reason: str) -> None:
        """Note that a file could not be read or written.

        Args:
            name: the beginning of its name.
            reason: why.
        """
        begin = name.encode("utf-8", "surrogateescape")
        long = len(begin) >= _NAME
        if long:
            paths = [path for path in self.handles if _begins(path, begin)]
        else:
            paths = [name]
        self._blame(paths, reason)

    def blame_all(self, reason: str) -> None:
        """Note that one of the files that are open for writing could not be written to."""
        written = [path for path, up in self.handles.items() if up and path not in self.faults]
        self._blame(written, reason)

    def _blame(self, paths: list[str], reason: str) -> None:
        for path in paths[:_HANDLES]:
            if len(self.faults) < _HANDLES or path in self.faults:
                self.faults[path] = reason

    def doubt(self, path: str, reason: str) -> None:
        """Note that opening a file, or the request right after it, has failed."""
        if self.handles.pop(path, False) and len(self.doubted) < _HANDLES:
            self.doubted[path] = reason

    @property
    def who(self) -> tuple[str | None, str | None, int]:
        """The user, address and pid for a record."""
        return self.user, self.address, self.pid

    def ended(self, at: int, closed: str | None, how: str) -> Session:
        began, opened = self.stamp or (at, None)
        sums = self.transfers, self.read, self.written
        if self.is_test:
            how = "test"
        return Session(at, began, *self.who, opened, closed, how, *sums, verified=self.verified)


_REMEMBERED = (
    *("pid", "uid", "user", "address", "verified", "seen", "transfers", "read", "written"),
    *("is_test", "handles", "faults", "doubted"),
)


def _begins(path: str, begin: bytes) -> bool:
    return path.encode("utf-8", "surrogateescape").startswith(begin)


class Damaged(ValueError):
    """The line has an escape that OpenSSH never writes."""


def plain(text: bytes) -> str:
    """Undo OpenSSH's escapes. Bytes that are not UTF-8 become surrogates.

    Raises:
        Damaged: OpenSSH writes no such escape.
    """
    if b"\\" not in text:
        return text.decode("ascii")
    return _ESCAPE.sub(_unescape, text).decode("utf-8", "surrogateescape")


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if code == b"\\":
        return code
    if code in _LETTERS:
        return _LETTERS[code]
    if not code or code > b"377":
        raise Damaged
    return bytes((int(code, 8),))


def line_of(line: bytes) -> tuple[bytes, bytes] | None:
    """Return time and message of a line of a log file, or None."""
    match = _OURS(line)
    if not match:
        return None
    return (match[1], match[5])


class ForgedLine(ValueError):
    """The line claims to be from somebody else than its writer."""


class Writers(Protocol):
    """Who has which uid now. `Host` is one."""

    def name_of(self, uid: int) -> str | None:
        """Return whose a uid is, or None."""

    def uid_of(self, name: str) -> int | None:
        """Return somebody's uid, or None."""


NAMES = 1000  # the limit of lookups, for somebody may make up names; later ones are not verified


class Reader:
    """Reads a log from its beginning, line by line. Its state is that of the open sessions.

    Pass the log to `read`, `read_journal` and `broken`, which return records in order. `lines`,
    `understood`, `other` (of other programs) and `unknown` count lines.

    Args:
        clock: reads the times of the lines.
        writers: knows who has which uid; without it nothing is verified.

    `vouch` is called for a line of a file that has no uid: it takes epoch seconds, pid and message,
    and returns the uid and the real pid. If `starts` is set, the beginning of a session is a record
    too. If `touched` is not None, the keys of changed sessions are added to it; see `remembered`.
    """

    starts = False
    touched: set[bytes] | None = None
    vouch: Callable[[int, bytes, bytes], tuple[int, bytes] | None] | None = None

    def __init__(self, clock: Clock, writers: Writers | None = None) -> None:
        self.clock = clock
        self._writers = writers
        self._names: dict[int, str | None] = {}
        self._uids: dict[str, int | None] = {}
        self.lines = self.understood = self.other = self.unknown = 0
        self._sessions: dict[bytes, _Open] = {}
        # By session, the operation whose failure would be in the next line.
        self._pending: dict[bytes, Operation] = {}
        self._records: list[Record] = []
        self._at = self._repeats = 0
        self._tests: dict[str, int] = {}  # of whom, and when that was said

    def read(self, lines: Iterable[bytes]) -> list[Record]:
        """Return the records of whole lines of a log file, given without their newline."""
        for line in lines:
            self.lines += 1
            self._line(line)
        return self._take()

    def _line(self, line: bytes) -> None:
        match = _OURS(line)
        stamp = None
        if match:
            stamp = self.clock(match[1])
        if match and stamp:
            _, key, uid, pid, message = match.groups()
            known = None
            if self.vouch and not uid:
                known = self.vouch(stamp.at, pid, message)
            if known:
                uid, pid = b"%d" % known[0], known[1]
                key = b"journal %s %s" % (uid, pid)
            self._message(stamp, key, pid, message, line, int(uid) if uid else None)
        elif match is None and _OTHER(line):
            self.other += 1
        else:
            self._not_understood(None, None, line, "not a line of this log")

    def read_journal(self, entries: Iterable[Entry]) -> list[Record]:
        """Return the records of entries of the journal (systemd.journal-fields(7))."""
        for entry in entries:
            self.lines += 1
            try:
                message, pid = entry[b"MESSAGE"], entry.get(b"_PID") or entry[b"SYSLOG_PID"]
                stamp = self.clock.journal(int(entry[b"__REALTIME_TIMESTAMP"]))
                int(pid)
                uid = None
                if b"_UID" in entry:
                    uid = int(entry[b"_UID"])
            except (ValueError, KeyError, OverflowError, OSError):
                self._not_understood(
                    None, None, entry.get(b"MESSAGE", b""), "not an entry of this log"
                )
                continue
            key = b"%s %s %s" % (entry.get(b"_HOSTNAME", b""), entry.get(b"_UID", b""), pid)
            self._message(stamp, key, pid, message, message, uid)
        return self._take()

    def broken(self, line: bytes, why: str) -> list[Record]:
        """Return the record of an incomplete line, or of a file that cannot be read to its end."""
        self.lines += 1
        self._not_understood(None, None, line, why)
        return self._take()

    def settle(self, keys: Collection[bytes] | None = None) -> list[Record]:
        """Return the operations that have succeeded, since no failure has followed in the log.

        Args:
            keys: only for these sessions; see `unsettled`.
        """
        for key in list(self._pending) if keys is None else keys:
            self._put(key, None)
            self._touch(key)
        return self._take()

    @property
    def unsettled(self) -> dict[bytes, Operation]:
        """The operations whose failure may still follow in the log, by session."""
        return dict(self._pending)

    def finish(self, alive: Callable[[int, int], bool]) -> list[Record]:
        """Return the remaining records at the end of the log.

        Args:
            alive: whether a pid is still an sshd that began before a time in epoch seconds.
        """
        records = self.settle()
        for session in self._sessions.values():
            if session.stamp:
                goes_on = alive(session.pid, session.stamp.at)
                if goes_on:
                    at, how = (self._at, "open")
                else:
                    at, how = (session.seen, "lost")
                records.append(session.ended(at, None, how))
        self._sessions.clear()
        return records

    # -- for a reader that continues where an earlier one has stopped ------------------------------

    def remembered(self, key: bytes) -> list[Any] | None:
        """Return the state of an open session as JSON data, or None if it has ended."""
        session, operation = self._sessions.get(key), self._pending.get(key)
        if session is None:
            return None
        fields = [getattr(session, name) for name in _REMEMBERED]
        return [*fields, session.stamp and [*session.stamp], operation and [*operation]]

    def recall(self, key: bytes, known: list[Any]) -> None:
        """Restore the state of a session from what `remembered` has returned."""
        *fields, stamp, operation = known
        session = _Open(key, 0, None)
        for name, value in zip(_REMEMBERED, fields, strict=True):
            setattr(session, name, value)
        session.stamp = Stamp(*stamp) if stamp else None
        self._sessions[key] = session
        if operation:
            self._pending[key] = Operation(*operation)

    @property
    def tests(self) -> dict[str, int]:
        """The accounts that root is testing now, and since when."""
        return {name: at for name, at in self._tests.items() if at >= self._at - TEST_SECONDS}

    @tests.setter
    def tests(self, known: dict[str, int]) -> None:
        self._tests = dict(known)

    @property
    def sessions(self) -> dict[bytes, tuple[int, int, int]]:
        """The open sessions: pid, the time of the first and of the last line, by key."""
        return {
            key: (one.pid, one.stamp.at if one.stamp else one.seen, one.seen)
            for key, one in self._sessions.items()
        }

    def lose(self, key: bytes) -> list[Record]:
        """Return the end of a session whose process has gone without logging it."""
        self._put(key, None)
        self._touch(key)
        session = self._sessions.pop(key, None)
        if session:
            self._records.append(session.ended(session.seen, None, "lost"))
        return self._take()

    def look_again(self, writers: Writers) -> None:
        """Forget who has which uid."""
        self._writers = writers
        self._names.clear()
        self._uids.clear()

    def _touch(self, key: bytes) -> None:
        if self.touched is not None:
            self.touched.add(key)

    # -- messages ----------------------------------------------------------------------------------

    def _take(self) -> list[Record]:
        records, self._records = self._records, []
        return records

    def _not_understood(
        self, stamp: Stamp | None, user: str | None, line: bytes, why: str, verified: bool = False
    ) -> None:
        self.unknown += 1
        at, time = stamp or (self._at, None)
        text = line[:1000].decode("utf-8", "surrogateescape")
        self._records.append(Unknown(at, time, user, text, why, verified))

    def _name_of(self, uid: int) -> str | None:
        """Return who has a uid now, or None."""
        if uid not in self._names:
            if self._writers:
                self._names[uid] = self._writers.name_of(uid)
            else:
                self._names[uid] = None
        return self._names[uid]

    def _is_theirs(self, uid: int, user: str) -> bool:
        """Return whether a uid is the user's, and False if there is no such account now.

        Raises:
            ForgedLine: the user has another uid.
        """
        if self._name_of(uid) == user:
            return True
        if user not in self._uids and len(self._uids) < NAMES:
            if self._writers:
                self._uids[user] = self._writers.uid_of(user)
            else:
                self._uids[user] = None
        known = self._uids.get(user)
        if known is not None and known != uid:
            raise ForgedLine(f"it says {user}, and a process of uid {uid} wrote it")
        return known is not None

    def _message(
        self, stamp: Stamp, key: bytes, pid: bytes, message: bytes, line: bytes, uid: int | None
    ) -> None:
        self._at = stamp.at
        if uid == 0 and self._announces(stamp, message):
            return
        message, times = self._unrepeated(message)
        self._touch(key)
        try:
            understood = self._handle(stamp, key, pid, message, uid, times)
            why = "another message"
        except Damaged:
            understood, why = False, "another message"
        except ForgedLine as error:
            understood, why = False, str(error)
        if understood:
            self.understood += 1
            return
        self._put(key, None)
        if len(message) >= LIMIT:
            why = "truncated"
        elif not _VISIBLE(message):
            why = "not escaped as OpenSSH does it"
        user, verified = self._whose(key, uid)
        self._not_understood(stamp, user, line, why, verified)

    def _unrepeated(self, message: bytes) -> tuple[bytes, int]:
        """Return the message that rsyslog's $RepeatedMsgReduction has summarized, and how often.

        Any other message is returned unchanged, and so is one with an implausible number.
        """
        repeated = None
        if message.startswith(b"message repeated "):
            repeated = _REPEATED(message)
        if repeated is None:
            return message, 1
        times = int(repeated[1])
        left = REPEATS + REPEATS_A_LINE * self.lines - self._repeats
        if times > min(left, REPEATS):
            return message, 1
        self._repeats += times
        return repeated[2], times

    def _handle(
        self, stamp: Stamp, key: bytes, pid: bytes, message: bytes, uid: int | None, times: int
    ) -> bool:
        """Add the records of a message that came TIMES times; return whether it is understood.

        Raises:
            Damaged: OpenSSH did not escape it.
            ForgedLine: it names another user than its writer.
        """
        handler = _HANDLERS.get(message.partition(b" ")[0])
        if handler is None or len(message) >= LIMIT or not _VISIBLE(message):
            return False
        session = self._sessions.get(key)
        if session is None:
            # Its beginning is not in the log, but the uid says whose it is.
            user = None
            if uid is not None:
                user = self._name_of(uid)
            session = _Open(key, int(pid), uid, user, verified=user is not None)
            self._sessions[key] = session
        understood = False
        for _ in range(times):
            understood = handler(self, session, stamp, message)
        session.seen = stamp.at
        return understood

    def _announces(self, stamp: Stamp, message: bytes) -> bool:
        """Return whether root announces in a line that it tests an account."""
        test = _TEST(message)
        if test:
            self._tests[test[1].decode("ascii")] = stamp.at
            self.understood += 1
        return test is not None

    def _whose(self, key: bytes, uid: int | None) -> tuple[str | None, bool]:
        """Return whose an unknown line is, and whether that is verified."""
        known = self._sessions.get(key)
        if known and known.user:
            return known.user, known.verified
        if uid is None:
            return None, False
        return self._name_of(uid) or f"uid {uid}", True

    def _begin_or_end(self, session: _Open, stamp: Stamp, message: bytes) -> bool:
        match = _SESSION(message)
        if not match:
            return False
        user, address = plain(match[2]), plain(match[3])
        verified = session.uid is not None and self._is_theirs(session.uid, user)
        self._put(session.key, None)
        opened = match[1] == b"opened"
        fresh = _Open(session.key, session.pid, session.uid, user, address, verified)
        if session.stamp and (opened or session.user != user):  # the pid is somebody else's now
            self._records.append(session.ended(session.seen, None, "lost"))
            session = fresh
        if opened:
            fresh.stamp, fresh.seen = stamp, stamp.at
            fresh.is_test = verified and address == _NOWHERE and self._is_tested(user, stamp.at)
            self._sessions[session.key] = fresh
            if self.starts:
                self._records.append(fresh.ended(stamp.at, None, "opened"))
            return True
        session.user, session.address, session.verified = user, address, verified
        self._records.append(session.ended(stamp.at, stamp.text, "closed"))
        del self._sessions[session.key]
        return True

    def _is_tested(self, user: str, at: int) -> bool:
        """Return whether root announced shortly before a time that it tests an account."""
        said = self._tests.get(user)
        return said is not None and 0 <= at - said <= TEST_SECONDS

    def _put(self, key: bytes, operation: Operation | None) -> None:
        """Remember an operation until its failure could follow; the one before has succeeded."""
        before = self._pending.pop(key, None)
        if before:
            self._records.append(before)
        if operation:
            self._pending[key] = operation

    def _close(self, session: _Open, stamp: Stamp, message: bytes) -> bool:
        match = _CLOSE(message)
        if not match:
            return bool(_SILENT(message))
        forced, name, read, written = match.groups()
        path, fetched, stored = plain(name), int(read), int(written)
        if session.is_test:
            return True
        session.transfers += 1
        session.read += fetched
        session.written += stored
        is_upload = session.handles.pop(path, stored > 0)
        doubt = session.doubted.pop(path, None)
        if doubt:  # it was opened, since it is closed
            is_upload = True
            session.faults.setdefault(path, doubt)
        failed = session.faults.pop(path, None) or (_CUT_OFF if forced else None)
        self._put(session.key, None)
        self._records.append(
            Transfer(
                stamp.at,
                stamp.text,
                *session.who,
                path,
                fetched,
                stored,
                forced is not None,
                is_upload,
                session.verified,
                failed,
            )
        )
        return True

    def _status(self, session: _Open, stamp: Stamp, message: bytes) -> bool:
        """Read a status, which may be the failure of the operation before.

        If a write is incomplete, as on a disk that has just become full, process_write() logs no
        error, only the status.
        """
        match = _STATUS(message)
        if not match:
            return False
        operation = self._pending.get(session.key)
        if match[1] not in _FINE:
            words = match[1].decode("ascii")
            if operation is None:
                session.blame_all(words)
                self._act(session, stamp, "status", None, failed=words)
            elif operation.failed is None:
                self._pending[session.key] = operation._replace(failed=words)
                if operation.operation == "open" and operation.path:
                    session.doubt(operation.path, words)
        self._put(session.key, None)
        return True

    def _opened(self, session: _Open, stamp: Stamp, message: bytes) -> bool:
        match = _OPEN(message)
        if not match:
            return False
        path, flags = plain(match[1]), match[2].decode("ascii")
        session.faults.pop(path, None)
        session.doubted.pop(path, None)
        if len(session.handles) < _HANDLES:
            session.handles[path] = "WRITE" in flags or "APPEND" in flags
        return self._act(session, stamp, "open", path, to=flags)

    def _named(self, session: _Open, stamp: Stamp, message: bytes) -> bool:
        match = _NAMED_AND_MORE.get(message.partition(b" ")[0], _NAMED)(message)
        if not match:
            return False
        verb, path, *more = match.groups()
        to = None
        if more:
            to = more[0].decode("ascii")
        return self._act(session, stamp, verb.decode("ascii"), plain(path), to=to)

    def _two(self, session: _Open, stamp: Stamp, message: bytes) -> bool:
        match = _TWO(message)
        if not match or _BETWEEN not in match[2]:
            return False
        verb, names = match[1].decode("ascii"), match[2]
        parts = names.partition(_BETWEEN)
        if parts != names.rpartition(_BETWEEN):
            # A name contains it too, so it is unclear which one is the server's.
            return self._act(session, stamp, verb, plain(names), ambiguous=True)
        return self._act(session, stamp, verb, plain(parts[0]), to=plain(parts[2]))

    def _refused(self, session: _Open, stamp: Stamp, message: bytes) -> bool:
        match = _REFUSING(message)
        if not match:
            return False
        operation, verb = self._pending.get(session.key), match[1].decode("ascii")
        if operation and operation.operation == verb == "open":
            # It was logged with its name just before.
            session.handles.pop(operation.path or "", None)
            self._pending[session.key] = operation._replace(failed="refused")
            return True
        return self._act(session, stamp, verb, None, failed="refused")

    def _fault(self, session: _Open, stamp: Stamp, message: bytes) -> bool:
        match = _FAULT(message)
        if not match:
            return False
        words = plain(match[1])
        within = _IN_FILE(words)
        if within:
            session.blame(within[1], within[2])
        return self._act(session, stamp, "error", None, failed=words)

    def _silent(self, session: _Open, stamp: Stamp, message: bytes) -> bool:
        # Those of debugging come between a deed and its status,
        # or say themselves that it went well.
        if not message.startswith(b"debug") or _ANSWERED(message):
            self._put(session.key, None)
        return bool(_SILENT(message))

    def _act(self, session: _Open, stamp: Stamp, verb: str, path: str | None, **more: Any) -> bool:
        if session.is_test:
            return True
        more["verified"] = session.verified
        operation = Operation(stamp.at, stamp.text, *session.who, verb, path, **more)
        self._put(session.key, operation)
        return True


_LOOKS = (b"stat", b"lstat", b"opendir", b"realpath", b"readlink", b"statvfs", b"expand")
_NAMING = (*_LOOKS, b"remove", b"rmdir", b"fsync", b"home-directory", *_NAMED_AND_MORE)
_IGNORED = (b"received", b"closedir", b"users-groups-by-id:", b"debug1:", b"debug2:", b"debug3:")
_HANDLERS: dict[bytes, Callable[[Reader, _Open, Stamp, bytes], bool]] = {
    b"session": Reader._begin_or_end,
    b"close": Reader._close,
    b"forced": Reader._close,
    b"open": Reader._opened,
    b"sent": Reader._status,
    b"Refusing": Reader._refused,
    **dict.fromkeys((b"error:", b"fatal:"), Reader._fault),
    **dict.fromkeys((b"rename", b"posix-rename", b"symlink", b"hardlink"), Reader._two),
    **dict.fromkeys(_NAMING, Reader._named),
    **dict.fromkeys(_IGNORED, Reader._silent),
}

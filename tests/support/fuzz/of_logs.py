"""Targets: the log of transfers, the journal's export format, and what a server of SFTP says."""

from __future__ import annotations

import datetime
import re
import shutil
import tempfile
import types
from pathlib import Path
from unittest import mock

from target import Target, refusing

from sftpjail.model import REQUESTS
from sftpjail.selftest import sftp_client
from sftpjail.testing.made import MadeHost
from sftpjail.transferlog import logins as sshd_logins
from sftpjail.transferlog import parser, sources, sshd_lines, totals
from sftpjail.transferlog.journal_export import LONGEST, Entries, Entry
from sftpjail.transferlog.timestamps import Clock

# On tmpfs, where files cost little.
PLACE = Path(tempfile.mkdtemp(prefix="sftpjail-fuzz-", dir="/dev/shm"))
WRITTEN = 1764000000.0
WANTED = (b"__REALTIME_TIMESTAMP", b"MESSAGE", b"_UID", b"_PID", b"SYSLOG_PID", b"_HOSTNAME")
STAMP = "2026-11-24T09:00:00.5+01:00"


class _Writers:
    """Whose a uid is."""

    def name_of(self, uid: int) -> str | None:
        return {1000: "alice"}.get(uid)

    def uid_of(self, name: str) -> int | None:
        return {"alice": 1000, "bob": 1001}.get(name)


def _reader() -> parser.Reader:
    return parser.Reader(Clock(WRITTEN), _Writers())


def _judge(reader: parser.Reader, records: list[parser.Record], lines: int) -> None:
    """Each record has the fields of its kind; their number is bounded by that of the lines."""
    records += reader.settle()
    records += reader.finish(lambda pid, at: pid % 2 == 0)
    assert reader.lines == lines == reader.understood + reader.other + reader.unknown
    assert len(records) <= (1 + parser.REPEATS_A_LINE) * lines + parser.REPEATS + 10
    for record in records:
        assert isinstance(record.at, int) and isinstance(record.verified, bool)
        assert not (record.verified and record.user is None)


def log_lines(data: bytes) -> None:
    reader, lines = _reader(), data.split(b"\n")
    reader.vouch = lambda at, pid, message: (1000, pid) if len(message) % 2 else None
    records = reader.read(lines)
    records += reader.broken(data[:50], "not whole")
    _judge(reader, records, len(lines) + 1)
    for line in lines:
        found = parser.line_of(line)
        assert found is None or (found[0] in line and found[1] in line)


def _wanted(entry: Entry) -> dict[bytes, bytes]:
    """The fields that count; whether the others are kept depends on where an entry was cut."""
    return {name: value for name, value in entry.items() if name in WANTED}


def journal(data: bytes) -> None:
    whole = Entries()
    found = whole.split(data)
    for size in (1, 7):
        if len(data) < 2000:
            cut = Entries()
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            again = [entry for piece in pieces for entry in cut.split(piece)]
            assert [_wanted(entry) for entry in again] == [_wanted(entry) for entry in found]
            assert cut.whole == whole.whole
    assert sum(len(value) for entry in found for value in entry.values()) <= len(data) + LONGEST
    reader = _reader()
    _judge(reader, reader.read_journal(found), len(found))
    vouchers = sources.JournalWriters([data])
    vouchers.KEPT = 2
    for at in (0, 1764000000, 1 << 60):
        said = vouchers.find(at, b"7", b'open "/x" flags READ mode 0666')
        assert said is None or (isinstance(said[0], int) and int(said[1]) is not None)


def times(data: bytes) -> None:
    clock = Clock(WRITTEN)
    if data.startswith(b"many"):  # an old log has more hours than are kept
        clock._bases = {b"%d" % number: (0, "", "") for number in range(1001)}
    for word in data.split(b"\n"):
        if re.fullmatch(parser._STAMP, word):
            stamp = clock(word)
            if stamp:
                assert clock(word) == stamp == Clock(WRITTEN)(word)
                if not stamp.text.endswith("Z") and ":60" not in stamp.text:
                    _same(stamp.at, stamp.text)
        if word.isdigit() and len(word) < 30:
            try:
                stamp = clock.journal(int(word))
            except (OverflowError, OSError, ValueError):
                continue
            assert stamp.at == int(word) // 1_000_000


def _same(at: int, text: str) -> None:
    """The text is that moment, as far as Python reads such fractions of a second."""
    plain = re.sub(r"\.\d+", "", text)
    assert int(datetime.datetime.fromisoformat(plain).timestamp()) == at, text


def logins(data: bytes) -> None:
    """A login is told only of a line that names the account, and has the fields of its kind."""
    for host in (_host_with(data, "/var/log/auth.log"), _host_with(data, "/var/log/secure")):
        batches = sshd_lines.logins(host)
        for login in [login for batch in batches for login in batch]:
            assert login.user.encode("utf-8", "surrogateescape") in data
            assert (login.method is None) <= (login.failed is not None)
            assert login.port is None or 0 <= login.port < 100_000
        refusing(sshd_lines.begin, host)
    for lines in sshd_lines._read(iter([data[:50], data[50:]])):
        for stamp, pid, message in lines:
            sshd_logins.Logins().read(stamp, pid, message, verified=True)


def _host_with(data: bytes, path: str) -> MadeHost:
    place = PLACE / "host"
    shutil.rmtree(place, ignore_errors=True)
    (place / path.lstrip("/")).parent.mkdir(parents=True)
    (place / path.lstrip("/")).write_bytes(data)
    return MadeHost(str(place))


class _Channel:
    """A server that says what the input holds, and then hangs up."""

    def __init__(self, data: bytes) -> None:
        self.data, self.asked = data, 0

    def settimeout(self, seconds: float) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.asked += 1
        assert self.asked < 200, "it asks for ever"

    def recv(self, length: int) -> bytes:
        if self.data == b"!":
            raise OSError("hung up")
        part, self.data = self.data[:length], self.data[length:]
        return part


_READY = types.SimpleNamespace(select=lambda *arguments: ([1], [], []))


def sftp_answers(data: bytes) -> None:
    def speak(client: sftp_client.Sftp) -> None:
        client.begin(1.0)
        client.realpath("/")
        client.read("/x", keep_open=len(data) % 2 == 1)
        client.write("/x", b"y", keep_open=len(data) % 2 == 1)
        assert client.ask("stat", "/").words

    with mock.patch.object(sftp_client, "select", _READY):
        client = sftp_client.Sftp(_Channel(data), 1.0)  # type: ignore[arg-type]
        try:
            speak(client)
        except sftp_client.SftpError as error:
            assert isinstance(error.code, int)
    for name in REQUESTS:
        packet = sftp_client.encode(1, name, sftp_client.harmless(name, "/none/x"))
        assert int.from_bytes(packet[:4], "big") == len(packet) - 4


def _line(message: str, pid: int = 7) -> str:
    return f"{STAMP} host uid=1000 internal-sftp[{pid}]: {message}"


_LOG = "\n".join(
    map(
        _line,
        (
            "session opened for local user alice from [192.0.2.1]",
            'open "/a" flags WRITE,CREATE,TRUNCATE mode 0644',
            'close "/a" bytes read 0 written 5',
            'forced close "/b\\303\\274" bytes read 5 written 0',
            'rename old "/a" new "/b"',
            'posix-rename old "/a" new "/b" new "/c"',
            'set "/a" size 5',
            'mkdir name "/d" mode 0755',
            'remove name "/a"',
            "sent status Permission denied",
            'open "/x" flags READ mode 0666',
            "Refusing open request in read-only mode",
            "Refusing denylisted remove request",
            "error: process_write: write failed: No space left",
            "debug1: request 3: sent names count 1",
            'message repeated 3 times: [ close "/a" bytes read 0 written 5]',
            "received client version 3",
            'remove name "\\777"',
            "session closed for local user bob from [192.0.2.1]",
            "session closed for local user alice from [192.0.2.1]",
            "sent status Failure",
            "x" * 510,
        ),
    )
)


def _entry(message: str, **more: str) -> str:
    fields = {
        "__REALTIME_TIMESTAMP": "1764000000500000",
        "_UID": "1000",
        "_PID": "7",
        "_HOSTNAME": "h",
    }
    return (
        "".join(
            f"{name}={value}\n" for name, value in {**fields, "MESSAGE": message, **more}.items()
        )
        + "\n"
    )


_BINARY = "MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n_PID=7\n\n"
_HUGE = "MESSAGE\n\x01\0\x01\0\0\0\0\0ab"


def _packets(*packets: bytes) -> str:
    return b"".join(len(packet).to_bytes(4, "big") + packet for packet in packets).decode("latin-1")


def _ok(number: int) -> bytes:
    return b"e\0\0\0%c\0\0\0\0" % number


def _handle(number: int) -> bytes:
    return b"f\0\0\0%c\0\0\0\x01h" % number


_HELLO = b"\x02\0\0\0\x03"
_NAME = b"h\0\0\0\x01\0\0\0\x01\0\0\0\x01/"
_HANDLE = b"f\0\0\0\x02\0\0\0\x01h"
_DATA = b"g\0\0\0\x03\0\0\0\x01d"
_EOF = b"e\0\0\0\x04\0\0\0\x01\0\0\0\0\0\0\0\0"
_NAMED = b"i\0\0\0\x09"
_OKS = [_ok(number) for number in range(5, 10)]

_WHO = "ann from 192.0.2.7 port 4711 ssh2"
_SSHD_LINES = (
    "pam_unix(sshd:account): account ann has expired (account expired)",
    "fatal: Access denied for user ann by PAM account configuration [preauth]",
    f"Failed publickey for {_WHO}: RSA SHA256:abc",
    "User ann from 192.0.2.7 not allowed because not listed in AllowUsers",
    "Connection closed by invalid user ann 192.0.2.7 port 4711 [preauth]",
    "Authentication tried for ann with correct key but not from a permitted host (x).",
    "error: Certificate invalid: expired",
    "Disconnecting authenticating user ann 192.0.2.7 port 4711: Too many [preauth]",
    f"Partial publickey for {_WHO}: ED25519-CERT SHA256:abc ID x (serial 0) CA RSA SHA256:d",
    f"Accepted password for {_WHO}",
    'fatal: bad ownership or modes for chroot directory "/srv/" [postauth]',
    "Authentication refused: bad ownership or modes for file /x",
)


def sums(data: bytes) -> None:
    """What is read can be written and read again; what is damaged is as nothing."""
    found = totals.read(data.decode("utf-8", "surrogateescape"))
    assert totals.read(totals.as_text(found)) == found
    found.logins.add("ann", [1])
    assert totals.read(totals.as_text(found)).logins.every[0] >= 1


_SUMS = totals.as_text(
    totals.Totals(
        "/x/sftpjail.prom",
        totals.Count(totals.Place(1764000000, "s=1", "", 7), {"ann": [5, 0]}, [9, 1], 2),
        totals.Count(totals.Place(1764000000, "", "abc", 7), {"bob": [3]}, [3]),
    )
)


LOGS = (
    Target(
        "the log of internal-sftp",
        ("transferlog/parser.py", "transferlog/records.py"),
        log_lines,
        (
            _LOG,
            _LOG.replace("uid=1000 ", ""),
            _LOG.replace("uid=1000", "uid=1001"),
            f"{STAMP} host sshd[1]: x\nNov 24 09:00:00 h internal-sftp[8]: {'debug1: x'}\nnonsense",
            "\n".join(_line(f"session opened for local user alice from [{n}]") for n in range(3)),
        ),
        (
            '"',
            "\\",
            "\\303",
            " new ",
            "bytes read ",
            "message repeated 99999 times: [ ",
            "uid=",
            "session ",
            "from [",
            "]",
            "\0",
        ),
    ),
    Target(
        "entries of the journal",
        ("transferlog/journal_export.py", "transferlog/parser.py", "transferlog/sources.py"),
        journal,
        (
            _entry('open "/x" flags READ mode 0666')
            + _entry("sent status Failure", SYSLOG_PID="8"),
            _BINARY + _entry("session opened for local user alice from [x]"),
            _HUGE,
            _entry("x").replace("_PID=7\n", ""),
            "\n\n" + _entry("x", A="b") * 3,
        ),
        (
            "MESSAGE\n",
            "=",
            "\n\n",
            "_UID=",
            "_PID=",
            "__REALTIME_TIMESTAMP=9",
            "\xff" * 8,
            "\0" * 8,
        ),
        (
            "Entries.*",
            "Reader.read_journal",
            "JournalWriters.find",
            "JournalWriters._drop",
            "JournalWriters._read",
            "_entries",
        ),
    ),
    Target(
        "how far logs were counted",
        ("transferlog/totals.py",),
        sums,
        (
            _SUMS,
            _SUMS.replace("1764000000", "-1"),
            _SUMS.replace("[9, 1]", "[9]"),
            _SUMS.replace('"sums"', '"some"'),
            _SUMS.replace('"abc"', "5"),
            "{}",
            "[" * 3000,
            "",
        ),
        ('"sums"', '"every"', '"place"', "null", "[", "]", "{", "}", ":", ",", "1e9", "true"),
        ("read", "_count", "_place", "_numbers", "_number", "_text"),
    ),
    Target(
        "times of a log",
        ("transferlog/timestamps.py",),
        times,
        (
            f"{STAMP}\n2026-11-24T09:00:00Z\n2026-02-31T00:00:00Z\n0001-01-01T00:00:00+23:59\n9999-12-31T23:59:60-2359",
            "Nov 24 09:00:00\nFeb 29 01:00:00.123\nFeb 30 23:59:61\nFoo  1 00:00:00\nDec  1 99:00:00",
            f"many\n{STAMP}\n{STAMP.replace('00.5', '01.5')}\nNov 24 09:00:00\nNov 24 09:00:01",
            "1764000000500000\n0\n99999999999999999999\n253402300800000000",
        ),
        ("+", "-", "T", "Z", ":", "60", "29", "00", "99", "\n", "Feb ", "Oct 25 02:30:00"),
    ),
    Target(
        "logins in the log",
        ("transferlog/logins.py", "transferlog/sshd_lines.py"),
        logins,
        (
            "".join(f"{STAMP} h sshd[7]: {line}\n" for line in _SSHD_LINES),
            "".join(f"Nov 24 09:00:00 h sshd-session[7]: {line}\n" for line in _SSHD_LINES[::-1]),
            "".join(f"{STAMP} h sshd[{n}]: {line}\n" for n, line in enumerate(_SSHD_LINES)),
            "__REALTIME_TIMESTAMP=1764000000500000\n_PID=7\nMESSAGE=x\n\n"
            "__REALTIME_TIMESTAMP=x\n_PID=7\nMESSAGE=x\n\n",
        ),
        (" for ", " from ", " port ", "ann", "bob", "invalid user ", " [preauth]", "\n", "CERT"),
        (
            *("Logins.read", "Logins._of", "Logins._named", "Logins._tried", "Logins._ended"),
            *("Logins._user", "Logins._tried_elsewhere", "Logins._pam", "Logins._denied"),
            *("Logins._no_chroot", "Logins._refused", "logins", "begin", "_path", "_from_files"),
            "_read",
        ),
    ),
    Target(
        "answers of a server of SFTP",
        ("selftest/sftp_client.py",),
        sftp_answers,
        (
            _packets(_HELLO, _NAME, _HANDLE, _DATA, _EOF, *_OKS),
            _packets(_HELLO, _NAME, _HANDLE, _EOF.replace(b"\x04", b"\x03", 1), *_OKS),
            _packets(
                _HELLO, _NAME, _HANDLE, _DATA, _EOF, _ok(5), _handle(6), _ok(7), _ok(8), _NAMED
            ),
            _packets(
                _HELLO, _NAME, _HANDLE, b"g\0\0\0\3\0\0\0\0", _ok(4), _handle(5), _ok(6), _ok(7)
            ),
            _packets(_HELLO, _NAME, b"e\0\0\0\x02\0\0\0\x03"),
            _packets(b"e\0\0\0\0"),
            _packets(_HELLO) + "!",
            _packets(_HELLO, _NAME, _HANDLE, *[b"g\0\0\0%c\0\0\0\0" % n for n in range(3, 90)]),
        ),
        ("\0\0\0\1", "e\0\0\0", "g\0\0\0", "\xff\xff\xff\xff", "\0\0\0\0"),
    ),
)

"""internal-sftp's messages: every name comes back as it was, and none can be anything else than a name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.transferlog.parser import LIMIT, Reader
from sftpjail.transferlog.records import Operation, Record, Session, Transfer, Unknown
from sftpjail.transferlog.timestamps import Clock

START = "2026-11-24T09:00:00.000001+00:00"
SESSION = b"session opened for local user alice from [192.0.2.7]"


def vis(data: bytes) -> str:
    """OpenSSH's strnvis(VIS_CSTYLE | VIS_NL | VIS_TAB | VIS_OCTAL), written from openbsd-compat/vis.c."""
    letters = {10: "\\n", 13: "\\r", 8: "\\b", 7: "\\a", 11: "\\v", 9: "\\t", 12: "\\f"}
    out = ""
    for byte in data:
        if byte == 0x5C:
            out += "\\\\"
        elif 0x20 <= byte <= 0x7E:
            out += chr(byte)
        else:
            out += letters.get(byte) or f"\\{byte:03o}"
    return out


def escaped(message: bytes) -> bytes:
    return vis(message).encode("ascii")[:LIMIT]


def line(message: bytes, pid: int = 7, moment: str = START, host: str = "host") -> bytes:
    return f"{moment} {host} internal-sftp[{pid}]: ".encode() + message


def read(*lines: bytes, alive: bool = False) -> list[Record]:
    """The records of a whole log; what no line but those of this log can be, and the counts, hold always."""
    reader = Reader(Clock())
    records = [*reader.read(lines), *reader.finish(lambda pid, at: alive)]
    assert reader.lines == len(lines) == reader.understood + reader.other + reader.unknown
    return records


def texts(*messages: bytes) -> list[Record]:
    """The records of messages of one session, without the session."""
    records = read(*(line(message) for message in (SESSION, *messages)))
    assert isinstance(records[-1], Session)
    return records[:-1]


names = st.binary(min_size=1, max_size=100).filter(lambda name: b"\0" not in name)
# Pieces of which forgeries are made.
PIECES = (
    b'"',
    b" ",
    b"\\",
    b"\n",
    b"x",
    b'" new "',
    b'" bytes read 0 written 99999',
    b'close "',
    b" flags READ mode 0666",
)
PIECES += (
    b"\x1b[31m",
    b"\xff",
    "ü".encode(),
    b"2026-11-24T09:00:00Z host internal-sftp[8]: ",
    b" from [::1]",
    b"\\n",
    b"9",
)
nasty = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map(b"".join)
anything = names | nasty
sizes = st.integers(0, 2**64 - 1)


def back(path: str | None) -> bytes:
    assert path is not None
    return path.encode("utf-8", "surrogateescape")


def faults(*messages: bytes) -> list[str | None]:
    return [one.failed for one in texts(*messages) if isinstance(one, Transfer)]


OPEN = b'open "%s" flags WRITE,CREATE,TRUNCATE mode 0644'
FULL = b'error: process_write: write "%s": No space left on device'
CLOSE = b'close "%s" bytes read 0 written 5'
LONG = b"/" + b"n" * 120


def test_an_upload_to_a_full_disk_is_not_a_good_one() -> None:
    a, b = b"/a", b"/b"
    status = b"sent status Failure"
    begun = [OPEN % a, OPEN % b, FULL % a, status, FULL % a, status]
    assert faults(*begun, CLOSE % b, CLOSE % a) == [None, "No space left on device"]
    # Opened anew it has another chance, and a name is cut at 100 bytes.
    assert faults(*begun, OPEN % a, CLOSE % a) == [None]
    assert faults(OPEN % LONG, FULL % LONG[:100], CLOSE % LONG) == ["No space left on device"]
    assert faults(FULL % a, CLOSE % a) == ["No space left on device"]
    tricky = b'/x": write "/a'
    assert faults(OPEN % tricky, FULL % tricky, CLOSE % a, CLOSE % tricky)[0] is None
    assert faults(b"forced " + CLOSE % a) == ["the session ended before it was closed"]


def test_of_a_short_write_there_is_a_status_alone() -> None:
    """As of the last block that a disk has room for: the first one, and one later."""
    status, begun = b"sent status Failure", [OPEN % b"/a", b'stat name "/b"']
    (one,) = (
        one
        for one in texts(OPEN % b"/a", status, b'close "/a" bytes read 0 written 0')
        if isinstance(one, Transfer)
    )
    assert one.up and one.failed == "Failure"
    assert faults(*begun, b"sent status Success", status, CLOSE % b"/a") == ["Failure"]
    assert faults(*begun, status, CLOSE % b"/a") == [None]  # it is the status of the other
    assert faults(OPEN % b"/a", status, OPEN % b"/a", CLOSE % b"/a") == [None]
    reading = b'open "/a" flags READ mode 0666'
    assert faults(reading, b'stat name "/b"', b"sent status Success", status, CLOSE % b"/a") == [
        None
    ]


@given(anything, sizes, sizes, st.booleans())
def test_a_close_gives_its_name_and_numbers_back(
    name: bytes, fetched: int, stored: int, forced: bool
) -> None:
    begin = b"forced close" if forced else b"close"
    message = b'%s "%s" bytes read %d written %d' % (begin, name, fetched, stored)
    (record,) = texts(escaped(message))
    if len(vis(message)) >= LIMIT:
        assert isinstance(record, Unknown) and record.why == "truncated" and record.user == "alice"
    else:
        assert isinstance(record, Transfer)
        assert (back(record.path), record.read, record.written, record.forced) == (
            name,
            fetched,
            stored,
            forced,
        )
        assert (record.user, record.address, record.pid, record.time) == (
            "alice",
            "192.0.2.7",
            7,
            START,
        )


ONE = [
    b'remove name "%s"',
    b'rmdir name "%s"',
    b'mkdir name "%s" mode 0755',
    b'opendir "%s"',
    b'stat name "%s"',
]
ONE += [
    b'lstat name "%s"',
    b'realpath "%s"',
    b'readlink "%s"',
    b'statvfs "%s"',
    b'fsync "%s"',
    b'expand "%s"',
]
ONE += [
    b'open "%s" flags WRITE,CREATE,TRUNCATE mode 0644',
    b'open "%s" flags  mode 0666',
    b'home-directory "%s"',
]
ONE += [
    b'set "%s" size 12',
    b'set "%s" mode 0644',
    b'set "%s" modtime 20261124-09:00:00',
    b'set "%s" owner 1 group 2',
]


@given(st.sampled_from(ONE), anything)
def test_an_operation_gives_its_name_back(form: bytes, name: bytes) -> None:
    message = escaped(form % name)
    (record,) = texts(message)
    if len(message) >= LIMIT:
        assert isinstance(record, Unknown) and record.why == "truncated"
    else:
        assert isinstance(record, Operation) and not record.ambiguous and record.failed is None
        assert back(record.path) == name and record.operation.encode() == form.split(b" ")[0]


@given(st.sampled_from([b"rename", b"posix-rename", b"symlink", b"hardlink"]), anything, anything)
def test_two_names_are_told_apart_or_not_at_all(verb: bytes, old: bytes, new: bytes) -> None:
    message = escaped(b'%s old "%s" new "%s"' % (verb, old, new))
    (record,) = texts(message)
    if len(message) >= LIMIT:
        assert isinstance(record, Unknown) and record.why == "truncated"
        return
    assert isinstance(record, Operation) and record.operation.encode() == verb
    if record.ambiguous:
        assert back(record.path) == old + b'" new "' + new and record.to is None
    else:
        assert (back(record.path), back(record.to)) == (old, new)


def test_a_rename_that_can_be_read_in_two_ways_is_marked() -> None:
    (record,) = texts(b'rename old "/a" new "/b" new "/c"')
    assert isinstance(record, Operation) and record.ambiguous
    (record,) = texts(b'rename old "/a" new " new "/b"')  # one quote is the end or the beginning
    assert isinstance(record, Operation) and record.ambiguous
    (record,) = texts(b'rename old "" new " new "" new ""')
    assert isinstance(record, Operation) and record.ambiguous


def test_a_name_cut_at_500_cannot_forge_its_byte_counts() -> None:
    """Cut where the name itself says so, the line looks like a whole one."""
    forged = b'" bytes read 0 written 99999'
    name = b"/" + b"x" * (LIMIT - len(b'close "/') - len(forged)) + forged + b"y" * 50
    cut = escaped(b'close "%s" bytes read 0 written 1' % name)
    assert cut.endswith(b"written 99999") and len(cut) == LIMIT
    (record,) = texts(cut)
    assert isinstance(record, Unknown) and record.why == "truncated"
    (session,) = (r for r in read(line(SESSION), line(cut)) if isinstance(r, Session))
    assert session.written == 0


@given(st.lists(st.binary(max_size=300) | nasty, max_size=5))
def test_rubbish_is_counted_and_shown(lines: list[bytes]) -> None:
    lines = [text.replace(b"\n", b"") for text in lines]
    records = read(*lines)
    for record in records:
        assert isinstance(record, Unknown) or record.user is None or isinstance(record, Transfer)
    assert len(records) <= len(lines)


@given(st.binary(max_size=200))
def test_any_message_is_one_record_at_most(message: bytes) -> None:
    records = read(line(message))
    assert len(records) <= 1 or message.startswith(b"message repeated ")


UNKNOWN = [
    (b"another message", "another message"),
    (b'close "/x" bytes read 0 written 5 ', "another message"),
    (b' close "/x" bytes read 0 written 5', "another message"),
    (b'close "/x" bytes read -1 written 5', "another message"),
    (b'remove name "/x', "another message"),
    (b"sent status Fine", "another message"),
    (b'close "/\xc3\xbc" bytes read 0 written 5', "not escaped as OpenSSH does it"),
    (b'close "/\\400" bytes read 0 written 5', "another message"),
    (b'close "/\\x41" bytes read 0 written 5', "another message"),
    (b'close "/\0" bytes read 0 written 5', "not escaped as OpenSSH does it"),
    (b"message repeated 999999999 times: [ x]", "another message"),
    (b"x" * (1 << 20), "truncated"),
]


@pytest.mark.parametrize(("message", "why"), UNKNOWN)
def test_what_is_not_understood_says_why(message: bytes, why: str) -> None:
    (record,) = texts(message)
    assert isinstance(record, Unknown)
    assert (record.why, record.user, record.time) == (why, "alice", START)
    assert record.line.startswith(line(message).decode("utf-8", "surrogateescape")[:100])


NO_LINE = [
    b"",
    b"\0\0\0",
    b"\xff\xfe",
    b"2026-11-24",
    b"2026-02-31T00:00:00Z h internal-sftp[1]: x",
    b"x" * 100000,
]
NO_LINE += [
    b"Foo 24 09:00:00 h internal-sftp[1]: x",
    b"2026-11-24T09:00:00Z h internal-sftp: x",
    START.encode() + b" ",
]


@pytest.mark.parametrize("text", NO_LINE)
def test_what_is_no_line_of_this_log_is_unknown(text: bytes) -> None:
    (record,) = read(text)
    assert isinstance(record, Unknown) and record.time is None and record.user is None


def test_lines_of_other_programs_are_passed_by() -> None:
    assert (
        read(
            f"{START} host sshd[7]: x".encode(),
            b"Nov  4 09:00:00 host kernel: x",
            b"Nov 14 09:00:00 h last message",
        )
        == []
    )


# -- sessions ------------------------------------------------------------------------------------


def closed(user: str = "alice") -> bytes:
    return f"session closed for local user {user} from [192.0.2.7]".encode()


def sessions(*lines: bytes, alive: bool = False) -> list[tuple[str | None, str, int]]:
    return [(r.user, r.how, r.written) for r in read(*lines, alive=alive) if isinstance(r, Session)]


UP = b'close "/x" bytes read 0 written 5'


def test_a_session_from_beginning_to_end() -> None:
    records = read(line(SESSION), line(UP), line(closed(), moment="2026-11-24T10:00:00+00:00"))
    (session,) = (record for record in records if isinstance(record, Session))
    assert session[2:12] == (
        "alice",
        "192.0.2.7",
        7,
        START,
        "2026-11-24T10:00:00+00:00",
        "closed",
        1,
        0,
        5,
        False,
    )
    assert session.at - session.began == 3600


def test_sessions_at_once_are_told_apart_by_host_and_pid() -> None:
    bob = SESSION.replace(b"alice", b"bob")
    lines = [
        line(SESSION),
        line(bob, 8),
        line(bob, host="other"),
        line(UP),
        line(UP, 8),
        line(UP, 8),
        line(UP, host="other"),
    ]
    assert sessions(*lines, line(closed()), line(closed("bob"), 8)) == [
        ("alice", "closed", 5),
        ("bob", "closed", 10),
        ("bob", "lost", 5),
    ]


def test_a_pid_that_is_used_again_ends_the_session_that_had_it() -> None:
    bob = SESSION.replace(b"alice", b"bob")
    assert sessions(line(SESSION), line(UP), line(bob), line(UP), line(closed("bob"))) == [
        ("alice", "lost", 5),
        ("bob", "closed", 5),
    ]
    assert sessions(line(SESSION), line(UP), line(closed("bob"))) == [
        ("alice", "lost", 5),
        ("bob", "closed", 0),
    ]


def test_a_session_without_an_end_is_open_or_lost() -> None:
    assert sessions(line(SESSION), line(UP), alive=True) == [("alice", "open", 5)]
    assert sessions(line(SESSION), line(UP), alive=False) == [("alice", "lost", 5)]


def test_lines_before_the_beginning_have_no_user() -> None:
    transfer, session = read(line(UP), line(closed()))
    assert isinstance(transfer, Transfer) and transfer.user is None and transfer.written == 5
    assert isinstance(session, Session) and (session.user, session.opened, session.how) == (
        "alice",
        None,
        "closed",
    )
    assert [type(record) for record in read(line(UP))] == [Transfer]


@given(anything)
def test_a_file_name_cannot_open_a_session(name: bytes) -> None:
    forged = (
        name
        + b"\n"
        + line(SESSION.replace(b"alice", b"root"))
        + b'" session opened for local user root from [::1]'
    )
    records = texts(escaped(b'close "%s" bytes read 1 written 2' % forged), UP)
    assert {record.user for record in records} == {"alice"}


def test_names_of_other_sources_have_their_own_letters() -> None:
    (record,) = read(line(b"session opened for local user DOM\\\\ann lee from [UNKNOWN]"))
    assert isinstance(record, Session) and (record.user, record.address) == (
        "DOM\\ann lee",
        "UNKNOWN",
    )


# -- failures ------------------------------------------------------------------------------------


def operations(*messages: bytes) -> list[tuple[str, str | None, str | None]]:
    return [(r.operation, r.path, r.failed) for r in texts(*messages) if isinstance(r, Operation)]


STATUS = b"sent status Permission denied"


def test_the_next_status_is_the_failure() -> None:
    assert operations(
        b'remove name "/a"', STATUS, b'remove name "/b"', b'mkdir name "/c" mode 0755'
    ) == [
        ("remove", "/a", "Permission denied"),
        ("remove", "/b", None),
        ("mkdir", "/c", None),
    ]


def test_a_status_of_another_session_is_not() -> None:
    records = read(line(b'remove name "/a"'), line(STATUS, 8), line(STATUS, host="other"))
    assert [(r.pid, r.operation, r.failed) for r in records if isinstance(r, Operation)] == [
        (8, "status", "Permission denied"),
        (7, "status", "Permission denied"),
        (7, "remove", None),
    ]


def test_success_is_a_status_too() -> None:
    """At DEBUG it is logged, with messages between."""
    debug = b"debug3: request 5: sent status 0"
    assert operations(b'remove name "/a"', debug, b"sent status Success", STATUS) == [
        ("remove", "/a", None),
        ("status", None, "Permission denied"),
    ]
    assert (
        operations(b'open "/a" flags READ mode 0666', b"debug1: request 5: sent handle 0", STATUS)[
            0
        ][2]
        is None
    )


def test_a_write_that_fails_is_not_its_opening() -> None:
    fault = b'error: process_write: write "/a": No space left on device'
    assert operations(b'open "/a" flags WRITE mode 0666', fault, b"sent status Failure", UP) == [
        ("open", "/a", None),
        ("error", None, 'process_write: write "/a": No space left on device'),
    ]


def test_a_refusal_names_the_request() -> None:
    assert operations(b"Refusing denylisted remove request", STATUS) == [
        ("remove", None, "refused")
    ]
    refused = b"Refusing open request in read-only mode"
    assert operations(b'open "/a" flags WRITE mode 0666', refused, STATUS) == [
        ("open", "/a", "refused")
    ]


def test_an_empty_upload_is_no_download() -> None:
    empty = b'close "/a" bytes read 0 written 0'
    for flags, up in ((b"WRITE,CREATE", True), (b"READ", False)):
        (record,) = (
            r
            for r in texts(b'open "/a" flags %s mode 0644' % flags, empty)
            if isinstance(r, Transfer)
        )
        assert record.up is up


def test_silence() -> None:
    assert (
        texts(b"received client version 3", b'closedir "/"', b'forced closedir "/x"', b"debug2: x")
        == []
    )


def test_repeated_messages_count_as_often() -> None:
    records = texts(b"message repeated 3 times: [ %s]" % UP)
    assert [r.written for r in records if isinstance(r, Transfer)] == [5, 5, 5]
    assert (
        texts(b'message repeated 2 times: [ close "/\\400" bytes read 0 written 5]')[0].user
        == "alice"
    )


# -- times ---------------------------------------------------------------------------------------


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/St_Johns"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


END_OF_2026 = datetime(2026, 12, 31, tzinfo=UTC).timestamp()


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)))
def test_rfc3339_is_read_as_python_does(moment: datetime) -> None:
    text = moment.replace(microsecond=5).isoformat() + "+05:30"
    assert Clock()(text.encode()) == (int(datetime.fromisoformat(text).timestamp()), text)


@pytest.mark.parametrize(
    "word",
    [b"2026-13-01T00:00:00Z", b"2026-11-31T00:00:00Z", b"2026-11-01T24:00:00Z", b"Feb 30 00:00:00"],
)
def test_a_time_that_is_none(word: bytes) -> None:
    assert Clock(END_OF_2026)(word) is None


def test_traditional_times_in_the_hosts_zone(zone: str) -> None:
    for month, day in (("Jul", " 4"), ("Nov", "24")):
        stamp = Clock(END_OF_2026)(f"{month} {day} 09:34:03".encode())
        assert (
            stamp
            and time.strftime("%b %e %H:%M:%S %Y", time.localtime(stamp.at))
            == f"{month} {day} 09:34:03 2026"
        )
        assert Clock()(stamp.text.encode()) == stamp


def test_journald_times_in_the_hosts_zone(zone: str) -> None:
    stamp = Clock().journal(1_795_512_843_571_447)
    assert stamp.at == 1_795_512_843 and stamp.text[19:26] == ".571447"
    again = Clock()(stamp.text.encode())
    assert again and again.at == stamp.at


def test_a_time_without_a_year_is_the_last_before_the_end(zone: str) -> None:
    days = ["Feb  6", "Nov 30", "Dec 31", "Jan  1", "Feb  2", "Jan 31", "Feb  5"]
    clock = Clock(time.mktime((2026, 2, 3, 13, 0, 0, 0, 0, -1)))
    stamps = [clock(f"{day} 12:00:00".encode()) for day in days]
    assert [stamp and int(stamp.text[:4]) for stamp in stamps] == [2025, 2025, 2025, *[2026] * 4], (
        "with two days of patience for a clock that was set back"
    )


def test_a_time_without_a_year_at_the_turn_of_one(zone: str) -> None:
    last = Clock(time.mktime((2026, 1, 1, 0, 0, 1, 0, 0, -1)))(b"Dec 31 23:59:59")
    assert last and last.text.startswith("2025-12-31T23:59:59")
    ahead = Clock(time.mktime((2025, 12, 31, 23, 59, 59, 0, 0, -1)))(b"Jan  1 00:00:01")
    assert ahead and ahead.text.startswith("2026-01-01T00:00:01")


# -- the journal ---------------------------------------------------------------------------------


def entry(message: bytes = b"x", **more: bytes) -> dict[bytes, bytes]:
    fields = {
        "_PID": b"7",
        "_HOSTNAME": b"host",
        "__REALTIME_TIMESTAMP": b"1795512843571447",
        "MESSAGE": message,
    }
    return {name.encode(): value for name, value in (fields | more).items()}


def journal(*entries: dict[bytes, bytes]) -> list[Record]:
    reader = Reader(Clock())
    records = [*reader.read_journal(entries), *reader.finish(lambda pid, at: False)]
    assert reader.lines == len(entries) == reader.understood + reader.unknown
    return records


@given(anything, sizes)
def test_entries_of_the_journal(name: bytes, stored: int) -> None:
    message = escaped(b'close "%s" bytes read 0 written %d' % (name, stored))
    transfer, _ = journal(entry(SESSION), entry(message))
    if len(message) < LIMIT:
        assert isinstance(transfer, Transfer)
        assert (back(transfer.path), transfer.written, transfer.user) == (name, stored, "alice")


BAD = [
    {},
    {b"MESSAGE": b"x"},
    entry(_PID=b"x"),
    entry(_PID=b""),
    entry(__REALTIME_TIMESTAMP=b"9" * 30),
]
BAD += [entry(__REALTIME_TIMESTAMP=b""), {**entry(), b"MESSAGE": b"\xff"}]


@pytest.mark.parametrize("fields", BAD)
def test_entries_that_are_none(fields: dict[bytes, bytes]) -> None:
    (record,) = journal(fields)
    assert isinstance(record, Unknown)


def test_the_pid_is_the_kernels_word_and_not_the_programs() -> None:
    other = entry(UP, SYSLOG_PID=b"7", _PID=b"9")
    assert [r.user for r in journal(entry(SESSION), other) if isinstance(r, Transfer)] == [None]


# -- who has written it --------------------------------------------------------------------------


class Known:
    """alice is 1001 and bob 1002; zoe, of a directory service that does not answer, is nobody now."""

    def __init__(self) -> None:
        self.asked = 0

    def name_of(self, uid: int) -> str | None:
        return {1001: "alice", 1002: "bob"}.get(uid)

    def uid_of(self, name: str) -> int | None:
        self.asked += 1
        return {"alice": 1001, "bob": 1002, "alias": 1002}.get(name)


def sent(uid: int | str, message: bytes, pid: int = 7) -> bytes:
    """A line as our rules for rsyslog and syslog-ng write it."""
    return f"{START} host uid={uid} internal-sftp[{pid}]: ".encode() + message


def by_whom(*lines: bytes) -> list[tuple[str, str | None, bool]]:
    reader = Reader(Clock(), Known())
    records = [*reader.read(lines), *reader.finish(lambda pid, at: False)]
    assert reader.lines == len(lines) == reader.understood + reader.other + reader.unknown
    return [(type(record).__name__, record.user, record.verified) for record in records]


CLOSED = SESSION.replace(b"opened", b"closed")


def test_a_session_of_the_user_is_verified() -> None:
    lines = [sent(1001, message) for message in (SESSION, b'stat name "/"', UP, CLOSED)]
    assert by_whom(*lines) == [
        (kind, "alice", True) for kind in ("Operation", "Transfer", "Session")
    ]


def test_who_says_to_be_somebody_else_is_not_believed() -> None:
    """Whatever pid the forger claims: the daemon writes down the true one, and uid and pid make a session."""
    forged = [sent(1002, message, 9) for message in (SESSION, UP, CLOSED)]
    assert by_whom(*forged) == [
        ("Unknown", "bob", True),
        ("Transfer", "bob", True),
        ("Unknown", "bob", True),
    ]
    between = [
        sent(1001, SESSION),
        sent(1002, UP),
        sent(1001, UP),
        sent(1002, CLOSED),
        sent(1001, CLOSED),
    ]
    assert by_whom(*between) == [
        ("Transfer", "bob", True),
        ("Transfer", "alice", True),
        ("Unknown", "bob", True),
        ("Session", "alice", True),
    ]
    (record,) = Reader(Clock(), Known()).read([sent(1002, SESSION)])
    assert (
        isinstance(record, Unknown)
        and record.why == "it says alice, and a process of uid 1002 wrote it"
    )


@pytest.mark.parametrize(
    ("said_by", "whose", "address", "is_test"),
    [
        (0, "alice", "UNKNOWN", True),
        (1001, "alice", "UNKNOWN", False),  # only root says that it tests
        ("", "alice", "UNKNOWN", False),
        (0, "bob", "UNKNOWN", False),
        (0, "alice", "192.0.2.7", False),  # a login over a network is nobody's test
    ],
)
def test_of_a_test_nothing_is_told(
    said_by: int | str, whose: str, address: str, is_test: bool
) -> None:
    said = sent(said_by, f"sftpjail test of {whose}".encode(), 9)
    opened = SESSION.replace(b"192.0.2.7", address.encode())
    lines = [said, *(sent(1001, m) for m in (opened, b'remove name "/x"', UP, CLOSED, opened))]
    reader = Reader(Clock(), Known())
    records = [r for r in reader.read(lines) if not isinstance(r, Unknown)]
    if is_test:
        ((session),) = records
        assert isinstance(session, Session) and session.how == "test" and not session.written
    else:
        assert [type(r).__name__ for r in records] == ["Operation", "Transfer", "Session"]
        assert reader.unknown == (said_by != 0)


def test_a_session_long_after_a_test_is_none() -> None:
    later = START.replace("09:00:00", "09:00:31")
    opened = SESSION.replace(b"192.0.2.7", b"UNKNOWN")
    lines = [sent(0, b"sftpjail test of alice", 9)]
    lines += [
        sent(1001, message).replace(START.encode(), later.encode()) for message in (opened, UP)
    ]
    assert by_whom(*lines) == [("Transfer", "alice", True), ("Session", "alice", True)]


@pytest.mark.parametrize("uid", [None, ""])
def test_a_line_of_which_nobody_says_whose_it_is_is_not_verified(uid: str | None) -> None:
    old = [line(m) if uid is None else sent(uid, m) for m in (SESSION, UP, CLOSED)]
    assert by_whom(*old) == [("Transfer", "alice", False), ("Session", "alice", False)]
    # Nor does it get into a session that is.
    mixed = [sent(1001, SESSION), old[1], sent(1001, CLOSED)]
    assert by_whom(*mixed) == [("Transfer", None, False), ("Session", "alice", True)]


def test_accounts_that_nobody_knows_now() -> None:
    zoe = SESSION.replace(b"alice", b"zoe")
    assert by_whom(sent(1003, zoe), sent(1003, UP)) == [
        ("Transfer", "zoe", False),
        ("Session", "zoe", False),
    ]
    assert by_whom(sent(1002, zoe)) == [("Session", "zoe", False)]  # bob, or his uid was zoe's once
    assert by_whom(sent(1003, UP)) == [("Transfer", None, False)]
    assert by_whom(sent(1002, SESSION.replace(b"alice", b"alias"))) == [("Session", "alias", True)]


def test_names_that_are_made_up_are_not_looked_up_without_end() -> None:
    known = Known()
    reader = Reader(Clock(), known)
    reader.read(sent(1002, SESSION.replace(b"alice", b"u%d" % n), n) for n in range(5000))
    assert known.asked == 1000


@pytest.mark.parametrize(
    "text",
    [
        b"host uid=1001 uid= internal-sftp[7]: ",
        b"host internal-sftp[7] uid=1001: ",
        b"host uid=1001,uid= internal-sftp[7]: ",
        b"host uid=x internal-sftp[7]: ",
        b"host uid=1001  internal-sftp[7]: ",
    ],
)
def test_a_uid_counts_in_one_place_only(text: bytes) -> None:
    lines = [START.encode() + b" " + text + message for message in (SESSION, UP)]
    assert not any(verified for _, _, verified in by_whom(*lines))


def test_entries_of_the_journal_are_verified_by_its_uid() -> None:
    entry = {
        b"__REALTIME_TIMESTAMP": b"1795500000000000",
        b"_HOSTNAME": b"h",
        b"_PID": b"7",
        b"SYSLOG_PID": b"9",
    }
    for uid, wanted in (
        (b"1001", [("Transfer", "alice", True)]),
        (b"1002", [("Unknown", "bob", True), ("Transfer", "bob", True)]),
    ):
        reader = Reader(Clock(), Known())
        records = reader.read_journal(
            [entry | {b"MESSAGE": m, b"_UID": uid} for m in (SESSION, UP)]
        )
        assert [
            (type(record).__name__, record.user, record.verified) for record in records
        ] == wanted
    reader = Reader(Clock(), Known())
    (record,) = reader.read_journal([entry | {b"MESSAGE": m} for m in (SESSION, UP)])
    assert (record.user, record.verified) == ("alice", False)


def test_repetitions_that_anybody_may_claim_are_bounded() -> None:
    claim = b"message repeated 100000 times: [ %s]" % UP
    records = texts(*[claim] * 30)
    assert sum(isinstance(record, Transfer) for record in records) == 100_000
    unknown = [record for record in records if isinstance(record, Unknown)]
    assert len(unknown) == 29 and {record.why for record in unknown} == {"another message"}

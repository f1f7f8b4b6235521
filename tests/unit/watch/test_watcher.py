"""From lines of a log to events that are handed out: once, in order, whatever ends the watcher meanwhile."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import Tree
from hypothesis import given
from hypothesis import strategies as st

from sftpjail import SftpJailError
from sftpjail.config import Config, Events, Logs
from sftpjail.model import Account
from sftpjail.system import events as store
from sftpjail.transferlog.following import Dropped
from sftpjail.transferlog.totals import Place
from sftpjail.watch import conversion
from sftpjail.watch import dispatcher as dispatching
from sftpjail.watch import queue as queueing
from sftpjail.watch import watcher as watching
from sftpjail.watch.aside import Spool
from sftpjail.watch.conversion import RECENT, Converter
from sftpjail.watch.dispatcher import Dispatcher
from sftpjail.watch.event import TransferEvent
from sftpjail.watch.handout import Outcome, Result, Worker
from sftpjail.watch.limit import Limit
from sftpjail.watch.queue import Known, Queue
from sftpjail.watch.watcher import Watcher

LOG = "/var/log/sftp.log"
CONFIG = Config(logs=Logs("rsyslog"), events=Events("nobody", 2, 5, 1))
UIDS = {"ann": 1001, "bob": 1002}


class Logged:
    """A host with a log file, and a watcher of it as often as one is wanted."""

    def __init__(self, tree: Tree, place: Path) -> None:
        tree.program("rsyslogd")
        tree.directory("/var/log")
        for name, uid in UIDS.items():
            tree.account(name, uid)
        tree.group("sftponly", 500, *UIDS)
        self.tree, self.place = tree, place
        self.path = tree.root / LOG.lstrip("/")
        self.second = 0
        self.told: list[str] = []
        self.failing: set[str] = set()  # paths
        self.faults: dict[str, Exception] = {}  # what is raised for a path
        self.path.write_text("")
        self.line("ann", 1, "before", uid=0)
        self.watch()

    def line(self, user: str, pid: int, message: str, uid: int | None = None) -> bytes:
        """Log a line."""
        self.second += 1
        minute, second = divmod(self.second, 60)
        stamp = f"2026-11-24T09:{minute:02}:{second:02}.5Z"
        who = UIDS[user] if uid is None else uid
        line = f"{stamp} host uid={who} internal-sftp[{pid}]: {message}\n".encode()
        with open(self.path, "ab") as handle:
            handle.write(line)
        return line

    def opens(self, user: str, pid: int = 7) -> None:
        self.line(user, pid, f"session opened for local user {user} from [192.0.2.1]")

    def closes(self, user: str, pid: int = 7) -> None:
        self.line(user, pid, f"session closed for local user {user} from [192.0.2.1]")

    def puts(self, user: str, path: str, written: int = 5, pid: int = 7) -> None:
        self.line(user, pid, f'open "{path}" flags WRITE,CREATE,TRUNCATE mode 0644')
        self.line(user, pid, f'close "{path}" bytes read 0 written {written}')

    def watch(self, ends: int = 10**6) -> list[TransferEvent]:
        """Run a watcher up to the end of the log, and return what it handed out.

        Args:
            ends: after how many events it is killed, before it can mark the last one as done.
        """
        found: list[TransferEvent] = []

        def deliver(event: TransferEvent, worker: Worker) -> Outcome:
            if len(found) >= ends:
                watcher.dispatcher._ends = True
                return Outcome(Result.FAILED, "killed")
            found.append(event)
            if event.path in self.faults:
                raise self.faults[event.path]
            failed = event.path in self.failing
            return Outcome(Result.FAILED, "it said no") if failed else Outcome(Result.DONE)

        over, ready = iter([False]), list[Place | None]()
        watcher = Watcher(
            CONFIG,
            deliver,
            [Worker(1, "nobody", 5)],
            self.told.append,
            lambda: next(over, True),
            self.tree.host,
            Queue(str(self.place)),
            Spool(str(self.place)),
        )
        watcher.run(lambda: ready.append(kept(self.place)))
        assert ready and ready[0] is not None, "it is kept from where on the log is read"
        wait(watcher.dispatcher)
        watcher.end()
        return found


def kept(place: Path) -> Place | None:
    """How far the log was read, by what is on the disk, where the watcher goes on."""
    while True:
        queue = Queue(str(place))
        with contextlib.suppress(FileNotFoundError):  # it has just removed what is done
            for _ in queue.recover():
                pass
            return queue.known.place


def wait(dispatcher: Dispatcher) -> None:
    """Wait until all is handed out, or it was ended."""
    with dispatcher._changed:
        while dispatcher._lines and not dispatcher._ends:
            dispatcher._changed.wait(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "PAUSES", (0.01,))
    monkeypatch.setattr(watching, "SLOW", 0.0)
    monkeypatch.setattr(watching, "AGAIN", 0.0)
    monkeypatch.setattr(store.os, "fdatasync", lambda fd: None)


@pytest.fixture
def logged(tree: Tree, tmp_path: Path) -> Logged:
    return Logged(tree, tmp_path / "events")


def kinds(events: list[TransferEvent]) -> list[tuple[str, str]]:
    return [(event.kind, event.path) for event in events]


def test_what_happens_in_a_session(logged: Logged) -> None:
    logged.opens("ann")
    logged.puts("ann", "/a")
    logged.line("ann", 7, 'open "/b" flags READ mode 0666')
    logged.line("ann", 7, 'close "/b" bytes read 9 written 0')
    logged.line("ann", 7, 'rename old "/x" new "/y"')
    logged.line("ann", 7, 'remove name "/z"')
    logged.line("ann", 7, 'remove name "/not"')
    logged.line("ann", 7, "sent status No such file")
    logged.closes("ann")
    found = logged.watch()
    assert kinds(found) == [
        ("session-start", ""),
        ("upload", "/a"),
        ("download", "/b"),
        ("rename", "/x"),
        ("delete", "/z"),
        ("session-end", ""),
    ]
    upload = found[1]
    assert (upload.user, upload.uid, upload.address) == ("ann", 1001, "192.0.2.1")
    assert (upload.session, upload.written, upload.verified) == (7, 5, True)
    assert found[2].read == 9 and found[3].to == "/y"
    assert (found[5].read, found[5].written) == (9, 5)
    assert logged.watch() == []


def test_uploads_that_fail_say_why(logged: Logged) -> None:
    logged.opens("ann")
    logged.line("ann", 7, 'open "/full" flags WRITE,CREATE mode 0644')
    logged.line("ann", 7, 'error: process_write: write "/full": No space left on device')
    logged.line("ann", 7, "sent status Failure")
    logged.line("ann", 7, 'close "/full" bytes read 0 written 3')
    logged.line("ann", 7, 'open "/cut" flags WRITE,CREATE mode 0644')
    logged.line("ann", 7, 'forced close "/cut" bytes read 0 written 4')
    logged.closes("ann")
    found = [event for event in logged.watch() if event.kind == "upload-failed"]
    assert [(one.path, one.written, one.reason) for one in found] == [
        ("/full", 3, "No space left on device"),
        ("/cut", 4, "the session ended before it was closed"),
    ]


def test_a_temporary_name_waits_for_its_rename(logged: Logged) -> None:
    logged.opens("ann")
    for name, new in (("/d/a.filepart", "/d/a"), ("/d/.in.b.", "/other/b"), ("/d/c", "/d/c2")):
        logged.puts("ann", name, 7)
        logged.line("ann", 7, f'posix-rename old "{name}" new "{new}"')
    logged.puts("ann", "/d/moved")
    logged.line("ann", 7, 'rename old "/d/moved" new "/elsewhere"')
    logged.puts("ann", "/d/left.part")
    logged.closes("ann")
    found = [one for one in logged.watch() if not one.kind.startswith("session")]
    assert [(one.kind, one.path, one.renamed_from, one.to, one.written) for one in found] == [
        ("upload", "/d/a", "/d/a.filepart", "", 7),
        ("upload", "/other/b", "/d/.in.b.", "", 7),
        ("upload", "/d/c", "", "", 7),
        ("upload", "/d/c2", "/d/c", "", 7),
        ("upload", "/d/moved", "", "", 5),
        ("rename", "/d/moved", "", "/elsewhere", 0),
        ("upload", "/d/left.part", "", "", 5),
    ]
    assert len({one.id for one in found}) == len(found)


def test_of_many_temporary_names_the_oldest_waits_no_longer(logged: Logged) -> None:
    logged.opens("ann")
    for number in range(RECENT + 2):
        logged.puts("ann", f"/{number}.part")
    found = logged.watch()
    assert kinds(found) == [("session-start", ""), ("upload", "/0.part"), ("upload", "/1.part")]
    logged.closes("ann")
    assert len(logged.watch()) == RECENT + 1


def test_relative_names_count_from_where_a_session_starts(logged: Logged) -> None:
    """paramiko sends them as its program has them."""
    logged.tree.directory("/srv/sftp/ann/home/ann")
    for user, pid in (("ann", 7), ("bob", 8)):
        logged.opens(user, pid)
        logged.puts(user, "in.part", pid=pid)
        logged.line(user, pid, 'posix-rename old "in.part" new "in"')
        logged.puts(user, "/in", pid=pid)
        logged.line(user, pid, 'remove name "in"')
        logged.closes(user, pid)
    found = [one for one in logged.watch() if one.path]
    for user, start in (("ann", "/home/ann"), ("bob", "")):
        mine = [(one.kind, one.path, one.renamed_from) for one in found if one.user == user]
        assert mine == [
            ("upload", f"{start}/in", f"{start}/in.part"),
            ("upload", "/in", ""),
            ("delete", f"{start}/in", ""),
        ]


def test_a_temporary_name_waits_for_ten_minutes(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged.opens("ann")
    logged.puts("ann", "/d/a.part")
    assert kinds(logged.watch()) == [("session-start", "")]
    monkeypatch.setattr(watching, "LOOK", 0.0)
    monkeypatch.setattr(conversion, "HELD", time.time())
    assert logged.watch() == [], "not yet"
    monkeypatch.setattr(conversion, "HELD", 600)
    (late,) = logged.watch()
    assert (late.kind, late.path, late.written) == ("upload", "/d/a.part", 5)
    assert logged.watch() == [], "once"
    logged.line("ann", 7, 'posix-rename old "/d/a.part" new "/d/a"')
    logged.closes("ann")
    (renamed, *_) = logged.watch()
    assert (renamed.kind, renamed.path) == ("upload", "/d/a")
    assert (renamed.renamed_from, renamed.written) == ("/d/a.part", 5)


def test_a_client_that_is_too_quick_gets_a_gap_and_delays_nobody(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(CONFIG, events=replace(CONFIG.events, queue=10))
    monkeypatch.setitem(globals(), "CONFIG", small)
    for number in range(30):
        logged.line("ann", 7, f'rename old "/{number}" new "/x"')
    logged.puts("bob", "/b", pid=8)
    found = logged.watch()
    mine = [one for one in found if one.user == "ann"]
    assert [one.path for one in mine] == [*(f"/{number}" for number in range(10)), ""]
    gap = mine[-1]
    assert (gap.kind, gap.uid) == ("gap", 1001)
    assert gap.reason == "10 events of this account wait: later ones were dropped"
    assert [one.path for one in found if one.user == "bob"] == ["/b"]
    logged.line("ann", 7, 'rename old "/new" new "/x"')
    assert [one.path for one in logged.watch()] == ["/29"], "which has waited for its failure"


def test_an_account_without_room_gets_some_when_half_is_done() -> None:
    waiting, told = {"ann": 8}, list[str]()
    limit = Limit(10, lambda user: waiting.get(user, 0), gap_of, told.append)
    events = [upload_of("ann", f"/{number}") for number in range(5)]
    assert [one.path for one in limit.admit(events)] == ["/0", "/1", ""]
    waiting["ann"] = 6
    assert limit.admit(events) == []
    waiting["ann"] = 5
    assert limit.admit(events[:2]) == events[:2]
    assert told == ["10 events of ann wait: others are dropped", "8 events of ann were dropped"]


def gap_of(at: int, why: str, user: str) -> TransferEvent:
    return TransferEvent("1-0", "gap", at, user, 1, reason=why)


def upload_of(user: str, path: str) -> TransferEvent:
    return TransferEvent(f"1-{path[1:]}", "upload", 1, user, 1, path=path)


def test_what_lies_aside_of_an_account_is_limited(tmp_path: Path) -> None:
    store.make_place(str(tmp_path / "events"))
    spool = Spool(str(tmp_path / "events"), most=3)
    for number in range(6):
        spool.put(upload_of("ann", f"/{number}"), "it said no", 1)
    spool.put(upload_of("bob", "/x"), "it said no", 1)
    found = {(one.event.user, one.event.kind, one.event.path) for one in spool.listed()}
    kept = {("ann", "upload", f"/{number}") for number in range(3)}
    assert found == {*kept, ("ann", "gap", ""), ("bob", "upload", "/x")}
    assert len(Spool(str(tmp_path / "events"), most=3).listed()) == 5
    again = Spool(str(tmp_path / "events"), most=3).put(upload_of("ann", "/7"), "no", 1)
    assert again.reason.startswith("3 events of this account were put aside already"), (
        "counted anew"
    )


def test_events_that_are_alike_have_ids_of_their_own(logged: Logged) -> None:
    logged.opens("ann")
    for _ in range(3):
        logged.line("ann", 7, 'close "/a" bytes read 0 written 1')
        logged.second -= 1
    names = [one.id for one in logged.watch()]
    assert len(set(names)) == 4
    shutil.rmtree(logged.place)
    logged.tree.directory("/x")
    assert all(set(name) <= set("0123456789abcdef-") for name in names)


def test_what_is_missing_is_a_gap(logged: Logged) -> None:
    logged.opens("ann")
    logged.line("ann", 7, 'close "/' + "x" * 600)
    logged.line("ann", 7, 'open "/a" flags WRITE,CREATE mode 0644')
    logged.line("ann", 7, 'rename old "/a" new "/b" new "/c"')
    logged.closes("ann")
    logged.opens("bob", 8)
    logged.line("bob", 8, 'open "/b" flags WRITE,CREATE mode 0644')
    logged.opens("bob", 8)  # the pid is of another session
    found = [(one.kind, one.user, one.reason) for one in logged.watch()]
    assert sorted(found, key=lambda one: one[1]) == [
        ("session-start", "ann", ""),
        ("gap", "ann", "OpenSSH cut a line of the log at 500 characters"),
        ("gap", "ann", "a file was renamed, and the log does not show where its old name ends"),
        (
            "gap",
            "ann",
            "in this session: the log does not say how the transfer of a file ended",
        ),
        ("session-end", "ann", ""),
        ("session-start", "bob", ""),
        ("upload-failed", "bob", "the session is over, and its end is not in the log"),
        ("gap", "bob", "in this session: its end is not in the log"),
        ("session-end", "bob", "its end is not in the log"),
        ("session-start", "bob", ""),
    ]


def test_a_log_that_was_taken_away_is_a_gap(logged: Logged) -> None:
    logged.opens("ann")
    logged.watch()
    logged.path.unlink()
    logged.second += 1
    logged.puts("ann", "/a")
    assert [one.kind for one in logged.watch()] == ["gap", "upload"]
    assert "not there any more" in logged.told[-1]


def test_lines_of_others_are_no_events(logged: Logged) -> None:
    logged.line("ann", 7, 'close "/a" bytes read 0 written 1', uid=4321)
    logged.line("ann", 7, "session opened for local user ann from [::1]", uid=4321)
    logged.line("ann", 7, "session opened for local user root from [::1]", uid=0)
    logged.line("ann", 7, 'close "/a" bytes read 0 written 1', uid=0)
    assert logged.watch() == []


def test_a_session_of_which_nobody_says_whose_it_is_is_one_gap(logged: Logged) -> None:
    for message in ("session opened for local user ann from [::1]", 'remove name "/a"', "closedir"):
        with open(logged.path, "a", encoding="ascii") as log:
            log.write(f"2026-11-24T09:59:00Z host uid= internal-sftp[9]: {message}\n")
    found = logged.watch()
    assert [(one.kind, one.user, one.verified) for one in found] == [("gap", "ann", False)]


def test_a_test_of_ours_is_no_event(logged: Logged) -> None:
    logged.line("ann", 3, "sftpjail test of ann", uid=0)
    logged.line("ann", 7, "session opened for local user ann from [UNKNOWN]")
    logged.puts("ann", "/probe")
    logged.line("ann", 7, "session closed for local user ann from [UNKNOWN]")
    assert logged.watch() == []


def test_an_account_that_was_just_made_is_known(logged: Logged) -> None:
    logged.opens("ann")
    logged.watch()
    UIDS["new"] = 1003
    try:
        logged.tree.account("new", 1003)
        logged.tree.group_lines[-2] = "sftponly:x:500:ann,bob,new"
        logged.opens("new", 9)
        assert kinds(logged.watch()) == [("session-start", "")]
    finally:
        del UIDS["new"]


def test_what_fails_is_retried_and_then_put_aside(logged: Logged) -> None:
    logged.failing = {"/bad"}
    logged.opens("ann")
    logged.puts("ann", "/bad")
    logged.puts("ann", "/good")
    logged.opens("bob", 8)
    found = logged.watch()
    assert [one.path for one in found if one.user == "ann"] == ["", "/bad", "/bad", "/good"]
    spool = Spool(str(logged.place))
    (aside,) = spool.listed()
    assert (aside.event.path, aside.why, aside.tries) == ("/bad", "it said no", 2)
    assert logged.watch() == []  # it waits for somebody
    assert spool.send_again(["nonsense", "../x"]) == ["nonsense", "../x"]
    assert spool.send_again([]) == [] and spool.listed() == []
    logged.failing = set()
    # Events that are sent again are looked for while nothing else happens.
    watching_again = logged.watch()
    assert [one.id for one in watching_again] == [aside.event.id]
    assert spool.again() == [] and spool.listed() == []


def test_a_repetition_has_the_same_id(logged: Logged) -> None:
    logged.opens("ann")
    for number in range(5):
        logged.puts("ann", f"/{number}")
    first = logged.watch(ends=3)
    again = logged.watch()
    assert [one.path for one in first] == ["", "/0", "/1"]
    assert [one.path for one in again] == ["/2", "/3", "/4"]
    logged.puts("ann", "/last")
    logged.watch()
    left = sorted(path.name for path in logged.place.glob("queue.*"))
    assert len(left) == 1, "segments of which all is done are removed"


def test_a_lost_mark_is_a_repetition_with_the_same_id(logged: Logged) -> None:
    logged.opens("ann")
    logged.puts("ann", "/a")
    first = logged.watch(ends=1)
    for name in logged.place.glob("done.*"):
        name.unlink()
    assert logged.watch()[0] == first[0]


@pytest.mark.parametrize("cut", [1, 20, 200, 600])
def test_a_batch_that_was_not_finished_is_read_again(logged: Logged, cut: int) -> None:
    logged.opens("ann")
    logged.watch()
    before = shutil.copytree(logged.place, logged.place.with_name("before"))
    logged.puts("ann", "/a")
    first = logged.watch()
    last = max(logged.place.glob("queue.*"), key=lambda path: int(path.suffix[1:]))
    torn = last.read_bytes()[:-cut]
    shutil.rmtree(logged.place)
    shutil.copytree(before, logged.place)
    (logged.place / last.name).write_bytes(torn)
    assert kinds(first) == [("upload", "/a")] and logged.watch() == first


def scripts() -> st.SearchStrategy[list[tuple[str, int, int]]]:
    step = st.tuples(st.sampled_from(sorted(UIDS)), st.integers(0, 5), st.integers(0, 2))
    return st.lists(step, min_size=1, max_size=15)


def play(logged: Logged, steps: list[tuple[str, int, int]]) -> None:
    """Log what sessions of two accounts do."""
    for user, what, name in steps:
        pid = UIDS[user]
        path = ("/a", "/b.tmp", "/c")[name]
        match what:
            case 0:
                logged.opens(user, pid)
            case 1:
                logged.closes(user, pid)
            case 2:
                logged.line(user, pid, f'rename old "{path}" new "/b"')
                logged.line(user, pid, "sent status Failure")
            case 3:
                logged.line(user, pid, f'rename old "{path}" new "/d"')
            case 4:
                logged.line(user, pid, f'open "{path}" flags WRITE,CREATE mode 0644')
            case _:
                logged.line(user, pid, f'close "{path}" bytes read 0 written {name}')


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "places"
    place.mkdir()
    yield place


@given(steps=scripts(), cuts=st.lists(st.integers(0, 3000), max_size=3), ends=st.integers(0, 3))
def test_a_watcher_that_is_ended_anywhere_loses_nothing(
    places: Path, steps: list[tuple[str, int, int]], cuts: list[int], ends: int
) -> None:
    place = places / str(len(list(places.iterdir())))
    (place / "root").mkdir(parents=True)
    logged = Logged(Tree(place / "root"), place / "events")
    begin = logged.path.read_bytes()
    before = shutil.copytree(place / "events", place / "before")
    play(logged, steps)
    whole = logged.path.read_bytes()
    wanted = logged.watch()
    shutil.rmtree(logged.place)
    shutil.copytree(before, logged.place)
    got: list[TransferEvent] = []
    for cut in sorted({min(len(begin) + cut, len(whole)) for cut in cuts}):
        logged.path.write_bytes(whole[:cut])
        got += logged.watch(ends)
    logged.path.write_bytes(whole)
    got += logged.watch()
    known = list({event.id: event for event in got}.values())
    for user in UIDS:
        mine = [event for event in known if event.user == user]
        assert mine == [event for event in wanted if event.user == user]


def test_what_is_in_the_queue_is_json_of_ascii(logged: Logged) -> None:
    logged.opens("ann")
    logged.line("ann", 7, 'close "/\\n\\303\\377" bytes read 0 written 1')
    logged.watch(ends=0)
    last = max(logged.place.glob("queue.*"), key=lambda path: int(path.suffix[1:]))
    lines = last.read_text(encoding="ascii").splitlines()
    events = [json.loads(line.partition("\t")[2]) for line in lines if line.startswith("E ")]
    assert events[-1]["path"] == "/\n\udcc3\udcff"
    assert logged.watch()[-1].path == "/\n\udcc3\udcff"


def test_a_queue_of_which_a_part_is_missing_says_so(tmp_path: Path) -> None:
    queue = Queue(str(tmp_path / "events"))
    assert list(queue.recover()) == [] and not queue.damaged
    with pytest.raises(SftpJailError, match="cannot read"):
        queue.event(7 << 40)


def test_a_queue_that_is_gone_or_damaged_says_so(logged: Logged) -> None:
    logged.opens("ann")
    assert [one.kind for one in logged.watch()] == ["session-start"]
    kept = sorted(logged.place.glob("queue.*"))
    for path in kept:
        path.write_bytes(b"rubbish")
    logged.puts("ann", "/a")
    assert [one.kind for one in logged.watch()] == ["gap"]
    for path in logged.place.glob("queue.*"):
        path.unlink()
    (gap,) = logged.watch()
    assert (gap.kind, gap.user) == ("gap", "") and "damaged or missing" in gap.reason
    logged.puts("ann", "/b")
    assert kinds(logged.watch()) == [("upload", "/b")]


def test_a_few_events_that_wait_keep_no_others_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queueing, "SEGMENT", 2000)
    place = tmp_path / "events"
    queue = Queue(str(place))
    known = Known(Place(1))
    kept, wanted = [], []
    for number in range(40):
        events = [upload_of("bob", f"/{number}.{n}") for n in range(20)]
        events[3] = upload_of("ann", f"/{number}")
        positions = queue.append(events, known, lambda: known)
        kept.append(positions[3])
        wanted.append(events[3])
        for position in {*positions} - {positions[3]}:
            queue.done(position)
    queue.append([], known, lambda: known)
    assert [queue.event(position) for position in kept] == wanted
    used = sum(path.stat().st_blocks * 512 for path in place.glob("queue.*"))
    assert used < 45 * 4096, "a block for each, and not three"
    for position in kept[:20]:
        queue.done(position)
    assert [queue.event(position) for position in kept[20:]] == wanted[20:]
    queue.close()
    for _ in range(2):  # the second time what was written anew is written anew
        later = Queue(str(place))
        left = dict(enumerate(later.recover()))
        assert [later.event(position) for _, position in left.values()] == wanted[20:]
        assert [user for user, _ in left.values()] == ["ann"] * 20 and not later.damaged
        assert later.known.place == Place(1)
        with later._lock:
            later._write_anew()
        later.close()


def test_an_event_is_found_however_often_it_has_moved(tmp_path: Path) -> None:
    queue, first = Queue(str(tmp_path)), Known(Place(1))
    events = [upload_of("ann", f"/{number}") for number in range(64)]
    waiting = dict(zip(queue.append(events, first, lambda: first), events, strict=True))
    queue.close()
    queue.append([], first, lambda: first)
    for left in (16, 4, 1):
        for position in [*waiting][left:]:
            queue.done(position)
            del waiting[position]
        with queue._lock:
            queue._write_anew()
        assert {position: queue.event(position) for position in waiting} == waiting
        later = Queue(str(tmp_path))
        found = [later.event(position) for _, position in later.recover()]
        assert found == [*waiting.values()] and not later.damaged
    for position in waiting:
        queue.done(position)
    assert [path.name for path in tmp_path.glob("queue.*")] == ["queue.2"]


@pytest.mark.parametrize("fault", [RecursionError("deep"), KeyError("x")])
def test_a_fault_of_ours_does_not_end_the_handing_out(logged: Logged, fault: Exception) -> None:
    logged.faults["/bad"] = fault
    logged.opens("ann")
    logged.puts("ann", "/bad")
    logged.puts("ann", "/good")
    assert logged.watch()[-1].path == "/good"
    (aside,) = Spool(str(logged.place)).listed()
    assert aside.event.path == "/bad" and type(fault).__name__ in aside.why


def test_a_batch_waits_until_it_is_known_who_is_jailed(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, refresh = iter(range(100)), watching.Accounts.refresh

    def fails(accounts: watching.Accounts) -> None:
        if next(times) < 2:
            raise SftpJailError("cannot read /etc/passwd")
        refresh(accounts)

    monkeypatch.setattr(watching, "PAUSE", 0.01)
    monkeypatch.setattr(watching.Accounts, "refresh", fails)
    logged.opens("ann")
    logged.puts("ann", "/a")
    assert kinds(logged.watch()) == [("session-start", ""), ("upload", "/a")]


def test_who_starts_the_service_waits_for_no_full_disk(
    logged: Logged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, over, place = Queue.append, iter([False]), str(tmp_path / "new")
    ready: list[bool] = []

    def full(queue: Queue, *arguments: Any) -> list[int]:
        if len(logged.told) < 3:
            raise SftpJailError("no space left")
        assert ready == [True] * 3
        return append(queue, *arguments)

    monkeypatch.setattr(watching, "PAUSE", 0.01)
    monkeypatch.setattr(Queue, "append", full)
    tell, make = logged.told.append, logged.tree.host
    workers = [Worker(1, "nobody", 5)]
    ends = (lambda event, worker: Outcome(Result.DONE)), workers, tell, lambda: next(over, True)
    watcher = Watcher(CONFIG, *ends, make, Queue(place), Spool(place))
    watcher.run(lambda: ready.append(True))
    watcher.end()
    assert len(ready) == 4


@pytest.mark.parametrize(
    ("uid", "unit", "users"),
    [
        (1001, "session-4.scope", ["ann"]),
        (0, "session-4.scope", [""]),
        (0, "ssh.service", [""]),
        (0, "sshd@4.service", [""]),
        (4321, "session-4.scope", []),
        (0, "cron.service", []),
    ],
)
def test_dropped_messages_that_may_be_of_a_jail_are_a_gap(
    uid: int, unit: str, users: list[str]
) -> None:
    ann = Account("ann", 1001, 100, "/home/ann")
    converter = Converter({"ann": ann}.get, {1001: ann}.get)
    found = converter.convert([Dropped(5, uid, unit, 9)])
    assert [(one.kind, one.user) for one in found] == [("gap", user) for user in users]


def test_one_damaged_event_keeps_no_other_from_being_sent(tmp_path: Path) -> None:
    spool, event = Spool(str(tmp_path)), TransferEvent("1-a", "upload", 1, "ann")
    store.make_place(str(tmp_path))
    spool.put(event, "no", 1)
    spool.send_again([])
    (tmp_path / "again" / "0-a").write_text("{")
    assert spool.again() == [event]


def known(size: int) -> Known:
    """What is known of sessions, with so many characters."""
    return Known(Place(1), {"a": ["x" * size]})


def test_what_is_known_is_not_written_whole_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queueing, "SEGMENT", 1000)
    queue, event = Queue(str(tmp_path)), TransferEvent("1-a", "upload", 1, "ann")
    for _ in range(10):
        queue.append([event], Known(Place(1)), lambda: known(5000))
    assert sorted(path.name for path in tmp_path.glob("queue.*")) == ["queue.1"]
    for _ in range(100):
        queue.append([event], Known(Place(1)), lambda: known(10))
    assert len(list(tmp_path.glob("queue.*"))) > 1


def test_a_full_disk_is_freed_of_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    queue, event = Queue(str(tmp_path)), TransferEvent("1-a", "upload", 1, "ann")
    positions = queue.append([event] * 2, known(1), lambda: known(1))
    queue._give_up()
    (other,) = queue.append([event], known(9), lambda: known(9))
    with monkeypatch.context() as patched:
        patched.setattr(store.os, "write", full)
        with pytest.raises(SftpJailError, match="No space"):
            queue.done(positions[0])
        queue.done(positions[1])
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["queue.2"]
    queue.done(other)
    assert list(Queue(str(tmp_path)).recover()) == []


def test_a_backlog_of_many_segments_has_no_file_open_for_each(tmp_path: Path) -> None:
    queue, event = Queue(str(tmp_path)), TransferEvent("1-a", "upload", 1, "ann")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(30):
        first, _second = queue.append([event] * 2, known(1), lambda: known(1000))
        queue.done(first)
        queue._give_up()
    assert len(list(tmp_path.glob("done.*"))) == 30
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_mark_of_which_a_part_was_written_hides_no_other(tmp_path: Path) -> None:
    queue, event = Queue(str(tmp_path)), TransferEvent("1-a", "upload", 1, "ann")
    positions = queue.append([event] * 3, known(1), lambda: known(1))
    (tmp_path / "done.1").write_bytes(bytes(4))
    queue.done(positions[1])
    assert [position for _, position in Queue(str(tmp_path)).recover()] == positions[::2]


def test_an_event_is_not_lost_while_files_are_scarce(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, event_of = iter(range(100)), Queue.event

    def scarce(queue: Queue, position: int) -> TransferEvent:
        if next(times) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return event_of(queue, position)

    monkeypatch.setattr(Queue, "event", scarce)
    logged.opens("ann")
    logged.puts("ann", "/a")
    assert kinds(logged.watch()) == [("session-start", ""), ("upload", "/a")]
    assert "Too many open files" in logged.told[0]

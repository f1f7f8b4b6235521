"""Targets: our own records, which a disk or an administrator may have damaged, and the accounts of the host."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from target import BETWEEN, Target, host_of, one_line, parts, refusing

from sftpjail.cli.history import _row
from sftpjail.engine import journal as journals
from sftpjail.engine.history import History, undone_by
from sftpjail.engine.journal import Journal
from sftpjail.errors import SftpJailError
from sftpjail.operations.history import shown
from sftpjail.system import account_lines, last_use
from sftpjail.transferlog.totals import Place
from sftpjail.watch.event import TransferEvent
from sftpjail.watch.handout import Worker
from sftpjail.watch.queue import Known, Queue

# On tmpfs, where fsync(2) costs nothing.
PLACE = Path(tempfile.mkdtemp(prefix="sftpjail-fuzz-", dir="/dev/shm"))


def _fill(*texts: str) -> str:
    """Make a history of some months; return its directory."""
    directory = PLACE / "history"
    directory.mkdir(exist_ok=True)
    for file in directory.iterdir():
        file.unlink()
    for month, text in enumerate(texts, 1):
        if text:
            (directory / f"2026-{month:02}").write_bytes(text.encode("utf-8", "surrogateescape"))
    return str(directory)


def history(data: bytes) -> None:
    kept = History(_fill(*parts(data, 3)))
    head = kept.head()
    before, problems = kept.verify()
    kept.verify("0" * 64)
    for problem in problems:
        one_line(problem.what)
    entries = list(kept.entries())
    undone_by(entries)
    for about in shown(entries):
        json.dumps(about), _row(about)
    list(shown(entries, "ann", 5))
    kept.cut_partial()
    _appended(kept, kept.head(), len(problems))
    kept.forget_before(1)
    assert len(kept.names()) <= 1
    assert before == "" or len(before) == 64
    assert head.number >= 0


def _kept(files: dict[str, bytes]) -> str:
    """Make the directory of a queue that has these files; return it."""
    directory = PLACE / "events"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return str(directory)


def events(data: bytes) -> None:
    """Whatever has become of a queue, what is whole comes back, and more is kept."""
    segment, _, marks = data.partition(BETWEEN.encode("ascii"))
    directory = _kept({"queue.1": segment, "done.1": marks})
    queue = Queue(directory)
    for user, position in queue.recover():
        assert user in ("ann", "bob")
        refusing(queue.event, position)
    (at,) = queue.append([_event("ann")], Known(Place(9)), lambda: Known(Place(9)))
    assert queue.event(at) == _event("ann")
    again = Queue(directory)
    assert ("ann", at) in list(again.recover()) and again.known.place == Place(9)


def _event(user: str) -> TransferEvent:
    return TransferEvent("1-a", "upload", 1764000000, user, 1000, path="/web/x")


def _segment() -> str:
    """Return a segment of two batches."""
    directory = _kept({})
    queue = Queue(directory)
    for place, users in enumerate((("ann", "bob"), ("ann",))):
        known = Known(Place(place), {"1": {}})
        queue.append([_event(user) for user in users], known, lambda: Known(Place(0)))
    return (PLACE / "events" / "queue.1").read_text("ascii")


class _Process:
    """A worker's process, which is another user's."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def ask(self, *_: object) -> bytes:
        return self.data

    def end(self) -> None:
        """Nothing runs."""


def answers(data: bytes) -> None:
    worker = Worker(1, "nobody", 1.0)
    worker._process = _Process(data)  # type: ignore[assignment]
    said = refusing(worker.ask, {"scripts": []}, None)
    assert said is None or all(isinstance(word, str) for word in said)


def last_uses(data: bytes) -> None:
    """What is read is written and read the same; of a login only names without blanks are kept."""
    text, info = parts(data, 2)
    known = last_use.uses(text)
    assert last_use.uses(last_use.as_text(known)) == known
    for name in last_use.used(info):
        assert name and " " not in name and "\n" not in name


def _appended(kept: History, head: object, problems: int) -> None:
    """One more transaction stands at the end, fits, and can be taken back."""
    was = _bytes(kept)
    entry = {"id": head.number + 1, "token": "t", "time": 5, "users": ["ann"]}  # type: ignore[attr-defined]
    after = kept.append(head, entry, 1790000000.0)  # type: ignore[arg-type]
    now = kept.head()
    assert (now.number, now.hash, now.torn) == (after.number, after.hash, False)
    assert len(kept.verify(after.hash)[1]) <= problems + 1
    kept.withdraw(head)  # type: ignore[arg-type]
    assert _bytes(kept) == was


def _bytes(kept: History) -> dict[str, bytes]:
    return {name: Path(kept.directory, name).read_bytes() for name in kept.names()}


@contextlib.contextmanager
def _harmless(reverted: list[dict[str, object]]) -> Iterator[None]:
    """Undos are counted, and not carried out: an input may name any path."""

    def revert(undo: dict[str, object]) -> None:
        about = undo.get("path", undo.get("name"))
        assert isinstance(about, str) and "\0" not in about
        reverted.append(undo)

    own = mock.Mock(wraps=journals.files)
    own.sync_dirs = own.remove_dir = own.unlink = own.cut = lambda *paths: None
    with (
        mock.patch.object(journals, "revert", revert),
        mock.patch.object(journals, "drop", lambda path: None),
        mock.patch.object(journals, "files", own),
        mock.patch.object(journals, "services", mock.Mock()),
        mock.patch.object(journals, "announce", lambda head: None),
        mock.patch.object(journals.accounts, "wait_for_programs", lambda: None),
        mock.patch.object(journals.process_state, "lift_limits", lambda: None),
    ):
        yield


def journal(data: bytes) -> None:
    text, committed = parts(data, 2)
    _fill("", committed)
    (PLACE / "journal").write_bytes(text.encode("utf-8", "surrogateescape"))
    reverted: list[dict[str, object]] = []
    with _harmless(reverted):
        made = Journal(str(PLACE))
        assert refusing(made.recover, "ann") in (True, None)
        # Everything is carried out or nothing is, and an account that has arrived stays.
        assert len(reverted) in (0, text.count('"op"')) or text
        assert not any(
            undo.get("name") == "ann" and undo["op"] == "added-account" for undo in reverted
        )


def _lines(text: str) -> dict[str, str]:
    files = ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")
    return dict(zip(files, text.split("\n--\n") + [""] * 6, strict=False))


def shadow_lines(data: bytes) -> None:
    name, before, after = parts(data, 3)
    name = "".join(c for c in name if c not in ":,\n") or "ann"
    now = {
        f"/etc/{file}": text.encode("utf-8", "surrogateescape")
        for file, text in _lines(before).items()
    }
    fake = mock.Mock()
    fake.read_file = now.get
    fake.stage_name = lambda path: f"{path}~"
    fake.write_staged = lambda path, content, **more: now.__setitem__(f"{path}~", content)
    fake.move = lambda source, target: now.__setitem__(target, now.pop(source))
    with (
        mock.patch.object(account_lines, "files", fake),
        mock.patch.object(os.path, "exists", lambda path: path in now),
        mock.patch.object(
            account_lines, "passwd_locked", lambda: contextlib.nullcontext(name != "busy")
        ),
    ):
        kept = json.loads(json.dumps(account_lines.read_lines(name)))
        changed = _lines(after)
        now |= {
            f"/etc/{file}": text.encode("utf-8", "surrogateescape")
            for file, text in changed.items()
        }
        account_lines.is_another(name, kept)
        try:
            account_lines.put_back(name, kept)
        except SftpJailError:
            assert name == "busy"
            return
        again = account_lines.read_lines(name)
        _group_comes_back(name, now)
    for file, text in changed.items():
        own = [own["line"] for own in kept[file]["own"]]
        assert [own["line"] for own in again[file]["own"]] == own, file
        others = [line for line in text.split("\n") if line and line.partition(":")[0] != name]
        found = now[f"/etc/{file}"].decode("utf-8", "surrogateescape").split("\n")
        left = [line for line in found if line and line.partition(":")[0] != name]
        # Of others' lines nothing changes but whether this account is a member.
        assert len(left) == len(others)
        for line, was in zip(left, others, strict=True):
            assert line == was or name in line + was, (line, was)


def _group_comes_back(name: str, now: dict[str, bytes]) -> None:
    """A group that is deleted is back in its lines, or it is said why not."""
    before, kept = dict(now), json.loads(json.dumps(account_lines.read_group(name)))
    for file in ("group", "gshadow"):
        lines = now[f"/etc/{file}"].split(b"\n")
        start = name.encode("utf-8", "surrogateescape")
        left = [line for line in lines if line.partition(b":")[0] != start]
        now[f"/etc/{file}"] = b"\n".join(left)
    deleted = dict(now)
    why = account_lines.put_group_back(name, kept)
    if why:
        assert now == deleted, one_line(why)
    # A file that was one line without an end has one now.
    assert why or all(
        now[path].rstrip(b"\n") == text.rstrip(b"\n") for path, text in before.items()
    )


def accounts(data: bytes) -> None:
    passwd, group, shadow, more = parts(data, 4)
    host = host_of(
        {
            "/etc/passwd": passwd,
            "/etc/group": group,
            "/etc/shadow": shadow,
            "/etc/nsswitch.conf": more,
            "/etc/login.defs": more,
        }
    )
    people = host.people
    for name, account in people.accounts.items():
        assert (
            name == account.name
            and 0 <= account.uid < 0xFFFFFFFF
            and "\n" not in name + account.home
        )
        people.is_system(account), people.expiry(name), people.has_shadow(name), people.shadow(name)
        groups = people.groups_of(name)
        assert all(people.group(known) for known in groups)
        people.groups_of(name, thorough=False), people.local_gids(name)
        assert people.name_of(account.uid) is not None
        above, below = people.accounts_with_home_around(
            account.home if account.home.startswith("/") else "/home"
        )
        assert set(above) | set(below) <= set(people.accounts)
        assert people.uid_of(name) == account.uid
        assert account in people.accounts.holding(name)
    for name in people.groups:
        members = people.group_members(name)
        assert members is not None and len(set(members)) == len(members)
        people.unseen_members(name)
        assert people.in_group("ann", name) == ("ann" in members)
    assert people.group_members("no such") is None
    assert people.account("no such") is None
    assert not set(people.directory_services) & {"files", "compat", "db"}
    assert people.has_nonlocal_accounts in (True, False)


_DO = {"id": 1, "token": "a", "time": 1764000000, "users": ["ann"], "command": "add", "undo": []}
_DO |= {
    "who": {"uid": 0, "name": "root", "how": "command"},
    "what": [{"account": "ann", "what": "added"}],
}
_DO |= {"actions": [{"account": "ann", "action": "makes", "about": ["x"]}], "previous": ""}
_HEAD = json.dumps({"format": 1, "after": "", "previous": ""})
_NEXT = json.dumps({"format": 1, "after": "2026-01", "previous": "0" * 64})
_ENTRY = json.dumps(_DO)
_UNDONE = json.dumps(_DO | {"id": 2, "reverts": 1, "command": "undo"})
_BIND = {
    "source": "/a",
    "target": "/b",
    "read_only": False,
    "role": "mount",
    "options": [],
    "kept": "fstab",
}
_KEPT = json.dumps(
    _DO
    | {
        "undo": [
            {"event": "on_mount", "account": "ann", "uid": 1000, "bind": _BIND},
            {"event": "on_key_add", "account": "ann", "uid": 1000, "key": "ssh-ed25519 AAAA"},
        ]
    }
)
_OPS = "\n".join(
    json.dumps(undo)
    for undo in (
        {"id": 1, "token": "a"},
        {"op": "made-dir", "path": "/srv/x"},
        {"op": "file", "path": "/etc/x", "existed": True, "new": "0", "lines": None, "style": None},
        {"op": "rename", "path": "/a", "to": "/b"},
        {"op": "owner", "path": "/a", "uid": 0, "gid": 0, "mode": 493},
        {"op": "notify", "name": "sshd", "how": "reload", "late": False},
        {"op": "notify", "name": "sshd", "how": "reload", "late": True},
        {"op": "added-account", "name": "ann", "lines": {}, "absent": True},
        {"op": "deleted-account", "name": "bob", "lines": {}},
        {"op": "remove-dir", "path": "/srv/y", "inode": 5},
    )
)
_PASSWD = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"
_ETC = "\n--\n".join(
    (
        _PASSWD,
        "ann:!:1:2:3:4:5:6:\n",
        "a:x:5:bob,ann,eve\nann:x:1000:\n",
        "a:!:ann:bob,ann\n",
        "ann:1:2\n",
        "x",
    )
)
_GONE = (
    _ETC.replace("ann:x:1000:1000::/home/ann:/bin/sh\n", "")
    .replace(",ann", "")
    .replace("ann:", "new:")
)

_SEGMENT = _segment()

RECORDS = (
    Target(
        "the queue of events",
        ("watch/queue.py",),
        events,
        (
            _SEGMENT + BETWEEN + "\0\0\0\0\0\0",
            _SEGMENT[:-20],
            _SEGMENT.replace("upload", "downl"),
            'E "\t{}\n' + _SEGMENT,
            "",
        ),
        ("E ", "C ", "\n", "\t", '"', "\\", "{", "}", "ann", "\xff" * 6),
        ("Queue.recover", "Queue._marked", "Queue._events_of", "Queue._commits", "_text"),
    ),
    Target(
        "what a worker answers",
        ("watch/handout.py",),
        answers,
        (
            '{"result": "done", "why": ""}',
            '{"result": "stopped", "why": 5}',
            '{"result": {}, "why": []}',
            '{"why": "x"}',
            "[" * 100000,
            "5",
        ),
        ('"result"', '"why"', "{", "}", "[", "null", "quarantine", "\\ud800"),
        ("Worker.ask",),
    ),
    Target(
        "the history",
        ("engine/history.py", "operations/history.py"),
        history,
        (
            BETWEEN.join((f"{_HEAD}\n{_ENTRY}\n{_UNDONE}\n", f"{_NEXT}\n{_ENTRY}\n", "")),
            BETWEEN.join((f"{_HEAD}\n{_ENTRY}\nhalf", "", _HEAD)),
            BETWEEN.join((f"{_HEAD}\n", "", "")),
            BETWEEN.join(("", f"{_ENTRY}", f"{_NEXT}\n")),
            BETWEEN.join((f"{_HEAD}\n{_KEPT}\n", "", f"{_NEXT}\n{_KEPT}\n")),
            BETWEEN.join((f"{_HEAD}\n{json.dumps({'id': 0})}\n5\n[]\n", "", "")),
        ),
        (
            '"id"',
            '"reverts"',
            '"previous"',
            '"format"',
            '"after"',
            "null",
            "[",
            "{",
            "true",
            "1e9",
            "9" * 40,
            "\n",
            BETWEEN,
        ),
        ("History.*", "undone_by", "_*", "shown", "in_words"),
    ),
    Target(
        "the journal",
        ("engine/journal.py",),
        journal,
        (
            BETWEEN.join((_OPS + "\n", "")),
            BETWEEN.join((_OPS + '\n{"op', f"{_HEAD}\n{_ENTRY}\n")),
            BETWEEN.join((_OPS + '\n{"committed": 1}\n', "")),
            BETWEEN.join(('{"op": "nope", "path": "/x"}\n', "")),
            BETWEEN.join(("5\n", "")),
        ),
        (
            '"op"',
            '"path"',
            '"name"',
            '"to"',
            '"file"',
            '"rename"',
            '"account"',
            "null",
            "[",
            "{}",
            "5",
            "\\u0000",
            "\n",
            BETWEEN,
        ),
        (
            "Journal._read",
            "Journal._counts",
            "Journal.recover",
            "Journal._sync",
            "Journal._drop_old",
            "Journal._forget",
        ),
    ),
    Target(
        "an account's lines in the files of shadow",
        ("system/account_lines.py",),
        shadow_lines,
        (
            BETWEEN.join(("ann", _ETC, _GONE)),
            BETWEEN.join(("ann", _GONE, _ETC)),
            BETWEEN.join(("busy", _ETC, _ETC)),
            BETWEEN.join(("bob", _ETC, _ETC.replace("bob,", "").replace("ann", "eve"))),
        ),
        (":", ",", "ann", "\n", "\n--\n", BETWEEN, "::", ",,", "ann,ann"),
    ),
    Target(
        "last uses of keys",
        ("system/last_use.py",),
        last_uses,
        (
            "SHA256:x 1764000000 ::1 5\npassword 0 192.0.2.7 0\n"
            + BETWEEN
            + "publickey ssh-ed25519 AAAA\nkeyboard-interactive/pam",
            "a 1 b\na x b 1\na 1 b x\n\n" + BETWEEN + "publickey ssh-rsa-cert-v01 A\npublickey x A",
        ),
        (" ", "\n", "99999999999", "\u0661", "-1", "publickey ", "-cert-", "===="),
        ("uses", "is_number", "as_text", "used", "fingerprint"),
    ),
    Target(
        "the accounts of the host",
        ("host/accounts.py", "formats/account_files.py"),
        accounts,
        (
            BETWEEN.join(
                (
                    _PASSWD + "+::::::\nx:y\nbob:x:4294967295:1::/:\n",
                    "sudo:x:27:ann,root\nann:x:1000:\nann:x:1001:x\nx:y:z:w\n",
                    "ann:!:20000:0:99999:7::20500:\n",
                    "passwd: files [NOTFOUND=return] sss # x\nUID_MIN 0x3e8\nUID_MAX 07777777\n",
                )
            ),
            BETWEEN.join(("ann:x:5:5::relative:\n", "", "", "UID_MIN nonsense\n")),
        ),
        (":", "\n", "\0", ",", "\u0661", "-1", "0x", "4294967294", "passwd:", "[", "UID_MIN "),
        (
            *(
                "People._services",
                "People.accounts",
                "People.groups",
                "People._entries",
                "People._shadow",
            ),
            *(
                "People.login_defs",
                "People._uids",
                "People.accounts_with_home_around",
                "People._real_homes",
                "People.homes",
            ),
            *(
                "People.directory_services",
                "People.is_system",
                "People.shadow",
                "People.local_gids",
            ),
        ),
    ),
)

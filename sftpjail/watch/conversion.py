"""Turn records of the log into events. Pure; the state of open sessions can be saved and restored.

An upload counts as complete if its file was closed and the server has logged no error since it was
opened. A client that is interrupted closes its file in the same way, and the log does not show it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..formats.digest import sha256
from ..model import Account
from ..transferlog.following import Dropped
from ..transferlog.records import Login, Operation, Record, Session, Transfer, Unknown
from .event import Kind, TransferEvent

RECENT = 100  # uploads of a session that are remembered in case they are renamed
HELD = 600  # seconds for which an upload under a temporary name waits for its rename
_OPEN = 1000  # open files of a session that are remembered; sshd's own limit is usually 1024
# The names under which WinSCP, lftp and others write a file before they rename it.
_TEMPORARY = re.compile(r"(?s).*/(?:[^/]+\.(?:filepart|part|tmp)|\.in\.[^/]+)").fullmatch
_RENAMES = ("rename", "posix-rename")
_FRACTION = re.compile(r"\.(\d+)").search


@dataclass
class _State:
    """What a session has done that later lines of the log may refer to.

    Args:
        writing: its open files, and whether they are open for writing.
        held: uploads under a temporary name that have not become events yet, by path.
        recent: other uploads, oldest first.
        moment: the time of its last event, as precise as in the log.
        counts: the number of identical events at that time.
        told: whether it was reported that its lines are not verified.
    """

    writing: dict[str, bool] = field(default_factory=dict)
    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    recent: dict[str, int] = field(default_factory=dict)
    moment: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    told: bool = False

    def note(self, path: str, written: int) -> None:
        """Remember an upload in case it is renamed, and forget the oldest if there are too many."""
        self.recent.pop(path, None)
        self.recent[path] = written
        while len(self.recent) > RECENT:
            del self.recent[next(iter(self.recent))]


class Converter:
    """Turns records into events, in their order.

    Args:
        member: returns a jailed account by its name, or None.
        by_uid: returns one by its uid, or None.
        start: returns the directory in which an account's sessions start. A client's relative
            names start there too, since SFTP has no request to change the directory.

    `touched` has the keys of the sessions that changed; see `remembered`.
    """

    def __init__(
        self,
        member: Callable[[str], Account | None],
        by_uid: Callable[[int], Account | None],
        start: Callable[[Account], str] = lambda account: "/",
    ) -> None:
        self._member, self._by_uid, self._start = member, by_uid, start
        self._states: dict[str, _State] = {}
        self._events: list[TransferEvent] = []
        self.touched: set[str] = set()

    def convert(self, records: Iterable[Record | Dropped]) -> list[TransferEvent]:
        """Return the events of some records."""
        for record in records:
            if isinstance(record, Dropped):
                self._dropped(record)
            elif isinstance(record, Unknown):
                self._unknown(record)
            elif not isinstance(record, Login):
                self._of_session(record)
        events, self._events = self._events, []
        return events

    def lost(self, at: int, why: str, user: str = "") -> TransferEvent:
        """Return a gap event: something in the log is missing, of one account or of anybody."""
        return self._gap(user, at, "", 0, why)

    def overdue(self, now: float) -> list[TransferEvent]:
        """Return the uploads under a temporary name that have waited long enough for a rename.

        Args:
            now: how far the log was read, in epoch seconds.
        """
        for key, state in self._states.items():
            for path, fields in list(state.held.items()):  # oldest first
                if fields["at"] > now - HELD:
                    break
                self.touched.add(key)
                self._release(state, path)
                state.note(path, fields["written"])  # a rename may still come
        events, self._events = self._events, []
        return events

    # -- what is kept ------------------------------------------------------------------------------

    def remembered(self, key: str) -> dict[str, Any] | None:
        """Return the state of an open session as JSON data, or None if it has ended."""
        state = self._states.get(key)
        if not state:
            return None
        return asdict(state)

    def recall(self, key: str, known: Mapping[str, Any]) -> None:
        """Restore the state of a session from what `remembered` has returned."""
        self._states[key] = _State(**known)

    @property
    def sessions(self) -> list[str]:
        """The keys of the open sessions."""
        return list(self._states)

    # -- records -----------------------------------------------------------------------------------

    def _of_session(self, record: Session | Transfer | Operation) -> None:
        account = self._member(record.user or "")
        if account is None or (isinstance(record, Session) and record.how == "test"):
            return
        key = f"{record.pid} {record.user}"
        self.touched.add(key)
        if isinstance(record, Session) and record.how == "opened":
            self._states[key] = _State()
        state = self._states.setdefault(key, _State())
        if not record.verified:
            if not state.told:
                why = "the log does not say who has written the lines of this session"
                self._add(state, account, record, "gap", reason=why, verified=False)
            state.told = True
        elif isinstance(record, Transfer):
            path = self._absolute(record.path, account)
            self._transfer(state, account, record._replace(path=path))
        elif isinstance(record, Operation):
            path = self._absolute(record.path or "", account)
            self._operation(state, account, record._replace(path=path))
        else:
            self._session(state, account, record)
        if isinstance(record, Session) and record.how != "opened":
            del self._states[key]

    def _absolute(self, path: str, account: Account) -> str:
        """Return a name that a client has given as an absolute path."""
        if not path or path.startswith("/"):
            return path
        return f"{self._start(account).rstrip('/')}/{path}"

    def _session(self, state: _State, account: Account, record: Session) -> None:
        if record.how == "opened":
            self._add(state, account, record, "session-start")
            return
        for fields in state.held.values():  # in the order of the uploads
            self._events.append(TransferEvent.from_json(fields))
        lost = record.how == "lost"
        if lost:
            why = "its end is not in the log"
            for path in (path for path, writing in state.writing.items() if writing):
                self._add(state, account, record, "upload-failed", path=path, reason=_unsure(why))
        elif state.writing:
            if len(state.writing) == 1:
                many = "a file"
            else:
                many = f"{len(state.writing)} files"
            why = f"the log does not say how the transfer of {many} ended"
        if lost or state.writing:
            self._add(state, account, record, "gap", reason=f"in this session: {why}")
        sums = {"read": record.read, "written": record.written}
        self._add(state, account, record, "session-end", reason=why if lost else "", **sums)

    def _transfer(self, state: _State, account: Account, record: Transfer) -> None:
        path = record.path
        state.writing.pop(path, None)
        sums = {"path": path, "read": record.read, "written": record.written}
        if not record.up:
            self._add(state, account, record, "download", reason=record.failed or "", **sums)
            return
        state.held.pop(path, None)
        if record.failed:
            state.recent.pop(path, None)
            self._add(state, account, record, "upload-failed", reason=record.failed, **sums)
            return
        event = self._event(state, account, record, "upload", **sums)
        if _TEMPORARY(path):
            state.held[path] = event.as_json()
            if len(state.held) > RECENT:  # no client renames that late, and each is saved
                self._release(state, next(iter(state.held)))
            return
        self._events.append(event)
        state.note(path, record.written)

    def _operation(self, state: _State, account: Account, record: Operation) -> None:
        path, to = record.path or "", record.to or ""
        if record.failed or not path:
            return
        if record.operation == "open":
            if len(state.writing) < _OPEN:
                state.writing[path] = "WRITE" in to or "APPEND" in to
        elif record.operation in _RENAMES and record.ambiguous:
            why = "a file was renamed, and the log does not show where its old name ends"
            self._add(state, account, record, "gap", reason=why)
        elif record.operation in _RENAMES:
            self._renamed(state, account, record, path, self._absolute(to, account))
        elif record.operation in ("remove", "rmdir"):
            self._release(state, path)
            state.recent.pop(path, None)
            self._add(state, account, record, "delete", path=path)

    def _renamed(
        self, state: _State, account: Account, record: Operation, path: str, to: str
    ) -> None:
        """Report a rename as the last step of an upload if the session has uploaded the file."""
        held = state.held.pop(path, None)
        if held:
            written = held["written"]
        else:
            written = state.recent.pop(path, None)
        self._release(state, to)  # the rename replaces it
        here = path.rpartition("/")[0] == to.rpartition("/")[0]
        if written is None or not (held or here):
            self._add(state, account, record, "rename", path=path, to=to)
            return
        sums = {"path": to, "renamed_from": path, "written": written}
        sums["read"] = held["read"] if held else 0
        self._add(state, account, record, "upload", **sums)

    def _release(self, state: _State, path: str) -> None:
        """Report an upload that waits for its rename, because its file is removed or replaced."""
        held = state.held.pop(path, None)
        if held:
            self._events.append(TransferEvent.from_json(held))

    def _dropped(self, record: Dropped) -> None:
        account = self._by_uid(record.uid)
        # The rate limit is for the whole scope of a session, including its monitor (root).
        sshd = record.unit.startswith("ssh") or (
            record.uid == 0 and record.unit.startswith("session-")
        )
        if account is None and not sshd:
            return  # somebody else's messages
        why = f"journald dropped {record.messages} messages of {record.unit}"
        self._events.append(self._gap(account.name if account else "", record.at, "", 0, why))

    def _unknown(self, record: Unknown) -> None:
        user = record.user or ""
        account = self._member(user)
        cut = record.why == "truncated"
        if cut and record.verified and account:
            why = "OpenSSH cut a line of the log at 500 characters"
            self._events.append(self._gap(user, record.at, record.time or "", account.uid, why))

    # -- events ------------------------------------------------------------------------------------

    def _gap(self, user: str, at: int, time: str, uid: int, why: str) -> TransferEvent:
        state = self._states.setdefault(f"0 {user}", _State())
        self.touched.add(f"0 {user}")
        name = _id(state, at, time, 0, ("gap", user, why))
        if not user:
            uid = -1
        account = None
        if user:
            account = self._member(user)
        return TransferEvent(name, "gap", at, user, account.uid if account else uid, reason=why)

    def _add(self, state: _State, account: Account, record: Any, kind: Kind, **more: Any) -> None:
        self._events.append(self._event(state, account, record, kind, **more))

    def _event(
        self, state: _State, account: Account, record: Any, kind: Kind, **more: Any
    ) -> TransferEvent:
        time = getattr(record, "time", "") or ""
        what = (kind, account.name, *(str(more[name]) for name in sorted(more)))
        event = TransferEvent(
            _id(state, record.at, time, record.pid, what),
            kind,
            record.at,
            account.name,
            account.uid,
            record.address or "",
            record.pid,
            verified=True,
        )
        return replace(event, **more)


def _unsure(why: str) -> str:
    return f"the session is over, and {why}"


def _id(state: _State, at: int, time: str, pid: int, what: tuple[str, ...]) -> str:
    """Return the id of an event, a digest of its contents; identical events are numbered."""
    fraction = _FRACTION(time)
    moment = f"{at}.{fraction[1] if fraction else ''}"
    if moment != state.moment:
        state.moment, state.counts = moment, {}
    text = "\0".join((moment, str(pid), *what)).encode("utf-8", "surrogateescape")
    digest = sha256(text).hexdigest()[:16]
    number = state.counts.get(digest, 0)
    state.counts[digest] = number + 1
    return f"{at:x}-{pid:x}-{digest}" + (f"-{number}" if number else "")

"""Read sshd's own lines: who logged in, by which key, and who failed, and why. Pure.

The messages are those of OpenSSH's auth.c, auth2.c, packet.c and session.c (9.2 to 10.6), and those
of PAM in the same process. Nearly all lines of a connection have the pid of sshd's privileged
process. A name that a client makes up can contain text that looks like the rest of a message. sshd
writes "invalid user" before such a name, so it is never mistaken for an account's.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .records import Login
from .timestamps import Stamp

AT_ONCE = 5  # seconds in which a session that cannot begin ends
KEPT = 10_000  # the number of open connections that are remembered
NOTHING = "no key or password was accepted"

_TRIED = re.compile(
    rb"(Accepted|Partial|Failed) (\S+) for (\S+) from (\S+) port (\d{1,5}) ssh2"
    rb"(?:: (\S+) (SHA256:\S+)(?: .*)?)?"
).fullmatch
_ENDED = re.compile(
    rb"(?:Connection (?:closed|reset) by|Disconnected from|Disconnecting)"
    rb" (authenticating|invalid) user (\S+) (\S+) port (\d{1,5})(?:: (.*?))?(?: \[preauth\])?"
).fullmatch
_NOT_ALLOWED = re.compile(rb"User (\S+)(?: from (\S+))? not allowed because (.+)").fullmatch
_BY_PAM = re.compile(
    rb"(?:fatal: )?Access denied for user (\S+) by PAM account configuration(?: \[preauth\])?"
).fullmatch
_ELSEWHERE = re.compile(
    rb"Authentication tried for (\S+) with correct key but not from a permitted host .*"
).fullmatch
_PAM = re.compile(rb"pam_\w+\([^():]+:account\): (.+)").fullmatch
_REFUSED = re.compile(
    rb"(?:error: )?(Authentication refused: .+|Certificate (?:invalid|does not contain|lacks).+"
    rb"|Refused certificate.+|User .+ not allowed because .+)"
).fullmatch
_NO_CHROOT = re.compile(rb"fatal: (.*chroot.*?)(?: \[postauth\])?").fullmatch


@dataclass(slots=True)
class _Connection:
    """What is known of an open connection."""

    user: str = ""
    address: str | None = None
    port: int | None = None
    method: str | None = None
    key: str | None = None
    reason: str = ""
    by_pam: str = ""
    within: bool = False
    pid: int = 0
    parts: list[tuple[str, str | None]] = field(default_factory=list)


class Logins:
    """Reads sshd's lines in order. `read` returns the logins whose outcome a line reveals."""

    def __init__(self) -> None:
        self._known: dict[int, _Connection] = {}
        self._at = 0
        # When the latest logins were, and their pids.
        self._latest = deque[tuple[int, int]](maxlen=100)

    def read(self, stamp: Stamp, pid: int, message: bytes, verified: bool) -> list[Login]:
        """Return the logins whose outcome a line reveals.

        Args:
            stamp: the time of the line.
            pid: sshd's, as in the line.
            message: without the program's name.
            verified: whether the log daemon vouches that root wrote the line.
        """
        self._at = stamp.at
        handler = _HANDLERS.get(message.partition(b" ")[0])
        if handler is None:
            if message.startswith(b"pam_"):
                handler = Logins._pam
            else:
                handler = Logins._refused
        decided = handler(self, pid, message)
        return [
            Login(
                stamp.at,
                stamp.text,
                one.user,
                one.address,
                one.port,
                one.pid or pid,
                one.method,
                one.key,
                one.reason or None,
                verified,
            )
            for one in decided
        ]

    def _of(self, pid: int) -> _Connection:
        """Return what is known of a connection, and forget the oldest one if there are too many."""
        if pid not in self._known:
            if len(self._known) >= KEPT:
                del self._known[next(iter(self._known))]
            self._known[pid] = _Connection(pid=pid)
        return self._known[pid]

    def _named(self, pid: int, user: bytes) -> _Connection:
        """Return what is known of a connection, after forgetting it if it was another user's."""
        known, name = self._of(pid), _text(user)
        if known.user not in ("", name) or known.within:
            del self._known[pid]
            known = self._of(pid)
        known.user = name
        return known

    def _tried(self, pid: int, message: bytes) -> list[_Connection]:
        match = _TRIED(message)
        if not match:
            return []
        known = self._named(pid, match[3])
        known.address, known.port = _text(match[4]), int(match[5])
        method = _text(match[2]).partition("/")[0]
        key = None
        if match[7]:
            key = _text(match[7])
        if key and match[6].endswith(b"-CERT"):
            method, key = "certificate", None
        if match[1] == b"Failed":
            if key:
                known.reason = f"key {key} was refused"
            else:
                known.reason = f"the {method} was refused"
            return []
        known.reason = ""
        if match[1] == b"Partial":
            known.parts.append((method, key))
            return []
        known.method, known.key, known.within = method, key, True
        self._latest.append((self._at, pid))
        found = [_like(known, *part) for part in known.parts]
        return [*found, _like(known, method, key)]

    def _ended(self, pid: int, message: bytes) -> list[_Connection]:
        match = _ENDED(message)
        if not match:
            return []
        known = self._known.pop(pid, _Connection())
        if match[1] == b"invalid" and not (known.user == _text(match[2]) and known.reason):
            return []  # there is no such account
        same = known.user in ("", _text(match[2])) and not known.within
        if not same:
            known = _Connection()
        why = known.reason or (_text(match[5]) if match[5] else "") or NOTHING
        port = int(match[4])
        return [_Connection(_text(match[2]), _text(match[3]), port, reason=why)]

    def _user(self, pid: int, message: bytes) -> list[_Connection]:
        match = _NOT_ALLOWED(message)
        if match:
            self._named(pid, match[1]).reason = f"not allowed: {_text(match[3])}"
        return []

    def _tried_elsewhere(self, pid: int, message: bytes) -> list[_Connection]:
        match = _ELSEWHERE(message)
        if not match:
            return self._refused(pid, message)
        self._named(pid, match[1]).reason = "its key may not come from this address"
        return []

    def _pam(self, pid: int, message: bytes) -> list[_Connection]:
        match = _PAM(message)
        if match:
            self._of(pid).by_pam = _text(match[1])
        return []

    def _denied(self, pid: int, message: bytes) -> list[_Connection]:
        match = _BY_PAM(message)
        if match:
            known = self._named(pid, match[1])
            known.reason = f"PAM: {known.by_pam or 'its account rules deny it'}"
            return [self._known.pop(pid)]
        return self._no_chroot(pid, message)

    def _no_chroot(self, pid: int, message: bytes) -> list[_Connection]:
        """Read why a session could not begin. The line comes from a child of the login's sshd.

        It belongs to the only login of the last seconds. If there were several, it is unclear.
        """
        match = _NO_CHROOT(message)
        recent = {one for at, one in self._latest if at >= self._at - AT_ONCE}
        if not match or len(recent) != 1:
            return []
        known = self._known.pop(recent.pop(), None)
        self._latest.clear()
        if known is None or not known.within:
            return []
        known.reason = _text(match[1])
        return [known]

    def _refused(self, pid: int, message: bytes) -> list[_Connection]:
        match = _REFUSED(message)
        if match:
            self._of(pid).reason = _text(match[1])
        return []


def _like(known: _Connection, method: str, key: str | None) -> _Connection:
    return _Connection(known.user, known.address, known.port, method, key)


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


_HANDLERS: dict[bytes, Callable[[Logins, int, bytes], list[_Connection]]] = {
    **dict.fromkeys((b"Accepted", b"Partial", b"Failed"), Logins._tried),
    **dict.fromkeys((b"Connection", b"Disconnected", b"Disconnecting"), Logins._ended),
    **dict.fromkeys((b"fatal:", b"Access"), Logins._denied),
    b"User": Logins._user,
    b"Authentication": Logins._tried_elsewhere,
}

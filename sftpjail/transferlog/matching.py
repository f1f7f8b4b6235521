"""Which login a session came of. Pure.

internal-sftp's lines have another pid than sshd's, and no port. So the login is one of the same
user, from the same address, just before the session began; where several fit and differ, nothing is
said.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator

from ..errors import SftpJailError
from .records import Login, Record, Session

NEAR = 30  # seconds between a login and the session that it opens at once
KEPT = 1000  # logins of one user from one address


class Matcher:
    """Puts failed logins among records, and the login into each session.

    Args:
        logins: in the order of time; where they cannot be read any further, there are no more.
    """

    def __init__(self, logins: Iterator[Login]) -> None:
        self._logins = logins
        self._next = self._pull()
        self._known = defaultdict[tuple[str, str | None], deque[Login]](lambda: deque(maxlen=KEPT))

    def put(self, records: list[Record]) -> list[Record]:
        """Return the records with the failed logins of up to then."""
        found = list[Record]()
        for record in records:
            found += self._up_to(record.at)
            found.append(self._with_login(record) if isinstance(record, Session) else record)
        return found

    def rest(self) -> list[Record]:
        """Return the failed logins that are left."""
        return list(self._up_to(None))

    def _pull(self) -> Login | None:
        try:
            return next(self._logins, None)
        except SftpJailError:  # there is no such log
            return None

    def _up_to(self, at: int | None) -> Iterator[Record]:
        while self._next and (at is None or self._next.at <= at):
            login, self._next = self._next, self._pull()
            if login.failed:
                yield login
            else:
                self._known[login.user, login.address].append(login)

    def _with_login(self, session: Session) -> Session:
        if session.user is None or session.how == "test":
            return session
        logins = self._known.get((session.user, session.address), ())
        before = [one for one in logins if one.at <= session.began + 1]
        near = [one for one in before if one.at >= session.began - NEAR] or before
        methods = {(one.method, one.key) for one in near}
        ports = {one.port for one in near}
        method, key = methods.pop() if len(methods) == 1 else (None, None)
        port = ports.pop() if len(ports) == 1 else None
        return session._replace(method=method, key=key, port=port)

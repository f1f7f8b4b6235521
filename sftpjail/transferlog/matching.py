"""Find the login that opened a session. Pure.

internal-sftp's lines have another pid than sshd's, and no port. So it is a login of the same user
from the same address just before the session began. If several such logins differ, none is chosen.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator

from ..errors import SftpJailError
from .records import Login, Record, Session

NEAR = 30  # seconds between a login and the session that it opens at once
KEPT = 1000  # logins of one user from one address


class Matcher:
    """Merges failed logins into records, and adds its login to each session.

    Args:
        logins: oldest first. If they cannot be read to the end, the rest is missing.
    """

    def __init__(self, logins: Iterator[Login]) -> None:
        self._logins = logins
        self._next = self._pull()
        self._known = defaultdict[tuple[str, str | None], deque[Login]](lambda: deque(maxlen=KEPT))

    def put(self, records: list[Record]) -> list[Record]:
        """Return the records, with the failed logins up to the last one."""
        found = list[Record]()
        for record in records:
            found += self._up_to(record.at)
            found.append(self._with_login(record) if isinstance(record, Session) else record)
        return found

    def rest(self) -> list[Record]:
        """Return the remaining failed logins."""
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
        if len(methods) == 1:
            method, key = methods.pop()
        else:
            method, key = (None, None)
        port = None
        if len(ports) == 1:
            port = ports.pop()
        return session._replace(method=method, key=key, port=port)

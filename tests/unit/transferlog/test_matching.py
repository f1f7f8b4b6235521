"""Which login a session came of: one before it, of the same user and address, or nothing is said."""

from __future__ import annotations

from collections.abc import Iterator

from sftpjail.errors import SftpJailError
from sftpjail.transferlog.matching import Matcher
from sftpjail.transferlog.records import Login, Session


def login(at: int, key: str = "K", port: int = 1, user: str = "ann", failed: str = "") -> Login:
    return Login(at, "t", user, "::1", port, 7, "publickey", key, failed or None, True)


def session(began: int, user: str = "ann", how: str = "closed") -> Session:
    return Session(began + 50, began, user, "::1", 9, "a", "b", how, 0, 0, 0, True)


def told(one: Session, *logins: Login) -> tuple[str | None, int | None]:
    *_, found = Matcher(iter(logins)).put([one])
    assert isinstance(found, Session)
    return found.key, found.port


def test_the_login_just_before() -> None:
    assert told(session(100), login(10, "old"), login(99, "K", 5), login(140, "new")) == ("K", 5)
    assert told(session(100), login(99, "K", 5), login(98, "K", 6)) == ("K", None)
    assert told(session(100), login(99, "K"), login(98, "L")) == (None, 1)


def test_one_that_is_long_ago_if_there_is_no_other() -> None:
    assert told(session(1000), login(10, "K", 5)) == ("K", 5)
    assert told(session(1000), login(10, "K", 5, user="bob"), login(1010)) == (None, None)
    assert told(session(1000, how="test"), login(999)) == (None, None)


def test_failed_logins_stand_where_they_were() -> None:
    matcher = Matcher(iter([login(1, failed="x"), login(500, failed="y")]))
    assert [type(one) for one in matcher.put([session(10)])] == [Login, Session]
    assert [one.at for one in matcher.rest()] == [500]


def test_a_log_that_cannot_be_read_says_nothing() -> None:
    def unreadable() -> Iterator[Login]:
        yield login(99)
        raise SftpJailError("no log")

    assert told(session(100), *()) == (None, None)
    matcher = Matcher(unreadable())
    (found,) = matcher.put([session(100)])
    assert isinstance(found, Session) and found.key == "K"

"""What the history says of a transaction, in words."""

from __future__ import annotations

import pytest

from sftpjail.engine.plan import Event, OnKeyAdd, OnKeyRemove
from sftpjail.engine.summary import _of_events
from sftpjail.model import Account, Key

ANN = Account("ann", 1001, 1001, "/home/ann")


def key(name: str, *options: str) -> Key:
    """A key whose fingerprint and comment are named after it."""
    return Key(
        line=name, type="ssh", bits=1, fingerprint=f"SHA256:{name}", comment=name, options=options
    )


def words(*events: Event) -> list[str]:
    return [what for _, what in _of_events(events)]


@pytest.mark.parametrize(
    ("option", "until"),
    [
        ('expiry-time="21000101"', " until 2099-12-31"),
        ('Expiry-Time="210001010000"', " until 2099-12-31"),
        ('expiry-time="21000101Z"', " until 2100-01-01 00:00 UTC"),
        ('expiry-time="210001011230utc"', " until 2100-01-01 12:30 UTC"),
        ('expiry-time="210001011230"', " until 2100-01-01 12:30"),
        ('expiry-time="20269999"', ""),
        ('expiry-time="x"', ""),
        ('expiry-time="00010101"', ""),
        ('from="21000101"', ""),
    ],
)
def test_a_key_is_good_until_its_last_day(option: str, until: str) -> None:
    assert words(OnKeyAdd(ANN, key("a", option))) == [f"can log in with SHA256:a a{until}"]


def test_a_key_that_gets_other_options_stays() -> None:
    last = key("old", 'expiry-time="21000101"')
    replaced = (OnKeyAdd(ANN, key("new")), OnKeyRemove(ANN, key("old")), OnKeyAdd(ANN, last))
    assert words(*replaced) == [
        "can log in with SHA256:new new",
        "can still log in with SHA256:old old until 2099-12-31",
    ]
    assert words(*replaced[:2])[1] == "can no longer log in with SHA256:old old"
    other = Account("bob", 1002, 1002, "/home/bob")
    said = words(OnKeyAdd(ANN, key("a")), OnKeyRemove(other, key("a")))
    assert said == ["can log in with SHA256:a a", "can no longer log in with SHA256:a a"]

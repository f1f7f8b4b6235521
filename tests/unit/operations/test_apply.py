"""apply and its like: what is refused while it is not known who is jailed."""

from __future__ import annotations

import pytest
from fakesshd import sshd
from played import Stage, stage

from sftpjail.errors import SftpJailError
from sftpjail.host.accounts import People
from sftpjail.operations.apply import refuse_unknown

__all__ = ["sshd", "stage"]

MANY = [f"u{number}" for number in range(9)]


@pytest.mark.parametrize(
    ("members", "who"),
    [
        (["ida"], "ida"),
        (["ida", "ivo"], "ida, ivo"),
        (MANY, f"{', '.join(MANY[:8])} and others"),
        (None, "its members"),
    ],
)
def test_no_teardown_over_members_of_a_directory(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, members: list[str] | None, who: str
) -> None:
    monkeypatch.setattr(People, "unseen_members", lambda *_: members)
    monkeypatch.setattr(People, "directory_services", ("sss",))
    with pytest.raises(SftpJailError) as caught:
        refuse_unknown(stage.engine())
    assert f"the directory service (sss) has {who} in sftponly: " in caught.value.message
    assert caught.value.advice.startswith("take them out of sftponly there")
    told = caught.value.advice.endswith("the group out of the directory service")
    assert told == (members is None)


def test_a_group_with_no_members_elsewhere_stops_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(People, "unseen_members", lambda *_: [])
    refuse_unknown(stage.engine())

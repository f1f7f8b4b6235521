"""Which methods of sshd let in who has a key, a password, or both."""

from __future__ import annotations

import pytest

from sftpjail.openssh.admission import way_in
from sftpjail.openssh.settings import Settings


@pytest.mark.parametrize(
    ("said", "key", "password", "both"),
    [
        ("passwordauthentication no", True, False, True),
        ("passwordauthentication yes", True, True, True),
        ("kbdinteractiveauthentication yes,usepam yes", True, True, True),
        ("kbdinteractiveauthentication yes,usepam no", True, False, True),
        ("pubkeyauthentication no,passwordauthentication yes", False, True, True),
        ("passwordauthentication yes,authenticationmethods any", True, True, True),
        ("passwordauthentication yes,authenticationmethods publickey", True, False, True),
        ("passwordauthentication yes,authenticationmethods publickey+password", False, False, True),
        ("passwordauthentication no,authenticationmethods publickey+password", False, False, False),
        ("authenticationmethods publickey+password publickey", True, False, True),
        ("authenticationmethods publickey publickey", True, False, True),
        ("usepam yes,authenticationmethods keyboard-interactive:pam", False, False, False),
    ],
)
def test_way_in(said: str, key: bool, password: bool, both: bool) -> None:
    pairs = (line.replace("+", ",").partition(" ") for line in said.split(","))
    found = Settings({keyword: (value,) for keyword, _, value in pairs}, {}, ())
    assert way_in(found, key=True, password=False) == key
    assert way_in(found, key=False, password=True) == password
    assert way_in(found, key=True, password=True) == both
    assert not way_in(found, key=False, password=False)

"""Where no key can do, and how long one can; the login itself needs a real sshd."""

from __future__ import annotations

import pytest

from sftpjail.model import Account, Profile
from sftpjail.openssh.settings import Settings
from sftpjail.selftest.live import LIVE_PROBES, NOT_ASKED, no_key_can_do, stamp
from sftpjail.selftest.probes import PROBES

GOOD = {
    "pubkeyauthentication": ("yes",),
    "authenticationmethods": ("any",),
    "authorizedkeysfile": ("/etc/ssh/authorized_keys/%u",),
}


@pytest.mark.parametrize(
    ("keyword", "values", "says"),
    [
        ("pubkeyauthentication", ("no",), "no key at all"),
        ("authenticationmethods", ("publickey,password",), "a key is not enough"),
        ("authenticationmethods", ("password keyboard-interactive",), "a key is not enough"),
        ("authenticationmethods", ("publickey,publickey",), "a key is not enough"),
        ("authenticationmethods", ("password publickey",), ""),
        ("authenticationmethods", ("publickey:x,password", "publickey"), ""),
        ("authorizedkeysfile", ("none",), "does not read /etc/ssh/authorized_keys/ann"),
        ("authorizedkeysfile", (".ssh/authorized_keys /etc/ssh/authorized_keys/%u",), ""),
        ("authorizedkeysfile", ("/etc/ssh/authorized_keys/ann",), ""),
    ],
)
def test_where_no_key_can_do(keyword: str, values: tuple[str, ...], says: str) -> None:
    account = Account("ann", 1001, 1001, "/home/ann", profile=Profile("sftponly"))
    why = no_key_can_do(account, Settings(GOOD | {keyword: values}, {}, ()))
    assert says in why and bool(why) == bool(says)


def test_a_time_is_written_in_utc() -> None:
    assert stamp(0) == "19700101000000Z"


def test_each_probe_is_asked_live_or_said_not_to_be() -> None:
    asked = [name for name, _, _ in LIVE_PROBES[1:]]
    assert sorted([*asked, *NOT_ASKED]) == sorted(name for name, _, _ in PROBES)

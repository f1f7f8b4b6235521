"""sshd's own lines: who logged in by what, who did not, and why. Each line is one that sshd has written."""

from __future__ import annotations

import pytest

from sftpjail.transferlog.logins import KEPT, NOTHING, Logins
from sftpjail.transferlog.records import Login
from sftpjail.transferlog.timestamps import Stamp

KEY = "SHA256:qQB9kD4ls+mPSK9mrTFkgSbNP+k0AbQ/4mTWhnGOkDw"
FROM = "ann from 192.0.2.7 port 4711 ssh2"
ENDED = "Connection closed by authenticating user ann 192.0.2.7 port 4711 [preauth]"


def told(*lines: str, reader: Logins | None = None) -> list[Login]:
    reader = reader or Logins()
    return [
        login
        for line in lines
        for login in reader.read(Stamp(5, "t"), 7, line.encode(), verified=True)
    ]


def test_a_login_by_a_key() -> None:
    (login,) = told(f"Accepted publickey for {FROM}: ED25519 {KEY}")
    assert login == Login(
        5, "t", "ann", "192.0.2.7", 4711, 7, "publickey", KEY, None, verified=True
    )


@pytest.mark.parametrize(
    ("line", "method"),
    [
        (f"Accepted password for {FROM}", "password"),
        (f"Accepted keyboard-interactive/pam for {FROM}", "keyboard-interactive"),
        (
            f"Accepted publickey for {FROM}: ED25519-CERT {KEY} ID x from ::1 port 1 ssh2"
            f" (serial 0) CA ED25519 {KEY}",
            "certificate",
        ),
    ],
)
def test_a_login_by_something_else(line: str, method: str) -> None:
    (login,) = told(line)
    assert (login.method, login.key, login.address) == (method, None, "192.0.2.7")


def test_both_parts_of_a_login_by_two_methods() -> None:
    found = told(f"Partial publickey for {FROM}: RSA {KEY}", f"Accepted password for {FROM}")
    assert [(one.method, one.key) for one in found] == [("publickey", KEY), ("password", None)]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([ENDED], NOTHING),
        ([f"Failed password for {FROM}", ENDED], "the password was refused"),
        ([f"Failed publickey for {FROM}: RSA {KEY}", ENDED], f"key {KEY} was refused"),
        (
            [
                "Authentication tried for ann with correct key but not from a permitted host"
                " (host=a, ip=192.0.2.7, required=10.0.0.1).",
                ENDED,
            ],
            "its key may not come from this address",
        ),
        (
            [
                "User ann from 192.0.2.7 not allowed because not listed in AllowUsers",
                ENDED.replace("authenticating", "invalid"),
            ],
            "not allowed: not listed in AllowUsers",
        ),
        (
            [
                "pam_unix(sshd:account): account ann has expired (account expired)",
                f"Failed publickey for {FROM}: RSA {KEY}",
                "fatal: Access denied for user ann by PAM account configuration [preauth]",
            ],
            "PAM: account ann has expired (account expired)",
        ),
        (
            [
                "error: Authentication refused: bad ownership or modes for file /etc/ssh/a",
                ENDED,
            ],
            "Authentication refused: bad ownership or modes for file /etc/ssh/a",
        ),
        (["error: Certificate invalid: expired", ENDED], "Certificate invalid: expired"),
        (
            [
                f"Accepted publickey for {FROM}: ED25519 {KEY}",
                'fatal: bad ownership or modes for chroot directory "/srv/sftp/" [postauth]',
            ],
            'bad ownership or modes for chroot directory "/srv/sftp/"',
        ),
        (
            [
                "Disconnecting authenticating user ann 192.0.2.7 port 4711: "
                "Too many authentication failures [preauth]"
            ],
            "Too many authentication failures",
        ),
    ],
)
def test_why_a_login_failed(lines: list[str], reason: str) -> None:
    login = told(*lines)[-1]
    assert (login.failed, login.user) == (reason, "ann"), login
    if lines[-1] != "fatal: Access denied for user ann by PAM account configuration [preauth]":
        assert (login.address, login.port) == ("192.0.2.7", 4711)


def test_whose_session_could_not_begin_is_known_of_one_alone() -> None:
    reader, why = Logins(), b'fatal: bad ownership or modes for chroot directory "/srv/"'
    accepted = f"Accepted publickey for {FROM}: ED25519 {KEY}".encode()

    def read(pid: int, message: bytes, at: int = 5) -> list[Login]:
        return reader.read(Stamp(at, "t"), pid, message, verified=True)

    read(7, accepted)
    (login,) = read(9, why)
    assert login.pid == 7 and login.failed and login.key == KEY
    assert read(9, why) == []
    read(7, accepted), read(8, accepted)
    assert read(9, why) == []
    assert read(9, why, at=50) == []


@pytest.mark.parametrize(
    "line",
    [
        "Failed password for invalid user ann from 192.0.2.7 port 4711 ssh2",
        f"Failed none for invalid user x for {FROM}",
        "Invalid user ann from 192.0.2.7 port 4711",
        "Connection closed by invalid user ann 192.0.2.7 port 4711 [preauth]",
        f"Accepted publickey for x y for {FROM}: RSA {KEY}",
        "Received disconnect from 192.0.2.7 port 4711:11: Accepted",
        "Disconnected from user ann 192.0.2.7 port 4711",
        "Connection closed by 192.0.2.7 port 4711",
        "fatal: no chroot for ann",
    ],
)
def test_what_tells_of_no_account_of_ours(line: str) -> None:
    assert told(line) == []


def test_a_pid_that_is_given_again_brings_nothing_along() -> None:
    reader = Logins()
    told(f"Failed password for {FROM}", reader=reader)
    other = ENDED.replace("ann", "bob")
    assert [one.failed for one in told(other, ENDED, reader=reader)] == [NOTHING, NOTHING]
    told(f"Accepted password for {FROM}", reader=reader)
    assert told(ENDED, reader=reader)[0].failed == NOTHING


def test_no_more_connections_are_remembered_than_that() -> None:
    reader = Logins()
    for pid in range(KEPT + 5):
        reader.read(Stamp(5, "t"), pid, f"Failed password for {FROM}".encode(), verified=False)
    assert len(reader._known) == KEPT

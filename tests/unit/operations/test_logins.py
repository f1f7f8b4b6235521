"""Whether somebody has logged in: yes by any log, no only by one that was written the whole time."""

from __future__ import annotations

import struct

import pytest
from fakesshd import DEFAULTS, sshd
from played import Stage, stage

from sftpjail import Account, SftpJailError
from sftpjail.operations.logins import refuse_if_used

__all__ = ["sshd", "stage"]

AUTH = "/var/log/auth.log"
SINCE = 1_790_000_000  # 2026-09-21T14:13:20Z
BEFORE = "2026-09-21T14:13:00+00:00 host cron[1]: hello\n"
AFTER = "2026-09-21T15:00:00+00:00 host sshd[2]: "
ANN = Account("ann", 1001, 1001, "/home/ann")
LOUD = {"loglevel": "INFO", "syslogfacility": "AUTH"}


@pytest.fixture
def logged(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    for name, value in LOUD.items():
        monkeypatch.setitem(DEFAULTS, name, value)
    return stage


def judge(stage: Stage) -> str:
    """Return why an account is not deleted, or ""."""
    try:
        refuse_if_used(ANN, SINCE, stage.engine(), 4)
    except SftpJailError as error:
        assert [choice.command for choice in error.choices] == ["sftpjail undo --force 4"]
        return str(error)
    return ""


@pytest.mark.parametrize(
    "line",
    [
        "Accepted publickey for ann from ::1 port 5 ssh2: ED25519 SHA256:x",
        "pam_unix(sshd:session): session opened for user ann(uid=1001) by (uid=0)",
        "pam_unix(su:session): session opened for user ann by (uid=0)",
    ],
)
def test_a_line_of_a_login_says_yes(logged: Stage, line: str) -> None:
    logged.tree.write(AUTH, AFTER + line + "\n")
    assert judge(logged).startswith("somebody has logged in to ann: 2026-09-21T15:00:00+00:00")


def test_a_blank_line_says_nothing(logged: Stage) -> None:
    others = AFTER + "Accepted publickey for anna from ::1 port 5\n"
    for blank in ("\n", " x\n"):
        logged.tree.write(AUTH, blank + others)
        assert "begins later" in judge(logged)
        logged.tree.write(AUTH, BEFORE + blank + others)
        assert judge(logged) == ""


def test_only_a_log_from_before_says_no(logged: Stage) -> None:
    others = AFTER + "Accepted publickey for anna from ::1 port 5\n"
    logged.tree.write(AUTH, BEFORE.replace("hello", "Accepted x for ann from y") + others)
    assert judge(logged) == ""
    logged.tree.write(AUTH, others)
    assert judge(logged).startswith("it is not known") and "begins later" in judge(logged)
    logged.tree.write(f"{AUTH}.1", BEFORE)
    assert judge(logged) == ""
    logged.tree.pids = {"sshd": 7}
    assert "no daemon writes a log of logins" in judge(logged)


@pytest.mark.parametrize(("name", "value"), [("loglevel", "QUIET"), ("syslogfacility", "LOCAL3")])
def test_a_silent_sshd_says_nothing(
    logged: Stage, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    logged.tree.write(AUTH, BEFORE)
    assert judge(logged) == ""
    monkeypatch.setitem(DEFAULTS, name, value)
    assert judge(logged).startswith("it is not known") and value in judge(logged)


def test_lastlog_says_yes_and_never_no(logged: Stage) -> None:
    record = bytes(1001 * 292) + struct.pack("=I", SINCE + 5) + bytes(288)
    logged.tree.write("/var/log/lastlog", "")
    path = logged.tree.root / "var/log/lastlog"
    path.write_bytes(record)
    assert "/var/log/lastlog has a login of 2026-09-2" in judge(logged)
    path.write_bytes(bytes(1001 * 292) + struct.pack("=I", SINCE - 5) + bytes(288))
    assert judge(logged).startswith("it is not known")

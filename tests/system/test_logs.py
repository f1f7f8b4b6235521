"""Transfers in the log: through the jail's own socket, into the file, also after the daemon has started anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from machine import Machine
from steps import open_with_key, ready, works

pytestmark = pytest.mark.halved

LOG = "/var/log/sftp.log"
UPLOAD = r'internal-sftp\[\d+\]: close "/home/alice/proof" bytes read 0 written \d+'


def uploads(machine: Machine, name: str) -> None:
    """An upload under that name reaches the file."""
    key = open_with_key(machine, "alice")
    works(machine, "alice", key, f"put /etc/hostname {name}")
    machine.wait_for(LOG, UPLOAD.replace("proof", name))


def logs_go_on(machine: Machine, restart: Callable[[], object]) -> None:
    """An upload is logged; also after the daemon has started anew, and after a rotation with nothing restarted."""
    ready(machine, "")
    restart()
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    uploads(machine, "first")
    restart()
    uploads(machine, "second")
    machine.run("logrotate", "-f", "/etc/logrotate.d/sftpjail")
    machine.wait_for(f"{LOG}.1", "second")
    uploads(machine, "third")
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    # A test is one line in the customer's log, and in no sum.
    before = [machine.run("sftpjail", "log", *words).out for words in ((), ("--summary",))]
    machine.run("sftpjail", "test", "alice")
    machine.wait_for(LOG, r"session closed for local user alice from \[UNKNOWN\]")
    now = [machine.run("sftpjail", "log", *words).out for words in ((), ("--summary",))]
    assert now[0].startswith(before[0]) and now[1] == before[1], now
    (line,) = now[0].removeprefix(before[0]).splitlines()
    assert line.endswith(": test") and "\tsession\t" in line, line


def test_rsyslog(machine: Machine) -> None:
    machine.start_rsyslog()
    logs_go_on(machine, machine.restart_rsyslog)


@pytest.mark.syslog_ng
def test_syslog_ng(machine: Machine) -> None:
    machine.start_syslog_ng()
    logs_go_on(machine, machine.restart_syslog_ng)


def test_no_log(machine: Machine) -> None:
    ready(machine, "[logs]\nbackend = none\n")
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    works(machine, "alice", open_with_key(machine, "alice"))
    assert not machine.exists(LOG) and not machine.exists("/srv/sftp/alice/dev")

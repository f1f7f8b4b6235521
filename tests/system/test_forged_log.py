"""Everybody may write into a host's log; nobody's lines are shown as somebody else's."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from machine import Machine
from steps import CONFIG, jail, ready

# As internal-sftp would write, with a pid of the forger's choice; the last one would begin a line
# of its own.
FORGER = """
import socket, sys
lines = [
    b"session opened for local user alice from [192.0.2.66]",
    b'open "/forged" flags READ mode 0666',
    b'close "/forged" bytes read 666 written 0',
    b"session closed for local user alice from [192.0.2.66]",
    b'x\\n2026-11-28T00:00:00+00:00 host uid=%s internal-sftp[77]: close "/forged" bytes read 666 written 0',
]
for path in sys.argv[3:]:
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        log.connect(path)
    except OSError as error:
        print(path, error.strerror)
        continue
    for line in lines:
        tag = b"<38>Nov 28 15:00:00 internal-sftp[%s]: " % sys.argv[1].encode()
        log.send(tag + line.replace(b"%s", sys.argv[2].encode()))
"""
SOCKETS = (
    "/dev/log",
    "/srv/sftp/alice/dev/log",
    "/var/lib/sftpjail/log/log",
    "/run/systemd/journal/syslog",
)


def records(machine: Machine, *options: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in machine.run("sftpjail", "log", "--json", *options).out.splitlines()
    ]


def settled(machine: Machine, marker: str) -> list[dict[str, Any]]:
    """The records, when an upload of that name that came after everything else is among them."""
    for _ in range(100):
        found = records(machine)
        if any(r["kind"] == "transfer" and r["path"].endswith(marker) for r in found):
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def nobody_forges(machine: Machine, *, all_known: bool) -> None:
    """A transfer of alice's is verified; bob's lines are bob's, or unverified where the daemon says nothing of them.

    Args:
        machine: with a log that runs.
        all_known: the daemon knows the sender on each of the host's sockets.
    """
    key = jail(machine, "alice")
    machine.run("useradd", "-m", "bob")
    assert machine.sftp("alice", key, "put /etc/hostname true").code == 0
    for _ in range(100):
        ours = [r for r in records(machine) if r["kind"] == "session" and r["how"] == "closed"]
        if ours:
            break
        time.sleep(0.1)
    (session,) = ours
    assert session["user"] == "alice" and session["verified"]
    uid = machine.run("id", "-u", "alice").out.strip()
    machine.run(
        "runuser", "-u", "bob", "--", "python3", "-c", FORGER, str(session["pid"]), uid, *SOCKETS
    )
    assert machine.sftp("alice", key, "put /etc/hostname last").code == 0
    found = settled(machine, "/last")
    forged = [r for r in found if r["kind"] == "transfer" and r["path"] == "/forged"]
    assert forged and all(not r["verified"] or r["user"] == "bob" for r in forged), forged
    assert not all_known or {r["user"] for r in forged} == {"bob"}
    genuine = [
        r for r in found if r["kind"] == "transfer" and r["user"] == "alice" and r["verified"]
    ]
    assert [r["path"] for r in genuine] == ["/home/alice/true", "/home/alice/last"]
    assert {r["from"] for r in genuine} == {"127.0.0.1"}
    accused = [r for r in found if r["kind"] == "unknown" and "it says alice" in r["why"]]
    assert accused and {r["user"] for r in accused} == {"bob"}
    shown = machine.run("sftpjail", "log", "alice")
    assert all(
        line.endswith("(unverified)") for line in shown.out.splitlines() if "forged" in line
    ), shown
    if all_known:
        assert "forged" not in shown.out and shown.err == "" and found[-1]["unverified"] == 0
    days = [
        r
        for r in records(machine, "--summary")
        if r["kind"] == "day" and r["user"] == "alice" and r["verified"]
    ]
    assert sum(day["down"] for day in days) == 0 and sum(day["up"] for day in days) == 2


def test_rsyslog(machine: Machine) -> None:
    """It says who wrote to our socket, and nothing of /dev/log."""
    machine.start_rsyslog()
    ready(machine, "")
    machine.restart_rsyslog()
    nobody_forges(machine, all_known=False)


@pytest.mark.syslog_ng
def test_syslog_ng(machine: Machine) -> None:
    machine.start_syslog_ng()
    ready(machine, "")
    machine.restart_syslog_ng()
    nobody_forges(machine, all_known=True)


@pytest.mark.booted
def test_journald(booted: Machine) -> None:
    booted.write(CONFIG, "[logs]\nbackend = journald\n")
    booted.run("sftpjail", "setup")
    nobody_forges(booted, all_known=True)


@pytest.mark.booted
def test_the_log_daemon_under_systemd(booted: Machine) -> None:
    """rsyslog does not say, and then the journal does; but of what was sent past the journal nobody knows."""
    booted.run("sftpjail", "setup")
    nobody_forges(booted, all_known=False)


def test_the_log_of_an_earlier_rule_is_read_and_marked(machine: Machine) -> None:
    machine.run("useradd", "alice")
    said = ("session opened for local user alice from [::1]", 'close "/x" bytes read 0 written 1')
    line = "2026-11-20T09:00:00+00:00 host internal-sftp[7]: "
    machine.write("/var/log/sftp.log", "".join(f"{line}{text}\n" for text in said))
    kinds = [
        (r["kind"], r["user"], r["verified"]) for r in records(machine) if r["kind"] != "summary"
    ]
    assert kinds == [("transfer", "alice", False), ("session", "alice", False)]
    shown = machine.run("sftpjail", "log")
    assert shown.out.count("(unverified)") == 2 and "2 unverified records:" in shown.err

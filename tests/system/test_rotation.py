"""The log over time: rotation, another file, another backend, and a teardown that takes no log along."""

from __future__ import annotations

import pytest
from machine import Machine, changes
from steps import QUIET, fstab, jail, ready, works

LOG = "/var/log/sftp.log"


def uploads(machine: Machine, name: str) -> None:
    """An upload is in the log, and who opened the session."""
    works(machine, "alice", "/root/keys/alice", f"put /etc/hostname {name}")
    text = machine.wait_for(
        LOG, rf'internal-sftp\[\d+\]: close "/home/alice/{name}" bytes read 0 written \d+'
    )
    assert "session opened for local user alice" in text


def rotates(machine: Machine) -> None:
    """Logging goes on in the new file after logrotate, with nothing restarted."""
    machine.run("sftpjail", "setup")
    jail(machine, "alice")
    uploads(machine, "before")
    assert machine.mode(LOG) == "root:adm 640"
    machine.run("logrotate", "-f", "/etc/logrotate.d/sftpjail")
    machine.wait_for(f"{LOG}.1", "before")
    let_go(machine, f"{LOG}.1")
    uploads(machine, "after")
    assert "before" not in machine.read(LOG)
    logged_out(machine)
    machine.run("userdel", "-r", "alice")
    machine.run("sftpjail", "teardown")
    assert machine.exists(LOG) and not machine.exists("/etc/rsyslog.d/10-sftpjail.conf")
    assert machine.run("systemctl", "is-system-running", check=False).out in (
        "running\n",
        "degraded\n",
    )


def let_go(machine: Machine, path: str) -> None:
    """logrotate only signals the daemon; until it has heard, it writes on into the file that was renamed."""
    machine.sh(
        f"while find /proc/[0-9]*/fd -lname {path} 2>/dev/null | grep -q .; do sleep 0.05; done",
        timeout=20,
    )


def logged_out(machine: Machine) -> None:
    """systemd keeps a user's manager for a while after the last session, and userdel refuses for so long."""
    machine.sh("loginctl terminate-user alice; while pgrep -u alice >/dev/null; do sleep 0.1; done")


@pytest.mark.booted
def test_rsyslog(booted: Machine) -> None:
    rotates(booted)


@pytest.mark.booted
@pytest.mark.syslog_ng
def test_syslog_ng(booted: Machine) -> None:
    if not booted.exists("/usr/sbin/syslog-ng"):
        pytest.skip("this root has no syslog-ng")
    rotates(booted)


@pytest.mark.booted
def test_mount_a_and_teardown_under_systemd(booted: Machine) -> None:
    before = booted.listing("/etc", "/srv", "/usr/local")
    booted.run("sftpjail", "setup")
    pid = booted.run("systemctl", "show", "-p", "MainPID", "ssh").out
    key = jail(booted, "alice")
    # The path unit has seen the new account too; it shall not mount beside `mount -a`.
    booted.run("systemctl", "start", "sftpjail.service")
    booted.sh(
        "umount /srv/sftp/alice/dev/log /srv/sftp/alice/home/alice &&"
        " systemctl daemon-reload && mount -a"
    )
    works(booted, "alice", key)
    assert (
        booted.run("systemctl", "is-active", "sftpjail.path", "sftpjail.timer").out
        == "active\nactive\n"
    )
    assert booted.run("systemctl", "--failed", "--no-legend").out == ""
    logged_out(booted)
    booted.run("deluser", "--quiet", "--remove-home", "alice")
    booted.run("sftpjail", "teardown")
    assert booted.run("systemctl", "is-active", "sftpjail.path", "sftpjail.timer", check=False).code
    assert booted.run("systemctl", "show", "-p", "MainPID", "ssh").out == pid
    after = booted.listing("/etc", "/srv", "/usr/local")
    assert changes(before, after) == {}


def test_another_file_and_level(machine: Machine) -> None:
    machine.start_rsyslog()
    ready(machine, "[logs]\nfile = /var/log/jails/all.log\nfacility = LOCAL5\nlevel = ERROR\n")
    machine.restart_rsyslog()
    key = jail(machine, "alice")
    works(machine, "alice", key, "put /etc/hostname quietly")
    machine.write(
        "/etc/sftpjail/sftpjail.conf", "[logs]\nfile = /var/log/jails/all.log\nlevel = VERBOSE\n"
    )
    machine.run("sftpjail", "setup")
    works(machine, "alice", key, "put /etc/hostname loudly")
    assert "quietly" not in machine.wait_for("/var/log/jails/all.log", "/home/alice/loudly")


def test_no_log_and_then_one(machine: Machine) -> None:
    """The jails that are there get their socket by apply."""
    machine.start_rsyslog()
    ready(machine, QUIET)
    machine.restart_rsyslog()
    works(machine, "alice", jail(machine, "alice"), "put /etc/hostname up")
    assert not machine.exists("/srv/sftp/alice/dev") and len(fstab(machine, "alice")) == 1
    assert not machine.exists(LOG) and not machine.exists("/etc/rsyslog.d/10-sftpjail.conf")
    machine.write("/etc/sftpjail/sftpjail.conf", "[logs]\nbackend = rsyslog\n")
    machine.run("sftpjail", "setup")
    machine.restart_rsyslog()
    machine.run("sftpjail", "apply")
    uploads(machine, "logged")


def test_a_backend_that_is_not_here(machine: Machine) -> None:
    machine.write("/etc/sftpjail/sftpjail.conf", "[logs]\nbackend = syslog-ng\n")
    done = machine.run("sftpjail", "setup", check=False)
    assert done.code == 1 and "apt install syslog-ng" in done.err

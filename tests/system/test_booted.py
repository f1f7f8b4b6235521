"""Under systemd as PID 1: journald's socket in the jail, the path unit, and a reload that is no restart."""

from __future__ import annotations

import time

import pytest
from machine import Machine
from steps import open_with_key, works

pytestmark = pytest.mark.booted


def journal_has(machine: Machine, words: str) -> bool:
    """Whether the journal has these words of internal-sftp's within five seconds."""
    for _ in range(50):
        if words in machine.run("journalctl", "-t", "internal-sftp", "--no-pager").out:
            return True
        time.sleep(0.1)
    return False


def test_journald_path_unit_and_reload(booted: Machine) -> None:
    before = booted.run("systemctl", "show", "-p", "MainPID", "ssh").out
    booted.run("sftpjail", "setup")
    assert booted.run("systemctl", "show", "-p", "MainPID", "ssh").out == before
    booted.run("useradd", "-m", "-G", "sftponly", "alice")
    booted.sh("mkdir -p /srv/web && echo x >/srv/web/f")
    booted.run("sftpjail", "mount", "alice", "/srv/web", "/web", "--read-only")
    key = open_with_key(booted, "alice")
    works(booted, "alice", key, "put /etc/hostname one")
    assert journal_has(booted, 'close "/home/alice/one"')
    booted.wait_for("/var/log/sftp.log", 'close "/home/alice/one"')

    # The socket is PID 1's, so a restart of the daemons does not matter.
    booted.run("systemctl", "restart", "rsyslog")
    works(booted, "alice", key, "put /etc/hostname two")
    booted.wait_for("/var/log/sftp.log", 'close "/home/alice/two"')

    # No hook of useradd's runs for this one; the path unit sees /etc/group change.
    booted.run("useradd", "-m", "bob")
    booted.run("adduser", "bob", "sftponly")
    booted.sh(
        "for n in $(seq 50); do mountpoint -q /srv/sftp/bob/home/bob && exit 0; sleep 0.2; done; exit 1"
    )
    works(booted, "bob", open_with_key(booted, "bob"))

    # What a boot does: systemd makes its units from fstab and mounts them.
    booted.sh("umount /srv/sftp/alice/web /srv/sftp/alice/dev/log /srv/sftp/alice/home/alice")
    booted.run("systemctl", "daemon-reload")
    for unit in ("srv-sftp-alice-dev-log", "srv-sftp-alice-home-alice", "srv-sftp-alice-web"):
        booted.run("systemctl", "start", f"{unit}.mount")
    works(booted, "alice", key, "put /etc/hostname three", "ls /web/f")
    assert journal_has(booted, 'close "/home/alice/three"')
    assert booted.run("sftpjail", "check").out == "2 jails checked, no problems\n"

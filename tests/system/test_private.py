"""What we keep on a host tells nobody but root what root does, and when."""

from __future__ import annotations

import pytest
from machine import Machine
from steps import jail, ready, web, works

pytestmark = pytest.mark.halved

OURS = ("/var/lib/sftpjail", "/run/sftpjail")


def alone(machine: Machine) -> None:
    assert [machine.mode(path) for path in OURS] == ["root:root 700"] * 2
    for path in OURS:
        assert machine.run("runuser", "-u", "bob", "--", "ls", path, check=False).code != 0


@pytest.mark.parametrize("mounts", ["fstab", "session"])
def test_state_is_roots_alone_and_every_login_works(machine: Machine, mounts: str) -> None:
    machine.start_rsyslog()
    machine.run("useradd", "-m", "bob")
    ready(machine, f"[profiles]\n[[sftponly]]\nmounts = {mounts}\n")
    alone(machine)
    machine.restart_rsyslog()
    web(machine)
    key = jail(machine, "alice")
    machine.run("sftpjail", "mount", "alice", "/srv/web/example.com", "/web")
    alone(machine)
    works(machine, "alice", key, "put /etc/hostname logged", "ls /web")
    machine.wait_for("/var/log/sftp.log", "logged")
    machine.run("userdel", "alice")
    alone(machine)


def test_a_host_of_an_earlier_version(machine: Machine) -> None:
    """Whose directories everybody could read: the next command takes that away, and the mode is in no plan."""
    machine.run("useradd", "-m", "bob")
    ready(machine)
    key = jail(machine, "alice")
    machine.run("chmod", "755", *OURS)
    assert machine.run("sftpjail", "apply").out.startswith("nothing to do")
    alone(machine)
    works(machine, "alice", key)
    machine.run("chmod", "755", *OURS)
    machine.run("useradd", "-m", "-G", "sftponly", "carol")  # by the hook
    alone(machine)


def test_nothing_of_ours_lies_in_tmp(machine: Machine) -> None:
    """Where nobody can write there, every command does what it should; and there is no name to wait for."""
    key = machine.keygen("alice")
    for place in ("/tmp", "/var/tmp", "/dev/shm"):
        machine.sh(f"[ ! -d {place} ] || mount -t tmpfs -o ro,mode=1777 none {place}")
    ready(machine, "[logs]\nbackend = none\n[profiles]\n[[sftponly]]\nmounts = fstab\n")
    web(machine)
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    machine.run("sftpjail", "key", "add", "alice", f"{key}.pub")
    machine.run("sftpjail", "mount", "alice", "/srv/web/example.com", "/web")
    works(machine, "alice", key, "ls /web")
    machine.run("useradd", "-m", "bob")
    machine.run("sftpjail", "adopt", "bob")
    machine.run("sftpjail", "check", "alice")
    machine.run("sftpjail", "remove", "bob")
    machine.run("userdel", "-r", "alice")
    machine.run("sftpjail", "teardown")

"""A host that boots: what the package sets up is there again after a restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from builds import Build
from hosts import Debian
from machine import Machine
from steps import open_with_key, works

pytestmark = pytest.mark.debian

UNITS = ("sftpjail.path", "sftpjail.timer")


@pytest.fixture
def machine(built: Build) -> Iterator[Machine]:
    with Machine(boot=True) as machine:
        Debian(machine).install(built.deb)
        yield machine


def soon(true: Callable[[], bool], seconds: float = 10) -> float:
    """Wait until it is true; return for how long."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() < start + seconds
        time.sleep(0.1)
    return time.monotonic() - start


def journal(machine: Machine, words: str) -> bool:
    return words in machine.run("journalctl", "--boot", "-t", "internal-sftp", "--no-pager").out


def watching(machine: Machine) -> set[str]:
    """The runs of the path unit and the timer, which are both up."""
    assert machine.run("systemctl", "is-active", *UNITS).out == "active\nactive\n"
    return set(
        machine.run("systemctl", "show", "--value", "-p", "InvocationID", *UNITS).out.split()
    )


def in_fstab(machine: Machine) -> bool:
    """Whether setup has decided for mounts in fstab here."""
    said = machine.run("grep", "-h", "mounts = auto", "/etc/ssh/sshd_config.d/10-sftpjail.conf").out
    return "fstab" in said


def test_a_reboot(machine: Machine) -> None:
    machine.sh(
        "mkdir -p /srv/web/media /srv/media /srv/gone; echo page >/srv/web/index; echo song >/srv/media/song"
    )
    keys = {}
    for name in ("alice", "bert"):
        machine.run(
            "adduser", "--disabled-password", "--comment", "", "--ingroup", "sftponly", name
        )
        keys[name] = open_with_key(machine, name)
        machine.run("sftpjail", "mount", name, "/srv/web", "/web")
        machine.run("sftpjail", "mount", "--read-only", name, "/srv/media", "/web/media")
    if in_fstab(machine):  # a session whose mount has no source would be closed
        machine.run("sftpjail", "mount", "bert", "/srv/gone", "/gone")
    # The source of a mount is busy only where it is mounted.
    machine.run("rmdir", "/srv/gone", check=False)
    machine.sh("mkdir -m 777 /srv/web/in; chmod 777 /srv/media; test ! -e /srv/gone")

    for _ in range(2):
        machine.reboot()
        for name, key in keys.items():
            batch = [
                "get /web/index /tmp/got",
                "get /web/media/song /tmp/got",
                "put /etc/hostname up",
            ]
            works(machine, name, key, *batch, "put /etc/hostname /web/in/from-" + name)
            assert machine.sftp(name, key, ["put /etc/hostname /web/media/no"]).code == 1
        assert soon(lambda: journal(machine, 'close "/home/alice/up" bytes read 0 written')) < 5
        assert machine.run("systemctl", "is-system-running", check=False).out.strip() in (
            "running",
            "degraded",
        )
        assert len(watching(machine)) == 2
        failed = machine.run("systemctl", "--failed", "--no-legend", "--plain").out
        assert [line.split()[0] for line in failed.splitlines()] in (
            [],
            ["srv-sftp-bert-gone.mount"],
        )
    assert machine.run("sftpjail", "test", "alice").code == 0


def test_a_member_who_came_by_no_hook_has_a_jail_within_seconds(machine: Machine) -> None:
    machine.run("useradd", "-m", "bob")
    machine.run("adduser", "bob", "sftponly")
    made = ["test", "-e", "/etc/sftpjail/mounts/bob"]
    if in_fstab(machine):
        made = ["mountpoint", "-q", "/srv/sftp/bob/home/bob"]
    assert soon(lambda: machine.run(*made, check=False).code == 0) < 5
    works(machine, "bob", open_with_key(machine, "bob"))


def test_socket_activation(machine: Machine) -> None:
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    key = open_with_key(machine, "alice")
    machine.run("systemctl", "disable", "--now", "ssh.service")
    machine.run("systemctl", "enable", "--now", "ssh.socket")
    works(machine, "alice", key, "put /etc/hostname up")
    machine.append("/etc/sftpjail/sftpjail.conf", "umask = 027\n")
    machine.run("sftpjail", "setup")
    works(machine, "alice", key, "put /etc/hostname again")
    assert machine.mode("/home/alice/again").endswith("0"), "the new umask is in force"
    machine.reboot()
    works(machine, "alice", key, "rm up")
    assert machine.run("systemctl", "is-active", "ssh.socket").out == "active\n"


def test_an_upgrade_under_systemd(built: Build, previous: Build) -> None:
    with Machine(boot=True) as machine:
        machine.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        said = Debian(machine).install(previous.deb)
        assert "policy-rc.d forbids the reload of sshd" in said.out + said.err
        assert "SIGHUP" not in machine.run("journalctl", "-u", "ssh", "--no-pager").out
        assert (
            machine.run("systemctl", "is-active", *UNITS, check=False).out == "inactive\ninactive\n"
        )
        machine.run("systemctl", "start", *UNITS)
        before = watching(machine)
        machine.run("dpkg-reconfigure", "sftpjail")
        assert before == watching(machine), "policy-rc.d forbids a restart too"
        machine.run("rm", "/usr/sbin/policy-rc.d")
        Debian(machine).install(built.deb)
        assert not before & watching(machine), "they run, and as the new package has them"
        after = machine.run(
            "systemctl", "show", "--value", "-p", "After", "sftpjail.service"
        ).out.split()
        assert {"nss-user-lookup.target", "remote-fs.target"} <= set(after)


def test_removal_and_purge_under_systemd(machine: Machine) -> None:
    """With a unit masked as well, while it was enabled and before."""
    machine.run(
        "systemctl", "stop", "sftpjail.timer"
    )  # mask --now makes a failed unit of one that runs
    machine.run("systemctl", "mask", "sftpjail.timer")
    machine.run("sftpjail", "teardown", "--keep-jails")
    assert not machine.exists("/etc/systemd/system/timers.target.wants/sftpjail.timer")
    machine.run("sftpjail", "setup")
    assert machine.run("systemctl", "is-enabled", *UNITS, check=False).out == "enabled\nmasked\n"
    machine.run("dpkg", "--remove", "sftpjail")
    for unit in UNITS:
        assert machine.run("systemctl", "is-active", unit, check=False).code
        assert not machine.exists(f"/etc/systemd/system/{unit.split('.')[1]}s.target.wants/{unit}")
    machine.run("useradd", "-m", "carl")
    machine.run("dpkg", "--purge", "sftpjail")
    assert machine.run("systemctl", "is-active", "ssh").out == "active\n"
    assert machine.run("systemctl", "--failed", "--no-legend", "--plain").out == ""

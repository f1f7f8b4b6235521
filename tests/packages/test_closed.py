"""Whoever was jailed can do no more than that, whatever becomes of the package."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from builds import Build
from hosts import Arch, Debian, Host
from machine import Machine
from steps import doors

# Two groups and a name; and keys of an account's own making, which sshd's default would take.
CONFIG = """
[profiles]
[[sftponly]]
[[drops]]
group = dropbox
chroot = /srv/drops/%u
[[named]]
match_user = vip
"""
PASSWORD = "correct horse"


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


def host_of(machine: Machine, target: str) -> Host:
    return Arch(machine) if target == "native-pacman" else Debian(machine)


def by_password(machine: Machine, name: str, *command: str) -> int:
    """An ssh, or without a command an sftp, that answers with the password."""
    machine.write("/run/askpass", f"#!/bin/sh\necho '{PASSWORD}'\n", 0o755)
    options = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    options += ["-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=1"]
    where = (
        ["-p", str(machine.port)]
        if command
        else ["-P", str(machine.port), "-o", "BatchMode=no", "-b", "-"]
    )
    done = machine.run(
        *("setsid", "ssh" if command else "sftp", *options, *where, f"{name}@127.0.0.1", *command),
        env={"SSH_ASKPASS": "/run/askpass", "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"},
        input="pwd\n",
        check=False,
    )
    return done.code


def su(machine: Machine, name: str) -> int:
    """Another account that knows the password."""
    command = f"setpriv --reuid=nobody --clear-groups su {name} -s /bin/sh -c true"
    return machine.run("sh", "-c", command, input=f"{PASSWORD}\n", check=False).code


@pytest.mark.debian
@pytest.mark.arch
def test_nobody_is_let_out(machine: Machine, built: Build, target: str) -> None:
    host = host_of(machine, target)
    package = built.arch if target == "native-pacman" else built.deb
    machine.run("sed", "-i", "s/^Subsystem.*/Subsystem sftp internal-sftp/", "/etc/ssh/sshd_config")
    machine.write("/etc/ssh/sshd_config.d/00-patience.conf", machine.patience())
    machine.start_sshd()
    host.install(package)
    machine.write("/etc/sftpjail/sftpjail.conf", CONFIG)
    machine.run("useradd", "-m", "-s", "/bin/sh", "vip")
    machine.run("groupadd", "dropbox")
    machine.run("sftpjail", "setup")
    machine.run("useradd", "-m", "-s", "/bin/bash", "-G", "sftponly", "alice")
    machine.run("useradd", "-m", "-s", "/bin/sh", "-g", "dropbox", "dora")
    machine.run("useradd", "-m", "-s", "/bin/sh", "free")
    names = ("alice", "dora", "vip")
    keys = {name: machine.keygen(name) for name in (*names, "free")}
    for name, key in keys.items():
        machine.run("chpasswd", input=f"{name}:{PASSWORD}\n")
        machine.write(f"/home/{name}/.ssh/authorized_keys", machine.read(f"{key}.pub"), 0o644)
        if name != "free":
            machine.run("sftpjail", "key", "add", name, f"{key}.pub")
    assert (
        machine.ssh("free", keys["free"], "id").code == 0
        and by_password(machine, "free", "id") == 0
    )

    def jailed() -> None:
        for name in names:
            done = machine.sftp(name, keys[name], ["pwd", "ls /etc"])
            assert f"directory: /home/{name}" in done.out and '"/etc" not found' in done.err, done
            assert doors(machine, name, keys[name]) == []
            assert by_password(machine, name) == 0 and by_password(machine, name, "id") != 0

    jailed()
    host.remove()
    jailed()
    host.purge()
    for name in names:
        assert machine.sftp(name, keys[name], ["pwd"]).code == 255
        assert machine.ssh(name, keys[name], "true").code == 255
        assert by_password(machine, name) == 255 and by_password(machine, name, "true") == 255
        assert su(machine, name) != 0
        assert machine.exists(f"/home/{name}/.ssh/authorized_keys"), "users' data stays"
    assert machine.ssh("free", keys["free"], "id").code == 0 and su(machine, "free") == 0
    assert (
        "Match"
        not in machine.sh("cat /etc/ssh/sshd_config.d/* /etc/ssh/sshd_config | grep -v '^#'").out
    )


@pytest.mark.debian
def test_a_purge_without_python_leaves_jails_closed(machine: Machine, built: Build) -> None:
    machine.start_sshd()
    host = Debian(machine)
    host.install(built.deb)
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    key = machine.keygen("alice")
    machine.run("sftpjail", "key", "add", "alice", f"{key}.pub")
    host.remove()
    machine.sh(
        "mv /usr/lib/python3/dist-packages/pluggy /run; mv /var/lib/sftpjail/program/lib/pluggy /run/copy"
    )
    said = machine.run("sh", "/var/lib/sftpjail/program/maintainer", "purge")
    assert "they stay closed: No module named 'pluggy'" in said.err
    machine.run("mv", "/run/copy", "/var/lib/sftpjail/program/lib/pluggy")
    machine.run("mv", "/usr/bin/python3", "/usr/bin/python3.away")
    said = machine.run("dpkg", "--purge", "sftpjail")
    assert "they stay closed" in said.out + said.err and "python3: not found" in said.err
    # A session's mounts are made by a program in Python; without it the session is closed.
    by_session = machine.exists("/etc/pam.d/sftpjail-session")
    assert (machine.sftp("alice", key, ["pwd"]).code == 0) != by_session
    assert machine.ssh("alice", key, "id").code != 0
    machine.run("mv", "/usr/bin/python3.away", "/usr/bin/python3")
    machine.run("sh", "/var/lib/sftpjail/program/maintainer", "purge")
    assert machine.sftp("alice", key, ["pwd"]).code == 255 and not machine.exists(
        "/var/lib/sftpjail"
    )


@pytest.mark.debian
def test_a_purge_that_cannot_finish_can_be_repeated(machine: Machine, built: Build) -> None:
    """Somebody is still at work in a jail."""
    machine.start_sshd()
    host = Debian(machine)
    host.install(built.deb)
    # What is mounted in each session alone cannot be in use.
    machine.write("/etc/sftpjail/sftpjail.conf", "[profiles]\n[[sftponly]]\nmounts = fstab\n")
    machine.run("sftpjail", "setup")
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    machine.sh("mkdir /srv/web; echo x >/srv/web/f")
    machine.run("sftpjail", "mount", "alice", "/srv/web", "/web")
    machine.sh(
        "cd /srv/sftp/alice/web && exec setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >/run/busy"
    )
    machine.sh(
        'until [ "$(readlink /proc/$(cat /run/busy)/cwd)" = /srv/sftp/alice/web ]; do sleep 0.1; done'
    )
    host.remove()
    done = machine.run("dpkg", "--purge", "sftpjail", check=False)
    assert done.code and 'is in use by "sleep' in done.out + done.err and "closed" in done.err
    assert machine.run("sshd", "-T", "-C", "user=alice,host=h,addr=127.0.0.1").out.count(
        "/srv/sftp"
    )
    machine.sh("kill $(cat /run/busy)")
    machine.run("dpkg", "--purge", "sftpjail")
    assert not machine.exists("/srv/sftp") and machine.read("/srv/web/f") == "x\n"

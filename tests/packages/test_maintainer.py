"""What the packages' scripts do with hosts that are not as usual, and with removals that come to nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from builds import Build
from hosts import Arch, Debian, Host, accounts, everything
from machine import Machine, changes

STATE = "/var/lib/sftpjail"
HOOK = "/etc/shadow-maint/useradd-post.d/sftpjail"
BLOCK = "/etc/ssh/sshd_config.d/10-sftpjail.conf"


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


@pytest.fixture
def host(machine: Machine, target: str) -> Host:
    return Arch(machine) if target == "native-pacman" else Debian(machine)


@pytest.mark.debian
@pytest.mark.arch
def test_a_group_that_has_members_already(machine: Machine, host: Host, built: Build) -> None:
    machine.start_sshd()
    machine.sh(
        "groupadd sftponly; useradd -m -g sftponly -s /bin/sh prim; useradd -m -G sftponly -s /bin/sh supp"
    )
    keys = {name: machine.keygen(name) for name in ("prim", "supp")}
    for name, key in keys.items():
        machine.write(f"/home/{name}/.ssh/authorized_keys", machine.read(f"{key}.pub"), 0o644)
    before = everything(machine)
    package = built.arch if isinstance(host, Arch) else built.deb
    said = host.install(package)
    told = said.out + said.err
    assert (
        "has members already, who would be jailed: prim, supp\n" in told
        and "sftpjail --dry-run setup" in told
    )
    said = host.install(package)
    assert not machine.exists(f"{STATE}/host") and not machine.exists(f"{STATE}/wanted")
    assert [machine.ssh(name, key, "id").code for name, key in keys.items()] == [0, 0]
    host.remove()
    if isinstance(host, Debian):
        host.purge()
    assert changes(before, everything(machine)) == {}
    assert [machine.ssh(name, key, "id").code for name, key in keys.items()] == [0, 0]


@pytest.mark.debian
@pytest.mark.arch
def test_a_first_setup_that_failed_is_tried_again(
    machine: Machine, host: Host, built: Build, previous: Build
) -> None:
    old, new = (previous.arch, built.arch) if isinstance(host, Arch) else (previous.deb, built.deb)
    machine.append("/etc/ssh/sshd_config", "Nonsense yes\n")
    host.install(old)
    assert machine.exists(f"{STATE}/wanted") and not machine.exists(HOOK)
    machine.run("sed", "-i", "/Nonsense/d", "/etc/ssh/sshd_config")
    host.install(new)
    assert machine.exists(HOOK) and not machine.exists(f"{STATE}/wanted")
    machine.run("sftpjail", "teardown")
    machine.run("/usr/lib/sftpjail/maintainer", "changed")
    host.install(new)
    assert not machine.exists(HOOK), "an administrator's teardown is not undone"
    machine.sh(f"mkdir -p {STATE}; : >{STATE}/wanted; /usr/lib/sftpjail/maintainer changed")
    assert machine.exists(HOOK) and not machine.exists(f"{STATE}/wanted")


@pytest.mark.debian
@pytest.mark.arch
def test_a_setup_that_was_killed_is_taken_back(machine: Machine, host: Host, built: Build) -> None:
    before, people = everything(machine), accounts(machine)
    host.install(built.arch if isinstance(host, Arch) else built.deb)
    killed = (
        f"sftpjail setup & while [ ! -e {STATE}/journal ]; do :; done; kill -KILL $!; wait $! || :"
    )
    for _ in range(10):  # until it is caught before it has noted that this host is set up
        machine.run("sftpjail", "teardown")
        machine.sh(killed)
        if not machine.exists(f"{STATE}/host"):
            break
    assert machine.exists(f"{STATE}/journal") and not machine.exists(f"{STATE}/host")
    host.remove()
    if isinstance(host, Debian):
        host.purge()
    assert changes(before, everything(machine)) == {}
    assert accounts(machine) == people


@pytest.mark.debian
def test_another_root_is_not_the_host(machine: Machine, built: Build) -> None:
    machine.sh("mkdir -p /root/target/var/lib/dpkg/info /root/target/var/lib/dpkg/updates")
    machine.sh("cd /root/target/var/lib/dpkg; touch status available")
    machine.write("/usr/lib/sftpjail/maintainer", "#!/bin/sh\necho $* >>/etc/harm\n", 0o755)
    machine.sh(
        "for name in compile clean; do ln -sf true /usr/bin/py3$name; done"
    )  # they would look at the host
    before = everything(machine)
    package = Debian(machine).put(built.deb)
    dpkg = ("dpkg", "--root=/root/target", "--force-script-chrootless,depends")
    machine.run(*dpkg, "-i", package)
    machine.run(*dpkg, "--purge", "sftpjail")
    assert changes(before, everything(machine)) == {}


@pytest.mark.debian
def test_removals_that_come_to_nothing(machine: Machine, built: Build) -> None:
    before = everything(machine)
    machine.run("dpkg", "-i", Debian(machine).put(built.deb))
    machine.sh("cd /var/lib/dpkg/info; cp sftpjail.prerm /run; echo exit 1 >>sftpjail.prerm")
    assert machine.run("dpkg", "--remove", "sftpjail", check=False).code
    assert machine.exists(HOOK) and not machine.exists(f"{STATE}/program"), "back again"
    machine.run("sftpjail", "teardown")
    assert machine.run("dpkg", "--remove", "sftpjail", check=False).code
    assert not machine.exists(HOOK), "an administrator's teardown is not undone"
    machine.sh(
        "cp /run/sftpjail.prerm /var/lib/dpkg/info; rm -r /usr/lib/python3/dist-packages/sftpjail"
    )
    machine.run("dpkg", "--remove", "sftpjail")
    assert not machine.exists(f"{STATE}/program"), "of a host that is not set up no copy is kept"
    machine.run("dpkg", "--purge", "sftpjail")
    assert changes(before, everything(machine)) == {} and not machine.exists("/run/sftpjail")


@pytest.mark.debian
@pytest.mark.parametrize("is_set_up", [True, False])
def test_a_purge_leaves_what_was_quarantined(
    machine: Machine, built: Build, is_set_up: bool
) -> None:
    machine.run("dpkg", "-i", Debian(machine).put(built.deb))
    machine.sh(f"install -d -m 700 {STATE}/quarantine && echo bad >{STATE}/quarantine/1-a")
    if not is_set_up:
        machine.run("sftpjail", "teardown")
    machine.run("dpkg", "--remove", "sftpjail")
    done = machine.run("dpkg", "--purge", "sftpjail")
    left = [f"{STATE}/quarantine", f"{STATE}/quarantine/1-a"]
    assert machine.run("find", STATE, "-mindepth", "1").out.split() == left
    assert not is_set_up or "uploads that were quarantined are left" in done.err


@pytest.mark.debian
def test_a_purge_where_nothing_of_ours_may_be_executed(machine: Machine, built: Build) -> None:
    machine.run("dpkg", "-i", Debian(machine).put(built.deb))
    machine.run("dpkg", "--remove", "sftpjail")
    machine.sh(f"mount --bind {STATE} {STATE}; mount -o remount,bind,noexec {STATE}")
    machine.run("dpkg", "--purge", "sftpjail")
    assert not machine.exists(BLOCK) and machine.sh(f"ls -A {STATE}").out == ""


@pytest.mark.debian
def test_no_group_is_made_that_may_be_a_directorys(
    machine: Machine, built: Build, previous: Build
) -> None:
    """It was not ours, and is not to be seen at an upgrade: the directory does not answer."""
    machine.run("groupadd", "sftponly")
    machine.run("dpkg", "-i", Debian(machine).put(previous.deb))
    machine.run("sed", "-i", "/^sftponly:/d", "/etc/group")
    machine.run("sed", "-i", r"/^\(passwd\|group\):/s/$/ ldap/", "/etc/nsswitch.conf")
    said = machine.run("dpkg", "-i", Debian(machine).put(built.deb))
    assert "there is no group sftponly: is the directory service (ldap) down?" in said.err
    assert machine.run("getent", "group", "sftponly", check=False).code

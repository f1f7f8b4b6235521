"""A host that an earlier commit has set up, and then this one: nobody is locked out, and what was open is closed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import SANDBOX, Machine
from steps import CONFIG, fstab, killed, open_with_key, settings, shut, web, works

PROJECT = SANDBOX.parents[1]
EARLIER = "6753823"
# The forms of a jail, each with a profile, and a member of it.
FORMS = {
    "fstab": "",
    "sessions": "mounts = session\n",
    "homes": "chroot = %h\n",
    "drop": "home = inside\n",
}
PROFILES = "".join(f"[[{name}]]\n{settings}" for name, settings in FORMS.items())
LOCAL = "/usr/local/sbin"
ADDUSER_LOCAL = '#!/bin/sh\necho "$1" >>/var/log/welcomed\n'


@pytest.fixture(scope="module")
def earlier(sandbox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what `make install` of the earlier commit installs."""
    source, layer = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("earlier")
    layer.chmod(0o755)
    git = ["git", "-c", "safe.directory=*", "-C", str(PROJECT), "archive", "--format=tar", EARLIER]
    packed = subprocess.run(git, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", source], input=packed.stdout, check=True)
    make = ["make", "-C", str(source), "install", "prefix=/usr", f"DESTDIR={layer}"]
    subprocess.run(make, check=True, capture_output=True, umask=0o022)
    return layer


@pytest.fixture
def host(earlier: Path) -> Iterator[Machine]:
    """A booted host that runs the earlier commit."""
    with Machine(boot=True, layer=earlier) as machine:
        yield machine


def jails(machine: Machine) -> dict[str, str]:
    """Set the host up, with a member of each form who has a mount, and return the members' keys."""
    machine.write(CONFIG, f"[profiles]\n{PROFILES}")
    machine.write(f"{LOCAL}/adduser.local", ADDUSER_LOCAL, 0o755)
    machine.run("sftpjail", "setup")
    # That commit's path unit is sometimes quicker than useradd's hook, which then loses what it noted.
    machine.run("systemctl", "stop", "sftpjail.path")
    web(machine)
    keys = {}
    for name in FORMS:
        user = f"u-{name}"
        machine.run("useradd", "-m", "-G", name, user)
        under = ["--under-home"] if name == "homes" else []
        machine.run("sftpjail", "mount", *under, user, "/srv/web/example.com", "/web")
        keys[user] = open_with_key(machine, user)
    machine.run("systemctl", "start", "sftpjail.path")
    return keys


def upgrade(machine: Machine) -> None:
    """What a package does: the new files, and what its scripts run then."""
    machine.run("make", "-C", "/src", "install", "prefix=/usr")
    machine.run("/usr/lib/sftpjail/maintainer", "configure", "0.1.0")


@pytest.mark.booted
def test_from_an_earlier_commit(host: Machine) -> None:
    keys = jails(host)
    for user, key in keys.items():
        works(host, user, key, "ls /web/index.html")
    uids = {user: host.run("id", "-u", user).out.strip() for user in keys}
    assert "sftpjail" in host.read(f"{LOCAL}/adduser.local")
    assert host.exists(f"{LOCAL}/deluser.local")
    kept = {user: [line.split()[:2] for line in fstab(host, user)] for user in keys}
    assert len(kept["u-fstab"]) == 3, "a mount, the home and the log"
    upgrade(host)
    host.run("sftpjail", "setup")
    assert {user: [line.split()[:2] for line in fstab(host, user)] for user in keys} == kept
    assert "\nmounts\tfstab (auto: " in host.run("sftpjail", "show", "u-fstab").out
    assert host.read(f"{LOCAL}/adduser.local") == ADDUSER_LOCAL
    assert host.mode(f"{LOCAL}/adduser.local") == "root:root 755"
    assert not host.exists(f"{LOCAL}/deluser.local") and host.exists(LOCAL)
    for user, key in keys.items():
        works(host, user, key, "ls /web/index.html")
        manager = host.run(
            "systemctl", "is-active", f"user@{uids[user]}.service", check=False
        ).out.strip()
        assert manager == "inactive", f"{user}: a user manager runs: {manager}"
    assert host.run("sftpjail", "check").out == f"{len(keys)} jails checked, no problems\n"
    assert host.run("sftpjail", "apply").out.startswith("nothing to do")
    # What is judged at each login from now on.
    host.run("setfacl", "-m", "u:u-fstab:rwx", "/srv/web")
    shut(host, "u-sessions", keys["u-sessions"])
    host.run("setfacl", "-b", "/srv/web")
    host.run("chmod", "755", "/srv/web")
    works(host, "u-sessions", keys["u-sessions"], "ls /web/index.html")
    # A boot, and what was there before all this.
    host.reboot()
    for user, key in keys.items():
        works(host, user, key, "ls /web/index.html")
    for user in keys:
        host.run("sftpjail", "remove", user)
    host.run("sftpjail", "teardown")
    left = "/etc/systemd/system/sftpjail-mounts.service /etc/systemd/system/user@.service.d"
    assert [path for path in left.split() if host.exists(path)] == []
    assert host.run("ls", "-A", "/var/lib/sftpjail").out == "history\n"


# What the earlier commit was killed in, by which hook, and an account that it is about.
INTERRUPTED = {
    "adopt": (("adopt", "bob", "--profile", "drop"), "user-create", "bob"),
    "remove": (("remove", "u-sessions"), "user-remove", "u-sessions"),
    "umount": (("umount", "u-homes", "/web"), "unmount", "u-homes"),
    "teardown": (("teardown",), "teardown", "bob"),
}


@pytest.mark.halved
@pytest.mark.parametrize("name", INTERRUPTED)
def test_with_an_interrupted_journal(earlier: Path, name: str) -> None:
    """The first run of this commit recovers what the earlier one began, and everybody gets in as before."""
    argv, event, user = INTERRUPTED[name]
    with Machine(layer=earlier) as machine:
        machine.write(CONFIG, f"[logs]\nbackend = none\n[profiles]\n{PROFILES}")
        machine.start_sshd()
        machine.run("sftpjail", "setup")
        web(machine)
        machine.run("useradd", "-m", "bob")
        key = machine.keygen("bob")
        machine.sh(
            "install -d -m 700 -o bob -g bob /home/bob/.ssh;"
            f"install -m 600 -o bob -g bob {key}.pub /home/bob/.ssh/authorized_keys"
        )
        if user != "bob":
            machine.run("useradd", "-m", "-G", user.removeprefix("u-"), user)
            under = ["--under-home"] if user == "u-homes" else []
            machine.run("sftpjail", "mount", *under, user, "/srv/web/example.com", "/web")
            key = open_with_key(machine, user)
        before = settings(machine, user), machine.run("id", user).out
        entry = machine.run("getent", "passwd", user).out
        killed(machine, event, "sftpjail", *argv)
        upgrade(machine)
        assert not machine.exists("/var/lib/sftpjail/journal")
        now = settings(machine, user), machine.run("id", user).out
        assert now[1] == before[1] and machine.run("getent", "passwd", user).out == entry
        assert ("chrootdirectory none" in now[0]) == (user == "bob"), now
        assert machine.sftp(user, key, ["pwd"]).code == 0
        if user != "bob":
            works(machine, user, key, "ls /web/index.html")
        found = machine.run("sftpjail", "check", check=False)
        assert found.code == 0, found
        assert machine.run("sftpjail", "apply").out.startswith("nothing to do")


@pytest.mark.halved
def test_what_a_recovery_leaves_is_told(machine: Machine) -> None:
    """The package's scripts recover an interrupted run, and say what somebody has changed since."""
    machine.write(CONFIG, "[logs]\nbackend = none\n")
    machine.run("sftpjail", "setup")
    machine.run("useradd", "-m", "-s", "/bin/bash", "bob")
    killed(machine, "user-create", "sftpjail", "adopt", "bob")
    machine.run("usermod", "-s", "/bin/sh", "bob")
    told = machine.run("/usr/lib/sftpjail/maintainer", "configure", "0.1.0")
    assert "the shell of bob stays: somebody has set another since" in told.err, told
    assert not machine.exists("/var/lib/sftpjail/journal")

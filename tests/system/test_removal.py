"""Every way an account leaves. Not a byte of a mounted directory goes with it, and nothing is left for a namesake."""

from __future__ import annotations

import re

import pytest
from machine import Machine, changes
from steps import (
    fstab,
    jail,
    mounted,
    open_with_key,
    ready,
    refused,
    running,
    session,
    shut,
    snapshot,
    web,
    works,
)

pytestmark = pytest.mark.halved

WAYS = (
    ("userdel",),
    ("userdel", "-r"),
    ("userdel", "-rf"),
    ("deluser",),
    ("deluser", "--remove-home"),
    ("sftpjail", "remove"),
    ("sftpjail", "remove", "--delete-account"),
)
WEB = "/srv/web/example.com"


def data(machine: Machine) -> str:
    """All that the directory holds: owners by number, since the names go with the account."""
    script = f"find {WEB} -printf '%p %U:%G %m %T@\\n' | sort; find {WEB} -type f -exec sha256sum {{}} + | sort"
    return machine.sh(script).out


def furnished(machine: Machine) -> str:
    """Alice with a home that has a file, a directory to write in and one to read."""
    machine.run("install", "-d", "-m", "1777", WEB)
    web(machine)
    key = jail(machine, "alice")
    machine.run("sftpjail", "mount", "alice", WEB, "/web")
    machine.run("sftpjail", "mount", "alice", WEB, "/docs", "--read-only")
    works(
        machine, "alice", key, "put /etc/hostname /home/alice/file", "put /etc/hostname /web/hers"
    )
    return key


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_mounted_directories_outlive_the_account(machine: Machine, way: tuple[str, ...]) -> None:
    ready(machine)
    key = furnished(machine)
    before = data(machine)
    home = machine.listing("/home")
    machine.run(*way, "alice")

    assert data(machine) == before
    assert mounted(machine) == []
    assert fstab(machine, "alice") == []
    assert not machine.exists("/srv/sftp/alice")
    assert not machine.exists("/etc/ssh/authorized_keys/alice")
    assert machine.sh("ls -A /var/lib/sftpjail/accounts 2>/dev/null || :").out == ""
    keeps_home = way in (("userdel",), ("deluser",), *WAYS[-2:])
    assert machine.exists("/home/alice/file") == keeps_home
    stays = way == ("sftpjail", "remove")
    assert (machine.run("id", "alice", check=False).code == 0) == stays
    if stays:
        assert changes(home, machine.listing("/home")) == {}
        assert "sftponly" not in machine.run("id", "-nG", "alice").out
        machine.run("userdel", "alice")
    shut(machine, "alice", key)

    machine.run("rm", "-rf", "/home/alice")
    machine.run("useradd", "-m", "-G", "sftponly", "alice")
    shut(machine, "alice", key)
    assert mounted(machine) == ["/srv/sftp/alice/home/alice"]
    assert not machine.exists("/srv/sftp/alice/web")


def test_busy_account_stays_as_it_is(machine: Machine) -> None:
    ready(machine)
    key = furnished(machine)
    everything = snapshot(machine)
    methods = [("userdel",), ("userdel", "-rf"), ("deluser",), *WAYS[-2:]]
    with session(machine, "alice", key, "/web"):
        for way in methods:
            done = machine.run(*way, "alice", check=False)
            assert done.code, done
            assert "/srv/sftp/alice" in done.err and 'in use by "sshd' in done.err, done
            assert changes(everything, snapshot(machine)) == {}, way
    with running(
        machine, "sh", "-c", "cd /srv/sftp/alice/docs/deep; echo there; exec sleep 600"
    ) as sleeper:
        assert sleeper.stdout and sleeper.stdout.readline() == "there\n"
        for argv in (("userdel", "-rf", "alice"), ("sftpjail", "umount", "alice", "/docs")):
            done = machine.run(*argv, check=False)
            assert done.code and '"sleep 600" (pid' in done.err, done
            assert changes(everything, snapshot(machine)) == {}, argv
    works(machine, "alice", key)
    before = data(machine)
    with session(machine, "alice", key, "/web"):
        assert machine.run("deluser", "--remove-home", "alice", check=False).code
    assert data(machine) == before
    assert not machine.exists("/home/alice")  # deluser deletes the home before it asks
    machine.run("userdel", "alice")
    assert mounted(machine) == []


def whole_again(machine: Machine) -> None:
    """The next command that may change something mounts what userdel has left unmounted."""
    done = machine.run("sftpjail", "key", "remove", "alice", "none", check=False)
    assert "sftpjail: userdel stopped, and the jail of alice is whole again\n" in done.err, done
    assert not machine.exists("/run/sftpjail/leaving")


def test_a_jail_is_whole_again_when_userdel_has_died(machine: Machine) -> None:
    ready(machine)
    key = furnished(machine)
    before = snapshot(machine)
    hook = "/etc/shadow-maint/userdel-pre.d/zz-later"
    machine.write(hook, "#!/bin/sh\nkill -9 $PPID\n", 0o755)
    machine.run("userdel", "-r", "alice", check=False)
    machine.run("rm", hook)
    assert mounted(machine) == []
    whole_again(machine)
    after = changes(before, snapshot(machine))
    assert not [path for path in after if "/history" not in path], after
    works(machine, "alice", key, "ls /web/hers")
    machine.run("userdel", "-r", "alice")
    assert mounted(machine) == [] and not machine.exists("/run/sftpjail/leaving")


def test_keys_stay_when_userdel_fails_for_another_reason(machine: Machine) -> None:
    ready(machine)
    key = furnished(machine)
    keys = machine.read("/etc/ssh/authorized_keys/alice")
    with running(
        machine,
        "setpriv",
        "--reuid=alice",
        "--clear-groups",
        "sh",
        "-c",
        "echo there; exec sleep 600",
    ) as busy:
        assert busy.stdout and busy.stdout.readline() == "there\n"
        assert machine.run("userdel", "alice", check=False).code == 8
        assert mounted(machine) == []
        machine.run("sftpjail", "list")  # which changes nothing
        assert mounted(machine) == []
        whole_again(machine)
        said = refused(
            machine,
            "sftpjail",
            "remove",
            "--delete-account",
            "alice",
            says="currently used by process",
        )
        assert re.search(r"\n  fix: setsid -w setpriv --reuid=\d+ .* kill \d+\n", said), said
    assert machine.read("/etc/ssh/authorized_keys/alice") == keys
    works(machine, "alice", key)


def test_removed_account_is_what_it_was(machine: Machine) -> None:
    """`adopt` and `remove` give back shell, groups and the keys' old place."""
    machine.run("useradd", "-m", "-s", "/bin/bash", "alice")
    key = machine.keygen("alice")
    machine.write("/home/alice/.ssh/authorized_keys", machine.read(f"{key}.pub"), 0o600)
    machine.run("chown", "-R", "alice:alice", "/home/alice/.ssh")
    ready(machine)
    before = snapshot(machine)
    machine.run("sftpjail", "adopt", "alice")
    works(machine, "alice", key)
    machine.run("sftpjail", "remove", "alice")
    assert changes(before, snapshot(machine)) == {}
    assert machine.ssh("alice", key, "id -un").out == "alice\n"


def test_who_has_left_the_group_keeps_everything_until_prune(machine: Machine) -> None:
    ready(machine)
    furnished(machine)
    machine.run("gpasswd", "-d", "alice", "sftponly")
    machine.run("sftpjail", "apply")
    assert len(mounted(machine)) == 3
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3 and "it an ordinary account with the shell" in done.out, done
    refused(machine, "sftpjail", "apply", "--prune", says="to jail it again: sftpjail adopt alice")
    assert len(mounted(machine)) == 3
    machine.run("sftpjail", "apply", "--prune", "--yes")
    assert mounted(machine) == [] and not machine.exists("/srv/sftp/alice")
    assert machine.exists(f"{WEB}/hers")


def test_removal_of_others_is_untouched(machine: Machine) -> None:
    """userdel of an account that was never ours, of none at all, and with sftpjail broken."""
    ready(machine)
    open_with_key(machine, jail(machine, "alice").rpartition("/")[2])
    machine.run("useradd", "-m", "bob")
    machine.run("userdel", "-r", "bob")
    assert machine.run("userdel", "nobody-here", check=False).code == 6
    machine.run("useradd", "-m", "bob")
    machine.write("/etc/sftpjail/sftpjail.conf", "[[[broken")
    machine.run("userdel", "-r", "bob")
    machine.run("mv", "/usr/bin/sftpjail", "/root/sftpjail")
    machine.run("useradd", "-m", "bob")
    machine.run("userdel", "-r", "bob")

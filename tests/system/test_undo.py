"""undo of what makes and takes away accounts, jails and the host's preparation, with a login before and after."""

from __future__ import annotations

import pytest
from machine import Machine, changes
from steps import (
    CONFIG,
    QUIET,
    jail,
    killed,
    listing,
    previewed,
    ready,
    refused,
    settings,
    shut,
    snapshot,
    web,
    works,
)

pytestmark = pytest.mark.halved

HISTORY = "/var/lib/sftpjail/history"


def undo(machine: Machine, *words: str) -> str:
    """Undo something, and return what was said."""
    done = machine.run("sftpjail", "undo", *words)
    return done.out + done.err


def reopens(machine: Machine, who: str, *words: str) -> None:
    """Nobody has said yes: nothing is done, and it is said who would get in. With --yes it is."""
    said = refused(machine, "sftpjail", "undo", *words, code=2, says="it reopens access: ")
    assert who in said and "choice: to undo it all the same: sftpjail undo --yes" in said, said
    undo(machine, "--yes", *words)


def logs_in(machine: Machine, user: str, key: str) -> bool:
    """Whether somebody gets in at all, jailed or not."""
    return machine.sftp(user, key, ["pwd"]).code == 0


def made(machine: Machine, name: str, *options: str) -> str:
    """An account made by `sftpjail add`, and its key."""
    key = machine.keygen(name)
    machine.run("sftpjail", "add", name, "--key", f"{key}.pub", *options)
    return key


def test_add_is_undone_until_the_first_login(machine: Machine) -> None:
    ready(machine)
    web(machine)
    before = snapshot(machine)
    key = made(machine, "alice", "--mount", "/srv/web:/web:ro")
    refused(machine, "sftpjail", "undo", says="it is not known whether somebody has logged in")
    machine.start_rsyslog()
    machine.sh("logger -p auth.info here; sleep 1.1")
    undo(machine, "--force")
    assert machine.exists("/home/alice") and machine.run("id", "alice", check=False).code == 1
    machine.run("rm", "-r", "/home/alice")
    after = changes(before, snapshot(machine))
    assert not [path for path in after if not path.startswith((HISTORY, "/etc/sub", "/etc/.pwd"))]
    key = made(machine, "bob")
    assert "! run userdel bob" in previewed(machine, "sftpjail", "undo")
    # An sshd that logs elsewhere or nothing: unknown is not no.
    for options in (("-E", "/var/log/sshd.log"), ("-q",), ("-o", "LogLevel=QUIET")):
        machine.restart_sshd(*options)
        said = refused(machine, "sftpjail", "undo", says="it is not known whether somebody has")
        assert "logs" in said and "sftpjail undo --force" in said, (options, said)
    machine.restart_sshd()
    undo(machine)
    shut(machine, "bob", key)
    assert machine.exists("/home/bob/.profile")
    reopens(machine, "bob can log in to its jail again with SHA256:")
    works(machine, "bob", key)
    said = refused(machine, "sftpjail", "undo", says="somebody has logged in to bob: ")
    assert "Accepted publickey for bob from" in said and "sftpjail undo --force 6" in said
    undo(machine, "--force")
    shut(machine, "bob", key)


@pytest.mark.booted
def test_the_journal_tells_of_a_first_login(booted: Machine) -> None:
    booted.write(CONFIG, QUIET)
    booted.run("sftpjail", "setup")
    key = made(booted, "alice")
    assert "! run userdel alice" in previewed(booted, "sftpjail", "undo")
    works(booted, "alice", key)
    said = refused(booted, "sftpjail", "undo", says="somebody has logged in to alice: ")
    assert "Accepted publickey for alice from" in said, said
    # A journal that begins later says yes to those whom it knows, and no to nobody.
    made(booted, "bob")
    assert "! run userdel bob" in previewed(booted, "sftpjail", "undo")
    booted.sh("sleep 1.1; journalctl --rotate --vacuum-time=1s --quiet; logger later")
    said = refused(booted, "sftpjail", "undo", says="it is not known whether somebody has logged")
    assert "the journal begins later than the account" in said, said
    undo(booted, "--force")
    assert booted.run("id", "bob", check=False).code == 1


def test_what_remove_took_comes_back(machine: Machine) -> None:
    ready(machine)
    web(machine)
    key = jail(machine, "alice")
    machine.sh("echo alice:secret | chpasswd; usermod -aG games alice")
    machine.run("sftpjail", "mount", "alice", "/srv/web", "/web", "--read-only")
    lines = machine.sh("getent passwd alice; id alice").out
    machine.run("sftpjail", "remove", "alice")
    assert "sftponly" not in machine.run("id", "alice").out
    assert "+ mount /srv/web on /srv/sftp/alice/web" in previewed(machine, "sftpjail", "undo")
    reopens(machine, "alice can log in to its jail again with SHA256:")
    works(machine, "alice", key, "ls /web/example.com")
    assert machine.sftp("alice", key, ["put /etc/hostname /web/x"]).code != 0
    # The account too: the same uid and groups, and no password.
    secret = machine.sh("getent shadow alice").out.split(":")[1]
    machine.run("sftpjail", "remove", "--delete-account", "alice")
    shut(machine, "alice", key)
    assert secret.startswith("$") and secret not in machine.sh(f"cat {HISTORY}/*").out
    assert "+ account alice" in previewed(machine, "sftpjail", "undo")
    reopens(machine, "alice can log in to its jail again with SHA256:")
    assert machine.sh("getent passwd alice; id alice").out == lines
    assert machine.sh("getent shadow alice").out.split(":")[1] == "!"
    works(machine, "alice", key, "ls /web/example.com")
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    uid = machine.run("id", "-u", "alice").out.strip()
    machine.run("sftpjail", "remove", "--delete-account", "alice")
    machine.run("useradd", "-M", "-N", "-u", uid, "other")
    refused(machine, "sftpjail", "undo", "--yes", says=f"its uid {uid} belongs to other now")


def test_a_restored_account_is_whole_or_gone(machine: Machine) -> None:
    """Killed between the account and its jail, and where a hook script refuses."""
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\nhome = inside\n")
    key = jail(machine, "alice")
    works(machine, "alice", key, "put /etc/hostname kept")
    was = machine.sh("getent passwd alice").out
    machine.run("sftpjail", "remove", "--delete-account", "alice")
    machine.run("mkdir", "-p", "/etc/sftpjail/hooks/user-create.d")
    before = listing(machine, times=False)
    killed(machine, "user-create", "sftpjail", "undo", "--yes")
    assert machine.run("id", "alice", check=False).code == 0
    assert machine.run("sftpjail", "list").code == 0
    machine.run("sftpjail", "apply")
    assert machine.run("id", "alice", check=False).code == 1
    assert changes(before, listing(machine, times=False)) == {}
    undo(machine, "--yes")
    assert machine.sh("getent passwd alice").out == was
    works(machine, "alice", key, "ls kept")


def test_ten_jails_of_one_apply_go_and_come(machine: Machine) -> None:
    ready(machine)
    names = [f"user{number}" for number in range(10)]
    for name in names:
        machine.run("useradd", "-m", name)
        machine.run("usermod", "-aG", "sftponly", name)
    machine.run("sftpjail", "apply")
    assert "account user9: leaves group sftponly" in previewed(machine, "sftpjail", "undo")
    reopens(machine, "and 2 more")
    assert machine.run("sftpjail", "list").out == ""
    assert "nothing to do" in machine.run("sftpjail", "apply").out
    reopens(machine, "user7 can log in to its jail again; and 2 more")
    assert len(machine.run("sftpjail", "list").out.splitlines()) == 10
    key = machine.keygen("user3")
    machine.run("sftpjail", "key", "add", "user3", f"{key}.pub")
    works(machine, "user3", key)
    refused(machine, "sftpjail", "undo", "--yes", "4", says="builds on 4")
    # A repair is none of this: apply would do it again.
    machine.run("umount", "/srv/sftp/user4/home/user4")
    machine.run("sftpjail", "apply")
    refused(machine, "sftpjail", "undo", says="the jail of user4 was only repaired")


@pytest.mark.whole
def test_setup_and_teardown_are_undone(machine: Machine) -> None:
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET)
    machine.start_sshd()
    machine.run("useradd", "-m", "bob")
    before, bob = snapshot(machine), settings(machine, "bob")
    machine.run("sftpjail", "setup")
    assert "- group sftponly" in previewed(machine, "sftpjail", "undo")
    undo(machine)
    left = changes(before, snapshot(machine))
    assert all(path.startswith(HISTORY) or path == "/var/lib/sftpjail" for path in left), left
    undo(machine)
    assert settings(machine, "bob") == bob
    key = jail(machine, "alice")
    said = refused(machine, "sftpjail", "undo", "3", says="still jailed: alice")
    assert "sftpjail remove alice && sftpjail teardown" in said
    machine.run("sftpjail", "teardown", "--close-accounts")
    assert not logs_in(machine, "alice", key)
    said = undo(machine)
    assert "alice is still shut out, and usermod -e '' alice lets it in" in said
    assert not logs_in(machine, "alice", key)
    machine.run("usermod", "-e", "", "alice")
    works(machine, "alice", key)
    machine.sh("sed -i 's/ForceCommand.*/& -R/' /etc/ssh/sshd_config.d/10-sftpjail.conf")
    machine.run("sftpjail", "remove", "alice")
    said = refused(machine, "sftpjail", "undo", "3", says="10-sftpjail.conf was changed since")
    assert "fix:" not in said and ": sftpjail teardown\n" in said


@pytest.mark.parametrize(
    "way",
    [
        "useradd",
        *(pytest.param(way, marks=pytest.mark.whole) for way in ("adopt", "adduser", "apply")),
    ],
)
def test_a_jail_is_undone_however_it_came(machine: Machine, way: str) -> None:
    ready(machine)
    commands = {
        "adopt": "useradd -m alice && sftpjail adopt alice",
        "useradd": "useradd -m -G sftponly alice",
        "adduser": "adduser --quiet --disabled-password --comment '' --ingroup sftponly alice",
        "apply": "useradd -m alice && usermod -aG sftponly alice && sftpjail apply",
    }
    machine.sh(f"{commands[way]}; sftpjail show alice")
    if way == "adduser":  # which made it somebody's primary group
        refused(machine, "sftpjail", "undo", says="sftponly is the primary group of alice")
        return
    reopens(machine, "alice can log in outside of a jail")
    assert "sftponly" not in machine.run("id", "alice").out
    assert not machine.exists("/srv/sftp/alice") and machine.exists("/home/alice")
    assert "nothing to do" in machine.run("sftpjail", "apply").out
    reopens(machine, "alice can log in to its jail again")
    assert "nothing to do" in machine.run("sftpjail", "apply").out


def test_keys_of_a_home_go_back(machine: Machine) -> None:
    ready(machine)
    key = machine.keygen("alice")
    machine.sh(
        "useradd -m -s /bin/bash alice; install -d -o alice -m 700 ~alice/.ssh;"
        f" install -o alice -m 600 {key}.pub ~alice/.ssh/authorized_keys"
    )
    assert "/etc" in machine.sftp("alice", key, ["ls -1 /"]).out
    machine.run("sftpjail", "adopt", "alice")
    works(machine, "alice", key)
    reopens(machine, "alice can log in outside of a jail")
    assert "/etc" in machine.sftp("alice", key, ["ls -1 /"]).out
    assert machine.run("getent", "passwd", "alice").out.endswith(":/bin/bash\n")
    undo(machine, "--yes")
    works(machine, "alice", key)
    # Of `key migrate` alone, and refused where the file has been made anew.
    machine.sh(f"cp {key}.pub ~alice/.ssh/authorized_keys; chown alice: ~alice/.ssh/*")
    machine.run("sftpjail", "key", "remove", "alice", "root@sandbox", check=False)
    machine.sh("rm ~alice/.ssh/authorized_keys.sftpjail; sftpjail key migrate alice")
    undo(machine)
    assert machine.exists("/home/alice/.ssh/authorized_keys")
    assert not machine.exists("/home/alice/.ssh/authorized_keys.sftpjail")


@pytest.mark.whole
def test_undo_refuses_what_was_edited_since(machine: Machine) -> None:
    ready(machine)
    jail(machine, "alice")
    machine.run("sftpjail", "adopt", "alice")
    more = machine.keygen("more")
    machine.sh(f"cat {more}.pub >>/etc/ssh/authorized_keys/alice")
    said = refused(machine, "sftpjail", "undo", "2", says="transaction 3 came later")
    assert "fix:" not in said and ": sftpjail remove alice\n" in said
    undo(machine, "3")
    refused(machine, "sftpjail", "undo", "2", says="has keys by now that came otherwise")
    machine.run("sftpjail", "key", "remove", "alice", "root@sandbox", check=False)
    machine.sh("rm -f /etc/ssh/authorized_keys/alice; usermod -s /bin/sh alice")
    refused(machine, "sftpjail", "undo", "2", says="left in the account alice was changed since")

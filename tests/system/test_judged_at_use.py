"""What was judged when a mount was made is judged again when it is used: at a login, at boot, in a rollback."""

from __future__ import annotations

import pytest
from machine import Machine
from steps import CONFIG, QUIET, jail, mounted, ready, shut, web, works

SESSION = QUIET + "[profiles]\n[[sftponly]]\nmounts = session\n"
HOMES = QUIET + "[profiles]\n[[sftponly]]\nchroot = %h\n"
REFUSES = "#!/bin/sh\nsleep 1\nexit 1\n"


def problems(machine: Machine, *says: str) -> None:
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3, done
    for words in says:
        assert words in done.out, done


def test_a_nested_mount_point_that_a_user_renames(machine: Machine) -> None:
    """Before: her directory was mounted over /etc of the session, whose monitor then loaded her libraries as root."""
    machine.start_rsyslog()
    ready(machine, SESSION)
    outer = web(machine, "/srv/outer")
    machine.run("install", "-d", "/srv/inner")
    key = jail(machine, "alice")
    machine.run("sftpjail", "mount", "alice", outer, "/outer")
    machine.run("sftpjail", "mount", "alice", "/srv/inner", "/outer/in")
    works(machine, "alice", key, "ls /outer/in")
    machine.run("setfacl", "-m", "u:alice:rwx", outer)
    problems(machine, "/srv/outer can be written by others than root (access list")
    machine.sh(
        f"setpriv --reuid=alice --regid=alice --clear-groups sh -c 'mv {outer}/in {outer}/x; ln -s /etc {outer}/in'"
    )
    shut(machine, "alice", key)
    machine.wait_for(
        "/var/log/auth.log",
        "session of alice closed: will not show /srv/inner as /srv/sftp/alice/outer/in",
    )
    done = machine.run("sftpjail", "enter", "alice", "--", "ls", "/etc/passwd", check=False)
    assert done.code == 1 and "can be written by others than root" in done.err, done
    # Made good again, by whoever looks after it.
    machine.sh(f"rm {outer}/in; mv {outer}/x {outer}/in; setfacl -b {outer}; chmod 755 {outer}")
    works(machine, "alice", key, "ls /outer/in")


@pytest.mark.parametrize("config", [SESSION, QUIET], ids=["session", "fstab"])
def test_a_source_whose_parent_became_somebodys(machine: Machine, config: str) -> None:
    """Before: the host was in the jail at the next login, or after the next boot."""
    machine.start_rsyslog()
    ready(machine, config)
    machine.run("install", "-d", "/srv/team/web")
    key = jail(machine, "alice")
    machine.run("useradd", "-m", "bob")
    machine.run("sftpjail", "mount", "alice", "/srv/team/web", "/web")
    works(machine, "alice", key, "ls /web")
    machine.run("chown", "bob", "/srv/team")
    problems(machine, "/srv/team belongs to uid", "sftpjail umount alice /web")
    machine.sh(
        "setpriv --reuid=bob --regid=bob --clear-groups sh -c 'mv /srv/team/web /srv/team/w; ln -s / /srv/team/web'"
    )
    if config == SESSION:
        shut(machine, "alice", key)
        words = "will not show /srv/team/web as /srv/sftp/alice/web: /srv/team belongs to uid"
        machine.wait_for("/var/log/auth.log", words)
    else:  # as at a boot, where mount(8) follows the link
        machine.sh("umount /srv/sftp/alice/web; mount -a; ls /srv/sftp/alice/web/etc/shadow")
        done = machine.run("/etc/sftpjail/pam-session", "boot", check=False)
        assert (
            done.code == 1
            and "/srv/sftp/alice/web is unmounted: /srv/team belongs to uid" in done.err
        ), done
        assert mounted(machine) == ["/srv/sftp/alice/home/alice"]
    machine.run("sftpjail", "umount", "alice", "/web")
    works(machine, "alice", key)


def test_a_removal_is_put_back_while_the_mount_point_moves(machine: Machine) -> None:
    """Before: the home went back to the user first, and the undo mounted a directory of theirs over /etc."""
    ready(machine, HOMES)
    machine.run("install", "-d", "/srv/web")
    key = jail(machine, "alice")
    machine.run("sftpjail", "mount", "--under-home", "alice", "/srv/web", "/web")
    machine.write("/etc/sftpjail/hooks/user-remove.d/refuses", REFUSES, 0o755)
    before = machine.read("/proc/self/mountinfo")
    machine.sh(
        "setpriv --reuid=alice --regid=alice --clear-groups sh -c '"
        "while :; do mv /home/alice/web /home/alice/w && ln -s /etc /home/alice/web; done 2>/dev/null' & p=$!; "
        "sftpjail remove alice && exit 1; kill $p"
    )
    assert machine.mode("/home/alice") == "root:root 755"
    assert mounted(machine, "/home") == ["/home/alice/web"] and mounted(machine, "/etc") == []
    assert before.count("\n") == machine.read("/proc/self/mountinfo").count("\n")
    works(machine, "alice", key, "ls /web")


def test_a_directory_that_a_user_makes_before_root_does(machine: Machine) -> None:
    """Before: adopt took it whoever owned it, and mounted the log socket wherever the user had it lead: /etc/shadow."""
    machine.start_rsyslog()
    machine.write(CONFIG, "[profiles]\n[[sftponly]]\nchroot = %h\n")
    machine.start_sshd()
    machine.run("sftpjail", "setup")
    for number in range(5):
        name = f"eve{number}"
        machine.run("useradd", "-m", name)
        trap = (
            f"while :; do mkdir -p /home/{name}/dev; ln -sf /etc/shadow /home/{name}/dev/log; "
            f"rm -rf /home/{name}/dev; done 2>/dev/null"
        )
        machine.sh(
            f"setpriv --reuid={name} --regid={name} --clear-groups timeout 5 sh -c '{trap}' & p=$!; sleep 0.1; "
            f"sftpjail adopt {name} || :; kill $p; wait $p || :"
        )
        assert mounted(machine, "/etc") == [], "over /etc/shadow"
        assert "root:*:" in machine.read("/etc/shadow")


@pytest.mark.booted
def test_a_boot_judges_what_fstab_mounted(booted: Machine) -> None:
    booted.run("sftpjail", "setup")
    booted.run("install", "-d", "/srv/team/web", "/srv/good")
    key = jail(booted, "alice")
    booted.run("useradd", "-m", "bob")
    booted.run("sftpjail", "mount", "alice", "/srv/team/web", "/web")
    booted.run("sftpjail", "mount", "alice", "/srv/good", "/good")
    booted.sh("chown bob /srv/team; mv /srv/team/web /srv/team/w; ln -s / /srv/team/web")
    booted.reboot()
    points = mounted(booted)
    assert "/srv/sftp/alice/good" in points and "/srv/sftp/alice/web" not in points
    said = booted.run("journalctl", "-u", "sftpjail-mounts", "--no-pager").out
    assert "/srv/sftp/alice/web is unmounted: /srv/team belongs to uid" in said
    works(booted, "alice", key, "ls /good")
    problems(booted, "/srv/team belongs to uid")

"""Both forms of a chroot, both kinds of home, and what a profile can say: each with real logins."""

from __future__ import annotations

import pytest
from machine import Machine
from steps import QUIET, open_with_key, ready, refused, works

pytestmark = pytest.mark.halved

CONFIG = (
    QUIET
    + """
[profiles]
[[recipe]]
chroot = %h
umask = 027
[[inside]]
home = inside
deny = remove, rmdir
[[solo]]
match_user = solo
read_only = yes
[[sftponly]]
start = /drop
"""
)


def test_recipe_form_home_is_the_jail(machine: Machine) -> None:
    ready(machine, CONFIG)
    machine.run("useradd", "-m", "-G", "recipe", "ann")
    machine.run(
        "adduser", "--quiet", "--disabled-password", "--comment", "", "--ingroup", "recipe", "ben"
    )
    for name in ("ann", "ben"):
        assert machine.sh(f"stat -c %U:%G:%a /home/{name}").out == "root:root:755\n"
        done = works(machine, name, open_with_key(machine, name), "put /etc/hostname x", "ls -l x")
        assert "Remote working directory: /files" in done.out and "-rw-r-----" in done.out.replace(
            "rwxr-x", "rw-r--"
        )
    assert (
        "Permission denied" in machine.sftp("ann", "/root/keys/ann", ["put /etc/hostname /x"]).err
    )
    machine.run("sftpjail", "remove", "ann")
    assert machine.sh("stat -c %U:%a /home/ann; cat /home/ann/files/x").out.startswith("ann:7")
    machine.run("deluser", "--quiet", "--remove-home", "ben")
    assert not machine.exists("/home/ben/files/x")


def test_recipe_form_refuses_homes_that_are_not_the_accounts_own(machine: Machine) -> None:
    ready(machine, CONFIG)
    before = machine.sh("stat -c '%U:%a' /tmp /root /home").out
    machine.run("useradd", "-m", "bob")
    for name, home in (
        ("one", "/tmp"),
        ("two", "/root"),
        ("three", "/home/bob"),
        ("four", "/home"),
    ):
        done = machine.run("useradd", "-M", "-d", home, "-G", "recipe", name)
        assert "cannot become its jail" in done.err, done
    assert machine.sh("stat -c '%U:%a' /tmp /root /home").out == before
    assert machine.sh("stat -c %U /home/bob").out == "bob\n"


def test_home_inside_the_jail(machine: Machine) -> None:
    ready(machine, CONFIG)
    machine.run("sftpjail", "add", "ida", "--profile", "inside")
    machine.run("useradd", "-m", "-G", "inside", "ike")
    for name in ("ida", "ike"):
        key = open_with_key(machine, name)
        done = machine.sftp(name, key, ["pwd", "put /etc/hostname x", "ls", "-rm x"])
        assert "Remote working directory: /files" in done.out and "Permission denied" in done.err
        assert (
            machine.exists(f"/srv/sftp/{name}/files/x")
            and "/files" in machine.sh(f"getent passwd {name}").out
        )
        assert f"/srv/sftp/{name}" not in machine.read("/proc/self/mountinfo")
    machine.run("userdel", "-r", "ike", check=False)
    assert machine.exists("/srv/sftp/ike/files/x"), "data stays"
    machine.run("sftpjail", "remove", "ida")
    home = machine.sh("getent passwd ida | cut -d: -f6").out.strip()
    assert machine.exists(f"{home}/x")


def test_home_inside_refuses_a_directory_of_the_host(machine: Machine) -> None:
    ready(machine, CONFIG)
    machine.sh("mkdir /files && echo precious >/files/x")
    assert "userdel" in refused(machine, "sftpjail", "add", "ida", "--profile", "inside")
    assert machine.read("/files/x") == "precious\n"


def test_home_inside_and_a_directory_that_the_host_gets_later(machine: Machine) -> None:
    ready(machine, CONFIG)
    machine.run("sftpjail", "add", "ida", "--profile", "inside")
    uid = machine.sh("id -u ida").out.strip()
    machine.sh(f"mkdir /files && echo precious >/files/x && chown -R {uid} /files")
    for options in (["-r"], ["-rf"]):
        done = machine.run("userdel", *options, "ida", check=False)
        assert done.code != 0 and "this host has a /files now" in done.err, done
        assert machine.read("/files/x") == "precious\n"
    assert "this host has a /files" in machine.run("sftpjail", "check", check=False).out
    machine.run("usermod", "-d", "/nonexistent", "ida")
    machine.run("userdel", "-r", "ida", check=False)
    assert (
        machine.read("/files/x") == "precious\n" and machine.run("id", "ida", check=False).code != 0
    )


def test_home_inside_becomes_bind(machine: Machine) -> None:
    ready(machine, CONFIG)
    machine.run("useradd", "-m", "-G", "inside", "ike")
    machine.write(
        "/etc/sftpjail/sftpjail.conf",
        CONFIG.replace("home = inside\ndeny = remove, rmdir", "home = bind"),
    )
    machine.run("sftpjail", "setup")
    assert machine.sh("getent passwd ike | cut -d: -f6").out == "/home/ike\n"
    done = works(machine, "ike", open_with_key(machine, "ike"))
    assert "Remote working directory: /home/ike" in done.out


def test_match_user_read_only(machine: Machine) -> None:
    ready(machine, CONFIG)
    machine.run("useradd", "-m", "solo")
    done = machine.sftp(
        "solo", open_with_key(machine, "solo"), ["ls -la .profile", "put /etc/hostname x"]
    )
    assert ".profile" in done.out and "Permission denied" in done.err


def test_start_directory(machine: Machine) -> None:
    ready(machine, CONFIG)
    machine.sh("mkdir -p /srv/drop && chmod 1777 /srv/drop")
    machine.run("useradd", "-m", "-G", "sftponly", "zoe")
    machine.run("sftpjail", "mount", "zoe", "/srv/drop", "/drop")
    done = works(machine, "zoe", open_with_key(machine, "zoe"))
    assert "Remote working directory: /drop" in done.out


def test_symlinked_srv_and_a_base_for_a_group(machine: Machine) -> None:
    machine.sh(
        "mkdir -p /data && mv /srv /data/srv && ln -s /data/srv /srv && mkdir /srv/sftp && chmod 750 /srv/sftp"
    )
    machine.sh("groupadd -f sftponly && chgrp sftponly /srv/sftp")
    ready(machine)
    machine.run("useradd", "-m", "-G", "sftponly", "zoe")
    works(machine, "zoe", open_with_key(machine, "zoe"))
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    assert machine.run("sftpjail", "apply").out.startswith("nothing to do")
    machine.run("userdel", "-r", "zoe", check=False)
    assert "/srv/sftp/zoe" not in machine.read("/proc/self/mountinfo") and not machine.exists(
        "/srv/sftp/zoe"
    )


def test_a_foreign_component_is_named_and_the_command_fixes_it(machine: Machine) -> None:
    machine.sh("mkdir -p /srv/sftp && chmod 775 /srv/sftp")
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET)
    machine.start_sshd()
    said = refused(
        machine, "sftpjail", "setup", says="/srv/sftp can be written by others than root"
    )
    machine.sh(said.split("fix: ")[1].strip())
    machine.run("sftpjail", "setup")


def test_a_profile_that_changes(machine: Machine) -> None:
    ready(machine)
    machine.sh("mkdir -p /srv/web && echo x >/srv/web/f")
    machine.run("useradd", "-m", "-G", "sftponly", "zoe")
    machine.run("sftpjail", "mount", "zoe", "/srv/web", "/web")
    machine.write(
        "/etc/sftpjail/sftpjail.conf", QUIET + "[profiles]\n[[sftponly]]\nchroot = /srv/jails/%u\n"
    )
    machine.run("sftpjail", "setup")
    works(machine, "zoe", open_with_key(machine, "zoe"), "ls /web/f")
    assert not machine.exists("/srv/sftp/zoe") and "/srv/sftp/zoe" not in machine.read("/etc/fstab")
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET + "[profiles]\n[[other]]\n")
    assert "zoe" in refused(machine, "sftpjail", "setup", says="open after this")

"""Profiles that say much at once, live beside each other, or are left again; each with real logins."""

from __future__ import annotations

import re

import pytest
from machine import Machine, changes
from steps import (
    QUIET,
    doors,
    fstab,
    jail,
    mounted,
    open_with_key,
    ready,
    refused,
    shut,
    snapshot,
    web,
    works,
)

pytestmark = pytest.mark.halved

ADDUSER = ("adduser", "--quiet", "--disabled-password", "--comment", "", "--ingroup", "sftponly")


def profile(*lines: str, name: str = "sftponly") -> str:
    return "\n".join([QUIET, "[profiles]", f"[[{name}]]", *lines, ""])


def test_nine_words(machine: Machine) -> None:
    """Every option of internal-sftp at once: sshd keeps nine words of ForceCommand and drops the others in silence."""
    text = profile(
        "umask = 027",
        "start = /home/%u/in",
        "deny = remove, rmdir, rename, posix-rename",
        "shell = /bin/false",
    )
    text += "[[readers]]\nread_only = yes\numask = 077\nstart = /\ndeny = readlink,\n"
    ready(machine, text.replace(QUIET, "[logs]\nfacility = LOCAL3\nlevel = INFO\n"))
    key = jail(machine, "alice")
    machine.run("install", "-d", "-o", "alice", "/home/alice/in")
    machine.write("/root/open", "to all\n", 0o666)
    done = machine.sftp("alice", key, ["pwd", "put /root/open up", "mkdir directory"])
    assert done.code == 0 and "Remote working directory: /home/alice/in" in done.out, done
    assert machine.mode("/home/alice/in/up").endswith(" 640")
    assert machine.mode("/home/alice/in/directory").endswith(" 750")
    for batch in ("rm up", "rmdir directory", "rename up down"):
        assert machine.sftp("alice", key, [batch]).code == 1, batch
    assert machine.run("getent", "passwd", "alice").out.strip().endswith(":/bin/false")

    machine.run("sftpjail", "add", "reader", "--profile", "readers")
    reader = open_with_key(machine, "reader")
    machine.run("touch", "/home/reader/file")
    done = machine.sftp("reader", reader, ["pwd", "get home/reader/file /root/file"])
    assert done.code == 0 and "Remote working directory: /\n" in done.out, done
    for batch in (
        "put /etc/hostname /home/reader/up",
        "rm /home/reader/file",
        "mkdir /home/reader/directory",
    ):
        assert machine.sftp("reader", reader, [batch]).code == 1, batch


def test_three_beside_each_other(machine: Machine) -> None:
    """Match User goes before Match Group; each has its own way of living, and no door is open in any."""
    text = profile("chroot = %h", name="homes")
    text += "[[shared]]\ngroup = sftponly\nchroot = /srv/jails/%u\n[[guests]]\nmatch_user = guest,\nread_only = yes\n"
    machine.run("useradd", "-m", "guest")
    ready(machine, text)
    machine.run("sftpjail", "add", "one", "--profile", "homes")
    machine.run("sftpjail", "add", "two", "--profile", "shared")
    assert (
        "Remote working directory: /files"
        in works(machine, "one", open_with_key(machine, "one")).out
    )
    assert (
        "Remote working directory: /home/two"
        in works(machine, "two", open_with_key(machine, "two")).out
    )
    assert machine.exists("/srv/jails/two/home/two") and not machine.exists("/srv/sftp/two")
    guest = open_with_key(machine, "guest")
    assert machine.sftp("guest", guest, ["pwd"]).out.endswith("/home/guest\n")
    assert machine.sftp("guest", guest, ["put /etc/hostname up"]).code == 1
    for user in ("one", "two", "guest"):
        assert doors(machine, user, f"/root/keys/{user}") == [], user
    assert machine.run("sftpjail", "check").out == "3 jails checked, no problems\n"
    refused(machine, "sftpjail", "remove", "guest", says="match_user")
    refused(machine, "sftpjail", "adopt", "two", "--profile", "homes", says="already")


def test_chroot_is_the_home_with_a_mount_in_it(machine: Machine) -> None:
    """Only with --under-home; and by no way of removal does the mounted directory lose anything."""
    web(machine)
    ready(machine, profile("chroot = %h"))
    before = machine.listing("/srv/web", times=True)
    for end in (
        ("userdel", "-r"),
        ("userdel", "-rf"),
        ("deluser", "--quiet", "--remove-home"),
        ("sftpjail", "remove"),
    ):
        machine.run(*ADDUSER, "alice")
        key = open_with_key(machine, "alice")
        refused(
            machine, "sftpjail", "mount", "alice", "/srv/web", "/web", says="deluser --remove-home"
        )
        machine.run("sftpjail", "mount", "alice", "/srv/web", "/web", "--under-home")
        works(machine, "alice", key, "ls /web/example.com/index.html")
        if (
            end[0] == "deluser"
        ):  # it deletes the home before anybody is asked, so that mount must go first
            machine.run("sftpjail", "umount", "alice", "/web")
        if end[0] == "sftpjail":
            machine.run("groupadd", "people")
            machine.run("usermod", "-g", "people", "alice")
        machine.run(*end, "alice", check=False)
        assert changes(before, machine.listing("/srv/web", times=True)) == {}, end
        assert mounted(machine, "/home") == [] and fstab(machine, "alice") == [], end
        shut(machine, "alice", key)
        machine.run("userdel", "-r", "alice", check=False)
        machine.run("rm", "-rf", "/home/alice")


def test_chroot_is_the_home_and_back(machine: Machine) -> None:
    """Owner, mode and files of the home are what they were."""
    ready(machine, profile("chroot = %h", "files = upload"))
    machine.run("useradd", "-m", "-s", "/bin/sh", "alice")
    machine.run("chmod", "711", "/home/alice")
    before = snapshot(machine)
    machine.run("sftpjail", "adopt", "alice")
    assert machine.mode("/home/alice") == "root:root 755"
    assert machine.mode("/home/alice/upload").startswith("alice:alice")
    machine.run("sftpjail", "remove", "alice")
    assert changes(before, snapshot(machine)) == {}
    machine.run("sftpjail", "adopt", "alice")
    works(machine, "alice", open_with_key(machine, "alice"), "put /etc/hostname kept")
    machine.run("sftpjail", "remove", "alice")
    assert machine.mode("/home/alice") == "alice:alice 711"
    assert machine.exists("/home/alice/upload/kept")


def test_home_inside_has_mounts_and_leaves_by_every_way(machine: Machine) -> None:
    web(machine)
    ready(machine, profile("home = inside"))
    for end in (
        ("userdel", "-rf"),
        ("deluser", "--quiet", "--remove-home"),
        ("sftpjail", "remove"),
    ):
        user = end[0]
        machine.run("sftpjail", "add", user)
        key = open_with_key(machine, user)
        works(machine, user, key, "put /etc/hostname up")
        assert (
            mounted(machine) == []
            and fstab(machine, user) == []
            and not machine.exists(f"/home/{user}")
        )
        machine.run("sftpjail", "mount", user, "/srv/web", "/web")
        works(machine, user, key, "ls /web/example.com/index.html")
        machine.run(*end, user)
        assert mounted(machine) == [] and machine.exists("/srv/web/example.com/deep/down/page.html")
        assert machine.exists(f"/srv/sftp/{user}/files/up") or machine.exists(
            f"/home/{user}/up"
        )  # a user's data
        shut(machine, user, key)


def test_a_jail_that_shows_nothing_more_stays(machine: Machine) -> None:
    """The last mount is taken out of it, or its profile shows no home any more."""
    web(machine)
    ready(machine, profile("home = none"))
    key = jail(machine, "alice")
    machine.run("sftpjail", "mount", "alice", "/srv/web", "/a/web")
    machine.run("sftpjail", "umount", "alice", "/a/web")
    assert machine.run("ls", "-A", "/srv/sftp/alice").out == ""
    assert machine.sftp("alice", key, ["ls -1 /"]).code == 0
    machine.write("/etc/sftpjail/sftpjail.conf", profile("home = bind"))
    machine.run("sftpjail", "apply")
    works(machine, "alice", key)
    machine.write("/etc/sftpjail/sftpjail.conf", profile("home = none"))
    machine.run("sftpjail", "apply")
    assert machine.run("ls", "-A", "/srv/sftp/alice").out == ""
    assert machine.sftp("alice", key, ["ls -1 /"]).code == 0
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"
    machine.run("sftpjail", "remove", "alice")
    assert machine.run("ls", "-A", "/srv/sftp").out == ""


def test_components_that_sshd_would_refuse(machine: Machine) -> None:
    """We say which, and the command that fixes it: at setup, and when it is spoilt later."""
    for spoil in ("chmod 775 /srv", "chown games /srv", "setfacl -m u:games:rwx /srv"):
        machine.sh(spoil)
        said = refused(machine, "sftpjail", "setup", says="/srv ")
        machine.sh(said.partition("fix: ")[2])
    ready(machine)
    key = jail(machine, "alice")
    for spoil in ("chmod 775 /srv", "chown games /srv/sftp/alice"):
        machine.sh(spoil)
        shut(machine, "alice", key)
        done = machine.run("sftpjail", "check", check=False)
        assert done.code == 3 and "sshd refuses the chroot" in done.out, done
        machine.sh(re.findall("fix: (ch(?:mod|own) .*)", done.out)[0])
        works(machine, "alice", key)
    assert machine.run("sftpjail", "check").out == "1 jail checked, no problems\n"


def test_srv_is_a_link_and_teardown(machine: Machine) -> None:
    machine.sh("mv /srv /data; ln -s data /srv")
    web(machine)
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET)
    before = snapshot(machine)
    ready(machine)
    key = jail(machine, "alice")
    machine.run("sftpjail", "mount", "alice", "/srv/web", "/web", "--read-only")
    works(machine, "alice", key, "ls /web/example.com/index.html")
    assert len(mounted(machine, "/data")) == 2
    machine.run("userdel", "-rf", "alice")
    assert mounted(machine, "/data") == [] and machine.exists("/data/web/example.com/index.html")
    machine.run("sftpjail", "teardown")
    assert changes(before, snapshot(machine)) == {}


def test_a_base_of_the_administrators_is_not_changed(machine: Machine) -> None:
    """root:group 0750 is good enough for sshd, so it stays; the user needs no way through it."""
    machine.run("install", "-d", "-g", "adm", "-m", "750", "/srv/sftp")
    ready(machine)
    works(machine, "alice", jail(machine, "alice"))
    machine.run("userdel", "-r", "alice")
    machine.run("sftpjail", "teardown")
    assert machine.mode("/srv/sftp") == "root:adm 750"

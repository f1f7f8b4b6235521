"""Homes, sources and jails on disks that are away, come back, or are exchanged for others.

A disk is a file system in memory that lies at /disk1 or /disk2 and is shown where it belongs.
"""

from __future__ import annotations

import pytest
from machine import Machine
from steps import (
    QUIET,
    again,
    choice,
    fstab,
    jail,
    mounted,
    open_with_key,
    ready,
    refused,
    works,
)

pytestmark = pytest.mark.halved

PROFILE = f"{QUIET}[profiles]\n[[sftponly]]\n"
BOTH = pytest.mark.parametrize("mounts", ["fstab", "session"])
HARMFUL = ("mkhomedir_helper", "setfacl", "chown", "chmod")


def disks(machine: Machine, place: str) -> None:
    """Two disks, of which the first is mounted at PLACE and has what was there."""
    machine.sh(
        f"for d in 1 2; do mkdir /disk$d; mount -t tmpfs -o mode=755 disk$d /disk$d; done;"
        f"mkdir -p {place}; cp -a {place}/. /disk1; mount --bind /disk1 {place}"
    )


def kept(machine: Machine, name: str) -> list[str]:
    """What our tables have of an account's binds."""
    table = f"/etc/sftpjail/mounts/{name}"
    lines = machine.read(table).splitlines() if machine.exists(table) else []
    return [*fstab(machine, name), *lines]


def lands(machine: Machine, key: str, place: str) -> bool:
    """Whether an upload of ann's lies at PLACE."""
    machine.sftp("ann", key, ["put /etc/hostname upload"])
    found = machine.exists(f"{place}/upload")
    machine.sh("rm -f /disk*/ann/upload /disk?/ann/files/upload")
    return found


def fix(said: str) -> str:
    """The command that is printed."""
    return said.partition("  fix: ")[2].partition("\n")[0]


@BOTH
def test_a_home_that_is_away_is_kept(machine: Machine, mounts: str) -> None:
    ready(machine, f"{PROFILE}mounts = {mounts}\n")
    disks(machine, "/home")
    key = jail(machine, "ann")
    jail(machine, "bob")
    works(machine, "ann", key)
    before = kept(machine, "ann"), kept(machine, "bob")
    assert any("role=home" in line for line in before[0])

    machine.sh("umount -l /home")
    for argv in (["check"], ["check", "--fix"], ["setup"], ["apply"], ["explain", "ann"]):
        done = machine.run("sftpjail", *argv, check=False)
        assert done.code and "/home is empty" in done.out + done.err, done
        assert not any(word in done.out + done.err for word in HARMFUL), done
        assert (done.out + done.err).count("mount the disk") == 1, "one cause is one problem"
    assert "incomplete" in machine.run("sftpjail", "list").out
    assert (kept(machine, "ann"), kept(machine, "bob")) == before and not machine.sh("ls /home").out
    assert lands(machine, key, "/disk1/ann") == (mounts == "fstab"), "that jail has it still"

    # The disk is exchanged: one command.
    machine.sh("cp -a /disk1/. /disk2; mount --bind /disk2 /home")
    if mounts == "fstab":
        said = machine.run("sftpjail", "check", check=False).out
        assert "shows something other than /home/ann" in said and fix(said) == "sftpjail apply"
        assert "incomplete" in machine.run("sftpjail", "list").out
        machine.run("sftpjail", "apply")
    assert lands(machine, key, "/disk2/ann")
    machine.run("sftpjail", "check")
    again(machine, "sftpjail", "apply")
    assert (kept(machine, "ann"), kept(machine, "bob")) == before


@BOTH
def test_nothing_is_uploaded_below_a_mount_point(machine: Machine, mounts: str) -> None:
    """A directory of ann's lies below the mount point, as from before there was the disk."""
    ready(machine, f"{PROFILE}mounts = {mounts}\n")
    key = jail(machine, "ann")
    machine.sh("umount -q /srv/sftp/ann/home/ann || :")
    disks(machine, "/home")
    machine.append("/etc/fstab", "/disk1 /home/ none bind,nofail 0 0\n")
    machine.run("sftpjail", "apply")
    before = kept(machine, "ann")
    assert lands(machine, key, "/disk1/ann")

    # A boot at which the disk does not come: mount(8) shows what lies below its mount point.
    machine.sh("umount -q /srv/sftp/ann/home/ann || :; umount /home")
    if mounts == "fstab":
        machine.sh("mount --bind /home/ann /srv/sftp/ann/home/ann")
        boot = machine.run("/etc/sftpjail/pam-session", "boot", check=False)
        assert boot.code == 1 and "/home is in fstab and not mounted" in boot.err, boot
    machine.sftp("ann", key, ["put /etc/hostname upload"])
    assert machine.sh("find / -xdev -name upload").out == ""
    for argv in (["check"], ["apply"], ["setup"]):
        done = machine.run("sftpjail", *argv, check=False)
        assert fix(done.out + done.err) == "mount /home && sftpjail apply", done
    assert kept(machine, "ann") == before
    assert "incomplete" in machine.run("sftpjail", "list").out
    machine.sh(fix(machine.run("sftpjail", "check", check=False).out))
    assert lands(machine, key, "/disk1/ann")
    machine.run("sftpjail", "check")


def test_a_source_that_is_away(machine: Machine) -> None:
    ready(machine, f"{PROFILE}mounts = fstab\n")
    jail(machine, "ann")
    disks(machine, "/srv/data")
    machine.sh("mkdir /disk1/web /srv/data/own; chmod 777 /disk1/web")
    machine.sh("mkdir -m 777 /srv/sftp/ann/web")
    machine.run("sftpjail", "mount", "ann", "/srv/data/web", "/web")
    before = kept(machine, "ann")
    assert machine.sh("umount /srv/sftp/ann/web; stat -c %U:%a /srv/sftp/ann/web").out == (
        "root:755\n"
    ), "while it is not there nobody writes below it"
    machine.run("sftpjail", "apply")

    machine.sh("umount -l /srv/data; mkdir -m 777 /srv/data/web")  # what somebody has put there
    for argv in (["check"], ["apply"]):
        done = machine.run("sftpjail", *argv, check=False)
        said = done.out + done.err
        assert "/srv/data is not mounted any more" in said and fix(said) == "", done
    assert kept(machine, "ann") == before
    machine.append("/etc/fstab", "/disk1 /srv/data none bind 0 0\n")
    refused(machine, "sftpjail", "mount", "ann", "/srv/data/own", "/own", says="mount /srv/data")
    machine.sh(fix(machine.run("sftpjail", "check", check=False).out))
    machine.run("sftpjail", "check")
    machine.sh("umount /srv/sftp/ann/web; rm -r --one-file-system /srv/sftp/ann || :")
    machine.sh("umount /srv/sftp/ann/home/ann; rm -r /srv/sftp/ann; mkdir /srv/more")
    said = refused(machine, "sftpjail", "mount", "ann", "/srv/more", "/more", says="is missing")
    machine.sh(fix(said))
    machine.run("sftpjail", "mount", "ann", "/srv/more", "/more")


def test_jails_on_a_disk_that_is_away_are_not_made(machine: Machine) -> None:
    ready(machine, f"{PROFILE}home = inside\n")
    disks(machine, "/srv/sftp")
    key = jail(machine, "ann")
    jail(machine, "bob")
    assert lands(machine, key, "/disk1/ann/files")
    machine.sh("umount -l /srv/sftp")
    machine.run("useradd", "-m", "-G", "sftponly", "eve")
    for argv in (["check"], ["check", "--fix"], ["apply"], ["setup"], ["explain", "ann"]):
        done = machine.run("sftpjail", *argv, check=False)
        assert done.code and "/srv/sftp is empty" in done.out + done.err, done
    machine.append("/etc/fstab", "/disk1 /srv/sftp none bind 0 0\n")
    done = machine.run("sftpjail", "apply", check=False)
    assert fix(done.err) == "mount /srv/sftp && sftpjail apply", done
    assert machine.sh("find /srv/sftp").out == "/srv/sftp\n"
    machine.sh(fix(done.err))
    assert lands(machine, key, "/disk1/ann/files") and machine.exists("/disk1/eve/files")


def test_a_disk_that_only_setup_knows_of(machine: Machine) -> None:
    """Jails with nothing but root's directories in them, on a disk that was mounted by hand."""
    disks(machine, "/srv/data")
    ready(machine, f"{PROFILE}chroot = /srv/data/sftp/%u\nmounts = fstab\n")
    again(machine, "sftpjail", "setup")
    key = jail(machine, "ann")
    works(machine, "ann", key)
    machine.sh("umount -R /srv/data/sftp/ann/home/ann; umount -l /srv/data")
    machine.run("useradd", "-m", "-G", "sftponly", "eve")
    for argv in (["check"], ["check", "--fix"], ["apply"], ["setup"], ["explain", "ann"]):
        done = machine.run("sftpjail", *argv, check=False)
        said = done.out + done.err
        assert done.code and said.count("/srv/data is not mounted, where the jails in") == 1, done
    assert machine.sh("find /srv/data").out == "/srv/data\n", "nothing is made below it"
    machine.sh("mount --bind /disk1 /srv/data; sftpjail apply; sftpjail check ann")
    works(machine, "ann", key)

    # It is lost: one command, which is a choice, makes the jails anew.
    machine.sh("umount -R /srv/data/sftp/*/home/*; umount -l /srv/data")
    done = machine.run("sftpjail", "check", check=False)
    machine.sh(choice(done.out, "if it is lost, to make the jails anew without it"))
    works(machine, "ann", key)
    machine.run("sftpjail", "check", "ann")
    assert not machine.exists("/var/lib/sftpjail/disks")


def test_a_home_that_is_its_own_jail_and_away(machine: Machine) -> None:
    """The home is a mount point itself, which is left empty."""
    ready(machine, f"{PROFILE}chroot = %h\n")
    disks(machine, "/home/ann")
    machine.run("useradd", "-M", "-G", "sftponly", "-d", "/home/ann", "ann")
    machine.sh("chown ann: /home/ann; touch /home/ann/.profile")
    machine.run("sftpjail", "apply")
    owner = machine.sh("umount /home/ann; stat -c %U:%a /home/ann").out
    for argv in (["check"], ["apply"], ["remove", "ann"]):
        done = machine.run("sftpjail", *argv, check=False)
        assert done.code and "/home/ann is empty" in done.out + done.err, done
    assert machine.sh("ls -A /home/ann; stat -c %U:%a /home/ann").out == owner
    machine.sh("mount --bind /disk1 /home/ann; sftpjail apply; sftpjail remove ann")
    assert machine.sh("stat -c %U /home/ann").out == "ann\n"


def test_the_former_disk_is_shown_again_when_apply_fails(machine: Machine) -> None:
    ready(machine, f"{PROFILE}mounts = fstab\n")
    disks(machine, "/home")
    key = jail(machine, "ann")
    machine.sh("cp -a /disk1/. /disk2; umount -l /home; mount --bind /disk2 /home")
    veto = "/etc/sftpjail/hooks/mount.d/veto"
    machine.write(veto, "#!/bin/sh\nexit 1\n", 0o755)
    refused(machine, "sftpjail", "apply")
    assert lands(machine, key, "/disk1/ann")
    machine.run("rm", veto)
    machine.run("sftpjail", "apply")
    assert lands(machine, key, "/disk2/ann")


@BOTH
def test_a_mount_below_what_a_jail_shows_is_named(machine: Machine, mounts: str) -> None:
    ready(machine, f"{PROFILE}mounts = {mounts}\n")
    key = jail(machine, "ann")
    machine.sh(
        "mkdir -p /srv/data/disk; chmod 777 /srv/data/disk;"
        "mount -t tmpfs -o mode=755 disk /srv/data/disk; mkdir -m 777 /srv/data/disk/deep;"
        "mount -t tmpfs -o mode=777 deep /srv/data/disk/deep"
    )
    done = machine.run("sftpjail", "mount", "ann", "/srv/data", "/data")
    assert "/srv/data/disk is a mount below /srv/data, and /data/disk does not show it" in done.err
    for argv in (["check"], ["explain", "ann"]):
        said = machine.run("sftpjail", *argv, check=False)
        assert said.code == 3 and "fix: sftpjail mount ann /srv/data/disk/deep " in said.out, said
    said = machine.run("sftpjail", "check", check=False).out
    fixes = [line.partition("fix: ")[2] for line in said.splitlines() if "fix: " in line]
    assert fixes == [
        "sftpjail mount ann /srv/data/disk /data/disk",
        "sftpjail mount ann /srv/data/disk/deep /data/disk/deep",
    ]
    for command in fixes:
        machine.sh(command)
    machine.run("sftpjail", "check")
    machine.sftp("ann", key, ["put /etc/hostname /data/disk/deep/up"], check=True)
    assert machine.exists("/srv/data/disk/deep/up")

    machine.sh("mkdir /home/ann/disk; mount -t tmpfs -o mode=777 disk /home/ann/disk")
    (line,) = (
        line
        for line in machine.run("sftpjail", "check", check=False).out.splitlines()
        if "advice: " in line
    )
    assert "others than root can write in /home/ann," in line, "there she could exchange it"
    refused(machine, "sftpjail", "mount", "ann", "/home/ann/disk", "/home/ann/disk")


def test_a_home_on_a_dead_mount_stops_nobody(machine: Machine) -> None:
    """A FUSE daemon is gone: every system call on its mount fails (ENOTCONN)."""
    ready(machine, f"{PROFILE}mounts = fstab\n")
    jail(machine, "ann")
    jail(machine, "bob")
    before = kept(machine, "ann")
    machine.sh(
        "umount /srv/sftp/ann/home/ann /srv/sftp/bob/home/bob; mknod -m 666 /dev/fuse c 10 229 || :;"
        "mount -t fuse -o fd=7,rootmode=40000,user_id=0,group_id=0 dead /home/ann 7<>/dev/fuse;"
        "! stat /home/ann"
    )
    done = machine.run("sftpjail", "apply", check=False)
    assert "the home /home/ann of ann is not there" in done.err and "choice" not in done.err, done
    assert mounted(machine, "/srv/sftp") == ["/srv/sftp/bob/home/bob"], "bob's jail is made"
    assert "incomplete" in machine.run("sftpjail", "list").out and kept(machine, "ann") == before
    assert machine.run("sftpjail", "check", check=False).code == 3
    machine.sh("umount /home/ann; sftpjail apply; sftpjail check")


# What automount(8) does for an indirect map whose directories are there before their mounts (browse
# mode): it shows /disk/NAME at PLACE/NAME for whoever walks in, or lets them fail while /run/down is there.
AUTOMOUNT = r"""
import ctypes, fcntl, os, struct, subprocess, sys
place, (reading, writing) = sys.argv[1], os.pipe()
options = f"fd={writing},pgrp={os.getpgrp()},minproto=5,maxproto=5,indirect".encode()
if ctypes.CDLL(None).mount(b"automount", place.encode(), b"autofs", 0, options):
    sys.exit(1)
for name in os.listdir("/disk"):
    os.mkdir(f"{place}/{name}")
root = os.open(place, os.O_RDONLY)
open("/run/automount", "w").close()
while data := os.read(reading, 4096):
    (token,), (size,) = struct.unpack_from("i", data, 8), struct.unpack_from("i", data, 40)
    name = data[44 : 44 + size].decode()
    argv = ["mount", "--bind", f"/disk/{name}", f"{place}/{name}"]
    done = not os.path.exists("/run/down") and subprocess.call(argv) == 0
    fcntl.ioctl(root, 0x9360 if done else 0x9361, token)
"""


@BOTH
def test_a_home_that_automount_has_not_mounted(machine: Machine, mounts: str) -> None:
    """Its bare directory is root's, and stat(2) of it mounts nothing."""
    ready(machine, f"{PROFILE}mounts = {mounts}\n")
    machine.write("/root/automount", AUTOMOUNT)
    machine.sh(
        "mkdir /disk /disk/ann; (setsid python3 /root/automount /home </dev/null >/run/log 2>&1 &);"
        "for n in $(seq 100); do [ ! -e /run/automount ] || exit 0; sleep 0.1; done; cat /run/log; exit 1"
    )
    machine.sh("useradd -M -N -G sftponly ann; chown ann: /disk/ann; sftpjail apply")
    key = open_with_key(machine, "ann")
    assert lands(machine, key, "/disk/ann")
    before = kept(machine, "ann")

    # Nobody was there for a while.
    machine.sh("umount /home/ann; ! grep ' /home/ann ' /proc/self/mountinfo")
    for argv in (["check"], ["apply"], ["explain", "ann"]):
        machine.run("sftpjail", *argv)
    assert lands(machine, key, "/disk/ann")

    # Its server does not answer, and what the jail has shown was unmounted.
    machine.sh("touch /run/down; umount -q /srv/sftp/ann/home/ann || :; umount -q /home/ann || :")
    for argv in (["check"], ["apply"], ["check", "--fix"], ["explain", "ann"]):
        done = machine.run("sftpjail", *argv, check=False)
        said = done.out + done.err
        assert done.code and "the home /home/ann of ann is not there" in said, done
        assert not any(word in said for word in HARMFUL), done
    machine.sftp("ann", key, ["put /etc/hostname upload"])
    assert machine.sh("find / -xdev -name upload; ls -A /disk/ann").out == ""
    assert kept(machine, "ann") == before
    machine.sh("rm /run/down; sftpjail apply; sftpjail check")
    assert lands(machine, key, "/disk/ann")

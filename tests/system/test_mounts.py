"""Binds: names with spaces, nested and read-only ones, a reboot, and everything that is refused."""

from __future__ import annotations

import json

import pytest
from machine import Machine
from steps import QUIET, jail, ready, refused, works

pytestmark = pytest.mark.halved


def point(machine: Machine, target: str) -> str:
    """The options of what is mounted there, or ""."""
    return machine.run(
        "findmnt", "-no", "VFS-OPTIONS", "--mountpoint", target, check=False
    ).out.strip()


def test_spaces_nested_read_only_and_a_reboot(machine: Machine) -> None:
    ready(machine)
    key = jail(machine, "ann")
    machine.sh(
        "mkdir -p '/srv/my data/logs' /srv/logs /srv/both; echo x >'/srv/my data/f'; echo y >/srv/logs/l"
    )
    machine.sh("chmod 777 /srv/logs /srv/both")
    machine.run("sftpjail", "mount", "ann", "/srv/my data", "/my data")
    machine.run("sftpjail", "mount", "ann", "/srv/logs", "/my data/logs", "--read-only")
    machine.run("sftpjail", "mount", "ann", "/srv/both", "/deep/er/both")

    def seen() -> None:
        done = works(
            machine, "ann", key, "ls '/my data/f'", "ls '/my data/logs/l'", "-put /etc/hostname '/my data/logs/x'",
            "put /etc/hostname /deep/er/both/x",
        )  # fmt: skip
        assert "Permission denied" in done.err or "Failure" in done.err, done
        assert point(machine, "/srv/sftp/ann/my data/logs").split(",")[:3] == [
            "ro",
            "nosuid",
            "nodev",
        ]

    seen()
    assert point(machine, "/srv/my data/logs") == "", "a nested mount must not show in the source"
    machine.run("findmnt", "--verify", "--tab-file", "/etc/fstab")
    before = machine.read("/etc/fstab")
    # A reboot: nothing is mounted, and mount -a works from fstab's top.
    machine.sh(
        "tac /proc/self/mountinfo | grep /srv/sftp | cut -d' ' -f5 | "
        'while read -r p; do umount "$(printf %b $p)"; done'
    )
    assert point(machine, "/srv/sftp/ann/home/ann") == ""
    machine.run("mount", "-a")
    seen()
    machine.run("umount", "/srv/sftp/ann/deep/er/both")
    assert "ann" in machine.run("sftpjail", "apply").out
    seen()
    assert machine.read("/etc/fstab") == before

    refused(machine, "sftpjail", "umount", "ann", "/my data", says="mounted below")
    for target in ("/my data/logs", "/my data", "/deep/er/both"):
        machine.run("sftpjail", "umount", "ann", target)
        refused(machine, "sftpjail", "umount", "ann", target, says="has no mount at")
    assert machine.sh("ls /srv/sftp/ann").out == "home\n" and machine.exists("/srv/my data/logs")
    assert machine.read("/srv/my data/f") == "x\n"


def test_the_outer_one_can_come_last(machine: Machine) -> None:
    ready(machine)
    jail(machine, "ann")
    machine.sh("mkdir -p /srv/out/in /srv/inner")
    machine.run("sftpjail", "mount", "ann", "/srv/inner", "/out/in")
    refused(machine, "sftpjail", "mount", "ann", "/srv/out", "/out", says="would hide")


def test_sources_that_are_refused(machine: Machine) -> None:
    ready(machine)
    jail(machine, "ann")
    machine.run("useradd", "-m", "bob")
    machine.sh("ln -s /etc /srv/link; mkdir -p /srv/open/x; chmod 777 /srv/open; echo x >/srv/file")
    for source, reason in (
        ("/", "holds"),
        ("/etc", "is /etc"),
        ("/etc/ssh", "lies in /etc"),
        ("/srv/link", "/etc"),
        ("/proc/self", "/proc"),
        ("/sys", "/sys"),
        ("/dev/shm", "/dev"),
        ("/root", "/root"),
        ("/srv", "holds /srv/sftp"),
        ("/srv/sftp/ann", "/srv/sftp"),
        ("/home", "holds the home of ann"),
        ("/home/bob", "home of bob"),
        ("/srv/open/x", "put a link"),
        ("/srv/none", "is not a directory"),
        ("/srv/file", "is not a directory"),
    ):
        assert reason in refused(machine, "sftpjail", "mount", "ann", source, "/x"), source
    machine.append("/etc/sftpjail/sftpjail.conf", "[mounts]\nallow = /home/bob\n")
    machine.run("sftpjail", "mount", "ann", "/home/bob", "/bob")


def test_targets_that_are_refused(machine: Machine) -> None:
    ready(machine)
    jail(machine, "ann")
    machine.sh(
        "mkdir -p /srv/web /srv/sftp/ann/full; echo x >/srv/sftp/ann/full/f; ln -s /etc /srv/sftp/ann/link"
    )
    for target in ("web", "/../x", "/", "/a\nb", ""):
        refused(machine, "sftpjail", "mount", "ann", "/srv/web", target, code=2)
    for target in ("/full", "/full/f", "/link", "/link/x", "/home/ann/web", "/home/ann", "/home"):
        refused(machine, "sftpjail", "mount", "ann", "/srv/web", target)
    machine.run("sftpjail", "mount", "ann", "/srv/web", "/web/")
    machine.sh("mkdir /srv/other")
    refused(machine, "sftpjail", "mount", "ann", "/srv/other", "//web", says="already shows")
    refused(machine, "sftpjail", "umount", "ann", "/home/ann", says="belongs to every jail")


def test_busy(machine: Machine) -> None:
    ready(machine)
    jail(machine, "ann")
    machine.sh("mkdir /srv/web")
    machine.run("sftpjail", "mount", "ann", "/srv/web", "/web")
    sleep = "setpriv --reuid=ann --regid=ann --clear-groups sleep 60"
    machine.sh(f"cd /srv/sftp/ann/web && ({sleep} >/dev/null 2>&1 &); sleep 0.3")
    said = refused(machine, "sftpjail", "umount", "ann", "/web", says='is in use by "sleep 60"')
    machine.sh(said.split("fix: ")[1].strip())
    machine.run("sftpjail", "umount", "ann", "/web")


def test_who_sits_in_a_new_mount_keeps_no_rollback_from_its_end(machine: Machine) -> None:
    ready(machine)
    jail(machine, "ann")
    machine.sh("mkdir /srv/web")
    sleep = "setpriv --reuid=ann --regid=ann --clear-groups sleep 60"
    machine.write(
        "/etc/sftpjail/hooks/mount.d/late",
        f"#!/bin/sh\ncd /srv/sftp/ann/web && ({sleep} >/dev/null 2>&1 &); sleep 0.3; exit 1\n",
        0o755,
    )
    said = refused(machine, "sftpjail", "mount", "ann", "/srv/web", "/web")
    assert "incomplete" not in said and not machine.exists("/var/lib/sftpjail/journal"), said
    assert 'still in use by "sleep 60"' in said and point(machine, "/srv/sftp/ann/web") == ""
    machine.run("rm", "/etc/sftpjail/hooks/mount.d/late")
    machine.run("sftpjail", "mount", "ann", "/srv/web", "/web")


def test_what_she_can_do_in_a_mount_is_what_the_kernel_says(machine: Machine) -> None:
    ready(machine)
    jail(machine, "ann")
    machine.sh(
        "groupadd web && usermod -aG web ann && mkdir -m 711 /srv/private && cd /srv/private &&"
        "mkdir -m 2770 team && chgrp web team && mkdir -m 755 denied seen && mkdir -m 700 acl &&"
        "setfacl -m u:ann:--- denied && setfacl -m u:ann:rwx acl && chmod 700 /srv/private"
    )
    for name, says in (
        ("team", ""),
        ("acl", ""),
        ("seen", "ann cannot write in /seen"),
        ("denied", "ann cannot read /denied"),
    ):
        done = machine.run("sftpjail", "mount", "ann", f"/srv/private/{name}", f"/{name}")
        assert says in done.err and bool(done.err) == bool(says), done
    machine.run("sftpjail", "mount", "--read-only", "ann", "/srv/private/team", "/docs")
    done = machine.run("sftpjail", "add", "bob", "--mount", "/srv/private/seen:/seen")
    assert "bob cannot write in /seen" in done.err, done
    facts = machine.run("sftpjail", "explain", "ann", check=False).out
    for name, says in (
        ("/team", "ann can read and write"),
        ("/acl", "ann can read and write"),
        ("/seen", "ann can read"),
        ("/denied", "ann can do nothing there"),
        ("/docs", "ann can read"),
    ):
        (line,) = [line for line in facts.splitlines() if f" {name} " in f" {line} "]
        assert line.endswith(says), line
    machine.run("rmdir", "/srv/private/denied")
    found = machine.run("sftpjail", "check", "ann", check=False).out
    assert found.count("/srv/private/denied") == found.count("if it is gone for good") == 1, found


def test_a_mount_below_another_is_hidden(machine: Machine) -> None:
    """Of mounts at one path the topmost is seen alone, and nothing of what lies below one that came later."""
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\nmounts = fstab\n")
    key = jail(machine, "ann")
    machine.sh("mkdir -p /srv/web /srv/deep; echo web >/srv/web/file; chmod 777 /srv/web /srv/deep")
    machine.run("sftpjail", "mount", "ann", "/srv/web", "/web")
    machine.run("sftpjail", "mount", "ann", "/srv/deep", "/data/deep")
    works(machine, "ann", key, "ls /web/file")

    def shown() -> dict[str, tuple[bool, bool]]:
        jails = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
        return {m["target"]: (m["mounted"], m["hidden"]) for m in jails[0]["mounts"]}

    seen = (True, False)
    assert shown() == {"/home/ann": seen, "/web": seen, "/data/deep": seen}
    machine.sh("mount --bind /srv/web /srv/sftp/ann/web")  # the same once more hides nothing
    assert shown()["/web"] == seen
    machine.sh("umount /srv/sftp/ann/web; mkdir /srv/other")
    for over, target in (("/web", "/web"), ("/data", "/data/deep")):
        machine.sh(f"mount --bind /srv/other /srv/sftp/ann{over}")
        machine.sftp("ann", key, ["ls /web/file /data/deep"])
        assert shown()[target] == (True, True)
        said = machine.run("sftpjail", "list").out
        assert "incomplete" in said, said
        said = " ".join(machine.run("sftpjail", "show", "ann").out.split())
        assert f"{target} is hidden: something is mounted over it" in said, said
        explained = json.loads(machine.run("sftpjail", "--json", "explain", "ann", check=False).out)
        (fact,) = [one for one in explained["facts"] if one["name"] == target]
        assert fact["bad"] and fact["value"] and "hidden" in fact["note"], fact
        done = machine.run("sftpjail", "check", "--json", check=False)
        problems = [p for p in json.loads(done.out)["problems"] if p["severity"] != "advice"]
        assert done.code == 3 and [p["about"] for p in problems] == ["ann"], done
        assert f"/srv/sftp/ann{target}" in problems[0]["what"], done
        machine.sh(problems[0]["fix"])
        assert machine.run("sftpjail", "check").code == 0 and shown()[target] == seen
    works(machine, "ann", key, "ls /web/file", "ls /data/deep")

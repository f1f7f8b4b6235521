"""A host from a backup of /etc and /home on a fresh machine: `setup` is enough, and every login works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from machine import Machine
from steps import jail, open_with_key, ready, shut, works

PROFILES = """
[logs]
backend = none
[profiles]
[[sftponly]]
mounts = fstab
[[sessions]]
mounts = session
[[homes]]
chroot = %h
"""
LOST = "no record of the state before them"


@pytest.mark.halved
@pytest.mark.parametrize("records", ["", "/var/lib/sftpjail"])
def test_etc_and_home_are_enough(machine: Machine, installed: Path, records: str) -> None:
    """In each form of jail. With the records of what was before, teardown gives that back too."""
    ready(machine, PROFILES)
    keys = {"alice": jail(machine, "alice")}
    for user, group in (("bob", "sessions"), ("carol", "homes"), ("dora", "sftponly")):
        machine.run("useradd", "-m", "-N", "-G", group, user)
        keys[user] = open_with_key(machine, user)
    machine.run("sftpjail", "disable", "dora")
    open_to = ("alice", "bob", "carol")
    for user in open_to:
        works(machine, user, keys[user], f"put /etc/hostname of-{user}")
    backup = f"tar -cpf /backup.tar --numeric-owner --acls --xattrs /etc /home /root/keys {records}"
    machine.sh(backup)
    with Machine(layer=installed, mounts="fstab") as fresh:
        shutil.copy(f"/proc/{machine.pid}/root/backup.tar", f"/proc/{fresh.pid}/root/backup.tar")
        fresh.sh("tar -C / -xpf /backup.tar --numeric-owner --acls --xattrs")
        fresh.start_sshd()
        for user, key in keys.items():
            if user != "carol":  # whose home is the jail
                shut(fresh, user, key)
        done = fresh.run("sftpjail", "setup")
        assert (LOST in done.err) != bool(records), done
        for user in open_to:
            works(fresh, user, keys[user], f"ls -1 of-{user}")
        shut(fresh, "dora", keys["dora"])
        checked = fresh.run("sftpjail", "check").out
        assert checked.endswith("4 jails checked, no problems\n"), checked
        listed = fresh.run("sftpjail", "list").out
        state = "disabled" if records else "expired"
        assert f"\t{state}\n" in listed and listed.count("\tok\n") == 3, listed
        for user in open_to:
            fresh.run("sftpjail", "remove", user)
            where = f"/home/{user}/files" if user == "carol" and not records else f"/home/{user}"
            assert fresh.sh(f"find /home/{user} -name of-{user}").out.startswith(where)
        shut(fresh, "dora", keys["dora"])
        done = fresh.run("sftpjail", "teardown", "--close-accounts")
        stays = fresh.exists("/etc/shadow-maint/useradd-post.d/sftpjail")
        assert stays != bool(records), done
        assert not fresh.exists("/etc/ssh/sshd_config.d/10-sftpjail.conf")

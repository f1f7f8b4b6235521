"""What is wrong is said at once, and where: keys, mounts and logins that cannot be what was asked for."""

from __future__ import annotations

import json

import pytest
from machine import Machine
from steps import QUIET, choice, jail, ready, refused, shut, works

pytestmark = pytest.mark.halved

CLOUD = "/etc/ssh/sshd_config.d/50-cloud-init.conf"


def fix(said: str) -> str:
    return said.partition("  fix: ")[2].partition("\n")[0]


def test_a_revocation_that_did_not_happen_is_no_success(machine: Machine) -> None:
    ready(machine)
    key = jail(machine, "ann")
    other = machine.keygen("other")
    machine.sh("mkdir -m 755 /srv/web; sftpjail mount ann /srv/web /web")
    for what in ("laptop", "SHA256:nothing", f"{other}.pub", machine.read(f"{other}.pub").strip()):
        said = refused(machine, "sftpjail", "key", "remove", "ann", what)
        assert "ann has" in said or "no key was removed" in said, said
    done = machine.run("sftpjail", "--json", "key", "remove", "ann", "laptop", check=False)
    assert done.code == 1 and json.loads(done.out)["absent"] is True, done
    said = refused(machine, "sftpjail", "umount", "ann", "/wbe")
    assert "/web" in said, "what there is"
    done = machine.run("sftpjail", "--json", "umount", "ann", "/wbe", check=False)
    assert done.code == 1 and json.loads(done.out)["absent"] is True, done
    machine.run("sftpjail", "key", "remove", "ann", f"{key}.pub")
    shut(machine, "ann", key)
    machine.run("sftpjail", "umount", "ann", "/web")

    # Keys in forms that are none, and a useradd that says in one line what is wrong.
    public = machine.read(f"{key}.pub").strip()
    machine.sh(f"iconv -t UTF-16 {key}.pub >/root/wide; echo PuTTY-User-Key-File-3: x >/root/ppk")
    for what, hint in ((public, "key add USER -"), ("/root/wide", "iconv"), ("/root/ppk", "PuTTY")):
        done = machine.run("sftpjail", "key", "add", "ann", what, check=False)
        assert done.code and hint in done.err, done
    done = machine.run("sftpjail", "add", "eve", "--", "-g", "nobodys", check=False)
    assert "group 'nobodys' does not exist" in done.err and "Usage" not in done.err, done
    done = machine.run("sftpjail", "add", "eve", "--", "--nonsense", check=False)
    assert "unrecognized option '--nonsense'" in done.err and "--shell" not in done.err, done


def test_why_a_login_is_refused_is_found(machine: Machine) -> None:
    """cloud-init's PasswordAuthentication no, an account that shadow(5) does not know, a second factor."""
    machine.write("/etc/ssh/sshd_config.d/90-patience.conf", machine.patience())
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\n")
    key = jail(machine, "ann")

    machine.run("cp", "-a", "/etc/shadow", "/root/")
    machine.sh("sed -i /^ann:/d /etc/shadow")
    shut(machine, "ann", key)
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3 and "ann has no line in /etc/shadow" in done.out, done
    assert machine.run("sftpjail", "list").out.split()[-1] == "locked"
    machine.sh(fix(done.out))
    works(machine, "ann", key)
    assert machine.run("sftpjail", "check").code == 0

    line = (
        "AuthenticationMethods publickey,keyboard-interactive\nKbdInteractiveAuthentication yes\n"
    )
    machine.write(CLOUD, line)
    machine.restart_sshd()
    shut(machine, "ann", key)
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3 and f"({CLOUD}:1) makes a key alone useless" in done.out, done
    machine.sh(choice(done.out, "to let the members of profile sftponly in by a key alone"))
    works(machine, "ann", key)
    assert machine.run("sftpjail", "check").code == 0

    machine.run("useradd", "-m", "-G", "sftponly", "-p", "$6$salt$hash", "bob")
    machine.write(CLOUD, "PasswordAuthentication no\n")
    machine.restart_sshd()
    done = machine.run("sftpjail", "check", check=False)
    assert f"PasswordAuthentication no ({CLOUD}:1) makes the password of bob useless" in done.out
    assert "ann" not in done.out, "she has a key"
    assert f"({CLOUD}:1)" in machine.run("sftpjail", "show", "bob").out


def test_what_rm_of_a_jail_cannot_reach(machine: Machine) -> None:
    """A careless administrator, and mounts that are in sessions alone."""
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\nmounts = session\n")
    key = jail(machine, "ann")
    machine.sh("mkdir -m 777 /srv/web; echo hello >/srv/web/file; sftpjail mount ann /srv/web /web")
    works(machine, "ann", key, "put /etc/hostname diary", "ls /web/file")
    machine.sh("rm -rf /srv/sftp/ann")
    assert machine.exists("/home/ann/diary") and machine.exists("/srv/web/file")
    shut(machine, "ann", key)
    machine.sh(fix(machine.run("sftpjail", "check", check=False).out))
    works(machine, "ann", key, "ls diary /web/file")

"""`mount --group`: a group of the host may write in what jails show, until the last of them does not."""

from __future__ import annotations

import json

import pytest
from machine import Machine
from steps import CONFIG, again, fstab, jail, previewed, ready, refused, works

SITE = "/srv/web/site"
# Everything that a mount may change of a directory: group, mode and both access lists.
STATE = f"""
import os
found = os.stat("{SITE}")
names = sorted(name for name in os.listxattr("{SITE}") if name.startswith("system."))
lists = [(name, os.getxattr("{SITE}", name).hex()) for name in names]
print(found.st_uid, found.st_gid, oct(found.st_mode), lists)
"""


def config(kind: str, more: str = "") -> str:
    return f"[logs]\nbackend = none\n[profiles]\n[[sftponly]]\nmounts = {kind}\n{more}"


def state(machine: Machine) -> str:
    return machine.run("python3", "-c", STATE).out


def share(machine: Machine, name: str) -> None:
    machine.run("sftpjail", "mount", name, SITE, "/web", "--group", "editors")


def prepared(machine: Machine, kind: str) -> dict[str, str]:
    """A directory of www-data's that others may not read, and two members of a group with keys."""
    machine.sh(
        "groupadd editors; useradd -m -G editors eve;"
        f"install -d -m 750 -o www-data -g www-data {SITE};"
        f"echo old >{SITE}/old; chown www-data:www-data {SITE}/old; chmod 640 {SITE}/old"
    )
    ready(machine, config(kind))
    keys = {name: jail(machine, name) for name in ("alice", "bob")}
    said = refused(
        machine, "sftpjail", "mount", "alice", SITE, "/web", "--group", "editors",
        says="alice is not in the group editors, and could not write",
    )  # fmt: skip
    for name in keys:
        machine.sh(said.partition("fix: ")[2].splitlines()[0].replace("alice", name))
    return keys


def uploads(machine: Machine, keys: dict[str, str]) -> None:
    """Each changes what the other has uploaded, and the web server reads it; and what is not so."""
    for mode in ("664", "644", "600"):
        machine.sh(f"echo {mode} >/tmp/{mode}; chmod {mode} /tmp/{mode}")
    machine.write(CONFIG, config("session", "umask = 077\n"))
    machine.sh("sftpjail setup")
    web = ("setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups")
    for name, other in (("alice", "bob"), ("bob", "alice")):
        place = f"{SITE}/{name}"
        works(machine, name, keys[name], f"put /tmp/664 /web/{name}", f"mkdir /web/{name}.d")
        assert machine.mode(place) == f"{name}:editors 660", "its list counts, no umask, no others"
        works(
            machine, other, keys[other], f"put /tmp/664 /web/{name}", f"rename /web/{name} /web/x"
        )
        works(machine, other, keys[other], f"put /tmp/644 /web/{name}.d/x", f"rm /web/{name}.d/x")
        assert machine.run(*web, "cat", f"{SITE}/x").out == "664\n"
        # What the manual says that it cannot do.
        works(machine, name, keys[name], "rm /web/x", f"put /tmp/644 /web/{name}")
        done = works(machine, other, keys[other], f"-put /tmp/664 /web/{name}")
        assert "Permission denied" in done.err and machine.read(place) == "644\n"
        assert machine.run(*web, "cat", place).out == "644\n"
        works(machine, name, keys[name], f"rm /web/{name}", f"put /tmp/600 /web/{name}")
        assert machine.run(*web, "cat", place, check=False).code != 0
        works(machine, other, keys[other], f"rm /web/{name}", f"rmdir /web/{name}.d")
    assert machine.mode(f"{SITE}/old") == "www-data:www-data 640", "what was there stays"


def test_a_group_shares_it_until_the_last_mount_is_gone(machine: Machine) -> None:
    keys = prepared(machine, "session")
    before = state(machine)
    shown = previewed(machine, "sftpjail", "mount", "alice", SITE, "/web", "--group", "editors")
    assert "can write, and owns what is made there" in shown and state(machine) == before
    said = machine.run("sftpjail", "mount", "alice", SITE, "/web", "--group", "editors")
    assert "where the group editors can write" in said.out, said
    assert "cannot change 1 file in /srv/web/site" in said.out + said.err, said
    assert "with 0644 read, with 0600 nothing" in said.out + said.err, said
    share(machine, "bob")
    given = state(machine)
    assert "0o42770" in given and "posix_acl_default" in given
    again(machine, "sftpjail", "mount", "alice", SITE, "/web", "--group", "editors")
    uploads(machine, keys)
    again(machine, "sftpjail", "apply")
    machine.run("sftpjail", "check")
    assert "(mount, group editors" in machine.run("sftpjail", "show", "bob").out
    assert "the group editors can write" in machine.run("sftpjail", "--json", "explain", "bob").out
    jails = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    groups = [m["group"] for one in jails for m in one["mounts"] if m["role"] == "mount"]
    assert groups == ["editors", "editors"]
    is_judged(machine, given)
    through_a_file(machine, before, given)
    # The last one gives it back, whichever that is.
    machine.run("sftpjail", "umount", "alice", "/web")
    assert state(machine) == given
    machine.run("sftpjail", "undo", "--yes")
    machine.run("sftpjail", "umount", "bob", "/web")
    assert state(machine) == given
    machine.run("sftpjail", "umount", "alice", "/web")
    assert state(machine) == before
    machine.run("sftpjail", "undo", "--yes")
    assert state(machine) == given and "editors" in machine.run("sftpjail", "show", "alice").out
    machine.run("sftpjail", "undo", "--yes", check=False)
    machine.run("sftpjail", "remove", "alice")
    assert state(machine) == before
    # To end it without an unmount, mount the same without it; what somebody changes stays.
    share(machine, "bob")
    machine.run("sftpjail", "mount", "bob", SITE, "/web")
    assert state(machine) == before
    share(machine, "bob")
    machine.run("chmod", "2700", SITE)
    changed = state(machine)
    said = machine.run("sftpjail", "umount", "bob", "/web")
    assert "somebody has changed them" in said.out + said.err, said
    assert state(machine) == changed


def is_judged(machine: Machine, given: str) -> None:
    """A group that has lost its rights, and a member that has left it."""
    machine.run("chmod", "g-w", SITE)
    said = machine.run("sftpjail", "check", check=False)
    assert said.code == 3 and "the group editors has lost its rights in /srv/web/site" in said.out
    machine.run("sftpjail", "apply")
    assert state(machine) == given
    machine.run("gpasswd", "-d", "bob", "editors")
    said = machine.run("sftpjail", "check", check=False)
    assert said.code == 3 and "bob is not in the group editors" in said.out, said
    machine.run("usermod", "-aG", "editors", "bob")
    machine.run("sftpjail", "check")


def through_a_file(machine: Machine, before: str, given: str) -> None:
    """What `export` writes, `apply` finds; a file that takes both mounts away restores it at once."""
    text = machine.run("sftpjail", "export", "--format", "json").out
    accounts = json.loads(text)["accounts"]
    wanted = [{"source": SITE, "target": "/web", "read_only": False, "group": "editors"}]
    assert [one["mounts"] for one in accounts] == [wanted, wanted]
    machine.write("/root/accounts", text, 0o600)
    again(machine, "sftpjail", "apply", "/root/accounts")
    none = [one | {"mounts": []} for one in accounts]
    machine.write("/root/none", json.dumps({"accounts": none}), 0o600)
    machine.run("sftpjail", "apply", "/root/none")
    assert state(machine) == before
    machine.run("sftpjail", "apply", "/root/accounts")
    assert state(machine) == given
    moved = [one | {"mounts": [wanted[0] | {"target": "/www"}]} for one in accounts]
    machine.write("/root/moved", json.dumps({"accounts": moved}), 0o600)
    machine.run("sftpjail", "apply", "/root/moved")
    assert state(machine) == given
    machine.run("sftpjail", "apply", "/root/accounts")
    assert state(machine) == given


@pytest.mark.halved
def test_it_lies_in_fstab_and_a_removal_takes_it_back(machine: Machine) -> None:
    keys = prepared(machine, "fstab")
    # Lists and a set-group-ID bit that somebody has set before are those that come back.
    machine.sh(f"chmod 2751 {SITE}")
    acl = "0200000001000700ffffffff02000700{:08x}04000500ffffffff10000700ffffffff20000100ffffffff"
    uid = int.from_bytes(int(machine.run("id", "-u", "eve").out).to_bytes(4, "little"), "big")
    for name in ("access", "default"):
        code = f"import os; os.setxattr('{SITE}', 'system.posix_acl_{name}', bytes.fromhex('{acl.format(uid)}'))"
        machine.run("python3", "-c", code)
    before = state(machine)
    share(machine, "alice")
    given = state(machine)
    assert given != before
    assert "x-sftpjail.group=" in "".join(fstab(machine, "alice"))
    machine.sh("umount /srv/sftp/alice/web && mount /srv/sftp/alice/web && findmnt --verify")
    works(machine, "alice", keys["alice"], "put /etc/hostname /web/new")
    machine.run("runuser", "-u", "eve", "--", "cat", f"{SITE}/new")
    machine.run("usermod", "-l", "alicia", "alice")
    machine.run("sftpjail", "apply")
    machine.run("sftpjail", "check")
    assert state(machine) == given
    machine.run("userdel", "-r", "alicia")
    assert state(machine) == before and machine.exists(f"{SITE}/new")
    # A failure takes it back with everything else.
    machine.write("/etc/sftpjail/hooks/mount.d/veto", "#!/bin/sh\nexit 1\n", 0o755)
    refused(machine, "sftpjail", "mount", "bob", SITE, "/web", "--group", "editors", says="veto")
    machine.run("rm", "-r", "/etc/sftpjail/hooks/mount.d")
    assert state(machine) == before
    share(machine, "bob")
    machine.sh("sftpjail remove bob && sftpjail teardown")
    assert state(machine) == before


@pytest.mark.halved
def test_groups_and_directories_that_may_not_be_shared(machine: Machine) -> None:
    """Each with its reason, and nothing is changed."""
    prepared(machine, "session")
    machine.sh("mkdir /srv/ram && mount -t ramfs -o mode=755 none /srv/ram; mkdir -m 1777 /srv/all")
    machine.sh("usermod -aG editors bob; groupadd others; usermod -aG others bob; mkdir /srv/web/b")
    machine.sh("useradd -r -m -d /srv/git git; mkdir -p /srv/git/.ssh /srv/old/deep")
    machine.run("sftpjail", "mount", "alice", "/srv/old/deep", "/deep")
    machine.sh("groupadd byhand; mkdir -p /srv/by/hand /srv/for/carl")
    machine.write(
        "/etc/ssh/sshd_config.d/50-hand.conf",
        "Match Group byhand\n    ChrootDirectory /srv/by/%u\n"
        "Match User carl\n    ChrootDirectory /srv/for/carl\n",
    )
    mount = ("sftpjail", "mount", "bob")
    for group, reason in (
        ("root", "root's group is never given to anybody else"),
        ("nogroup", "65534 is the group of nobody"),
        ("sudo", "who is in the group sudo has the host"),
        ("disk", "who is in the group disk has the host"),
        ("shadow", "who is in the group shadow has the host"),
        ("nosuch", "there is no group 'nosuch'"),
        ("0", "root's group is never given to anybody else"),
    ):
        refused(machine, *mount, SITE, "/web", "--group", group, says=reason)
    for source, reason in (
        ("/srv", "a directory of the system"),
        ("/usr/share", "it is a directory of the system"),
        ("/srv/all", "it is sticky, for everybody's files"),
        ("/srv/ram", "its file system has no access lists"),
        ("/srv/git", "git has its home there, and sshd would not take its keys any more"),
        ("/srv/old", "/srv/old/deep lies in it, which alice sees as /srv/sftp/alice/deep"),
        ("/srv/by/hand", "a chroot of /etc/ssh/sshd_config.d/50-hand.conf:1 is there"),
        ("/srv/for", "a chroot of /etc/ssh/sshd_config.d/50-hand.conf:3 is there"),
        ("/srv/none", "is not a directory of this host"),
    ):
        argv = (*mount, source, "/web", "--group", "editors")
        if source != "/srv":  # it holds the jails, which is said before
            refused(machine, *argv, says=reason)
    for more in (("--as", "www-data"), ("--read-only",)):
        refused(machine, *mount, SITE, "/web", "--group", "editors", *more, code=2)
    together(machine)
    share(machine, "bob")
    refused(
        machine, "sftpjail", "mount", "bob", SITE, "/two", "--group", "others",
        says="by a mount of bob the group editors does",
    )  # fmt: skip
    machine.run(
        "sftpjail", "add", "dan", "--mount", "/srv/web/b:/b:group=others", "--", "-G", "others"
    )
    assert "group others" in machine.run("sftpjail", "show", "dan").out
    refused(machine, "sftpjail", "add", "dora", "--mount", "/srv/web/b:/b:group=others")


def together(machine: Machine) -> None:
    """What would be refused one after the other is refused in one file too."""
    machine.sh("mkdir -p /srv/up/in")
    before = machine.listing("/srv/up", "/etc/sftpjail", "/etc/fstab")
    hers = ["/srv/old/deep:/deep", "/srv/up:/up:group=editors"]
    for his, reason in (
        ("/srv/up/in:/in", "the group editors is to write in /srv/up, so somebody could"),
        ("/srv/up/in:/in:group=others", "the group editors is to write in /srv/up, so somebody"),
        ("/srv/up:/in:group=others", "/srv/up cannot belong to the groups editors and others"),
    ):
        both = [{"name": "alice", "mounts": hers}, {"name": "bob", "mounts": [his]}]
        machine.write("/root/both", json.dumps({"accounts": both}), 0o600)
        refused(machine, "sftpjail", "apply", "/root/both", says=reason)
    refused(machine, "sftpjail", "--dry-run", "apply", "/root/both", says=reason)
    assert machine.listing("/srv/up", "/etc/sftpjail", "/etc/fstab") == before
    more = ("--mount", "/srv/up:/up:group=editors", "--mount", "/srv/up/in:/in")
    in_group = ("--", "-G", "editors")
    refused(machine, "sftpjail", "add", "dora", *more, *in_group, says="is to write in /srv/up, so")

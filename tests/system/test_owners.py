"""`mount --as`: in the jail the files are the account's, on disk they stay their owner's."""

from __future__ import annotations

import json

import pytest
from machine import Machine, changes
from steps import CONFIG, again, choice, fstab, jail, ready, refused, shut, works

SOURCE = "/srv/web/site"


def config(kind: str, more: str = "", owners: str = "as = www-data,") -> str:
    profile = f"[profiles]\n[[sftponly]]\nmounts = {kind}\n{more}"
    return f"[logs]\nbackend = none\n[mounts]\n{owners}\n{profile}"


def prepared(machine: Machine, kind: str) -> None:
    """A tmpfs with a directory of www-data's, since the sandbox's overlay cannot map owners."""
    machine.sh(
        "mkdir -p /srv/web; mount -t tmpfs -o mode=755,nosuid none /srv/web;"
        f"mkdir {SOURCE} /srv/web/roots; chown www-data:www-data {SOURCE}"
    )
    ready(machine, config(kind))


def is_old(machine: Machine) -> bool:
    return "util-linux 2.38" in machine.run("mount", "--version").out


def share(machine: Machine, kind: str) -> dict[str, str]:
    """Alice and bob with the mount, and their keys."""
    prepared(machine, kind)
    keys = {name: jail(machine, name) for name in ("alice", "bob")}
    for name in keys:
        machine.run("sftpjail", "mount", name, SOURCE, "/web", "--as", "www-data")
    return keys


def strangers(machine: Machine) -> str:
    """What below the source is not www-data's."""
    condition = "! -user www-data -o ! -group www-data"
    return machine.run("sh", "-c", rf"find {SOURCE} \( {condition} \)").out


def upload(machine: Machine, keys: dict[str, str]) -> None:
    """Each uploads in every mode, under a temporary name too, and changes what the other has."""
    for mode in ("600", "644", "777"):
        machine.sh(f"echo {mode} >/tmp/{mode}; chmod {mode} /tmp/{mode}")
    for name, other in (("alice", "bob"), ("bob", "alice")):
        for mode in ("600", "644", "777"):
            works(
                machine, name, keys[name],
                f"put /tmp/{mode} /web/{name}-{mode}", f"put /tmp/{mode} /web/part",
                f"rename /web/part /web/{name}-{mode}-whole",
            )  # fmt: skip
            works(
                machine, other, keys[other],
                f"put /tmp/777 /web/{name}-{mode}", f"rename /web/{name}-{mode} /web/moved",
                "chmod 640 /web/moved", f"rm /web/{name}-{mode}-whole",
            )  # fmt: skip
            machine.run("setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups", "cat", f"{SOURCE}/moved")  # fmt: skip
            works(machine, name, keys[name], "rm /web/moved", f"mkdir /web/{name}-{mode}.d")
            works(machine, other, keys[other], f"rmdir /web/{name}-{mode}.d")
            assert "-" + mode not in machine.run("ls", "-A", SOURCE).out, "all is gone again"
        works(machine, name, keys[name], f"put /tmp/600 /web/of-{name}")
    assert strangers(machine) == ""


# As WinSCP uploads: a temporary name, the mode and the times of the local file, then the name.
WINSCP = """\
import paramiko, sys

port, user, path, mode = int(sys.argv[1]), *sys.argv[2:5]
transport = paramiko.Transport(("127.0.0.1", port))
key = paramiko.Ed25519Key.from_private_key_file(f"/root/keys/{user}")
transport.connect(username=user, pkey=key)
client = paramiko.SFTPClient.from_transport(transport)
with client.open(f"{path}.filepart", "wx") as part:
    part.write(b"by WinSCP\\n")
client.chmod(f"{path}.filepart", int(mode, 8))
client.utime(f"{path}.filepart", (1600000000, 1600000000))
client.posix_rename(f"{path}.filepart", path)
transport.close()
"""


def by_other_clients(machine: Machine, keys: dict[str, str]) -> None:
    """lftp with its temporary names, and WinSCP's way, over what the other has uploaded."""
    machine.write("/root/winscp", WINSCP)
    for name, other in (("alice", "bob"), ("bob", "alice")):
        ssh = " ".join(["ssh", "-a", "-x", *machine._client(keys[name], "-p")])
        for mode in ("600", "644", "777"):
            script = "; ".join(
                [
                    f'set sftp:connect-program "{ssh}"',
                    "set xfer:use-temp-file yes",
                    f"open sftp://{name}:x@127.0.0.1",
                    f"put /tmp/{mode} -o /web/lftp",
                    f"chmod {mode} /web/lftp",
                    "bye",
                ]
            )
            machine.run("lftp", "--norc", "-c", script)
            place = str(machine.port), name, "/web/winscp", mode
            machine.run("python3", "/root/winscp", *place)
            assert machine.read(f"{SOURCE}/winscp") == "by WinSCP\n"
            assert machine.mode(f"{SOURCE}/winscp") == f"www-data:www-data {mode}"
            assert machine.read(f"{SOURCE}/lftp") == f"{mode}\n"
            assert strangers(machine) == ""
            for path in ("lftp", "winscp"):
                argv = ("setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups")
                machine.run(*argv, "cat", f"{SOURCE}/{path}")
            again = (f"put /tmp/644 /web/{path}" for path in ("lftp", "winscp"))
            works(machine, other, keys[other], *again)
    machine.sh(f"rm {SOURCE}/lftp {SOURCE}/winscp")


@pytest.mark.parametrize("kind", ["fstab", "session"])
def test_two_share_what_stays_the_web_servers(kind: str, machine: Machine) -> None:
    if kind == "fstab" and is_old(machine):
        prepared(machine, kind)
        jail(machine, "alice")
        argv = ("sftpjail", "mount", "alice", SOURCE, "/web", "--as", "www-data")
        refused(machine, *argv, says="mount(8) is 2.38 here and knows maps of owners from")
        return
    keys = share(machine, kind)
    again(machine, "sftpjail", "mount", "alice", SOURCE, "/web", "--as", "www-data")
    again(machine, "sftpjail", "apply")
    upload(machine, keys)
    machine.write(CONFIG, config(kind, "umask = 077\n"))
    machine.run("sftpjail", "setup")
    machine.sh(f"rm {SOURCE}/of-*")
    upload(machine, keys)
    by_other_clients(machine, keys)
    machine.run("sftpjail", "check")
    assert "/web <- /srv/web/site (mount, as www-data" in machine.run("sftpjail", "show", "bob").out
    assert "has the files of www-data" in machine.run("sftpjail", "--json", "explain", "bob").out
    jails = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    assert [m["as"] for one in jails for m in one["mounts"] if m["role"] == "mount"] == [
        "www-data",
        "www-data",
    ]
    gains_nothing(machine, keys["alice"])
    said = machine.run("sftpjail", "test", "alice", timeout=120).out
    assert " ok\n" in said and strangers(machine) == "", said
    follows_a_new_uid(machine, keys["alice"], kind)
    goes_through_a_file(machine)
    if kind == "fstab":
        is_judged(machine, keys["bob"])
    machine.run("sftpjail", "umount", "bob", "/web")
    machine.run("sftpjail", "undo", "--yes")
    assert "as www-data" in machine.run("sftpjail", "show", "bob").out
    works(machine, "bob", keys["bob"], "put /tmp/600 /web/again", "rm /web/again")
    machine.run("sftpjail", "mount", "bob", SOURCE, "/web", "--as", "www-data", "--read-only")
    done = works(machine, "bob", keys["bob"], "-put /tmp/600 /web/again", "ls /web/of-alice")
    assert "again" not in machine.run("ls", SOURCE).out, done
    machine.run("sftpjail", "remove", "bob")
    machine.run("userdel", "-r", "alice")
    assert "/srv/sftp/" not in machine.read("/proc/self/mountinfo")
    assert strangers(machine) == "" and machine.exists(f"{SOURCE}/of-alice")


def gains_nothing(machine: Machine, key: str) -> None:
    """Root's files, owners, links, and the set-user-ID bit: what a session does with a map."""
    machine.sh(
        f"cd {SOURCE}; echo root >roots; chmod 666 roots; mkdir open; chmod 777 open;"
        "cp /usr/bin/id suid; chmod 4755 suid; cp /usr/bin/id /tmp/id;"
        "echo mixed >mixed; chown www-data:root mixed; chmod 666 mixed"
    )
    before = machine.listing(SOURCE)
    done = works(
        machine, "alice", key,
        "-put /tmp/600 /web/roots", "-rm /web/roots", "-rename /web/roots /web/r", "-chmod 777 /web/roots",
        "-put /tmp/600 /web/open/new", "-rmdir /web/open", "-chown 0 /web/of-alice", "-chgrp 0 /web/of-alice",
        "-ln /web/roots /web/hard", "-ln /web/suid /web/hard", "-put /tmp/600 /web/suid", "-put /tmp/600 /web/mixed",
        "-chown 33 /web/of-bob", "-rm /web/mixed", "-mkdir /web/open/d", "-ln -s /etc/shadow /web/soft",
        "-get /web/soft /tmp/shadow",
    )  # fmt: skip
    assert not machine.exists("/tmp/shadow"), done
    machine.sh(f"rm {SOURCE}/soft")
    after = machine.listing(SOURCE)
    assert {path for path in changes(before, after) if path != SOURCE} == set(), done
    works(machine, "alice", key, "put /tmp/id /web/prog", "chmod 6755 /web/prog")
    assert machine.mode(f"{SOURCE}/prog").startswith("www-data:www-data"), "it is its owner's"
    said = machine.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", f"{SOURCE}/prog").out  # fmt: skip
    assert "www-data" not in said, "nosuid of the source holds on the host too"
    told = machine.run("sftpjail", "--json", "explain", "alice").out
    assert "4 files in /srv/web/site are other owners'" in told, told
    machine.sh(f"cd {SOURCE}; rm -r roots open suid mixed prog")
    machine.run("mount", "-o", "remount,suid", "/srv/web")
    assert "without nosuid" in machine.run("sftpjail", "check", check=False).out
    machine.run("mount", "-o", "remount,nosuid", "/srv/web")


def follows_a_new_uid(machine: Machine, key: str, kind: str) -> None:
    """Who has the old uid by now has none of the files, and the map follows the account."""
    machine.run("usermod", "-u", "2345", "alice")
    machine.run("useradd", "-M", "-o", "-u", "1000", "heir")
    if kind == "session":
        shut(machine, "alice", key)
    machine.run("sftpjail", "adopt", "--same-person", "alice")
    machine.run("sftpjail", "apply")
    machine.run("sftpjail", "check")
    works(machine, "alice", key, "put /tmp/600 /web/moved", "rm /web/moved")
    if kind == "fstab":
        path = "/srv/sftp/alice/web"
        assert machine.run("stat", "-c", "%u", path).out.strip() == "2345"
        assert "u:33:2345:1" in "".join(fstab(machine, "alice"))
        argv = ("setpriv", "--reuid=1000", "--regid=4000", "--clear-groups", "touch", f"{path}/x")
        assert machine.run(*argv, check=False).code != 0
    machine.run("userdel", "heir")


def goes_through_a_file(machine: Machine) -> None:
    """What `export` writes, `apply` finds there already, and makes for somebody new."""
    accounts = json.loads(machine.run("sftpjail", "export", "--format", "json").out)["accounts"]
    wanted = [{"source": SOURCE, "target": "/web", "read_only": False, "as": "www-data"}]
    assert [one["mounts"] for one in accounts] == [wanted, wanted]
    carol = {"name": "carol", "mounts": [f"{SOURCE}:/web:as=www-data"]}
    machine.write("/root/accounts", json.dumps({"accounts": [*accounts, carol]}), 0o600)
    said = machine.run("sftpjail", "apply", "/root/accounts").out
    assert "made 1 account: carol" in said and "checked 2 accounts: alice, bob" in said, said
    assert "as www-data" in machine.run("sftpjail", "show", "carol").out
    machine.run("sftpjail", "check", "alice", "bob")
    again(machine, "sftpjail", "apply", "/root/accounts")
    machine.run("sftpjail", "remove", "--delete-account", "carol")
    refused(machine, "sftpjail", "add", "dave", "--mount", f"{SOURCE}:/web:as=games", code=1)
    machine.run("sftpjail", "add", "dave", "--mount", f"{SOURCE}:/web:ro:as=www-data")
    assert "read-only, as www-data" in machine.run("sftpjail", "show", "dave").out
    machine.run("sftpjail", "remove", "--delete-account", "dave")


def is_judged(machine: Machine, key: str) -> None:
    """A mount that came up without its map is reported, mended, and taken away at boot."""
    path = "/srv/sftp/bob/web"

    def lose() -> None:
        machine.sh(f"umount {path}; mount --bind -o nosuid,nodev {SOURCE} {path}")

    lose()
    said = machine.run("sftpjail", "check", check=False)
    assert said.code == 3 and f"{path} is mounted without its map of owners" in said.out, said
    machine.run("sftpjail", "apply")
    works(machine, "bob", key, "put /tmp/600 /web/x", "rm /web/x")
    lose()
    done = machine.run("/etc/sftpjail/pam-session", "boot", check=False)
    assert done.code == 1 and f"{path} is unmounted: it has no map of owners" in done.err, done
    machine.run("sftpjail", "apply")
    machine.run("/etc/sftpjail/pam-session", "boot")
    machine.sh(f"umount {path}; mount {path}")
    works(machine, "bob", key, "put /tmp/600 /web/x", "rm /web/x")
    machine.run("sftpjail", "check")


def test_owners_that_may_not_be_lent(machine: Machine) -> None:
    """Each with its reason, and nothing is changed."""
    prepared(machine, "session")
    key = jail(machine, "alice")
    jail(machine, "bob")
    machine.run("useradd", "-M", "-s", "/bin/bash", "carol")
    for owner, reason in (
        ("root", "root's files are never given to anybody else"),
        ("www-data:root", "root's files are never given to anybody else"),
        ("www-data:shadow", "who has the files of the group shadow has the host"),
        ("www-data:sudo", "who has the files of the group sudo has the host"),
        ("nobody", "65534 is nobody"),
        ("bob", "bob is jailed and logs in itself"),
        ("carol", "carol can log in itself: its shell is /bin/bash"),
        ("games", "does not allow it"),
        ("www-data:games", "does not allow it"),
        ("nosuch", "there is no account 'nosuch'"),
        ("www-data:nosuch", "there is no group 'nosuch'"),
    ):
        argv = ("sftpjail", "mount", "alice", SOURCE, "/web", "--as", owner)
        said = refused(machine, *argv, says=reason)
        assert owner != "games" or "as = www-data, games in [mounts]" in said, said
    argv = ("sftpjail", "mount", "alice", "/srv/web/roots", "/web", "--as", "www-data")
    said = refused(machine, *argv, says="nobody could write in /srv/web/roots")
    assert choice(said, "to give it that owner") == "chown 33:33 /srv/web/roots"
    machine.sh("mkdir /srv/plain; chown www-data: /srv/plain")
    mount = ("sftpjail", "mount", "alice")
    plain = (*mount, "/srv/plain", "/web", "--as", "www-data")
    refused(machine, *plain, says="which is mounted without nosuid")
    refused(machine, *plain, "--allow-setid", says="cannot show files with other owners")
    refused(machine, *mount, SOURCE, "/web", "--allow-setid", code=2, says="--allow-setid is for")

    machine.run("mount", "-o", "remount,suid", "/srv/web")
    site = (*mount, SOURCE, "/web", "--as", "www-data")
    refused(machine, *site, says="/srv/web, which is mounted without nosuid")
    machine.run(*site, "--allow-setid")
    machine.run("sftpjail", "check")
    refused(machine, *mount, "/srv/web/roots", "/web/in", says="is no place for a mount")
    works(machine, "alice", key, "put /etc/hostname /web/x", "rm /web/x")
    # A permission that is withdrawn is an open jail, until somebody decides.
    machine.write(CONFIG, config("session", owners=""))
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and "any longer" in done.err and "does not allow it" in done.err, done
    machine.sh(choice(done.err, "to take /web out of its jail"))
    machine.run("sftpjail", "apply")
    machine.run("sftpjail", "check")
    works(machine, "alice", key, "-ls /web")


HOME = "/srv/web/alice"


@pytest.mark.whole
@pytest.mark.parametrize("kind", ["fstab", "session"])
def test_a_home_shows_the_files_of_the_web_server(kind: str, machine: Machine) -> None:
    """`mount` of the home at its own place gives its mount a map, and takes it away again."""
    prepared(machine, kind)
    key = jail(machine, "alice", "-d", HOME)
    as_it_is = ("sftpjail", "mount", "alice", HOME, HOME)
    lent = (*as_it_is, "--as", "www-data")
    if kind == "fstab" and is_old(machine):
        machine.run("chown", "-R", "www-data:www-data", HOME)
        refused(machine, *lent, says="mount(8) is 2.38 here and knows maps of owners from")
        return
    said = refused(machine, *lent, says=f"nobody could write in {HOME}: it is owned by 1000")
    assert choice(said, "to give it that owner") == f"chown 33:33 {HOME}", said
    machine.run("chown", "-R", "www-data:www-data", HOME)
    for owner, reason in (
        ("root", "root's files are never given to anybody else"),
        ("www-data:shadow", "who has the files of the group shadow has the host"),
        ("games", "does not allow it"),
    ):
        refused(machine, *as_it_is, "--as", owner, says=reason)
    machine.run("mount", "-o", "remount,suid", "/srv/web")
    refused(machine, *lent, says="which is mounted without nosuid")
    machine.run("mount", "-o", "remount,nosuid", "/srv/web")
    refused(machine, *as_it_is, "--read-only", code=2, says="it takes only --as")
    machine.run(*lent)
    again(machine, *lent)
    again(machine, "sftpjail", "apply")
    machine.run("sftpjail", "check")
    machine.sh("echo x >/tmp/x; chmod 600 /tmp/x")
    works(machine, "alice", key, f"put /tmp/x {HOME}/x", "chmod 640 x", "rename x y", "mkdir d")
    assert machine.mode(f"{HOME}/y") == "www-data:www-data 640"
    strange = machine.run("find", HOME, "!", "-user", "www-data", "-o", "!", "-group", "www-data")
    assert strange.out == ""
    assert "(home, as www-data" in machine.run("sftpjail", "show", "alice").out
    told = machine.run("sftpjail", "--json", "explain", "alice").out
    assert "has the files of www-data" in told and "it cannot write there" not in told
    said = machine.run("sftpjail", "test", "alice", timeout=120).out
    assert " ok\n" in said, said
    a_broken_home(machine, key)
    machine.run("usermod", "-u", "2345", "alice")
    gid = machine.run("id", "-g", "alice").out.strip()
    machine.run("sftpjail", "adopt", "--same-person", "alice")
    machine.run("sftpjail", "apply")
    works(machine, "alice", key, "put /tmp/x z", "rm z")
    a_home_goes_through_a_file(machine)
    works(machine, "alice", key, "put /tmp/x z", "rm z")
    error = refused(machine, "sftpjail", "umount", "alice", HOME, says="belongs to every jail")
    machine.sh(choice(error, "to end --as"))
    assert "as www-data" not in machine.run("sftpjail", "show", "alice").out
    said = machine.run("sftpjail", "check", check=False).out
    assert f"fix: chown 2345:{gid} /srv" in said, said
    machine.run("chown", "-R", "alice:", HOME)
    machine.run("sftpjail", "check")
    works(machine, "alice", key, "put /tmp/x z", "rm z")
    machine.run("sftpjail", "remove", "alice")
    assert HOME not in machine.read("/etc/fstab") + machine.read("/proc/self/mountinfo")


def a_broken_home(machine: Machine, key: str) -> None:
    """A home that is another's by now is a problem, and what is printed gives it to its owner."""
    machine.run("chown", "root:root", HOME)
    said = machine.run("sftpjail", "check", check=False).out
    assert f"chown 33:33 {HOME}" in said, said
    machine.run("chown", "33:33", HOME)
    machine.run("sftpjail", "check")
    machine.write(CONFIG, machine.read(CONFIG).replace("as = www-data,", ""))
    done = machine.run("sftpjail", "apply", check=False)
    label = f"to show {HOME} with the owners that its files have"
    assert done.code == 1 and "does not allow it" in done.err, done
    assert choice(done.err, label) == f"sftpjail mount alice {HOME} {HOME}"
    machine.write(CONFIG, machine.read(CONFIG).replace("[mounts]\n", "[mounts]\nas = www-data,\n"))
    machine.run("sftpjail", "apply")
    works(machine, "alice", key, "ls y")


def a_home_goes_through_a_file(machine: Machine) -> None:
    """`export` has it, and `apply` finds it, takes it away, brings it back, and makes it for others."""
    accounts = json.loads(machine.run("sftpjail", "export", "--format", "json").out)["accounts"]
    mount = {"source": HOME, "target": HOME, "read_only": False, "as": "www-data"}
    (alice,) = accounts
    assert alice["mounts"] == [mount]
    plain = {"name": "alice", "mounts": []}

    def apply(*found: dict[str, object], code: int = 0) -> str:
        machine.write("/root/accounts", json.dumps({"accounts": found}), 0o600)
        done = machine.run("sftpjail", "apply", "/root/accounts", check=False)
        assert done.code == code, done
        return done.out + done.err

    apply(alice)
    again(machine, "sftpjail", "apply", "/root/accounts")
    apply(plain)
    assert "as www-data" not in machine.run("sftpjail", "show", "alice").out
    apply(alice)
    assert "(home, as www-data" in machine.run("sftpjail", "show", "alice").out
    home = "/home/carol"
    carol = {"name": "carol", "mounts": [f"{home}:{home}:as=www-data"]}
    said = apply(alice, carol, code=1)
    assert f"install -d -m 750 -o 33 -g 33 {home}" in said, said
    refused(machine, "sftpjail", "add", "carol", "--mount", f"{home}:{home}:as=www-data", code=2)

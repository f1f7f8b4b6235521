"""Accounts as a file: one host's export is another one's apply."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from machine import Machine, changes
from steps import (
    QUIET,
    again,
    by_password,
    jail,
    previewed,
    ready,
    refused,
    shut,
    snapshot,
    works,
)

HASH = "$6$marked$sQ0XhMarkedHashMarkedHashMarkedHash0123456789"
FILE, NEXT = "/root/accounts", "/root/next"
TMPFILES = "/etc/tmpfiles.d/sftpjail.conf"


def key_of(machine: Machine, name: str) -> str:
    """The public key of a new pair."""
    return machine.read(f"{machine.keygen(name)}.pub").strip()


def exported(machine: Machine, *options: str) -> str:
    return machine.run("sftpjail", "export", *options).out


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("configobj", marks=pytest.mark.halved),
        pytest.param("json", marks=pytest.mark.whole),
        pytest.param("csv", marks=pytest.mark.whole),
    ],
)
def test_a_second_host_is_as_the_first(machine: Machine, installed: Path, form: str) -> None:
    """Each login of the first, with its old key or password, and nobody's else."""
    keys = first_host(machine)
    machine.run("sftpjail", "export", "--format", form, "--secrets", "--output", FILE)
    assert machine.sh(f"stat -c %a {FILE}").out == "600\n"
    before, hashed = machine.read(FILE), machine.run("getent", "shadow", "ann").out.split(":")[1]
    assert hashed in before and hashed not in exported(machine, "--format", form)
    again(machine, "sftpjail", "apply", FILE)
    with Machine(layer=installed, mounts="fstab") as other:
        other.write("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
        ready(other)
        other.sh("mkdir /srv/web /srv/data /srv/box; chmod 777 /srv/data; useradd -m somebody")
        for name in keys:  # what is the clients' own
            for path in (f"/root/keys/{name}", f"/root/keys/{name}.pub"):
                other.write(path, machine.read(path), 0o600)
        other.write(FILE, before, 0o600)
        other.sh("usermod -u 4711 somebody; groupmod -g 4711 somebody")
        shown = previewed(other, "sftpjail", "apply", FILE)
        words = "+ ann: uid 1000, profile sftponly, 1 key, 3 mounts, password (set), quota none, "
        assert f"{words}/box/in for 30d, /home/ann for 14d" in shown, shown
        done = other.run("sftpjail", "apply", FILE)
        assert "made 4 accounts: ann, bob, dan, eve" in done.out, done
        assert "no file of ann in /box/in is deleted until it is there" in done.err, done
        again(other, "sftpjail", "apply", FILE)
        assert "e /home/ann - - - m:14d\n" in other.read(TMPFILES)
        assert "/srv/box/in" not in other.read(TMPFILES)
        other.sh("install -d -o ann /srv/box/in; sftpjail apply")
        assert "e /srv/box/in - - - m:30d\n" in other.read(TMPFILES)
        other.run("sftpjail", "export", "--format", form, "--secrets", "--output", "/root/second")
        assert other.read("/root/second") == before
        assert (
            other.run("sftpjail", "check", check=False).out
            == machine.run("sftpjail", "check", check=False).out
        )
        for host in (machine, other):
            works(host, "ann", keys["ann"], "ls /web", "put /etc/hostname /d/e/there")
            works(host, "eve", keys["eve"])
            works(host, "dan", keys["dan"])
            assert host.sftp("ann", keys["ann"], ["put /etc/hostname /web/no"]).code != 0
            assert by_password(host, "ann") == 0
            shut(host, "bob", keys["bob"])
            shut(host, "eve", keys["ann"])
        # Nothing shows the hash, whatever keeps a record.
        found = other.sh(
            f"grep -rlF '{hashed}' /var/lib/sftpjail /var/log /etc /run 2>/dev/null || :"
        ).out.split()
        assert set(found) <= {"/etc/shadow", "/etc/shadow-"}, found
        later(other, keys)


def first_host(machine: Machine) -> dict[str, str]:
    """A host with one of each kind of account; returns their keys."""
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
    ready(machine)
    machine.sh("mkdir /srv/web /srv/data /srv/box; chmod 777 /srv/data")
    keys = {"ann": jail(machine, "ann", "-c", 'Doe, Ann "100%"')}
    keys |= {"bob": jail(machine, "bob", "-e", "2099-12-31")}
    machine.sh(
        "echo ann:pw | chpasswd; install -d -o ann /srv/box/in;"
        "sftpjail mount ann /srv/web /web --read-only; sftpjail mount ann /srv/data /d/e;"
        "sftpjail mount ann /srv/box /box; sftpjail set ann --quota none"
        " --retention /home/ann=2w --retention /box/in=30d"
    )
    keys |= {"eve": machine.keygen("eve"), "dan": jail(machine, "dan")}
    machine.sh(
        "useradd -m -G sftponly eve; sftpjail set dan --expires 2099-06-30;"
        f'sftpjail key add eve {keys["eve"]}.pub --name "eve\'s laptop" --from 127.0.0.0/8 --expires 2099-01-01;'
        "sftpjail disable bob --reason '=left, for now' --until 2099-01-01"
    )
    return keys


def later(machine: Machine, keys: dict[str, str]) -> None:
    """A key that the file no longer has lets nobody in; an undo takes everything back."""
    new = machine.keygen("new")
    line = machine.read(f"{new}.pub").strip()
    wanted = {"name": "ann", "keys": [line], "mounts": [], "retention": [], "quota": "profile"}
    machine.write(NEXT, json.dumps({"accounts": [wanted, {"name": "dan", "keys": []}]}))
    said = previewed(machine, "sftpjail", "apply", NEXT)
    assert "~ ann: quota none -> profile" in said, said
    assert "~ ann: retention of /box/in 30d -> never" in said, said
    machine.run("sftpjail", "apply", NEXT)
    again(machine, "sftpjail", "apply", NEXT)
    shut(machine, "ann", keys["ann"])
    shut(machine, "dan", keys["dan"])
    works(machine, "ann", new)
    works(machine, "eve", keys["eve"])
    assert by_password(machine, "ann") == 0
    assert not machine.exists(TMPFILES) and not machine.exists("/etc/sftpjail/quotas")
    machine.run("sftpjail", "undo", "--yes")
    works(machine, "ann", keys["ann"], "ls /web")
    works(machine, "dan", keys["dan"])
    shut(machine, "ann", new)
    assert "e /srv/box/in - - - m:30d\n" in machine.read(TMPFILES)
    assert machine.read("/etc/sftpjail/quotas") == "user ann 0\n"


@pytest.mark.halved
def test_keys_and_mounts_become_what_the_file_says(machine: Machine) -> None:
    ready(machine)
    machine.sh("mkdir /srv/one /srv/two /srv/three")
    old, bob = jail(machine, "ann"), jail(machine, "bob")
    machine.sh("for n in one two; do sftpjail mount ann /srv/$n /$n; done")
    new = machine.keygen("new")
    line = machine.read(f"{new}.pub").strip()
    wanted = {
        "name": "ann",
        "comment": "Ann",
        "keys": [line],
        "mounts": [
            {"source": "/srv/three", "target": "/one"},
            {"source": "/srv/two", "target": "/two", "read_only": True},
        ],
        "expires": "2099-12-31",
    }
    machine.write(FILE, json.dumps({"accounts": [wanted]}))
    shown = previewed(machine, "sftpjail", "apply", FILE)
    for words in (
        '~ ann: comment "" -> Ann',
        "~ ann: expires never -> 2099-12-31",
        "~ ann: + key SHA256:",
        "~ ann: - key SHA256:",
        "~ ann: - mount /srv/one at /one",
        "~ ann: + mount /srv/three at /one",
        "~ ann: + mount /srv/two at /two, read-only",
    ):
        assert words in shown, (words, shown)
    done = machine.run("sftpjail", "--json", "apply", FILE)
    (change,) = json.loads(done.out)["accounts"]
    assert change["change"] == "changed" and change["before"]["mounts"][0]["source"] == "/srv/one"
    assert change["after"]["keys"] == [line], change
    again(machine, "sftpjail", "apply", FILE)
    shut(machine, "ann", old)
    works(machine, "ann", new)
    works(machine, "bob", bob)
    machine.sh("touch /srv/three/there")
    assert "there" in machine.sftp("ann", new, ["ls /one"]).out
    assert machine.sftp("ann", new, ["put /etc/hostname /two/x"]).code != 0


@pytest.mark.parametrize("kind", ["fstab", "session"])
def test_mounts_below_others_follow_the_file(machine: Machine, kind: str) -> None:
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\nmounts = {kind}\n")
    machine.sh("mkdir -p /srv/one/in /srv/two/in /srv/deep /srv/other; touch /srv/deep/found")
    machine.sh("touch /srv/one/first /srv/two/second")
    key, new = jail(machine, "ann"), key_of(machine, "new")
    outer = {"source": "/srv/one", "target": "/web"}
    inner = {"source": "/srv/deep", "target": "/web/in"}
    sets = (
        ([inner, outer], ["first", "in"], ["found"]),
        ([outer | {"source": "/srv/two"}, inner], ["in", "second"], ["found"]),
        ([outer, inner | {"source": "/srv/other"}], ["first", "in"], []),
        ([outer], ["first", "in"], []),
        ([outer | {"source": "/srv/two"}], ["in", "second"], []),
        ([inner], ["in"], ["found"]),
        ([outer, inner], ["first", "in"], ["found"]),
        ([outer | {"read_only": True}, inner], ["first", "in"], ["found"]),
    )
    for number, (mounts, web, below) in enumerate(sets):
        accounts: list[dict[str, object]] = [{"name": "ann", "mounts": mounts}]
        if not number:  # a new one has both at once
            accounts.append({"name": "bob", "keys": [new], "mounts": mounts})
        machine.write(FILE, json.dumps({"accounts": accounts}))
        previewed(machine, "sftpjail", "apply", FILE)
        machine.run("sftpjail", "apply", FILE)
        again(machine, "sftpjail", "apply", FILE)
        for name, path in (("ann", key), ("bob", "/root/keys/new"))[: 2 - bool(number)]:
            done = machine.sftp(name, path, ["ls -1 /web", "ls -1 /web/in"])
            said = done.out.replace("sftp> ls -1 /web\n", "").partition("sftp> ls -1 /web/in\n")
            shown = [[line.rsplit("/", 1)[-1] for line in part.split()] for part in said[::2]]
            assert shown == [web, below], (number, name, done)
    found = machine.run("sftpjail", "check", check=False)
    assert found.out == "2 jails checked, no problems\n", found


@pytest.mark.halved
def test_a_damaged_record_keeps_nobody_else_out_of_the_file(machine: Machine) -> None:
    ready(machine)
    for name in ("ann", "bob", "eve"):
        jail(machine, name)
    machine.sh("groupadd extra; gpasswd --add ann extra")
    machine.sh("echo rubbish >/var/lib/sftpjail/accounts/bob")
    done = machine.run("sftpjail", "export", "--format", "csv", check=False)
    names = [line.partition(",")[0] for line in done.out.splitlines() if ",1" in line]
    assert done.code == 1 and names == ["ann", "eve"] and "extra" not in done.out, done
    assert done.err.count("/var/lib/sftpjail/accounts/bob") and "it is left out" in done.err, done
    told = json.loads(machine.run("sftpjail", "--json", "export", check=False).out)
    assert [one["user"] for one in told["accounts"]] == ["ann", "eve"], told
    assert [one["about"] for one in told["problems"]] == ["bob"], told
    machine.write(FILE, "name,comment\nann,Ann\nbob,Bob\n")
    said = refused(machine, "sftpjail", "apply", FILE, says="accounts/bob")
    assert f"{FILE}, line 3: bob: " in said, said
    done = machine.run("sftpjail", "apply", "--keep-going", FILE, check=False)
    assert done.code == 1 and "changed 1 account: ann" in done.out, done
    machine.write(FILE, "name,comment\nann,Ann\n")
    words = ("sftpjail", "apply", FILE, "--missing", "disable", "--yes")
    refused(machine, *words, says="accounts/bob")


@pytest.mark.halved
def test_a_terminal_sees_how_far_it_is(machine: Machine) -> None:
    ready(machine)
    machine.write("/etc/sftpjail/hooks/user-create.d/slow", "#!/bin/sh\nsleep 1\n", 0o755)
    machine.write(FILE, "name,comment\nann,Ann\nbob,Bob\n")
    said = machine.sh(f"TERM=xterm script -qec 'sftpjail apply {FILE}' /dev/null").out
    assert re.search(r"checking .*\d+/\d+", said) and "made 2 accounts: ann, bob" in said, said
    assert "\x1b[?25l" not in said, "the cursor stays"
    machine.write(FILE, "name,comment\nann,Ann\nbob,Bob\neve,Eve\n")
    done = machine.run("sftpjail", "apply", FILE)
    assert "made 1 account: eve" in done.out and "checking" not in done.out + done.err, done


@pytest.mark.halved
def test_what_the_file_lacks_is_shut_out_only_when_told(machine: Machine) -> None:
    ready(machine)
    ann, bob = jail(machine, "ann"), jail(machine, "bob")
    machine.write(FILE, "name,disabled\nann,no\n")
    again(machine, "sftpjail", "apply", FILE)
    argv = ("sftpjail", "apply", FILE, "--missing", "disable")
    assert "bob is shut out" in refused(machine, *argv, code=2)
    assert "~ bob: disabled" in previewed(machine, *argv)
    machine.run(*argv, "--yes")
    shut(machine, "bob", bob)
    works(machine, "ann", ann)
    again(machine, *argv)
    machine.write(FILE, "name,disabled\nann,no\nbob,no\n")
    assert "bob is let in again" in refused(machine, "sftpjail", "apply", FILE, code=2)
    machine.run("sftpjail", "apply", FILE, "--yes")
    works(machine, "bob", bob)


@pytest.mark.halved
def test_what_cannot_be_keeps_all_from_being_done(machine: Machine) -> None:
    ready(machine)
    jail(machine, "ann")
    key = key_of(machine, "key")
    machine.sh("useradd -m old; groupadd taken; useradd -u 1500 other")
    rows = [
        ("root", "", "", "1: "),
        ("old", "", "", "it is an account already, and not jailed"),
        ("taken", "", "", "there is a group taken already"),
        ("fresh", "1500", "", "uid 1500 is not free: it is the uid of other"),
        ("fresh", "555", "", "it is a system account (uid 555)"),
        ("ann", "4711", "", "a file of accounts changes no uid"),
        ("fresh", "", "ssh-rsa AAAA", "keys: it is not a public key"),
        ("fresh", "", f'command=""id"" {key}', "option command"),
        ("fresh", "x", "", "line 2: uid: x is not a uid"),
    ]
    for name, uid, keys, says in rows:
        machine.write(FILE, f'name,uid,keys\n{name},{uid},"{keys}"\ngood,,\n')
        code = 2 if says.startswith("line 2") else 1
        said = refused(machine, "sftpjail", "apply", FILE, code=code)
        assert says in said or name == "root", (name, said)
    done = machine.run("sftpjail", "apply", FILE, "--keep-going", check=False)
    assert done.code == 1 and "made 1 account: good" in done.out, done
    # Of who is left out nothing is done.
    machine.write(FILE, f'name,password,mounts\nann,{HASH},"/srv/no:/no"\nann2,,/srv:/\n', 0o600)
    done = machine.run("sftpjail", "--json", "apply", FILE, "--keep-going", check=False)
    found = {one["about"]: one["what"] for one in json.loads(done.out)["problems"]}
    assert found.keys() == {"ann", "ann2"} and "line 2: ann: /srv/no" in found["ann"], done
    assert HASH not in machine.run("getent", "shadow", "ann").out
    assert machine.run("id", "ann2", check=False).code != 0
    machine.write(FILE, f"name,password\nann,{HASH}\n", 0o644)
    assert "and everybody can read it" in refused(machine, "sftpjail", "apply", FILE)
    machine.write(FILE, f"name,password\nann,{HASH}\n", 0o600)
    machine.run("sftpjail", "apply", FILE)
    assert HASH in machine.run("getent", "shadow", "ann").out
    history = machine.run("sftpjail", "history").out
    assert "ann has a new password" in history, history


@pytest.mark.halved
def test_without_sysusers_each_is_made_by_useradd(machine: Machine) -> None:
    ready(machine)
    machine.sh("rm $(command -v systemd-sysusers)")
    rows = "".join(f"u{n},{HASH},2099-12-31\n" for n in range(3))
    machine.write(FILE, f"name,password,expires\n{rows}", 0o600)
    assert "+ u2: uid " in previewed(machine, "sftpjail", "apply", FILE)
    done = machine.run("sftpjail", "apply", FILE)
    assert "useradd made 3 accounts, one at a time: there is no systemd-sysusers" in done.err
    assert machine.sh(f"grep -c '^u[0-9]:{HASH}:.*:47481:' /etc/shadow").out == "3\n"
    again(machine, "sftpjail", "apply", FILE)


@pytest.mark.halved
def test_what_fails_or_dies_leaves_nothing(machine: Machine) -> None:
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\n")
    rows = "".join(f"u{n},{1200 + n},{HASH},/srv/web:/web\n" for n in range(20))
    machine.write(FILE, f"name,uid,password,mounts\n{rows}", 0o600)
    refused(machine, "sftpjail", "apply", FILE, says="/srv/web")
    machine.sh("mkdir /srv/web")
    before = snapshot(machine)
    hook = "/etc/sftpjail/hooks/user-create.d/killer"
    machine.write(hook, "#!/bin/sh\nkill -9 $PPID\nsleep 5\n", 0o755)
    assert machine.run("sftpjail", "apply", FILE, check=False).code == -9
    journal = machine.sh("cat /var/lib/sftpjail/journal; id u3").out
    assert "added-accounts" in journal and HASH not in journal
    machine.sh(f"rm -r $(dirname {hook}); sed -i '/^u3:/s/:1203:/:1999:/' /etc/passwd")
    recovered = machine.run("sftpjail", "apply")
    assert "stay as they are: somebody else has made them: u3" in recovered.err, recovered
    machine.sh("userdel u3; rm -rf /home/u3")
    assert changes(before, snapshot(machine)) == {}
    assert machine.sh("grep -c '^u[0-9]' /etc/passwd /etc/shadow /etc/group || :").out.split() == [
        "/etc/passwd:0",
        "/etc/shadow:0",
        "/etc/group:0",
    ]
    machine.run("sftpjail", "apply", FILE)
    assert machine.run("sftpjail", "check").out == "20 jails checked, no problems\n"
    machine.run("sftpjail", "undo", "--yes", "--force")
    assert machine.sh("grep -c '^u[0-9]' /etc/passwd || :").out == "0\n"


SYNCS = ("fsync", "fdatasync", "sync", "syncfs")
WRITES = ("write", "rename", "renameat", "renameat2")


def calls_of(machine: Machine, *argv: str) -> Counter[str]:
    """How often a command, and the programs that it starts, make which system calls."""
    machine.run("strace", "-f", "-qq", "-o", "/run/calls", *argv)
    return Counter(re.findall(r"(?m)^\d+ +(\w+)\(", machine.read("/run/calls")))


@pytest.mark.halved
def test_many_accounts_cost_no_more_each(machine: Machine) -> None:
    """Programs and fsyncs are as many for all; system calls grow with the accounts, and no more.

    To make them, when there is nothing to do, to stop in the middle of it, and to undo it.
    """
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\nhome = inside\nmounts = session\n")
    machine.sh("mkdir /srv/web")
    key, looks = key_of(machine, "key"), dict[int, int]()
    made, checked, undone = [list[Counter[str]]() for _ in range(3)]
    hook = "/etc/sftpjail/hooks/user-create.d/stop"
    sizes = (3, 40, 80)
    for number in sizes:
        names = [f"x{number}-{n}" for n in range(number)]
        rows = "".join(f"{name},{HASH},{key},/srv/web:/web,2099-12-31\n" for name in names)
        machine.write(FILE, f"name,password,keys,mounts,expires\n{rows}", 0o600)
        before = snapshot(machine)
        machine.write(hook, "#!/bin/sh\nkill -INT $PPID\nsleep 1\n", 0o755)
        opens = ("strace", "-qq", "-e", "trace=openat", "-o", "/run/opens")
        done = machine.run(*opens, "sftpjail", "apply", FILE, check=False)
        looks[number] = machine.read("/run/opens").count('"/etc/passwd"')
        assert done.code == 130 and "everything was put back" in done.err, done
        machine.sh("rm -r /etc/sftpjail/hooks/user-create.d")
        assert changes(before, snapshot(machine)) == {}
        made.append(calls_of(machine, "sftpjail", "apply", FILE))
        again(machine, "sftpjail", "apply", FILE)
        checked.append(calls_of(machine, "sftpjail", "apply", FILE))
        undone.append(calls_of(machine, "sftpjail", "undo", "--yes", "--force"))
    # One for each new name, to ask whether it is anybody's; what is put back needs none.
    assert all(count <= number + 10 for number, count in looks.items()), looks
    few, some, many = sizes
    for counts, most, written in ((made, 800, 8), (checked, 160, 0), (undone, 1200, 8)):
        assert len({one["execve"] for one in counts}) == 1, counts
        assert max(sum(one[name] for name in SYNCS) for one in counts) <= 60, counts
        writes = [sum(one[name] for name in WRITES) for one in counts]
        assert writes[2] - writes[1] <= written * (many - some) + 4, counts
        each = [counts[1].total() - counts[0].total(), counts[2].total() - counts[1].total()]
        steps = (each[0] / (some - few), each[1] / (many - some))
        assert steps[1] <= min(most, 1.5 * steps[0] + 10), (steps, counts)
    machine.run("sftpjail", "apply", FILE)
    works(machine, "x80-79", "/root/keys/key", "ls /web")


@pytest.mark.halved
def test_the_secrets_go_where_nobody_else_reads(machine: Machine) -> None:
    ready(machine)
    jail(machine, "ann")
    machine.run("chpasswd", "-e", input=f"ann:{HASH}\n")
    said = machine.sh("script -qec 'sftpjail export --secrets' /dev/null || :").out
    assert "not shown on a terminal" in said and HASH not in said
    machine.sh("sed -i 's/^\\(ann:[^:]*:[^:]*:[^:]*:\\)[^:]*/\\1Ann /' /etc/passwd")
    done = machine.sh("sftpjail export --secrets | cat")
    assert HASH in done.out and "ann: its comment is left out" in done.err, done
    said = machine.sh("sftpjail export --secrets | sftpjail apply -").out
    assert said.startswith("nothing to do: 1 account checked, all is as standard input says"), said
    machine.run("sftpjail", "export", "--output", FILE)
    refused(machine, "sftpjail", "export", "--output", FILE, says="exists already", code=2)
    assert HASH not in machine.read(FILE)
    machine.sh(f"cd /srv && sftpjail export --output here && cmp here {FILE}; chmod g+w here")
    said = refused(machine, "sftpjail", "apply", "/srv/here", says="can write it")
    assert "fix: chown 0:0 /srv/here && chmod 600 /srv/here" in said, said
    # A program reads it from a pipe, and says it to nobody: ps(1) sees each command line.
    machine.sh("sftpjail export --secrets >/root/all; sed -i s/marked/marker/ /root/all")
    machine.sh("chmod 600 /root/all")
    machine.run(
        "strace",
        "-f",
        "-qq",
        "-s",
        "999",
        "-e",
        "trace=execve",
        "-o",
        "/run/t",
        "sftpjail",
        "apply",
        "/root/all",
    )
    trace = machine.read("/run/t")
    assert "chpasswd" in trace and "marker" not in trace and "marked" not in trace


@pytest.mark.halved
def test_the_users_of_a_container_come_along(machine: Machine) -> None:
    ready(machine)
    key = machine.keygen("foo")
    machine.sh(f"mkdir -p /root/conf/foo; cp {key}.pub /root/conf/foo/id.pub")
    machine.write("/root/conf/users.conf", "foo:clear-text:1500:100:upload\nbar::1600\n")
    argv = ["sftpjail", "import", "--users-conf", "/root/conf/users.conf"]
    done = machine.run(*argv, "--keys", "/root/conf")
    assert "foo gets a group of its own, and not 100" in done.err, done
    assert "clear-text" not in done.out and "upload" in done.err, done
    machine.run("sftpjail", "apply", "-", input=done.out)
    assert machine.run("id", "-u", "foo").out == "1500\n"
    works(machine, "foo", key)
    assert machine.run("getent", "shadow", "foo").out.split(":")[1].startswith("$y$")
    answer = json.loads(machine.run(*argv, "--json").out)
    assert [one["user"] for one in answer["accounts"]] == ["foo", "bar"]
    machine.write("/root/conf/users.conf", "foo:pw:x\n")
    refused(machine, *argv, code=2, says="line 1: uid: it is not a number")

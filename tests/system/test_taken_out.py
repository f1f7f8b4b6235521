"""Members whom sshd does not jail: their group has another name now, or a Match block of others wins.

No jail, no login: they are shut out, and the reason is on each screen that names them.
"""

from __future__ import annotations

import json

import pytest
from machine import CONFIG, Machine
from steps import (
    QUIET,
    again,
    by_password,
    choice,
    jail,
    open_with_key,
    ready,
    refused,
    shut,
    works,
)

OTHERS = "/etc/ssh/sshd_config.d/05-ours.conf"


def patient(machine: Machine) -> None:
    """Many logins fail here."""
    machine.write("/etc/ssh/sshd_config.d/00-patience.conf", machine.patience())


def may_in(machine: Machine, name: str, key: str) -> list[str]:
    """By what an account can log in now, by key from its home too, outside of a jail or in it."""
    ways = ["password"] * (by_password(machine, name) == 0)
    done = machine.sftp(name, key, ["ls -1 /"])
    inside = "in the jail" if "/etc" not in done.out.split() else "outside"
    return ways + [f"key, {inside}"] * (done.code == 0)


def with_password(machine: Machine, name: str, key: str) -> None:
    """An account that could log in outside of its jail, by what is in its home."""
    machine.sh(f"echo {name}:pw | chpasswd")
    machine.sh(
        f"install -d -m 700 -o {name} /home/{name}/.ssh;"
        f"install -m 600 -o {name} {key}.pub /home/{name}/.ssh/authorized_keys"
    )


def rereading(machine: Machine, command: str) -> None:
    """Run a command that has sshd read its files anew; return when it listens again."""
    began = machine.run("date", "+%s.%N").out.strip()
    machine.sh(command)
    fresh = f'until [ -n "$(find /run/sshd.pid -newermt @{began})" ]; do sleep 0.05; done'
    machine.run("timeout", "60", "sh", "-c", fresh)


def state(machine: Machine, name: str) -> str:
    jails = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    return next((one["state"] for one in jails if one["user"] == name), "not listed")


def problems(machine: Machine, *names: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        machine.run("sftpjail", "check", "--json", *names, check=False).out
    )["problems"]
    return [one for one in found if one["severity"] != "advice"]


@pytest.mark.parametrize("kind", ["fstab", pytest.param("session", marks=pytest.mark.whole)])
def test_a_renamed_group_lets_nobody_out(machine: Machine, kind: str) -> None:
    patient(machine)
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\nmounts = {kind}\nshell = /bin/bash\n")
    keys = {name: jail(machine, name) for name in ("alice", "bob")}
    for name, key in keys.items():
        with_password(machine, name, key)
    machine.sh("useradd -m -G sudo admin; useradd -m carol; echo carol:pw | chpasswd")
    assert may_in(machine, "alice", keys["alice"]) == ["password", "key, in the jail"]
    again(machine, "sftpjail", "apply")
    machine.sh("groupmod -n sftp2 sftponly; usermod -aG sftp2 carol")
    assert may_in(machine, "alice", keys["alice"]) == ["password", "key, outside"], (
        "what it is about"
    )
    assert state(machine, "alice") == "open"
    (found,) = problems(machine)
    assert found["what"] == "the group sftponly is called sftp2 now", found
    assert found["severity"] == "open" and found["concerns"] == ["alice", "bob"]
    refused(machine, "sftpjail", "setup", says="the group sftponly is called sftp2 now")
    refused(machine, "sftpjail", "add", "dora", says="the group sftponly is called sftp2 now")
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and "whoever is in sftp2 is shut out until this is fixed" in done.err, (
        done
    )
    assert "groupmod -n sftponly sftp2" in done.err and done.err.count("is called") == 1, done
    for name, key in keys.items():
        assert may_in(machine, name, key) == []
        assert state(machine, name) == "closed"
        assert "the group sftponly is called sftp2 now" in machine.run("sftpjail", "show", name).out
    assert by_password(machine, "carol") == 0, "who was never jailed is a stranger"
    again_says = machine.run("sftpjail", "apply", check=False)
    assert again_says.code == 1 and "shut out until this is fixed" in again_says.err
    refused(machine, "sftpjail", "teardown", says="still jailed: alice, bob")
    # One of the choices.
    command = choice(done.err, "to give it its former name, which jails carol too")
    assert command, done
    machine.sh(command)
    works(machine, "alice", keys["alice"])
    assert may_in(machine, "bob", keys["bob"]) == ["password", "key, in the jail"]
    assert problems(machine) == []
    # The other one, and by `check --fix`.
    machine.sh("groupmod -n sftp3 sftponly")
    done = machine.run("sftpjail", "check", "--fix", check=False)
    assert done.code == 3 and may_in(machine, "bob", keys["bob"]) == []
    command = choice(done.out, "to have that name in the configuration")
    assert command, done
    rereading(machine, command)
    works(machine, "bob", keys["bob"])
    assert may_in(machine, "alice", keys["alice"]) == ["password", "key, in the jail"]
    assert "group = sftp3" in machine.read(CONFIG) and problems(machine) == []
    machine.run("getent", "group", "sftp3")
    again(machine, "sftpjail", "apply")


def test_a_renamed_user_of_match_user_is_not_let_out(machine: Machine) -> None:
    """sshd's Match User has the former name; her keys, and what jailed her, stay known."""
    patient(machine)
    profile = "[[guests]]\nmatch_user = mira,\nshell = /bin/bash\nmounts = fstab\n"
    machine.run("useradd", "-m", "mira")
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\n{profile}")
    machine.run("sftpjail", "apply")
    key = open_with_key(machine, "mira")
    with_password(machine, "mira", key)
    works(machine, "mira", key, "put /etc/hostname hers")
    machine.run("usermod", "-l", "miro", "mira")
    assert may_in(machine, "miro", key) == ["password", "key, outside"], "what it is about"
    assert state(machine, "miro") == "open"
    (found,) = problems(machine)
    assert "mira is called miro now" in str(found["what"]) and found["severity"] == "open", found
    refused(machine, "sftpjail", "remove", "miro", says="mira is called miro now")
    refused(machine, "sftpjail", "key", "add", "miro", f"{key}.pub", says="mira is called miro now")
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == 1 and "miro is shut out until this is fixed" in done.err, done
    assert may_in(machine, "miro", key) == [] and state(machine, "miro") == "closed"
    machine.run("sftpjail", "apply", check=False)
    refused(machine, "sftpjail", "teardown", says="still jailed: miro")
    (found,) = problems(machine)
    assert "shut out until this is fixed" in str(found["what"]), found
    rereading(machine, str(found["fix"]))
    works(machine, "miro", key, "ls hers")
    assert may_in(machine, "miro", key) == ["password", "key, in the jail"]
    assert problems(machine) == [] and "match_user = miro" in machine.read(CONFIG)
    again(machine, "sftpjail", "apply")


@pytest.mark.booted
def test_the_path_unit_closes_it(booted: Machine) -> None:
    """Nobody has to run anything: it takes as long as systemd takes to see the change."""
    patient(booted)
    ready(booted, f"{QUIET}[profiles]\n[[sftponly]]\nshell = /bin/bash\n")
    key = jail(booted, "alice")
    with_password(booted, "alice", key)
    until = "for n in $(seq 300); do sftpjail list | grep -qw {} && exit; sleep 0.2; done; exit 1"
    booted.sh(f"({until.format('ok')})", timeout=120)
    booted.sh("groupmod -n sftp2 sftponly")
    booted.sh(f"({until.format('closed')})", timeout=120)
    assert may_in(booted, "alice", key) == []
    booted.sh("groupmod -n sftponly sftp2")
    booted.sh(f"({until.format('ok')})", timeout=120)
    works(booted, "alice", key)


def foreign(machine: Machine, block: str) -> None:
    """Somebody else's block, above ours, that sshd has read before anybody is jailed."""
    machine.write(OTHERS, block)
    rereading(machine, "kill -HUP $(cat /run/sshd.pid)")


def test_adopt_asks_sshd_as_a_member(machine: Machine) -> None:
    """A Match block above ours, from before `setup` and after it, wins over ours."""
    patient(machine)
    machine.sh("groupadd staff2; mkdir /srv/elsewhere")
    machine.write(OTHERS, "Match Group staff2\n    ChrootDirectory none\n")
    ready(machine)
    key = machine.keygen("ann")
    machine.sh("useradd -m -G staff2 ann")
    with_password(machine, "ann", key)
    before = machine.run("id", "-Gn", "ann").out
    said = refused(machine, "sftpjail", "adopt", "ann", says=f"{OTHERS} takes ann out of its jail")
    assert "chrootdirectory none (Match Group staff2, line 2)" in said, said
    refused(machine, "sftpjail", "--dry-run", "adopt", "ann", says="takes ann out of its jail")
    assert machine.run("id", "-Gn", "ann").out == before
    # A new account whose own options put it into that group, and not into ours.
    said = refused(
        machine, "sftpjail", "add", "ben", "--", "-G", "staff2", says=f"{OTHERS} takes ben out"
    )
    assert machine.run("id", "ben", check=False).code == 1
    # By useradd it is there already: it is shut out.
    done = machine.run("useradd", "-m", "-G", "sftponly,staff2", "cid", check=False)
    with_password(machine, "cid", key)
    assert "takes cid out of its jail's settings" in done.err, done
    assert may_in(machine, "cid", key) == [] and state(machine, "cid") == "closed"
    machine.sh("useradd -m -G staff2 dan")
    with_password(machine, "dan", key)
    machine.sh("usermod -aG sftponly dan")
    assert may_in(machine, "dan", key) != []
    machine.run("sftpjail", "apply", check=False)
    assert may_in(machine, "dan", key) == []
    # Others are jailed as ever, and with the printed command these are too.
    works(machine, "eva", jail(machine, "eva"))
    rereading(machine, said.partition("fix: ")[2].splitlines()[0])
    machine.run("sftpjail", "adopt", "ann")
    assert may_in(machine, "ann", key) == ["password", "key, in the jail"]
    machine.run("sftpjail", "apply")
    for name in ("cid", "dan"):
        machine.run("sftpjail", "key", "add", name, f"{key}.pub")
        works(machine, name, key)
    assert problems(machine) == []


def test_a_block_that_names_another_chroot(machine: Machine) -> None:
    patient(machine)
    ready(machine)
    machine.sh("mkdir /srv/elsewhere; useradd -m fay; useradd -m gus")
    key = machine.keygen("fay")
    foreign(machine, "Match User fay,gus\n    ChrootDirectory /srv/elsewhere\n")
    said = refused(machine, "sftpjail", "adopt", "fay", says="chrootdirectory /srv/elsewhere")
    assert f"{OTHERS} takes fay out" in said and "line 2" in said, said
    with_password(machine, "gus", key)
    machine.sh("usermod -aG sftponly gus")
    machine.run("sftpjail", "apply", check=False)
    shut(machine, "gus", key)
    assert by_password(machine, "gus") != 0 and state(machine, "gus") == "closed"

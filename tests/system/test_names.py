"""Members whose names sftpjail does not take, and members that stand in no file of passwd(5)'s kind."""

from __future__ import annotations

import json

import pytest
from machine import Machine
from steps import QUIET, jail, open_with_key, ready, refused, works

NAMES = ("a+b", "john doe", "Jürgen", "CORP\\bob")
IN_HOME = f"[profiles]\n[[sftponly]]\nchroot = %h\n{QUIET}"


def states(machine: Machine) -> dict[str, str]:
    jails = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    return {jail["user"]: jail["state"] for jail in jails}


def member(machine: Machine, name: str, uid: int, home: str) -> None:
    """A line of passwd(5) as some tool or directory writes it; useradd refuses such names."""
    machine.append("/etc/passwd", f"{name}:x:{uid}:{uid}::{home}:/bin/sh\n")
    machine.append("/etc/shadow", f"{name}:*:20000:0:99999:7:::\n")
    group = machine.sh("getent group sftponly").out.strip()
    joined = f"{group}{'' if group.endswith(':') else ','}{name}"
    text = machine.read("/etc/group").replace(group, joined)
    machine.write("/etc/group", text)


@pytest.mark.halved
def test_members_whose_names_are_not_taken_are_named(machine: Machine) -> None:
    """They have no jail, so that sshd refuses them; every command that is about all of them says so."""
    ready(machine)
    ann = jail(machine, "ann")
    done = machine.run("useradd", "--badname", "-m", "-G", "sftponly", NAMES[0])
    assert "a+b is in the group sftponly and gets no jail" in done.err, done
    machine.run("useradd", "--badname", "-m", "x+y")  # nobody's business
    for number, name in enumerate(NAMES[1:]):
        member(machine, name, 5000 + number, f"/home/{number}")
    shown = ("a+b", '"john doe"', "Jürgen", '"CORP\\\\bob"')
    for command, code in (("apply", 1), ("setup", 1), ("check", 3)):
        done = machine.run("sftpjail", command, check=False)
        assert done.code == code, done
        missing = [name for name in shown if f"{name} is in the group" not in done.out + done.err]
        assert not missing and "x+y" not in done.out + done.err, (missing, done)
    assert states(machine) == {"ann": "ok", **dict.fromkeys(NAMES, "closed")}
    key = machine.keygen("a+b")
    machine.write("/etc/ssh/authorized_keys/a+b", machine.read(f"{key}.pub"), 0o644)
    assert machine.sftp("a+b", key, "pwd").code == 255
    works(machine, "ann", ann)
    machine.run("sftpjail", "remove", "ann")
    refused(machine, "sftpjail", "teardown", says="would be an ordinary account")


@pytest.mark.halved
def test_one_whom_sshd_would_let_in_is_shut_out(machine: Machine) -> None:
    ready(machine, IN_HOME)
    machine.run("useradd", "--badname", "-M", "-d", "/etc", "-G", "sftponly", "a+b")
    assert machine.run("getent", "shadow", "a+b").out.split(":")[7] == "1"
    member(machine, "john doe", 5000, "/")
    assert states(machine)["john doe"] == "open"
    done = machine.run("sftpjail", "apply", check=False)
    assert '"john doe" is shut out until this is fixed' in done.err.replace(
        "john doe is", '"john doe" is'
    ), done
    assert set(states(machine).values()) == {"closed"}


@pytest.mark.directory
def test_members_from_userdb_are_jailed(machine: Machine) -> None:
    """systemd's drop-in records: no line of passwd(5) or group(5) tells of them, and sshd knows them."""
    machine.sh("sed -Ei 's/^(passwd|group|shadow):.*/\\1: files systemd/' /etc/nsswitch.conf")
    ready(machine)
    user = {"userName": "zoe", "uid": 70001, "gid": 70001, "homeDirectory": "/home/zoe"}
    machine.write("/etc/userdb/zoe.user", json.dumps(user | {"disposition": "regular"}))
    machine.write("/etc/userdb/zoe.group", json.dumps({"groupName": "zoe", "gid": 70001}))
    machine.sh("cd /etc/userdb; ln -s zoe.user 70001.user; ln -s zoe.group 70001.group")
    machine.write("/etc/userdb/zoe:sftponly.membership", "{}")
    assert "sftponly" in machine.run("id", "zoe").out
    assert states(machine) == {"zoe": "closed"}
    assert "/srv/sftp/zoe is missing" in machine.run("sftpjail", "check", check=False).out
    machine.run("sftpjail", "apply")
    works(machine, "zoe", open_with_key(machine, "zoe"))
    machine.sh("rm /etc/userdb/*zoe* /etc/userdb/70001.*")
    machine.run("sftpjail", "apply", "--prune")
    assert states(machine) == {}

"""`test --live`: the sshd that runs is asked, by a key that it refuses two minutes later by itself."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from machine import Machine
from steps import QUIET, jail, ready, refused, running, works

pytestmark = pytest.mark.halved

KEYS = "/etc/ssh/authorized_keys/alice"


def asked(machine: Machine, *users: str, code: int = 0) -> list[dict[str, Any]]:
    """What a live test says of accounts."""
    done = machine.run("sftpjail", "--json", "test", "--live", *users, check=False)
    assert done.code == code, done
    found: list[dict[str, Any]] = json.loads(done.out)["tests"]
    return found


def test_a_good_jail(machine: Machine) -> None:
    """The sshd that runs takes the key; afterwards the key file is what it was, and nothing lies about."""
    machine.start_sshd("-E", "/run/sshd.log")
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET)
    machine.run("sftpjail", "setup")
    key = jail(machine, "alice")
    before = (
        machine.read(KEYS),
        machine.run("ls", "-A", "/tmp", "/root/.ssh", check=False).out,
    )
    done = machine.run("sftpjail", "test", "--live", "alice")
    pid = machine.read("/run/sshd.pid").strip()
    said = f"ok      has read its configuration: sshd on port 2222 (pid {pid}), at 127.0.0.1:2222"
    assert done.out.startswith(said), done
    assert re.search(r"(?m)^alice: 12 of 12 ok$", done.out), done
    assert "not asked: no user manager, no terminal, no TCP forwarding" in done.out
    assert machine.read("/run/sshd.log").count("Accepted publickey for alice from 127.0.0.1") == 2
    assert "Failed" not in machine.read("/run/sshd.log")
    assert machine.read(KEYS) == before[0]
    assert machine.run("ls", "-A", "/tmp", "/root/.ssh", check=False).out == before[1]
    assert "sftpjail-test" not in machine.run("ls", "/run").out
    works(machine, "alice", key)
    (found,) = asked(machine, "alice")
    assert found["ok"] and found["sshd"].startswith("sshd on port 2222") and found["not_asked"]
    plain = machine.run("sftpjail", "test", "alice").out
    assert "not asked: the sshd that runs; that is what sftpjail test --live alice does" in plain


def test_a_stale_sshd_fails_unasked(machine: Machine) -> None:
    """What the private sshd of `test` cannot see."""
    machine.start_sshd("-E", "/run/sshd.log")
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET)
    machine.run("sftpjail", "setup")
    jail(machine, "alice")
    machine.sh("cd /etc/ssh/sshd_config.d; mv 10-sftpjail.conf /root")
    machine.restart_sshd("-E", "/run/sshd.log")
    machine.sh("cp -a /root/10-sftpjail.conf /etc/ssh/sshd_config.d/")
    machine.sh(": >/run/sshd.log")
    machine.run("sftpjail", "test", "alice")
    (found,) = asked(machine, "alice", code=3)
    assert "has not read" in found["probes"][0]["words"] and not found["ok"]
    assert "alice" not in machine.read("/run/sshd.log")
    assert "sftpjail test" not in machine.read(KEYS)


def test_one_refusal_is_the_last(machine: Machine) -> None:
    """Two accounts whom PAM refuses, or sshd: one failed login, and no address is shut out."""
    machine.start_sshd("-E", "/run/sshd.log")
    machine.write("/etc/sftpjail/sftpjail.conf", QUIET)
    machine.run("sftpjail", "setup")
    key = jail(machine, "alice")
    jail(machine, "bob")
    machine.write("/etc/ssh/sshd_config.d/05-admin.conf", "DenyUsers bob eve\n")
    machine.run("useradd", "-m", "-G", "sftponly", "eve")
    machine.sh("pid=$(cat /run/sshd.pid); rm /run/sshd.pid; kill -HUP $pid")
    machine.wait_for("/run/sshd.pid", r"\d")
    first, second, third = asked(machine, "alice", "bob", "eve", code=3)
    assert first["ok"] and not second["ok"] and not third["ok"]
    assert third["probes"][0]["words"].startswith("not run: sshd has refused the key of bob")
    assert "User eve" not in machine.read("/run/sshd.log")
    works(machine, "alice", key)


def test_killed_in_the_middle(machine: Machine) -> None:
    """sshd itself refuses the key that stays, check tells of it, and the next test takes it out."""
    ready(machine)
    key = jail(machine, "alice")
    machine.sh("pid=$(cat /run/sshd.pid); kill -STOP $pid")
    command = "echo $$ >/run/test.pid; exec sftpjail test --live alice"
    with running(machine, "sh", "-c", command):
        line = machine.wait_for(KEYS, r"sftpjail test --live")
        machine.sh("kill -KILL $(cat /run/test.pid)")
    machine.sh("pid=$(cat /run/sshd.pid); kill -CONT $pid")
    (left,) = [one for one in line.splitlines() if "test --live" in one]
    options = re.match(r'restrict,from="127\.0\.0\.1",expiry-time="(\d{14})Z" (ssh|ecdsa)-', left)
    assert options, left
    until = time.strptime(options[1] + "UTC", "%Y%m%d%H%M%S%Z")
    assert 0 < time.mktime(until) - time.timezone - time.time() <= 121
    listed = machine.run("sftpjail", "key", "list", "alice").out
    assert "sftpjail test --live" in listed and "expiry-time" in listed
    # As it is two minutes later.
    machine.sh(f"sed -i 's/expiry-time=\"20/expiry-time=\"19/' {KEYS}")
    done = machine.run("sftpjail", "check")
    assert "key of an earlier sftpjail test --live" in done.out, done
    machine.run("sftpjail", "test", "--live", "alice")
    assert "test --live" not in machine.read(KEYS)
    works(machine, "alice", key)


def test_refused_where_no_key_can_do(machine: Machine) -> None:
    ready(machine)
    jail(machine, "alice")
    for line, says in (
        ("PubkeyAuthentication no", "sshd takes no key at all"),
        ("AuthenticationMethods publickey,password", "a key is not enough"),
        ("Match Group sftponly\n    AuthorizedKeysFile none", "sshd does not read"),
    ):
        machine.write("/etc/ssh/sshd_config.d/05-admin.conf", f"{line}\n")
        machine.sh("pid=$(cat /run/sshd.pid); rm /run/sshd.pid; kill -HUP $pid")
        machine.wait_for("/run/sshd.pid", r"\d")
        refused(machine, "sftpjail", "test", "--live", "alice", says=says)

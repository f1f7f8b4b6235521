"""How many sessions an account may have at once: counted over living processes."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
from machine import Machine
from steps import CONFIG, QUIET, jail, ready, refused, session, works


def one_more(machine: Machine, name: str, key: str) -> bool:
    done = machine.sftp(name, key, ["pwd"])
    assert done.code in (0, 255), done
    return done.code == 0


@pytest.mark.parametrize("mounts", ["fstab", pytest.param("session", marks=pytest.mark.halved)])
def test_sessions_at_once_are_counted(machine: Machine, mounts: str) -> None:
    profile = f"{QUIET}[profiles]\n[[sftponly]]\nmounts = {mounts}\n"
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
    ready(machine, f"{profile}connections = 2\n")
    key = jail(machine, "ann")
    other = jail(machine, "bob")
    machine.run("useradd", "-m", "eve")
    with ExitStack() as opened:
        for _ in range(2):
            opened.enter_context(session(machine, "ann", key, "/"))
        assert not one_more(machine, "ann", key)
        works(machine, "bob", other)
        machine.run("sftpjail", "set", "ann", "--connections", "3")
        works(machine, "ann", key)
        # What was noted down does not count, what lives does.
        machine.sh("rm -r /run/sftpjail/sessions; sftpjail set ann --connections 2")
        assert not one_more(machine, "ann", key)
        machine.sh("printf '1 1\\n999999 5\\nrubbish\\n' >/run/sftpjail/sessions/$(id -u bob)")
        works(machine, "bob", other)
        machine.run("sftpjail", "set", "ann", "--connections", "1")
    # None of them is left, however it ended.
    assert machine.sh("while pgrep -u ann >/dev/null; do sleep 0.1; done", timeout=20).out == ""
    works(machine, "ann", key)
    works(machine, "ann", key)
    (found, _) = json.loads(machine.run("sftpjail", "--json", "list").out)["jails"]
    assert (found["user"], found["connections"]) == ("ann", 1)
    assert "connections\t1\n" in machine.run("sftpjail", "show", "ann").out
    assert "ok" in machine.run("sftpjail", "test", "ann").out
    assert machine.run("sftpjail", "check").out == "2 jails checked, no problems\n"
    machine.run("sftpjail", "undo")
    assert "user ann 2\n" in machine.read("/etc/sftpjail/connections")
    refused(machine, "sftpjail", "set", "ann", "--connections", "many", code=2)
    machine.run("userdel", "ann")
    assert not machine.exists("/etc/sftpjail/connections")


@pytest.mark.halved
def test_where_nothing_counts_it_is_said(machine: Machine) -> None:
    profile = f"{QUIET}[profiles]\n[[sftponly]]\nmounts = fstab\n"
    ready(machine, profile)
    key = jail(machine, "ann", "-p", "*")
    words = refused(machine, "sftpjail", "set", "ann", "--connections", "1")
    assert "nothing counts the sessions of ann" in words and "connections = 100" in words, words
    machine.write(CONFIG, f"{profile}connections = 9\n")
    machine.run("sftpjail", "setup")
    machine.run("sftpjail", "set", "ann", "--connections", "1")
    machine.write(CONFIG, profile)
    machine.run("sftpjail", "setup")
    said = machine.run("sftpjail", "check", check=False)
    assert said.code == 3 and "nothing counts the sessions of ann" in said.out + said.err, said
    machine.run("sftpjail", "set", "ann", "--connections", "0")
    machine.write("/etc/ssh/sshd_config.d/00-test.conf", "UsePAM no\n")
    machine.write(CONFIG, f"{profile}connections = 9\n")
    words = refused(machine, "sftpjail", "setup")
    assert "connections = 9 need PAM, and sshd runs with UsePAM no" in words, words
    works(machine, "ann", key)

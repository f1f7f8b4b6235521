"""history and undo on a host: who did what, also when a command was killed, and after a teardown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from machine import Machine
from steps import jail, killed, ready, shut, web, works

pytestmark = pytest.mark.halved

DIRECTORY = "/var/lib/sftpjail/history"


def transactions(machine: Machine, *words: str) -> list[dict[str, Any]]:
    answer = json.loads(machine.run("sftpjail", "--json", "history", *words).out)
    found: list[dict[str, Any]] = answer["transactions"]
    return found


def test_an_entry_is_there_exactly_when_its_change_is(machine: Machine) -> None:
    ready(machine)
    web(machine)
    jail(machine, "alice")
    machine.run("sftpjail", "mount", "alice", "/srv/web", "/web")
    before = transactions(machine)
    assert [(entry["who"]["how"], entry["command"]) for entry in before] == [
        ("command", "setup"),
        ("useradd", "hook useradd-post"),
        ("command", "key add"),
        ("command", "mount"),
    ]
    killed(machine, "unmount", "sftpjail", "umount", "alice", "/web")
    assert transactions(machine) == before
    machine.run("sftpjail", "key", "remove", "alice", "nobody's", check=False)
    assert transactions(machine) == before and machine.exists("/srv/sftp/alice/web/example.com")
    assert machine.mode(DIRECTORY) == "root:root 700"
    assert set(machine.sh(f"stat -c '%U %a' {DIRECTORY}/*").out.splitlines()) == {"root 600"}
    blob = machine.read("/root/keys/alice.pub").split()[1]
    assert blob in machine.sh(f"cat {DIRECTORY}/*").out
    assert blob not in machine.run("sftpjail", "--json", "history").out
    # It stays after a teardown, and is numbered on.
    machine.run("sftpjail", "remove", "alice")
    machine.run("sftpjail", "teardown")
    assert machine.run("ls", "-A", "/var/lib/sftpjail").out == "history\n"
    machine.run("sftpjail", "setup")
    after = transactions(machine)
    assert after[: len(before)] == before
    assert [entry["id"] for entry in after] == list(range(1, len(after) + 1))
    assert "the history fits together" in machine.run("sftpjail", "history", "--verify").out
    machine.sh(f"sed -i 's/hook useradd-post/hook userdel-post/' {DIRECTORY}/*")
    assert machine.run("sftpjail", "history", "--verify", check=False).code == 3


def test_undo_lets_in_and_shuts_out(machine: Machine) -> None:
    ready(machine)
    web(machine)
    key = jail(machine, "alice")
    machine.run("sftpjail", "undo")
    shut(machine, "alice", key)
    refusal = machine.run("sftpjail", "undo", check=False)
    assert refusal.code == 2 and "it reopens access: alice can log in again" in refusal.err
    shut(machine, "alice", key)
    machine.run("sftpjail", "undo", "--yes")
    works(machine, "alice", key)
    machine.run("sftpjail", "mount", "alice", "/srv/web", "/web")
    works(machine, "alice", key, "ls /web/example.com")
    machine.run("sftpjail", "undo")
    assert machine.sftp("alice", key, ["ls /web"]).code != 0


def test_a_login_that_makes_a_jail_is_in_the_history(machine: Machine) -> None:
    ready(machine)
    machine.sh("useradd -m bob; usermod -aG sftponly bob; sftpjail hook pam-session bob")
    last = transactions(machine)[-1]
    assert (last["who"]["how"], last["command"]) == ("PAM", "hook pam-session")


@pytest.mark.booted
def test_each_head_goes_to_the_journal(booted: Machine) -> None:
    booted.run("sftpjail", "setup")
    booted.run("useradd", "-m", "-G", "sftponly", "alice")
    head = json.loads(booted.run("sftpjail", "--json", "history", "--verify").out)["head"]
    said = booted.sh(f"journalctl --sync; journalctl -o json SFTPJAIL_HEAD={head}").out
    assert json.loads(said)["SFTPJAIL_ID"] == str(transactions(booted)[-1]["id"])

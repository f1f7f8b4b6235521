"""Twenty hosts that are right but for one door: `check` or `test` exits 3 and names the door, each."""

from __future__ import annotations

import re
import time

import pytest
from machine import Machine
from opened import DOORS, PROFILE, Door
from steps import QUIET, jail, ready, web


def named(machine: Machine, door: Door, all_of_them: bool = True) -> str:
    """Who names the open door, "" if nobody does; asked until one does, or all of them."""
    asked = {"check": ("sftpjail", "check"), "test": ("sftpjail", "test", "alice")}
    found = []
    for command, argv in asked.items():
        done = machine.run(*argv, check=False)
        if done.code == 3 and re.search(door.says, done.out, re.IGNORECASE):
            found.append(command)
            if not all_of_them:
                break
    return " and ".join(found)


def reload(machine: Machine) -> None:
    """sshd reads what was changed, so that nothing is said about that."""
    before = machine.sh("stat -c %Y%y /run/sshd.pid").out
    machine.sh("kill -HUP $(cat /run/sshd.pid)")
    deadline = time.monotonic() + 5
    while (
        machine.sh("stat -c %Y%y /run/sshd.pid 2>/dev/null || :").out in (before, "")
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)


def test_each_open_door_is_named(
    machine: Machine, thorough: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\n{PROFILE}")
    jail(machine, "alice")
    machine.run("sftpjail", "mount", "alice", web(machine), "/web")
    machine.run("sftpjail", "mount", "--read-only", "alice", web(machine, "/srv/media"), "/media")
    shut = Door("none", lambda _: None, ".", lambda _: None)
    assert named(machine, shut) == "", "the host is right before"
    by: dict[str, str] = {}
    for door in DOORS:
        door.opens(machine)
        reload(machine)
        by[door.name] = named(machine, door, thorough)
        door.shuts(machine)
        reload(machine)
    assert named(machine, shut) == "", "the host is right again"
    with capsys.disabled():
        print(f"\ndoors: {sum(bool(who) for who in by.values())} of {len(DOORS)} named")
    assert [name for name, who in by.items() if not who] == []
    assert len(DOORS) == 20

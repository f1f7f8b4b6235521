"""Who is in a jail now: real sessions, with mounts in fstab and for each session."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from machine import Machine
from steps import QUIET, jail, ready, refused, running, session

SESSION = f"{QUIET}[profiles]\n[[sftponly]]\nmounts = session\n"


def inside(machine: Machine, *users: str) -> list[dict[str, Any]]:
    return list(json.loads(machine.run("sftpjail", "--json", "who", *users).out)["sessions"])


def until_moving(machine: Machine, user: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for found in inside(machine, user):
            if found["files"] and found["files"][0]["position"]:
                return found
        time.sleep(0.1)
    raise AssertionError(inside(machine))


@pytest.mark.parametrize("config", [QUIET, SESSION], ids=["fstab", "session"])
def test_who_is_in_and_what_moves(machine: Machine, config: str) -> None:
    ready(machine, config)
    ann, bob = jail(machine, "ann"), jail(machine, "bob")
    assert machine.run("sftpjail", "who").out == "no session\n"
    before = int(time.time())
    machine.sh("head -c 2M /dev/zero >/root/upload; install -o bob /root/upload /home/bob/download")
    client = ["sftp", "-l", "800", *machine._client(ann, "-P"), "ann@127.0.0.1"]
    with running(machine, *client) as process, session(machine, "bob", bob, "/home/bob"):
        assert process.stdin
        process.stdin.write("put /root/upload sub\n")
        moving = until_moving(machine, "ann")
        (file,) = moving["files"]
        assert (file["path"], file["up"]) == ("/home/ann/sub", True), moving
        assert file["position"] <= 2 << 20 and moving["from"] == "127.0.0.1", moving
        assert moving["port"] > 1023 and before - 2 <= moving["since"] <= time.time() + 2
        # The process is internal-sftp's, and sshd's own is root's part of the connection.
        owners = machine.run("ps", "-o", "user=", "-p", f"{moving['pid']},{moving['sshd']}").out
        assert sorted(owners.split()) == ["ann", "root"]
        assert {one["user"] for one in inside(machine)} == {"ann", "bob"}
        rows = [line.split("\t") for line in machine.run("sftpjail", "who").out.splitlines()]
        (row,) = [row for row in rows if row[0] == "ann"]
        assert row[2] == "127.0.0.1" and row[4] == "put" and row[6] == "/home/ann/sub", row
        (row,) = [row for row in rows if row[0] == "bob"]
        assert row[4:] == ["-", "-", "-"], row
        machine.run("sftpjail", "kick", "ann")
        assert [one["user"] for one in inside(machine)] == ["bob"]
    refused(machine, "sftpjail", "who", "root", says="is not jailed")

"""What people see on a terminal: narrow and wide, without colours, in a locale without boxes."""

from __future__ import annotations

import json
import re

import pytest
from machine import Machine
from steps import jail, ready

COLOUR = re.compile(r"\x1b\[(?:\d;)?3\dm")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
LONG = "averylongaccountname-of-customer"


def screen(machine: Machine, command: str, columns: int = 80, **env: str) -> str:
    """What a command draws on a terminal, with its escapes."""
    inside = f"stty cols {columns} rows 24; sftpjail {command}"
    settings = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **env}
    done = machine.run("script", "-qec", inside, "/dev/null", check=False, env=settings)
    return done.out.replace("\r", "")


def lines(drawn: str, columns: int) -> list[str]:
    """The lines of a screen without escapes; none is wider."""
    found = ESCAPES.sub("", drawn).splitlines()
    assert max(map(len, found)) <= columns, found
    return found


@pytest.mark.halved
def test_the_screens_at_each_width(machine: Machine) -> None:
    ready(machine)
    empty = machine.run("sftpjail", "list")
    assert (empty.out, empty.err) == ("", "sftpjail: no account is jailed\n")
    key = jail(machine, "alice")
    jail(machine, LONG)
    machine.sh("mkdir /srv/web; chown alice /srv/web; sftpjail mount alice /srv/web /web")
    machine.sh(
        f"sed -i 's/^/from=\"10.0.0.0\\/8,192.168.0.0\\/16\" /; s/$/ the key of {'w ' * 40}/' {key}.pub"
    )
    machine.run("sftpjail", "key", "remove", "alice", "alice")
    machine.run("sftpjail", "key", "add", "alice", f"{key}.pub")
    fingerprint = machine.run("ssh-keygen", "-lf", key).out.split()[1]
    machine.sh(
        f"chmod g+w /srv/sftp; chmod 666 /etc/ssh/authorized_keys/{LONG}; umount /srv/sftp/alice/web"
    )
    assert "\x1b" not in machine.run("sftpjail", "check", check=False).out
    problems = json.loads(machine.run("sftpjail", "--json", "check", check=False).out)["problems"]
    words = {word for one in problems for word in f"{one['what']} {one['why']}".split()}
    for columns in (80, 200):
        drawn = {
            command: screen(machine, command, columns)
            for command in ("list", "key list alice", "explain alice", "check")
        }
        rows = lines(drawn["list"], columns)
        assert rows[0].split() == ["USER", "PROFILE", "JAIL", "KEYS", "MOUNTS", "STATE"]
        assert rows[1].split()[3:] == ["1", "1", "closed"] and rows[2].split()[0] == LONG
        for command in ("key list alice", "explain alice"):
            shown = lines(drawn[command], columns)
            assert sum(fingerprint in line.split() for line in shown) == 1, shown
        shown = lines(drawn["check"], columns)
        assert words <= set(" ".join(shown).split()), shown
        assert COLOUR.search(drawn["check"]) and COLOUR.search(drawn["explain alice"])
    plain = screen(machine, "check", NO_COLOR="1") + screen(machine, "explain alice", NO_COLOR="1")
    assert not COLOUR.search(plain) and "fix: chmod go-w /srv/sftp\n" in ESCAPES.sub("", plain)
    for command in ("list", "key list alice", "explain alice", "check", "show alice"):
        assert screen(machine, command, LC_ALL="POSIX").isascii()

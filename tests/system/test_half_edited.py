"""What somebody left half done in a file of one account's keeps no other account from being made, judged or fixed."""

from __future__ import annotations

import pytest
from machine import Machine
from steps import QUIET, fstab, jail, ready, web, works

pytestmark = pytest.mark.halved

RECORD = "/var/lib/sftpjail/accounts/alice"
JOURNAL = "/var/lib/sftpjail/journal"


def two(machine: Machine) -> str:
    """Alice, whose things are to be broken, and bob, whose mount is gone: apply is to bring that back."""
    ready(machine, QUIET)
    web(machine)
    jail(machine, "alice")
    key = jail(machine, "bob")
    machine.run("sftpjail", "mount", "bob", "/srv/web", "/web")
    machine.run("umount", "/srv/sftp/bob/web")
    return key


def bob_is_fixed(machine: Machine, key: str) -> None:
    works(machine, "bob", key, "ls /web/example.com/index.html")


def commands(out: str) -> list[str]:
    return [line.partition("fix: ")[2] for line in out.splitlines() if "  fix: " in line]


@pytest.mark.parametrize("text", ['{"made": ["/srv', "[]", '{"made": 3}', "\x00"])
@pytest.mark.parametrize("jailed", [True, False], ids=["jailed", "left the group"])
def test_a_damaged_record(machine: Machine, text: str, jailed: bool) -> None:
    key = two(machine)
    machine.write(RECORD, text)
    if not jailed:
        machine.run("gpasswd", "-d", "alice", "sftponly")
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3 and "bob" in done.out and f"{RECORD} is damaged" in done.out, done
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code == (1 if jailed else 0), done
    bob_is_fixed(machine, key)
    for command in commands(machine.run("sftpjail", "check", check=False).out):
        machine.sh(command)
    done = machine.run("sftpjail", "apply", "--prune", "--yes")
    assert fstab(machine, "alice") if jailed else not fstab(machine, "alice")
    assert "damaged" not in machine.run("sftpjail", "check", check=False).out


def test_a_mark_of_nobody_in_fstab(machine: Machine) -> None:
    key = two(machine)
    strange = "/srv/web /srv/sftp/../../etc/x none noauto,bind,x-sftpjail.user=../x 0 0\n"
    machine.append("/etc/fstab", strange)
    done = machine.run("sftpjail", "check", check=False)
    assert done.code == 3 and "'../x', which is no account's name" in done.out, done
    machine.run("sftpjail", "apply", "--prune")
    bob_is_fixed(machine, key)
    assert strange in machine.read("/etc/fstab")
    for command in commands(machine.run("sftpjail", "check", check=False).out):
        machine.sh(command)
    assert machine.run("sftpjail", "check").out == "2 jails checked, no problems\n"


@pytest.mark.parametrize(
    "line", ["5", "null", "[1]", '"op"', '{"op": "nope", "path": "/etc/x"}', '{"op": "file"}']
)
def test_a_journal_that_is_not_ours(machine: Machine, line: str) -> None:
    two(machine)
    machine.write(JOURNAL, f"{line}\n")
    done = machine.run("sftpjail", "apply", check=False)
    assert done.code in (1, 4) and JOURNAL in done.err and "a bug" not in done.err, done
    assert machine.read(JOURNAL) == f"{line}\n"


def test_a_file_that_is_no_keys_is_told_in_a_few_words(machine: Machine) -> None:
    two(machine)
    machine.run("sh", "-c", "head -c 100000 /dev/urandom >/root/noise")
    done = machine.run("sftpjail", "key", "add", "alice", "/root/noise", check=False)
    assert done.code == 1 and "more" in done.err and len(done.err) < 2000, done

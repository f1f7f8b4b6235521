"""Every command that changes something is in the history, and its undo restores the host or says why not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from machine import Machine, changes
from steps import CONFIG, QUIET, jail, ready, refused, snapshot, web

pytestmark = pytest.mark.halved
HASH = "$6$salt$0123456789abcdef0123456789abcdef"
# A file system of its own, since the sandbox's overlay cannot map owners.
SITE = (
    "mkdir /srv/site; mount -t tmpfs -o mode=755,nosuid none /srv/site; mkdir /srv/site/a;"
    " chown www-data:www-data /srv/site/a"
)


FILE = (
    "printf '%s\\n' name,comment,expires alice,Alice,2099-12-31 >/root/accounts.csv;"
    " chmod 600 /root/accounts.csv"
)


# A jailed account whose keys lie in its home.
OLD_KEYS = (
    "sftpjail adopt bob; install -d -m 700 -o bob -g bob /home/bob/.ssh;"
    " install -m 600 -o bob -g bob /root/keys/more.pub /home/bob/.ssh/authorized_keys"
)
# Jails made by hand, and where they let in.
BY_HAND = (
    "groupadd customers; useradd -m -s /usr/sbin/nologin -G customers ann; chown root: /home/ann;"
    " chmod 755 /home/ann; install -d -o ann -g ann /home/ann/up /home/ann/.ssh;"
    " printf 'Match Group customers\\n    ChrootDirectory %%h\\n    ForceCommand internal-sftp\\n"
    "    AllowTcpForwarding no\\n    X11Forwarding no\\n' >>/etc/ssh/sshd_config; kill -HUP $(cat /run/sshd.pid)"
)


@dataclass(frozen=True)
class Row:
    """A command, what its entry in the history says, and what its undo wants or why that refuses.

    `first` are lines of sh(1) that run before, and `last` those that put away what the row has left.
    Where undo refuses whatever one says, `undo` is None. What `stays` are the beginnings of paths.
    """

    does: str
    entry: str
    undo: str | None = ""
    refuses: str = ""
    first: str = ":"
    last: str = ":"
    stdin: str | None = None
    stays: tuple[str, ...] = ()


REOPENS = "it reopens access"
ROWS = (
    Row("key add alice /root/keys/more.pub", "alice can log in with SHA256:"),
    Row("key remove alice alice", "alice can no longer log in with SHA256:", "--yes", REOPENS),
    Row(
        "key replace alice alice /root/keys/more.pub",
        "alice can no longer log in with SHA256:",
        "--yes",
        REOPENS,
    ),
    Row(
        "key migrate bob",
        "bob has the keys of its home in the new place",
        first=OLD_KEYS,
        last="sftpjail remove bob; rm -r /home/bob/.ssh",
    ),
    Row("mount alice /srv/web /a/b", "alice sees /srv/web at /a/b"),
    Row(
        "mount alice /srv/site/a /w --as www-data",
        "alice sees /srv/site/a at /w, the files of 33:33 as its own",
    ),
    Row(
        "umount alice /web",
        "alice no longer sees /srv/web at /web",
        first="sftpjail mount alice /srv/web /web",
        last="sftpjail umount alice /web",
    ),
    Row("disable alice --reason left", "alice is disabled", "--yes", REOPENS),
    Row(
        "enable alice",
        "alice is enabled again",
        first="sftpjail disable alice --reason left",
        last="sftpjail enable alice",
    ),
    Row("set alice --expires 2099-12-31", "alice"),
    Row("set alice --from 127.0.0.0/8", "alice", "--yes", "alice can log in from any address"),
    Row("set alice --connections 3", "alice"),
    Row("set alice --retention /home/alice=30d", "alice keeps the files of /home/alice for 30d"),
    Row("set alice --keep-active", "alice"),
    Row("set alice --password", "alice", None, "the history has no other", stdin=f"{HASH}\n"),
    Row("set alice --no-password", "alice", None, "the history has no other"),
    Row(
        "add eve --key /root/keys/more.pub",
        "eve is jailed",
        "--force",
        last="rm -rf /home/eve",
        stays=("/home/eve",),
    ),
    Row("adopt bob", "bob is jailed", "--yes", REOPENS),
    Row(
        "remove bob",
        "bob is no longer jailed",
        "--yes",
        REOPENS,
        first="sftpjail adopt bob",
        last="sftpjail remove bob",
    ),
    Row(
        "remove bob --delete-account",
        "bob is deleted",
        "--yes",
        REOPENS,
        first="sftpjail adopt bob",
        last="sftpjail remove bob",
    ),
    Row(
        "check --fix alice",
        "alice has its jail repaired",
        None,
        "apply would repair it again",
        first="chmod 777 /srv/sftp/alice",
    ),
    Row(
        "apply",
        "bob is jailed",
        "--yes",
        REOPENS,
        first="usermod -aG sftponly bob",
        stays=("/etc/group", "/etc/gshadow"),
    ),
    Row("apply /root/accounts.csv", "alice", first=FILE),
)

# Those that are about the host, which has no jails yet.
HOST_ROWS = (
    Row("setup", "the host is set up", last="sftpjail setup"),
    Row("teardown", "what setup did is taken back"),
    Row(
        "setup",
        "the host is set up",
        None,
        "what sftpjail.conf asks for stays",
        first=f"echo deny = symlink, >>{CONFIG}",
    ),
    Row("import --apply", "the host is set up", first=BY_HAND),
)

# What changes nothing that an undo could restore.
READING = ("kick alice", "events", "show alice")


def entries(machine: Machine) -> list[dict[str, Any]]:
    told = machine.run("sftpjail", "--json", "history").out
    found: list[dict[str, Any]] = json.loads(told)["transactions"]
    return found


def state(machine: Machine) -> dict[str, object]:
    """The host; keys and lines that went come back at the end of their file."""
    found = snapshot(machine)
    for path in ("/etc/ssh/authorized_keys/alice", "/etc/fstab", "/etc/sftpjail/mounts/alice"):
        if path in found:
            found[path] = sorted(machine.read(path).splitlines())
    return found


def wrong(machine: Machine, row: Row) -> str:
    """What is wrong with a row, or ""."""
    machine.sh(row.first)
    before = state(machine)
    machine.run("sftpjail", *row.does.split(), input=row.stdin)
    new = entries(machine)[-1]
    said = "; ".join(f"{one['account']} {one['what']}" for one in new["what"])
    if not row.does.startswith(new["command"]) or row.entry not in said:
        return f"{row.does}: {new['command']}: {said}"
    if row.refuses:
        words = refused(machine, "sftpjail", "undo", code=1 if row.undo is None else 2)
        if row.refuses not in words:
            return f"{row.does}: {words}"
    if row.undo is None:
        return ""
    told = machine.run("sftpjail", "undo", *row.undo.split()).out
    found = changes(before, state(machine))
    left = [path for path in found if not path.startswith(row.stays or "-")]
    return (
        ""
        if not left and f"transaction {new['id']} is undone" in told
        else f"{row.does}: {left} {told}"
    )


def test_each_command_is_in_the_history_and_is_undone(machine: Machine) -> None:
    ready(machine, f"{QUIET}[mounts]\nas = www-data,\n[profiles]\n[[sftponly]]\nmounts = session\n")
    web(machine, "/srv/web")
    machine.sh(SITE)
    jail(machine, "alice")
    machine.keygen("more")
    machine.sh("useradd -m bob")
    found = []
    for row in ROWS:
        found.append(wrong(machine, row))
        machine.sh(row.last)
    assert [words for words in found if words] == []
    known = entries(machine)
    for words in READING:
        machine.run("sftpjail", *words.split())
    assert entries(machine) == known


@pytest.mark.whole
def test_what_is_done_to_the_host_is_undone(machine: Machine) -> None:
    machine.write(CONFIG, f"{QUIET}[profiles]\n[[sftponly]]\n")
    machine.start_sshd()
    found = []
    for row in HOST_ROWS:
        found.append(wrong(machine, row))
        machine.sh(row.last)
    assert [words for words in found if words] == []

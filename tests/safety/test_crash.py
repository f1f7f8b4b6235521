"""SIGKILL at each system call that changes something: then the host works, and the next command finds it whole.

At the death sshd's configuration is good, nobody else's settings have changed and fstab can be read. The next command,
whichever it is, makes of it what was before or what was wanted, in files, mounts and accounts, and leaves no journal.
"""

from __future__ import annotations

import datetime
import random

import pytest
from figures import FIGURES
from machine import Machine, changes
from steps import QUIET, jail, ready, settings, snapshot, web

DRIVER = "/src/tests/support/attacks/crash.py"
# What dies, and what brings back the host from before.
COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "add": (
        ("add", "eve", "--key", "/root/keys/more.pub", "--mount", "/srv/web:/web"),
        "sftpjail remove eve --delete-account; rm -rf /home/eve",
    ),
    "add --with adduser": (
        ("add", "eve", "--with", "adduser", "--key", "/root/keys/more.pub"),
        "sftpjail remove eve --delete-account; rm -rf /home/eve",
    ),
    "remove --delete-account": (
        ("remove", "carol", "--delete-account"),
        "sftpjail add carol --key /root/keys/carol.pub --mount /srv/web:/web -- --comment 'C. Arol' --groups users",
    ),
    "remove": (
        ("remove", "carol"),
        "sftpjail adopt carol; sftpjail key add carol /root/keys/carol.pub;"
        " sftpjail mount carol /srv/web /web",
    ),
    "adopt": (("adopt", "bob"), "sftpjail remove bob"),
    "remove of an adopted account": (("remove", "bob"), "sftpjail adopt bob"),
    "key add": (("key", "add", "alice", "/root/keys/more.pub"), "sftpjail key remove alice more"),
    "mount": (("mount", "alice", "/srv/web", "/a/b"), "sftpjail umount alice /a/b"),
    "umount": (("umount", "alice", "/web"), "sftpjail mount alice /srv/web /web"),
}
# Who may log in before and after, with the key `more`, and so at every moment between.
LETS_IN = {"adopt": "bob", "remove of an adopted account": "bob"}
SAMPLE = 5  # cuts of each command in a run that is not for everything
LAYOUTS = {
    "fstab": QUIET,
    "session": f"{QUIET}[profiles]\n[[sftponly]]\nmounts = session\n",
    "homes": f"{QUIET}[profiles]\n[[sftponly]]\nchroot = %h\n",
    "inside": f"{QUIET}[profiles]\n[[sftponly]]\nhome = inside\n",
}


def prepare(machine: Machine, layout: str) -> None:
    ready(machine, LAYOUTS[layout])
    web(machine)
    jail(machine, "alice")
    for name in ("more", "carol"):
        machine.keygen(name)
    machine.sh(
        "sftpjail mount alice /srv/web /web;"
        "useradd -m bob; install -d -m 700 -o bob -g bob /home/bob/.ssh;"
        "install -m 600 -o bob -g bob /root/keys/more.pub /home/bob/.ssh/authorized_keys;"
        "useradd -m -s /bin/sh stranger"
    )
    machine.sh(COMMANDS["remove --delete-account"][1])


def sane(machine: Machine, stranger: str, where: str) -> None:
    """What must hold at every moment, before anybody has run anything."""
    assert machine.run("/usr/sbin/sshd", "-t", check=False).code == 0, where
    assert settings(machine, "stranger") == stranger, where
    checked = machine.run("findmnt", "--verify", "--tab-file", "/etc/fstab", check=False)
    assert "parse error" not in checked.out.replace("0 parse errors", ""), (where, checked)
    assert machine.run("id", "stranger", check=False).code == 0, where


def cuts_of(total: int, thorough: bool) -> list[int]:
    """Every call, or some of them that change from day to day."""
    if thorough:
        return [*range(1, total + 1)]
    seed = f"crash: cuts chosen by the seed {datetime.datetime.now(tz=datetime.UTC).date()}"
    if seed not in FIGURES:
        FIGURES.append(seed)
    return sorted(random.Random(f"{seed} {total}").sample(range(1, total + 1), min(SAMPLE, total)))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "layout",
    [
        "fstab",
        *(pytest.param(name, marks=pytest.mark.whole) for name in LAYOUTS if name != "fstab"),
    ],
)
def test_killed_at_each_call(machine: Machine, layout: str, name: str, thorough: bool) -> None:
    does, undoes = COMMANDS[name]
    prepare(machine, layout)
    argv = ("/usr/bin/sftpjail", *does)
    if name == "remove of an adopted account":
        machine.sh(undoes)
    machine.run(*argv)
    machine.sh(undoes)  # the order of the lines of fstab has settled
    calls = machine.run("python3", DRIVER, "count", *argv).out.split()
    after = snapshot(machine)
    machine.sh(undoes)
    before = snapshot(machine)
    assert changes(before, after) and len(calls) > 20
    stranger = settings(machine, "stranger")
    tally = {"before": 0, "after": 0}
    for number, cut in enumerate(cuts_of(len(calls), thorough)):
        whom = ("main", "all")[number % 2]
        call, nth = calls[cut - 1], calls[:cut].count(calls[cut - 1])
        done = machine.run("python3", DRIVER, whom, call, str(nth), *argv, timeout=120)
        assert done.out.endswith("killed\n"), done
        where = f"{name}, {layout}: {whom} killed at {call} {nth}, {cut} of {len(calls)}"
        sane(machine, stranger, where)
        if name in LETS_IN:
            login = machine.sftp(LETS_IN[name], "/root/keys/more", ["pwd"])
            assert login.code == 0, (where, login)
        said = machine.run("sftpjail", "key", "remove", "alice", "nobody's", check=False)
        assert not machine.exists("/var/lib/sftpjail/journal"), (where, said)
        now = snapshot(machine)
        found = "before" if now == before else "after" if now == after else ""
        assert found, (
            f"{where}\n{said}\nfrom before: {changes(before, now)}\nfrom after: {changes(after, now)}"
        )
        tally[found] += 1
        if found == "after":
            machine.sh(undoes)
            assert changes(before, snapshot(machine)) == {}, where
    FIGURES.append(
        f"crash: {name} ({layout}): {sum(tally.values())} of {len(calls)} cuts,"
        f" {tally['before']} before, {tally['after']} after, 0 anything else"
    )

"""Power cuts: whatever of a command has reached the disk, the next command makes it whole, or as if it had not been.

/etc, /home, /srv and /var/lib lie on an ext4 whose disk keeps each write and each barrier. Of each
epoch between two barriers a cut leaves all that was before it, and any of the blocks that were written
in it: none, all, and twenty choices by the seed of the day. The host boots from that. Before anybody has
run anything sshd's configuration is good, others' settings are as they were and fstab can be read.
After the next command the host is as before or as after, names, bytes, owners, modes, accounts, mounts
and history, without a journal; where the command had said that it was done, as after.
"""

from __future__ import annotations

import json
import random
import shlex
from typing import Any

import pytest
from figures import FIGURES, SEED, Results
from machine import Machine
from steps import QUIET, jail, killed, ready, web

DRIVER = "/src/tests/support/attacks/power.py"
OWN = ("unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc", "python3", DRIVER)
NEXT = ("key", "remove", "alice", "nobody's")  # finds nothing to do, but for what is left
SAMPLE = 12  # states in a run that is not for everything
MORE = ("--key", "/root/keys/more.pub")
WEB = ("--mount", "/srv/web:/web")
# What the power fails under, and what is done before.
COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "add": (("add", "eve", *MORE, *WEB), ""),
    "add --with adduser": (("add", "eve", "--with", "adduser", *MORE), ""),
    "adopt": (("adopt", "bob"), ""),
    "key add": (("key", "add", "alice", "/root/keys/more.pub"), ""),
    "key remove": (("key", "remove", "alice", "alice"), ""),
    "mount": (("mount", "alice", "/srv/web", "/a/b"), ""),
    "umount": (("umount", "alice", "/web"), ""),
    "remove": (("remove", "carol"), ""),
    "remove of an adopted account": (("remove", "bob"), "sftpjail adopt bob"),
    "remove --delete-account": (("remove", "carol", "--delete-account"), ""),
    "apply": (
        ("apply",),
        "useradd -M dan; useradd -M dora; gpasswd -M dan,dora,alice,carol sftponly",
    ),
    "disable": (("disable", "alice", "--reason", "left"), ""),
    "enable": (("enable", "alice"), "sftpjail disable alice --reason left"),
    "set --no-password": (
        ("set", "alice", "--no-password"),
        "echo '$6$salt$0123456789abcdef0123456789abcdef' | sftpjail set alice --password",
    ),
    "undo": (("undo",), "sftpjail mount alice /srv/web /a/b"),
    "undo of add": (("undo", "--force"), "sftpjail add eve --key /root/keys/more.pub"),
    "setup": (("setup",), ""),
    "teardown": (("teardown",), "sftpjail remove alice; sftpjail remove carol"),
    "teardown of jails": (("teardown", "--close-accounts"), ""),
}
# Recoveries of what was killed, under which the power fails once more.
KILLED = {
    "recovery of add": ("user-create", ("add", "eve", *MORE, *WEB)),
    "recovery of remove --delete-account": ("user-remove", ("remove", "carol", "--delete-account")),
}
PROFILE = f"{QUIET}[profiles]\n[[sftponly]]\n"
# Each says which mounts it means, whatever the default is.
LAYOUTS = {
    "fstab": f"{PROFILE}mounts = fstab\n",
    "session": f"{PROFILE}mounts = session\n",
    "homes": f"{PROFILE}mounts = fstab\nchroot = %h\n",
    "inside": f"{PROFILE}mounts = fstab\nhome = inside\n",
    "session homes": f"{PROFILE}mounts = session\nchroot = %h\n",
    "session inside": f"{PROFILE}mounts = session\nhome = inside\n",
}
# In other layouts than the default what differs most.
ELSEWHERE = ("add", "adopt", "mount", "remove", "remove --delete-account")
CASES = [("fstab", name) for name in (*COMMANDS, *KILLED)]
CASES += [(layout, name) for layout in LAYOUTS if layout != "fstab" for name in ELSEWHERE]


def prepare(machine: Machine, layout: str, name: str) -> None:
    machine.sh("useradd -m -s /bin/sh stranger")
    for key in ("more", "carol"):
        machine.keygen(key)
    web(machine)
    if name == "setup":
        machine.write("/etc/sftpjail/sftpjail.conf", LAYOUTS[layout])
        machine.start_sshd()
        return
    ready(machine, LAYOUTS[layout])
    jail(machine, "alice")
    mounts = fitting(layout, ("sftpjail", "mount", "alice", "/srv/web", "/web"))
    carol = fitting(layout, ("sftpjail", "add", "carol", "--key", "/root/keys/carol.pub", *WEB))
    machine.sh(
        f"{shlex.join(mounts)}; {shlex.join(carol)} -- --comment 'C. Arol' --groups users;"
        "useradd -m bob; install -d -m 700 -o bob -g bob /home/bob/.ssh;"
        "install -m 600 -o bob -g bob /root/keys/more.pub /home/bob/.ssh/authorized_keys"
    )
    if name in KILLED:
        event, argv = KILLED[name]
        killed(machine, event, "sftpjail", *argv)
    else:
        machine.sh(COMMANDS[name][1] or ":")


def fitting(layout: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command as a layout takes it: below a home are no mounts, unless one is asked for with all risks."""
    if "homes" in layout and "mount" in argv:
        return (*argv, "--under-home")
    return tuple(word for word in argv if "homes" not in layout or word not in WEB)


def driven(machine: Machine, *words: str) -> dict[str, Any]:
    """What the driver says."""
    return dict(json.loads(machine.run(*OWN, *words, timeout=3000).out))


def cut(machine: Machine, layout: str, name: str, limit: int) -> str:
    """Try LIMIT states of a command, or 0 for all of them; return the figures."""
    prepare(machine, layout, name)
    image, record = "/tmp/disk", "/tmp/record"
    driven(machine, "fill", image)
    argv = NEXT if name in KILLED else fitting(layout, COMMANDS[name][0])
    done = driven(machine, "record", image, record, *argv)
    if name in KILLED:
        assert "does not have the key" in done["err"], done
    else:
        assert done["code"] == 0 and done["out"], done
    found = driven(machine, "cut", image, record, SEED, str(limit), *NEXT)
    assert found["bad"] == [], json.dumps(found["bad"], indent=1)
    assert found["barriers"] > 5 and bool(found["changed"]) != (name in KILLED), found
    if not limit and name not in KILLED:
        assert found["before"] and found["after"], found
    return (
        f"power: {name} ({layout}): {found['before'] + found['after']} of {found['states']} states at"
        f" {found['barriers']} barriers, {found['before']} before, {found['after']} after,"
        f" 0 anything else; {found['recovered']} different ones recovered"
    )


def test_a_power_cut_leaves_before_or_after(machine: Machine) -> None:
    FIGURES.append(cut(machine, *random.Random(SEED).choice(CASES), SAMPLE))


@pytest.mark.whole
@pytest.mark.parametrize(("layout", "name"), CASES)
def test_each_power_cut_leaves_before_or_after(
    machine: Machine, results: Results, layout: str, name: str, thorough: bool
) -> None:
    limit = 0 if thorough else SAMPLE
    key = ("power", SEED, layout, name, limit)
    if not results.known(*key):
        results.add(cut(machine, layout, name, limit), *key)
    FIGURES.append(results.known(*key))

"""Sequences of commands and undos: each undo brings back what was before, whatever went before that.

That is judged by all that is on the disk, also by the records of what was there before us, which a later `remove`
and `teardown` go by.
"""

from __future__ import annotations

import random

import pytest
from figures import SEED
from machine import Machine, changes
from steps import QUIET, jail, ready, snapshot, web

LAYOUTS = {
    "fstab": "mounts = fstab\n",
    "session": "mounts = session\n",
    "inside": "mounts = fstab\nhome = inside\n",
    "homes": "mounts = session\nchroot = %h\n",
}
# A key where sshd looks by default, once more.
OLD_KEYS = (
    "home=$(getent passwd {0} | cut -d: -f6); [ -d $home ] || home=/srv/sftp/{0}$home;"
    " install -d -m 700 -o {0} -g {0} $home/.ssh && rm -f $home/.ssh/authorized_keys.sftpjail &&"
    " install -m 600 -o {0} -g {0} /root/keys/old.pub $home/.ssh/authorized_keys"
)
COMMANDS = (
    "adopt {0}",
    *("remove {0}", "remove {0}", "remove {0} --delete-account", "remove {0} --delete-account"),
    "key add {0} /root/keys/more.pub",
    *("key remove {0} more", "key remove {0} old"),
    "key replace {0} old /root/keys/more.pub",
    *("key migrate {0}", "key migrate {0}", "key migrate {0}"),
    *("mount {0} /srv/web /web", "mount {0} /srv/web /web --read-only", "mount {0} /srv/web /a/b"),
    *("umount {0} /web", "umount {0} /a/b"),
    *("disable {0} --reason left", "enable {0}"),
    *("set {0} --expires 2099-12-31", "set {0} --expires never"),
    *("set {0} --from 127.0.0.0/8", "set {0} --from any"),
    *("set {0} --connections 3", "set {0} --keep-active"),
    *("apply", "check --fix"),
)
# Files of lines whose order, and of groups whose members' order, means nothing.
SORTED = ("/etc/fstab", "/etc/ssh/authorized_keys/", "/etc/sftpjail/", "/etc/group", "/etc/gshadow")
SORTED += ("/etc/passwd", "/etc/shadow", "/etc/subuid", "/etc/subgid")
STEPS = 40
UNDO = ("sftpjail", "undo", "--yes", "--force")


def state(machine: Machine) -> dict[str, object]:
    found = snapshot(machine)
    for path, entry in found.items():
        if path.startswith(SORTED) and isinstance(entry, tuple) and entry[0] == "-":
            fields = [line.split(":") for line in machine.read(path).splitlines()]
            found[path] = (
                *entry[:4],
                sorted(str([*f[:-1], sorted(f[-1].split(","))]) for f in fields),
            )
    return found


def furnish(machine: Machine, layout: str) -> None:
    ready(machine, f"{QUIET}[profiles]\n[[sftponly]]\n{LAYOUTS[layout]}")
    web(machine, "/srv/web")
    for name in ("more", "old", "alice"):
        machine.keygen(name)
    jail(machine, "alice")
    machine.sh(f"useradd -m -c Bob -s /bin/sh bob; {OLD_KEYS.format('bob')}")
    machine.sh("sftpjail add carol --key /root/keys/old.pub")


def goes_and_comes(machine: Machine, words: str, refuses: bool = True) -> str:
    """What is wrong with the undo of a command, and with the undo of that, or ""; they may refuse where REFUSES."""
    before = state(machine)
    done = machine.run("sftpjail", *words.split(), check=False)
    after = state(machine)
    if done.code not in (0, 3) or after == before:
        return f"{words}: {changes(before, after)}\n{done}" if after != before else ""
    wanted = (before, after)
    for turn in range(2):
        undone = machine.run(*UNDO, check=False)
        now = state(machine)
        refused = refuses and undone.code and now == wanted[1 - turn]
        if now != wanted[turn] and not refused:
            left = changes(wanted[turn], now)
            return f"{words}: undo {turn + 1}: {left}\n{done}\n{undone}"
        if refused:
            return ""
    return ""


def test_an_undo_brings_back_all_that_a_command_took(machine: Machine) -> None:
    furnish(machine, "session")
    machine.sh(
        f"{OLD_KEYS.format('alice')}; sftpjail key migrate alice; {OLD_KEYS.format('carol')};"
        "sftpjail set alice --from 127.0.0.0/8; sftpjail set alice --connections 3;"
        "sftpjail adopt bob; sftpjail key add bob /root/keys/more.pub; sftpjail key remove bob old"
    )
    found = [
        goes_and_comes(machine, words, refuses=False)
        for words in (
            "key migrate carol",  # which renames the file in the home
            "remove alice",  # whose number of sessions was lost
            "remove alice --delete-account",  # whose record knew that file no more
            "remove bob",  # to whom a removed key came back from its home
        )
    ]
    assert [words for words in found if words] == []


@pytest.mark.whole
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_undo_brings_back_what_was(machine: Machine, layout: str) -> None:
    furnish(machine, layout)
    chance = random.Random(f"{SEED} {layout}")
    said, found = [], []
    for _ in range(STEPS):
        name = chance.choice(("alice", "bob", "carol"))
        if chance.random() < 0.2:
            machine.sh(OLD_KEYS.format(name), check=False)
            said.append(f"{name} has a key in its home")
        words = chance.choice(COMMANDS).format(name)
        wrong = goes_and_comes(machine, words)
        said.append(words)
        if wrong:
            found.append(f"{'; '.join(said)}:\n{wrong}")
        if chance.random() < 0.3:  # else it stays done
            machine.run(*UNDO, check=False)
            said.append("undo")
    print(f"undo: {len(said)} commands in a row ({layout}), {len(found)} not as before")
    assert found == []

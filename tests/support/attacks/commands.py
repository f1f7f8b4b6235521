"""The commands that die, fail or are stopped in the safety suites, the hosts that they run on, and what is judged.

A command is tried on one machine again and again; after each time the machine is brought back to
what it was before.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, replace
from typing import Any

import pytest
from figures import SEED
from machine import Machine, changes
from steps import QUIET, jail, ready, settings, snapshot, web

DRIVER = ("python3", "/src/tests/support/attacks/crash.py")
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
OLD = os.environ.get("SFTPJAIL_SANDBOX") == "bookworm"
IN_FSTAB = ("fstab", "homes", "inside")
FIVE = "one two three four five"
# A jail that is too open, and one whose mount is gone.
BREAK = (
    "for jail in /srv/sftp/alice /home/alice; do"
    " [ ! -d $jail ] || [ ! -O $jail ] || chmod 777 $jail; done;"
    " umount /srv/sftp/alice/web 2>/dev/null || :"
)
OLD_KEYS = (
    'home=$(getent passwd carol | cut -d: -f6); [ -d "$home" ] || home=/srv/sftp/carol$home;'
    ' install -d -m 700 -o carol -g carol "$home/.ssh";'
    ' install -m 600 -o carol -g carol /root/keys/more.pub "$home/.ssh/authorized_keys"'
)


@dataclass(frozen=True)
class Case:
    """A command, and how its host comes to be what it was.

    `undoes` and the others are lines of sh(1). What calls sftpjail by way of a hook goes on without it: then what was
    before is what the command makes of the host `alone`, and `clears` takes that back. Or it may die when one hook is
    done, and the other has not begun: then the next command undoes what the first one did, and the history has
    both, which is how many `more` it has than before.
    """

    does: tuple[str, ...]
    undoes: str
    prepares: str = ""
    alone: str = ""
    clears: str = ""
    more: int = 0
    lets_in: str = (
        ""  # who may log in before and after, with the key `more`, and so at every moment between
    )
    only: str = ""  # of several sftpjails that it runs, the words of the one that is meant
    jails: bool = True  # whether the host is set up and has some
    layouts: tuple[str, ...] = ()  # those in which it makes sense, where that is not all

    def fits(self, layout: str) -> bool:
        return not self.layouts or layout in self.layouts


def suited(case: Case, layout: str) -> Case:
    """The same for a layout: with `chroot = %h` a mount lies below the home, and `add` makes none there."""
    if "homes" not in layout:
        return case

    def fits(text: str) -> str:
        text = text.replace(" --mount /srv/web:/web", "")
        return text.replace("sftpjail mount ", "sftpjail mount --under-home ")

    lines = ("undoes", "prepares", "alone", "clears")
    return replace(
        case,
        does=tuple(fits(" ".join(case.does)).split()),
        **{name: fits(getattr(case, name)) for name in lines},
    )


def ours(*words: str) -> tuple[str, ...]:
    return ("/usr/bin/sftpjail", *words)


CONF = "/etc/sftpjail/sftpjail.conf"
# Here nothing is mounted in jails.
HOMES_ACCOUNTS = (
    "key=$(cat /root/keys/more.pub); printf '%s\\n' name,comment,keys,expires"
    ' "eve,Eve,$key,2099-12-31" "alice,Alice,$(cat /root/keys/alice.pub),2099-12-31" "bob,,$key,"'
    " >/root/accounts.csv; chmod 600 /root/accounts.csv"
)
# A jail made by hand, with a key where sshd looks for it by default.
BY_HAND = (
    "groupadd customers; useradd -m -s /usr/sbin/nologin -G customers ann; chown root: /home/ann;"
    " chmod 755 /home/ann; install -d -o ann -g ann /home/ann/up /home/ann/.ssh;"
    " install -m 600 -o ann -g ann /root/keys/more.pub /home/ann/.ssh/authorized_keys;"
    " printf 'Match Group customers\\n    ChrootDirectory %%h\\n    ForceCommand internal-sftp\\n"
    "    AllowTcpForwarding no\\n    X11Forwarding no\\n' >>/etc/ssh/sshd_config;"
    " kill -HUP $(cat /run/sshd.pid); sleep 1"
)
# A file system of its own, since the sandbox's overlay cannot map owners.
SITE = (
    f"mkdir /srv/site; mount -t tmpfs -o mode=755,nosuid none /srv/site; mkdir /srv/site/a;"
    f" chown www-data:www-data /srv/site/a; printf '[mounts]\\nas = www-data,\\n' >>{CONF}"
)
# Two that are new, one that gets a comment and an expiry, and one with its mount elsewhere.
ACCOUNTS = (
    "key=$(cat /root/keys/more.pub); hash='$6$salt$0123456789abcdef0123456789abcdef';"
    " printf '%s\\n' name,comment,password,keys,mounts,expires"
    ' "eve,Eve,$hash,$key,/srv/web:/web,2099-12-31" "fay,Fay,none,$key,/srv/web:/web,"'
    ' "alice,Alice,,$(cat /root/keys/alice.pub),/srv/web:/web,2099-12-31"'
    ' "bob,,,$key,/srv/web:/web," >/root/accounts.csv; chmod 600 /root/accounts.csv'
)
GIVE_PASSWORD = (
    "echo '$6$salt$0123456789abcdef0123456789abcdef' | sftpjail set alice --password;"
    " chage -d 2026-01-01 alice"
)
RENAME = "usermod -l alicia alice"
CAROL = (
    "sftpjail adopt carol; sftpjail key add carol /root/keys/carol.pub;"
    " sftpjail mount carol /srv/web /web"
)
ADD_CAROL = (
    "sftpjail add carol --key /root/keys/carol.pub --mount /srv/web:/web"
    " -- --comment 'C. Arol' --groups users"
)
LAST_HOOK = "/etc/shadow-maint/userdel-post.d/sftpjail"
LEAVE = "gpasswd -d carol sftponly"
ADDED = "sftpjail add eve --key /root/keys/more.pub --mount /srv/web:/web"

CASES: dict[str, Case] = {
    "add": Case(
        ours("add", "eve", "--key", "/root/keys/more.pub", "--mount", "/srv/web:/web"),
        "sftpjail remove eve --delete-account; rm -rf /home/eve",
    ),
    "add --with adduser": Case(
        ours("add", "eve", "--with", "adduser", "--key", "/root/keys/more.pub"),
        "sftpjail remove eve --delete-account; rm -rf /home/eve",
    ),
    "remove --delete-account": Case(
        ours("remove", "carol", "--delete-account"),
        ADD_CAROL,
    ),
    "remove": Case(
        ours("remove", "carol"),
        CAROL,
    ),
    "adopt": Case(ours("adopt", "bob"), "sftpjail remove bob", lets_in="bob"),
    "remove of an adopted account": Case(
        ours("remove", "bob"), "sftpjail adopt bob", "sftpjail adopt bob", lets_in="bob"
    ),
    "key add": Case(
        ours("key", "add", "alice", "/root/keys/more.pub"), "sftpjail key remove alice more"
    ),
    "key remove": Case(
        ours("key", "remove", "alice", "more"),
        "sftpjail key add alice /root/keys/more.pub",
        "sftpjail key add alice /root/keys/more.pub",
    ),
    "key migrate": Case(
        ours("key", "migrate", "carol"),
        f"sftpjail key remove carol more; {OLD_KEYS}; rm -f $home/.ssh/authorized_keys.*",
        OLD_KEYS,
    ),
    "key replace": Case(
        ours("key", "replace", "alice", "alice", "/root/keys/more.pub"),
        "sftpjail key replace alice more /root/keys/alice.pub",
    ),
    "mount --as": Case(
        ours("mount", "alice", "/srv/site/a", "/w", "--as", "www-data"),
        "sftpjail umount alice /w",
        SITE,
        lets_in="alice",
        # mount(8) knows no map of owners in Debian 12.
        layouts=("session", "session inside", *(() if OLD else ("fstab", "inside"))),
    ),
    "mount --group": Case(
        ours("mount", "alice", "/srv/web", "/w", "--group", "editors"),
        "sftpjail umount alice /w",
        "groupadd editors; usermod -aG editors alice",
    ),
    "mount": Case(ours("mount", "alice", "/srv/web", "/a/b"), "sftpjail umount alice /a/b"),
    "umount": Case(ours("umount", "alice", "/web"), "sftpjail mount alice /srv/web /web"),
    "disable": Case(ours("disable", "alice", "--reason", "left"), "sftpjail enable alice"),
    "enable": Case(
        ours("enable", "alice"),
        "sftpjail disable alice --reason left",
        "sftpjail disable alice --reason left",
    ),
    "set --expires": Case(
        ours("set", "alice", "--expires", "2099-12-31"), "sftpjail set alice --expires never"
    ),
    "set --retention": Case(
        ours("set", "alice", "--retention", "/home/alice=30d"),
        "sftpjail set alice --retention /home/alice=never",
        lets_in="alice",
        layouts=("fstab", "session", "inside", "session inside"),
    ),
    "set --no-password": Case(
        ours("set", "alice", "--no-password"), GIVE_PASSWORD, GIVE_PASSWORD, lets_in="alice"
    ),
    "set --from": Case(
        ours("set", "alice", "--from", "127.0.0.0/8"),
        "sftpjail set alice --from any",
        lets_in="alice",
    ),
    "set --connections": Case(
        ours("set", "alice", "--connections", "3"),
        "sftpjail set alice --connections 0",
        lets_in="alice",
        layouts=("session", "session homes", "session inside"),
    ),
    "undo": Case(
        ours("undo"),
        "sftpjail mount alice /srv/web /a/b",
        "sftpjail mount alice /srv/web /a/b",
    ),
    "undo of add": Case(ours("undo", "--force"), ADDED, ADDED),
    "undo of adopt": Case(
        ours("undo", "--yes"), "sftpjail adopt bob", "sftpjail adopt bob", lets_in="bob"
    ),
    "undo of remove": Case(ours("undo", "--yes"), "sftpjail remove carol", "sftpjail remove carol"),
    "undo of remove --delete-account": Case(
        ours("undo", "--yes"),
        "sftpjail remove carol --delete-account",
        "sftpjail remove carol --delete-account",
    ),
    "undo of setup": Case(ours("undo"), "sftpjail setup", "sftpjail setup", jails=False),
    "undo of teardown": Case(
        ours("undo"), "sftpjail teardown", "sftpjail setup; sftpjail teardown", jails=False
    ),
    "apply after a rename": Case(
        ours("apply"), f"usermod -l alice alicia; sftpjail apply; {RENAME}", RENAME
    ),
    "apply --prune": Case(ours("apply", "--prune", "--yes"), f"{CAROL}; {LEAVE}", LEAVE),
    "apply of five": Case(
        ours("apply"),
        f"for name in {FIVE}; do sftpjail remove $name; usermod -aG sftponly $name; done",
        f"for name in {FIVE}; do useradd -m $name; usermod -aG sftponly $name; done",
    ),
    "apply FILE": Case(
        ours("apply", "/root/accounts.csv"),
        "for name in eve fay; do sftpjail remove $name --delete-account; rm -rf /home/$name; done;"
        " sftpjail set alice --expires never; usermod -c '' alice; sftpjail mount bob /srv/web /old;"
        " sftpjail umount bob /web",
        f"{ACCOUNTS}; sftpjail adopt bob; sftpjail mount bob /srv/web /old",
        layouts=("fstab", "session", "inside", "session inside"),
    ),
    "apply FILE in homes": Case(
        ours("apply", "/root/accounts.csv"),
        "sftpjail remove eve --delete-account; rm -rf /home/eve; sftpjail set alice --expires never;"
        " usermod -c '' alice; sftpjail remove bob; sftpjail adopt bob",
        f"{HOMES_ACCOUNTS}; sftpjail adopt bob",
        layouts=("homes", "session homes"),
    ),
    "import --apply": Case(
        ours("import", "--apply"),
        "sftpjail undo",
        BY_HAND,
        jails=False,
        lets_in="ann",
        layouts=("fstab", "session"),
    ),
    "check --fix": Case(ours("check", "--fix", "alice"), BREAK, BREAK),
    "setup": Case(ours("setup"), "sftpjail teardown", jails=False),
    "teardown": Case(ours("teardown"), "sftpjail setup", "sftpjail setup", jails=False),
    "setup of another configuration": Case(
        ours("setup"),
        "sed -i '/deny =/d' /etc/sftpjail/sftpjail.conf; sftpjail setup;"
        " echo 'deny = symlink' >>/etc/sftpjail/sftpjail.conf",
        "echo 'deny = symlink' >>/etc/sftpjail/sftpjail.conf",
        lets_in="alice",
    ),
    "setup of session mounts": Case(
        ours("setup"),
        f"sed -i 's/mounts = session/mounts = fstab/' {CONF}; sftpjail setup;"
        f" sed -i 's/mounts = fstab/mounts = session/' {CONF}",
        f"sed -i 's/mounts = fstab/mounts = session/' {CONF}",
        lets_in="alice",
        layouts=IN_FSTAB,
    ),
    "setup of mounts in fstab": Case(
        ours("setup"),
        f"sed -i 's/mounts = fstab/mounts = session/' {CONF}; sftpjail setup;"
        f" sed -i 's/mounts = session/mounts = fstab/' {CONF}",
        f"sed -i 's/mounts = session/mounts = fstab/' {CONF}",
        lets_in="alice",
        layouts=("session", "session homes", "session inside"),
    ),
    "userdel -r": Case(
        ("userdel", "-r", "carol"), ADD_CAROL, more=2, only="userdel-pre", layouts=IN_FSTAB
    ),
    "userdel -r, its last hook": Case(
        ("userdel", "-r", "carol"),
        ADD_CAROL,
        alone=f"mv {LAST_HOOK} /run/hook; userdel -r carol; mv /run/hook {LAST_HOOK}",
        clears=f"sftpjail apply --prune; {ADD_CAROL}",
        more=1,
        only="userdel-post",
    ),
    "useradd": Case(
        ("useradd", "-m", "-G", "sftponly", "eve"),
        "sftpjail remove eve --delete-account; rm -rf /home/eve",
        alone="SFTPJAIL_JOINS=eve useradd -m -G sftponly eve",
        clears="userdel -r eve",
    ),
}


def chosen(suite: str, layout: str, name: str, count: int) -> bool:
    """Whether a command is among the COUNT of the default layout that a sample has today in this release."""
    chance = random.Random(f"{SEED} {suite} {os.environ.get('SFTPJAIL_SANDBOX')}")
    return layout == "fstab" and name in chance.sample([*CASES], count)


def rows(suite: str, count: int) -> list[Any]:
    """Every layout with each command that fits it; those that the sample has not are for --all."""
    return [
        pytest.param(
            layout, name, marks=() if chosen(suite, layout, name, count) else pytest.mark.whole
        )
        for layout in LAYOUTS
        for name in CASES
        if CASES[name].fits(layout)
    ]


class Trial:
    """One command on one machine: what its host is before, what it is after, and what it has become.

    `calls` are its system calls: of each its name, which of that name it is, and the line of ours that made it.
    """

    def __init__(self, machine: Machine, name: str, layout: str, calls: str) -> None:
        self.machine, self.layout = machine, layout
        self.case = suited(CASES[name], layout)
        self.prepare()
        machine.run(*self.case.does)
        machine.sh(self.case.undoes)  # the order of the lines of fstab has settled
        self.remember()
        self.calls: list[tuple[str, int, str]] = [
            tuple(call)
            for call in json.loads(machine.run(*DRIVER, "sites", calls, *self.case.does).out)
        ]
        self.after, self.entries = snapshot(machine), self.history() - self.lines
        machine.sh(self.case.undoes)
        self.before = self.base = snapshot(machine)
        if self.case.alone:
            machine.sh(self.case.alone)
            self.before = snapshot(machine)
            machine.sh(self.case.clears)
        assert changes(self.before, self.after) and len(self.calls) > 5
        self.stranger = settings(machine, "stranger")
        self.remember()

    def prepare(self) -> None:
        machine, layout = self.machine, LAYOUTS[self.layout]
        machine.write("/etc/ssh/sshd_config.d/00-patience.conf", machine.patience())
        machine.write("/etc/sftpjail/sftpjail.conf", layout)
        for name in ("more", "carol"):
            machine.keygen(name)
        machine.sh("useradd -m -s /bin/sh stranger")
        if self.case.jails:
            ready(machine, layout)
            web(machine)
            jail(machine, "alice")
            machine.sh(suited(CASES["umount"], self.layout).undoes)
            machine.sh(
                "useradd -m bob; install -d -m 700 -o bob -g bob /home/bob/.ssh;"
                "install -m 600 -o bob -g bob /root/keys/more.pub /home/bob/.ssh/authorized_keys;"
            )
            machine.sh(suited(CASES["remove --delete-account"], self.layout).undoes)
            jail(machine, "dora")
            machine.sh("usermod --expiredate 1 dora")
            if self.case.lets_in == "alice":
                machine.sh("sftpjail key add alice /root/keys/more.pub")
        else:
            machine.start_sshd()
        machine.sh(self.case.prepares)
        machine.run(*DRIVER, "install")
        machine.write("/run/crash/only", self.case.only)

    def history(self) -> int:
        """How many transactions the history has."""
        return int(
            self.machine.sh("cat /var/lib/sftpjail/history/* 2>/dev/null | grep -c token || :").out
        )

    def sites(self) -> dict[str, list[int]]:
        """The lines of ours that made calls, each with the numbers of these."""
        found: dict[str, list[int]] = {}
        for number, (call, _, site) in enumerate(self.calls):
            found.setdefault(f"{call} {site}", []).append(number)
        return found

    def sane(self, where: str) -> None:
        """What must hold at every moment, before anybody has run anything."""
        machine = self.machine
        assert machine.run("/usr/sbin/sshd", "-t", check=False).code == 0, where
        assert settings(machine, "stranger") == self.stranger, where
        checked = machine.run("findmnt", "--verify", "--tab-file", "/etc/fstab", check=False)
        assert "parse error" not in checked.out.replace("0 parse errors", ""), (where, checked)
        came = machine.sh("id stranger; useradd --no-create-home zed; userdel zed", check=False)
        assert came.code == 0, (where, came)
        if self.case.lets_in:
            login = machine.sftp(self.case.lets_in, "/root/keys/more", ["pwd"])
            assert login.code == 0, (where, login)
        if self.case.jails:
            login = machine.sftp("dora", "/root/keys/dora", ["pwd"])
            assert login.code == 255, (where, login)

    def remember(self) -> None:
        """What comes now is held against the history of this moment."""
        self.lines = self.history()

    def state(self) -> tuple[str, str]:
        """Return "before" or "after"; or "" and how it differs from both."""
        now = snapshot(self.machine)
        states = {"before": self.before, "after": self.after}
        found = next((name for name, state in states.items() if state == now), "")
        entries = self.history() - self.lines
        wanted = {"before": (0, self.case.more), "after": (self.entries,)}
        if found and entries not in wanted[found]:
            return "", f"the host is as {found}, and the history has {entries} more"
        return found, "" if found else (
            f"from before: {changes(self.before, now)}\nfrom after: {changes(self.after, now)}"
        )

    def reset(self, found: str, where: str) -> None:
        """Bring the host back to what it was."""
        if found == "after":
            self.machine.sh(self.case.undoes)
        else:
            self.machine.sh(self.case.clears)
        if found != "before" or self.case.clears:
            assert changes(self.base, snapshot(self.machine)) == {}, where
        self.remember()

"""The forms of a jail that the escape suite attacks, each built on a fresh machine, and what lies outside of it."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from typing import Any

from machine import CHANGING, Machine
from steps import open_with_key

CONFIG = "/etc/sftpjail/sftpjail.conf"
# What changes by itself on a host on which somebody logs in; what is the package managers'; and the
# suite's own.
CHANGES = (
    *CHANGING,
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/root/here",
    "/root/.cache",
    "*/canary.d",
    "/srv/marks",
    "/srv/media/proc",
    "/root/.ssh/known_hosts*",
    "/root/.config",
)
CHANGES += (
    "/srv/socket-*",
    "/tmp/systemd-private-*",
    "/root/form.json",
    "/root/.rsyslog*",
    "/root/.local",
)


# mount(8) of Debian 12 knows no map of owners.
OLD = os.environ.get("SFTPJAIL_SANDBOX") == "bookworm"
MAPS = ("session",) if OLD else ("session", "fstab")


@dataclass(frozen=True)
class Form:
    """A kind of jail: `chroot` and `mounts` as in sftpjail.conf(5), `home` too (none with %h).

    `owner`: whose files the jail sees as its own in /web, by `mount --as`.
    """

    chroot: str
    mounts: str
    home: str = "bind"
    booted: bool = False
    read_only: bool = False
    owner: str = ""

    def __str__(self) -> str:
        words = [self.chroot, self.mounts, *([self.home] if self.chroot != "%h" else [])]
        words += ["read-only"] if self.read_only else []
        words += [f"as {self.owner}"] if self.owner else []
        return ", ".join([*words, "booted" if self.booted else "plain"])

    @property
    def config(self) -> str:
        lines = [f"chroot = {self.chroot}", f"mounts = {self.mounts}", f"home = {self.home}"]
        lines += ["read_only = yes"] if self.read_only else []
        owners = ["[mounts]", f"as = {self.owner},"] if self.owner else []
        return "\n".join([*owners, "[profiles]", "[[sftponly]]", *lines]) + "\n"

    @property
    def jail(self) -> str:
        """The jail of alice on the host."""
        return "/home/alice" if self.chroot == "%h" else "/srv/sftp/alice"

    @property
    def behind(self) -> dict[str, str]:
        """The directories of the jail in which alice may write, and what they are on the host."""
        if self.chroot == "%h":
            home = {"/files": "/home/alice/files"}
        elif self.home == "inside":
            home = {"/files": "/srv/sftp/alice/files"}
        else:
            home = {"/home/alice": "/home/alice"}
        return {**home, "/web": "/srv/web/site"}

    @property
    def hers(self) -> tuple[str, ...]:
        """What of the host is alice's, so that it may change."""
        below = (".config", ".local", ".ssh", "web", "media")
        own = tuple(f"/home/alice/{name}" for name in below) if self.chroot == "%h" else ()
        return (
            *self.behind.values(),
            *own,
            f"{self.jail}/web",
            f"{self.jail}/media",
            f"{self.jail}/home/alice",
        )


def _forms() -> list[Form]:
    jails = (("/srv/sftp/%u", "bind"), ("/srv/sftp/%u", "inside"), ("%h", "bind"))
    found = [
        Form(chroot, mounts, home, booted)
        for (chroot, home), mounts, booted in itertools.product(
            jails, ("fstab", "session"), (True, False)
        )
    ]
    return [
        *found,
        *(Form("/srv/sftp/%u", mounts, read_only=True) for mounts in ("fstab", "session")),
        *(Form("/srv/sftp/%u", mounts, owner="www-data") for mounts in MAPS),
    ]


FORMS = _forms()


def begin(machine: Machine, config: str) -> None:
    """sshd and a log daemon run, and `setup` is done. Failed logins bring no penalty, which would end the suite."""
    quiet = f"MaxStartups 100\nMaxSessions 10\n{machine.patience()}"
    machine.write("/etc/ssh/sshd_config.d/00-suite.conf", quiet)
    machine.write(CONFIG, config)
    if machine.boot:
        machine.run("systemctl", "restart", "ssh")
    else:
        machine.start_sshd()
        machine.start_rsyslog()
    machine.run("sftpjail", "setup")
    if not machine.boot:
        machine.restart_rsyslog()


def surround(machine: Machine) -> None:
    """Other people, and directories of the host: one that a jail may write, one that it may read."""
    machine.sh("chmod 711 /root; useradd -m -s /bin/sh bob; chmod 755 /home/bob")
    machine.sh(
        """
        for place in /srv/web/site /srv/media; do
            mkdir -p $place/proc $place/late
            mknod -m 666 $place/zero c 1 5
            mknod -m 666 $place/disk b 8 0
            mkfifo -m 666 $place/fifo
            echo shown >$place/page
            mount -t proc proc $place/proc
        done
        chmod 777 /srv/web/site
        """
    )


def build(machine: Machine, form: Form) -> dict[str, Any]:
    """A host with alice, who is jailed in that form, carol, who is too, and bob, who is not; what attack.py is told."""
    begin(machine, form.config)
    if form.owner:  # the sandbox's overlay cannot map owners
        machine.sh("mkdir /srv/web && mount -t tmpfs -o mode=755,nosuid none /srv/web")
    surround(machine)
    owned = ["--as", form.owner] if form.owner else []
    if form.owner:
        machine.sh(f"chown {form.owner}: /srv/web/site /srv/web/site/page")
    machine.run("useradd", "-m", "-G", "sftponly", "carol")
    machine.sh("mkdir -p /srv/sftp/carol; useradd -m alice")
    if form.chroot == "%h":  # such as a skeleton makes, before the home becomes root's
        machine.sh(
            "cd /home/alice; mkdir -p .config .local .ssh; chown alice: .config .local .ssh; chmod 700 .ssh"
        )
    machine.run("sftpjail", "adopt", "alice")
    key = open_with_key(machine, "alice")
    under = ["--under-home"] if form.chroot == "%h" else []
    machine.run("sftpjail", "mount", *under, *owned, "alice", "/srv/web/site", "/web")
    machine.run("sftpjail", "mount", *under, "--read-only", "alice", "/srv/media", "/media")
    machine.run("mount", "-t", "proc", "proc", "/srv/web/site/late")
    home = next(iter(form.behind))
    ids = machine.sh(f"id -u {form.owner}; id -g {form.owner}").out.split() if form.owner else []
    lent = {"/web": [int(word) for word in ids]} if form.owner else {}
    roots = ["/home", "/dev"] if home.startswith("/home") else ["/dev"]
    return _told(machine, "alice", key, form.jail, home) | {
        "behind": form.behind,
        "roots": roots,
        "lent": lent,
    }


def build_open(machine: Machine) -> dict[str, Any]:
    """The same host, and dave, who is in no jail: for him nearly every attempt must succeed."""
    begin(machine, "")
    surround(machine)
    machine.sh("useradd -m -s /bin/bash dave; mkdir -p /srv/sftp/carol")
    machine.sh("rmdir /media; ln -s /srv/web/site /web; ln -s /srv/media /media")
    machine.run("mount", "-t", "proc", "proc", "/srv/web/site/late")
    key = machine.keygen("dave")
    machine.sh(
        f"install -d -o dave -m 700 /home/dave/.ssh; install -o dave {key}.pub /home/dave/.ssh/authorized_keys"
    )
    behind = {"/home/dave": "/home/dave", "/web": "/srv/web/site"}
    return _told(machine, "dave", key, "/", "/home/dave") | {
        "behind": behind,
        "roots": ["/home", "/dev"],
    }


def _told(machine: Machine, user: str, key: str, jail: str, home: str) -> dict[str, Any]:
    uid = int(machine.run("id", "-u", user).out)
    gids = [int(word) for word in machine.run("id", "-G", user).out.split()]
    names = {"port": machine.port, "user": user, "key": key, "stranger": machine.keygen("stranger")}
    return {
        **names,
        "jail": jail,
        "home": home,
        "uid": uid,
        "gids": gids,
        "booted": machine.boot,
        "every": 1,
    }


def attack(machine: Machine, told: dict[str, Any], timeout: float = 300) -> dict[str, Any]:
    """Run every attempt in the machine; what attack.py found."""
    machine.write("/root/form.json", json.dumps(told))
    done = machine.run(
        "python3", "/src/tests/support/attacks/attack.py", "/root/form.json", timeout=timeout
    )
    answer: dict[str, Any] = json.loads(done.out)
    return answer


def outside(machine: Machine, form: Form) -> dict[str, object]:
    """All that must stay as it is: files, mounts and listening sockets of the host."""
    tops = (
        "/etc",
        "/root",
        "/home",
        "/srv",
        "/usr/local",
        "/opt",
        "/boot",
        "/tmp",
        "/var/lib",
        "/var/spool",
    )
    files = machine.listing(*tops, exclude=(*CHANGES, *form.hers))
    mounts = [
        line.partition(" - ")[0].split(" ", 3)[3]
        for line in machine.read("/proc/self/mountinfo").splitlines()
        if " /run/user/" not in line and "/run/credentials" not in line
    ]
    ports = machine.sh("ss -Hlntu | awk '{print $1, $5}' | sort").out
    return {**files, "mounts": sorted(mounts), "ports": ports}

"""The fault gallery: ways in which a host of jails breaks, each a function that breaks the real jail of alice.

This file has the form of a fault, and the witnesses that say whether something is broken: real
logins and transfers. The faults themselves are in faults_*.py. test_gallery.py breaks, asks `check`
and `explain`, and runs what they print.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import bystanders
from machine import Machine, Result
from steps import CONFIG, jail, web

KEY = "/root/keys/alice"
SITE = "/srv/web/example.com"
JAIL = "/srv/sftp/alice"
LOG = "/var/log/sftp.log"
MOUNTS = {"dev", "home/alice", "web", "My Music"}
# An earlier drop-in than ours, as an administrator has it; what it says wins.
EARLIER = "/etc/ssh/sshd_config.d/05-admin.conf"


class Jail:
    """The jail of alice on a good machine: her key, /web, a read-only "/My Music", and a log."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.sh = machine.sh

    def make(self) -> None:
        """Make the host and the jail."""
        machine = self.machine
        if not machine.boot:
            # A daemon on our port also when `service ssh start` starts it, which a fix may print.
            machine.write(
                "/etc/ssh/sshd_config.d/00-test.conf", f"Port {machine.port}\n{machine.patience()}"
            )
            machine.start_sshd()
            machine.start_rsyslog()
        else:
            machine.write("/etc/ssh/sshd_config.d/00-test.conf", machine.patience())
            machine.run("systemctl", "reload", "ssh")
        machine.run("sftpjail", "setup")
        if not machine.boot:
            machine.restart_rsyslog()
        jail(machine, "alice")
        web(machine, SITE)
        self.sh("mkdir /srv/music; echo la >/srv/music/song; chown -R alice: /srv/music")
        machine.run("sftpjail", "mount", "alice", SITE, "/web")
        machine.run("sftpjail", "mount", "--read-only", "alice", "/srv/music", "/My Music")
        bystanders.make(machine)
        self.reload()

    def sftp(self, *batch: str) -> Result:
        """A real login of alice."""
        return self.machine.sftp("alice", KEY, batch)

    def reload(self) -> None:
        """sshd reads its configuration anew; returns when it listens again."""
        if self.machine.boot:
            self.machine.run("systemctl", "reload", "ssh")
            return
        self.sh('pid=$(cat /run/sshd.pid); rm /run/sshd.pid; kill -HUP "$pid"')
        self.machine.wait_for("/run/sshd.pid", r"\d")

    def sshd(self, text: str) -> None:
        """An administrator's drop-in, before ours."""
        self.machine.write(EARLIER, text)
        self.reload()

    def configure(self, text: str) -> None:
        """Another sftpjail.conf, "" for what is the default."""
        self.machine.write(CONFIG, text)
        self.machine.run("sftpjail", "setup")

    @property
    def kind(self) -> str:
        """Where the mounts of jails are kept, fstab or session."""
        return self.machine.mounts

    def umount(self, *points: str) -> None:
        """Nothing is mounted there in the jail any more, as nothing ever is where sessions make the mounts."""
        if self.kind == "fstab":
            self.machine.run("umount", *(f"{JAIL}/{point}" for point in points))

    def unmounted(self) -> None:
        """Nothing is mounted in the jail any more."""
        self.sh(f"findmnt -rnRo TARGET {JAIL} >/dev/null && umount -R {JAIL} || :")
        self.sh(f"for d in dev home/alice web 'My Music'; do umount -q {JAIL}/\"$d\" || :; done")

    def complaints(self) -> list[dict[str, Any]]:
        """What `check` finds."""
        done = self.machine.run("sftpjail", "check", "--json", check=False)
        assert done.code in (0, 3) and not done.err, done
        found: list[dict[str, Any]] = json.loads(done.out)["problems"]
        assert any(one["severity"] != "advice" for one in found) == (done.code == 3), done
        return found

    def explained(self) -> list[dict[str, Any]]:
        """The problems that `explain` sees."""
        done = self.machine.run("sftpjail", "explain", "alice", "--json", check=False)
        assert done.code in (0, 3) and not done.err, done
        found: list[dict[str, Any]] = json.loads(done.out)["problems"]
        return found

    def too_wide(self) -> list[str]:
        """The lines of `explain` that do not fit a terminal of 80 columns, on a terminal and in a pipe."""
        pipe = self.machine.run("sftpjail", "explain", "alice", check=False, env={"COLUMNS": "80"})
        inside = "stty cols 80 rows 24; sftpjail explain alice"
        terminal = self.machine.run(
            "script", "-qec", inside, "/dev/null", check=False, env={"TERM": "xterm"}
        )
        assert "alice" in pipe.out and "alice" in terminal.out, (pipe, terminal)
        return [
            line
            for text in (pipe.out, terminal.out)
            for line in text.splitlines()
            if width(line) > 80
        ]


def width(line: str) -> int:
    """The columns that a line takes on a terminal."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\r", "", line)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in plain)


# -- witnesses: "" where all is well, or what is broken ------------------------------------------

Witness = Callable[[Jail], str]


def login(good: Jail) -> str:
    """A session starts, in a chroot."""
    done = good.sftp("ls -1 /")
    if done.code:
        return f"no login: {done.err}"
    return "the login is in no jail" if "etc" in done.out.replace("/", "").split() else ""


def write(good: Jail) -> str:
    """An upload into the directory where the session starts."""
    done = good.sftp("put /etc/hostname proof", "rm proof")
    return f"no upload: {done.err}" if done.code else ""


def read(good: Jail) -> str:
    """The mounted directory shows its files."""
    done = good.sftp("get /web/index.html /tmp/got")
    return f"no download: {done.err}" if done.code else ""


def log(good: Jail) -> str:
    """An upload stands in the log."""
    name = f"logged{time.monotonic_ns()}"
    broken = good.sftp(f"put /etc/hostname {name}", f"rm {name}")
    if broken.code:
        return f"no upload: {broken.err}"
    look = f"for n in 1 2 3 4 5 6 7 8; do grep -sq {name} {LOG} /var/log/jails/all.log && exit; sleep 0.1; done; exit 1"
    seen = good.sh(look, check=False)
    return "the upload is not in the log" if seen.code else ""


def read_only(good: Jail) -> str:
    """What is mounted read-only cannot be written."""
    done = good.sftp("put /etc/hostname '/My Music/noise'")
    good.sh("rm -f /srv/music/noise")
    return "" if done.code else "the read-only directory can be written"


def forward(good: Jail) -> str:
    """No connection can be forwarded."""
    done = good.machine.ssh("alice", KEY, "-W", f"127.0.0.1:{good.machine.port}")
    return "ssh -W is open" if "SSH-2.0" in done.out else login(good)


def boot(good: Jail) -> str:
    """After a boot all mounts are there: tried in a mount namespace of its own. A source that is gone stops nothing."""
    script = (
        f"cd {JAIL}; umount dev home/alice web 'My Music'; cd /; "
        '{ [ -z "$1" ] || mount -t tmpfs none /srv/web; } && mount -a; code=$?; '
        f"findmnt -rno TARGET | grep ^{JAIL}/; exit $code"
    )
    whole = good.machine.run("unshare", "-m", "sh", "-c", script, check=False)
    found = {
        line.replace("\\x20", " ").removeprefix(JAIL + "/") for line in whole.out.split("\n")
    } - {""}
    if whole.code or found != MOUNTS:
        return f"mount -a gives {whole.code}: {whole.err} {sorted(found)}"
    bare = good.machine.run("unshare", "-m", "sh", "-c", script, "sh", "gone", check=False)
    return f"the boot stops at a missing directory: {bare.err}" if bare.code else ""


def arrival(good: Jail) -> str:
    """useradd works and makes a jail, and userdel takes it away again."""
    done = good.machine.run("useradd", "-m", "-G", "sftponly", "bob", check=False)
    try:
        if done.code:
            return f"useradd fails: {done.err}"
        made = "mountpoint -q /srv/sftp/bob/home/bob || grep -q /home/bob /etc/sftpjail/mounts/bob"
        return "" if good.sh(made, check=False).code == 0 else "useradd makes no jail"
    finally:
        gone = good.machine.run("userdel", "-r", "bob", check=False)
        if good.machine.exists("/etc/passwd.lock") or gone.code:
            good.machine.run("userdel", "-rf", "bob", check=False)


def later(witness: Witness, good: Jail, patience: float = 4) -> str:
    """What a witness says in the end: a daemon that has just been told takes its time."""
    deadline = time.monotonic() + patience
    while said := witness(good):
        if time.monotonic() > deadline:
            return said
        time.sleep(0.1)
    return ""


# -- faults --------------------------------------------------------------------------------------

Breaking = Callable[[Jail], Iterator[None] | None]


@dataclass(frozen=True)
class Fault:
    """A way to break the jail of alice.

    `names` is a regular expression that what `check` says must match; `witness` sees that it is
    broken and that it is fixed. `explained`: `explain alice` must name it too, and its commands are
    run. `fixed`: `check --fix` fixes it.
    `curable`: commands that are printed fix it; else only a person can, by what no command knows.
    `new_key`: it takes a new key, which is given by the advice. `alone`: afterwards the machine is
    no good for other faults. `mounts`: where its jails have their mounts, if it is about that.
    """

    name: str
    names: str
    witness: Witness
    breaks: Callable[[Jail], contextlib.AbstractContextManager[None]]
    explained: bool = True
    fixed: bool = False
    curable: bool = True
    new_key: bool = False
    booted: bool = False
    alone: bool = False
    mounts: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Where the mounts are, fstab or session; of two the first is for every run, the second for --all.

        What is about neither has the one or the other, by its name. Those that are booted share
        one machine.
        """
        by_session = self.booted or zlib.crc32(self.name.encode()) % 2
        either = ("session", "fstab") if by_session else ("fstab", "session")
        return (self.mounts,) if self.mounts else either


FAULTS: list[Fault] = []


def fault(
    names: str, witness: Witness, mounts: str = "", **options: bool
) -> Callable[[Breaking], Breaking]:
    """Put a function into the gallery. What it does after a `yield` puts back what no fix has to put back."""

    def register(function: Breaking) -> Breaking:
        @contextlib.contextmanager
        def broken(good: Jail) -> Iterator[None]:
            steps = function(good)
            if steps is not None:
                next(steps)
            yield
            if steps is not None:
                next(steps, None)

        FAULTS.append(Fault(function.__name__, names, witness, broken, mounts=mounts, **options))
        return function

    return register

"""Whom the printed commands must not touch: people, files and another jail beside that of alice.

A good host has three ordinary accounts with files, a ~/.forward and a crontab, who log in with two
factors, and a second jail, nina's. A look at the host is taken before it is broken, before the
printed commands and after them: what is not alice's is after them as before, or as it was while all
was well; no file is lost; and sshd would do the same with everybody.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from machine import Machine
from steps import jail

PEOPLE = ("tom", "eva", "max")
SECOND = "nina"
FACTORS = "/etc/ssh/sshd_config.d/20-two-factors.conf"
TOPS = ("/", "/etc", "/home", "/root", "/srv", "/var/lib/sftpjail", "/var/mail", "/var/spool/cron")
# What is alice's, or of accounts that only a fault knows of; and the directories that she is shown.
SUBJECT = re.compile(
    r"/(home|srv/sftp|srv/data|etc/ssh/authorized_keys|var/lib/sftpjail/[a-z]+)/\.?"
    r"(alice|alicia|alcie|bob|carol|dave)\b|/srv/(web|music|other)\b|/srv/sftp/nina/web$|/home/x\b"
)
# What many share, where the lines of others are compared instead, and what is made anew.
SHARED = re.compile(
    r"/etc/(passwd|shadow|group|gshadow|subuid|subgid)-?$|/etc/fstab|/etc/ssh/(sshd_config|closed\.conf)|/etc/shells$"
    r"|/etc/ssh/revoked$|/etc/nologin$|/etc/sftpjail/|/var/lib/sftpjail/(accounts|history|host|log|seen)\b|/root/"
    r"|/var/lib/sftpjail$|/etc/\.pwd\.lock|/etc/shadow-maint|/etc/ld\.so\.cache|/etc/mtab"
)
# A profile's own settings, which its other members get too.
PROFILES = (
    "maxsessions",
    "pubkeyauthentication",
    "authenticationmethods",
    "pubkeyaccepted",
    "forcecommand internal-sftp",
)


def make(machine: Machine) -> None:
    """Make the accounts, the second jail, and two factors for everybody who is not jailed."""
    for name in PEOPLE:
        machine.run("useradd", "-m", name)
        machine.write(f"/home/{name}/letter", f"dear {name}\n")
        machine.write(f"/home/{name}/.forward", f'"|/usr/bin/procmail of {name}"\n')
        machine.write(f"/var/spool/cron/crontabs/{name}", "0 4 * * * true\n", 0o600)
        machine.sh(f"chown {name}: /home/{name}/* /home/{name}/.forward")
        machine.sh(f"chown {name} /var/spool/cron/crontabs/{name}")
    machine.write(
        FACTORS,
        "Match Group *,!sftponly\n    AuthenticationMethods publickey,keyboard-interactive\n",
    )
    jail(machine, SECOND)
    machine.sh(f"echo hers >/home/{SECOND}/file; chown {SECOND}: /home/{SECOND}/file")


Entry = tuple[str, int, int, int, str]


@dataclass(frozen=True)
class Look:
    """What is there: each file, what sshd does with each person, the accounts' and mounts' lines."""

    files: dict[str, Entry]
    sshd: dict[str, frozenset[str]]
    lines: frozenset[str]


class Watch:
    """Looks at one machine; what a file holds is read once, until it changes."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._hashes: dict[tuple[int, ...], str] = {}

    def look(self) -> Look:
        """Take a look."""
        names = (*PEOPLE, SECOND)
        ask = (
            'for u; do echo "= $u"; /usr/sbin/sshd -T -C user="$u",host=h,addr=127.0.0.1 || :; done'
        )
        said = self.machine.run("sh", "-c", f"{ask} 2>/dev/null", "sh", *names).out
        answers = dict(part.split("\n", 1) for part in said.split("= ")[1:] if "\n" in part)
        return Look(
            dict(self._walk()),
            {name: frozenset(_plain(text)) for name, text in answers.items()},
            frozenset(self._lines()),
        )

    def _walk(self) -> Iterator[tuple[str, Entry]]:
        root = f"/proc/{self.machine.pid}/root"
        todo = list(TOPS)
        while todo:
            path = todo.pop()
            try:
                info = os.lstat(root + path)
                if stat.S_ISDIR(info.st_mode) and path != "/":
                    todo += [f"{path}/{name}" for name in os.listdir(root + path)]
                content = self._content(root + path, info)
            except FileNotFoundError:
                continue
            mode = stat.S_IMODE(info.st_mode)
            yield path, (stat.filemode(info.st_mode)[0], info.st_uid, info.st_gid, mode, content)

    def _content(self, path: str, info: os.stat_result) -> str:
        if stat.S_ISLNK(info.st_mode):
            return os.readlink(path)
        if not stat.S_ISREG(info.st_mode):
            return ""
        key = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        if key not in self._hashes:
            with open(path, "rb") as file:
                self._hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._hashes[key]

    def _lines(self) -> Iterator[str]:
        """The lines of shared files that are about bystanders, and the mounts of the second jail."""
        member = re.compile(rf"^({SECOND}:x:.*:)[^:]*$")
        bystander = re.compile(rf"\b({'|'.join((*PEOPLE, SECOND))})\b")
        table = f"/etc/sftpjail/mounts/{SECOND}"
        tables = (table,) if self.machine.exists(table) else ()
        for path in ("/etc/passwd", "/etc/shadow", "/etc/fstab", *tables):
            text = self.machine.read(path)
            lines = (line for line in text.splitlines() if bystander.search(line))
            if path == "/etc/shadow":  # who is jailed as alice is can be locked as she is
                lines = (line for line in lines if not line.startswith(f"{SECOND}:"))
            # The shell of a member is its profile's.
            yield from (f"{path}: {member.sub(lambda whole: whole[1], line)}" for line in lines)
        for line in self.machine.read("/etc/group").splitlines():
            name, _, _, members = line.split(":")
            yield from (f"{name}: {one}" for one in members.split(",") if bystander.match(one))
        mounts = self.machine.read("/proc/self/mountinfo").splitlines()
        yield from (" ".join(one.split(" ")[3:6]) for one in mounts if f"/sftp/{SECOND}/" in one)


def _plain(text: str) -> Iterator[str]:
    """sshd's settings without what a list says of alice, or of the group of the jails' profile."""
    for line in text.splitlines():
        keyword, *words = line.split(" ")
        if keyword in ("allowusers", "denyusers", "allowgroups", "denygroups"):
            words = [word for word in words if word not in ("alice", "sftponly", SECOND)]
            if not words:
                continue
        yield " ".join((keyword, *words))


def touched(good: Look, broken: Look, after: Look) -> list[str]:
    """What of the bystanders was changed between two looks, and not put back as it was at first."""
    found = []
    for path in sorted(broken.files.keys() | after.files.keys() | good.files.keys()):
        is_broken = good.files.get(path) != broken.files.get(path)  # so that it is the subject
        if is_broken or SUBJECT.search(path) or SHARED.match(path):
            continue
        if after.files.get(path) != broken.files.get(path):
            found.append(f"{path}: {broken.files.get(path)} -> {after.files.get(path)}")
    for name, lines in after.sshd.items():
        was = broken.sshd.get(name, good.sshd[name])  # none where sshd refuses its configuration
        changed = (lines - good.sshd[name] - was) | ((good.sshd[name] & was) - lines)
        subject = {line.split(" ")[0] for line in good.sshd[name] ^ was}
        strange = {line for line in changed if line.split(" ")[0] not in subject}
        if name == SECOND:
            strange = {line for line in strange if not line.startswith(PROFILES)}
        found += [f"sshd, {name}: {line}" for line in sorted(strange)]
    found += [f"gone: {line}" for line in sorted((good.lines & broken.lines) - after.lines)]
    return found + [f"new: {line}" for line in sorted(after.lines - good.lines - broken.lines)]


def lost(broken: Look, after: Look) -> list[str]:
    """The files that are nowhere any more, neither under their names nor by what they hold."""
    held = {entry[4] for entry in after.files.values() if entry[0] == "-"}
    return [
        path
        for path, entry in broken.files.items()
        if entry[0] == "-" and path not in after.files and entry[4] not in held
        if not re.match(
            r"/etc/nologin$|/etc/ssh/.*/10-sftpjail.conf$|/(etc/sftpjail/mounts|var/lib/sftpjail)/",
            path,
        )
    ]

"""What an attack must not have changed: files, owners, modes and mounts of root's and of others.

A canary is any file of /etc, /root, another's home, the crontabs or data that is shown to jails.
What sftpjail itself writes to is judged by owner and mode alone, and new entries there must be
root's.
"""

from __future__ import annotations

import hashlib
import os
import re
import select
import stat
import threading
from typing import Self

from machine import Machine

TOPS = ("/etc", "/root", "/home/bob", "/var/spool", "/usr/local", "/srv/web", "/srv/others")
# What commands of ours, useradd and userdel write to.
MANAGED = re.compile(
    r"/etc/((passwd|group|shadow|gshadow|subuid|subgid)[-+]?|\.pwd\.lock|\.updated|fstab"
    r"|\.(passwd|group|shadow|gshadow|fstab)\.sftpjail.*"
    r"|(sftpjail|ssh|shadow-maint|systemd/system|security/namespace\.d|pam\.d|rsyslog\.d|logrotate\.d)(/.*)?)"
    r"|/var/spool/mail/.*|/var/spool/rsyslog|/root/keys(/.*)?"
)
CRONTAB = "/var/spool/cron/crontabs/bob"

Entry = tuple[object, ...]


def plant(machine: Machine) -> None:
    """Lay out what is worth an attack: another's home and crontab, root's keys, scripts that cron runs, shared data."""
    machine.sh("id bob >/dev/null 2>&1 || useradd -m -s /bin/sh bob")
    machine.sh(
        "install -d -m 700 -o bob -g bob /home/bob/.ssh; install -d -m 700 /root/.ssh; "
        "for name in bob root; do ssh-keygen -q -t ed25519 -N '' -C CANARY-$name -f /run/canary; "
        "cat /run/canary.pub >/run/canary-$name; rm /run/canary /run/canary.pub; done; "
        "cat /run/canary-bob >/home/bob/.ssh/authorized_keys; echo CANARY-diary >/home/bob/diary; "
        "chown bob:bob /home/bob/.ssh/authorized_keys /home/bob/diary; chmod 600 /home/bob/diary; "
        "cat /run/canary-root >/root/.ssh/authorized_keys; echo CANARY-secret >/root/secret; chmod 600 /root/secret; "
        "mkdir -p /etc/cron.daily /var/spool/cron/crontabs /srv/web /srv/others; "
        "printf '#!/bin/sh\\nexit 0\\n' >/etc/cron.daily/canary; chmod 755 /etc/cron.daily/canary; "
        f"echo '# CANARY' >{CRONTAB}; chown bob {CRONTAB}; chmod 600 {CRONTAB}; "
        "echo CANARY-web >/srv/web/page; echo CANARY-others >/srv/others/file; chmod 600 /srv/others/file"
    )


def picture(machine: Machine) -> dict[str, Entry]:
    """Every canary: type, owner, group, mode, inode and content, or of what is managed the first four."""
    root = f"/proc/{machine.pid}/root"
    found: dict[str, Entry] = {}

    def add(path: str) -> None:
        try:
            info = os.lstat(root + path)
        except FileNotFoundError:
            return
        entry: Entry = (stat.filemode(info.st_mode), info.st_uid, info.st_gid)
        if not MANAGED.fullmatch(path):
            entry = (*entry, info.st_ino, _content(root + path, info))
        found[path] = entry
        if stat.S_ISDIR(info.st_mode):
            for name in sorted(os.listdir(root + path)):
                add(f"{path}/{name}")

    for top in TOPS:
        add(top)
    return found


def _content(path: str, info: os.stat_result) -> str:
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(info.st_mode):
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def harm(before: dict[str, Entry], after: dict[str, Entry]) -> list[str]:
    """What changed and should not have: one line each."""
    lines = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        if MANAGED.fullmatch(path) and (old is None or new is None):
            if new is None or (new[1] == 0 and not str(new[0]).startswith("l")):
                continue
            link = os.path.basename(path) in ("sftpjail", "10-sftpjail") or "/shadow-maint/" in path
            if new[1] == 0 and (link or "/systemd/system/" in path):
                continue
        lines.append(f"{path}: {old} -> {new}")
    return lines


Mounted = tuple[str, str]  # what of its file system is shown, and where


def mounts(text: str) -> set[Mounted]:
    """The mounts of a mountinfo: proc_pid_mountinfo(5)."""
    rows = (line.split(" ") for line in text.splitlines())
    return {
        (row[3].removesuffix("//deleted"), row[4].removesuffix("//deleted"))
        for row in rows
        if len(row) > 4
    }


class MountWatch(threading.Thread):
    """Looks at the host's mount table whenever the kernel says that it has changed, and keeps what was seen in it."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(daemon=True)
        self._table = os.open(f"/proc/{machine.pid}/mountinfo", os.O_RDONLY)
        self._end = threading.Event()
        self.seen: set[Mounted] = set()
        self.first = self.read()

    def read(self) -> set[Mounted]:
        os.lseek(self._table, 0, os.SEEK_SET)
        parts = []
        while part := os.read(self._table, 65536):
            parts.append(part)
        return mounts(b"".join(parts).decode("utf-8", "surrogateescape"))

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._table, select.POLLERR | select.POLLPRI)
        while not self._end.is_set():
            if poll.poll(50):
                self.seen |= self.read()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()
        os.close(self._table)

"""When accounts and their keys were last used, and since when that is known.

What sshd has logged counts, and is kept: under systemd every hour, and whenever somebody asks.
Where every jail has our PAM rules, they keep it at each login (system/last_use.py), but nobody
waits for that: it says since when logins are known only where there is no log, and sshd can write.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..config import Config
from ..errors import SftpJailError
from ..host import Host
from ..jails.membership import members
from ..openssh.daemons import running
from ..openssh.pam_session import SCRIPT, at_login
from ..paths import SEEN, STATE
from ..system.last_use import keep_note, keep_uses, uses
from ..transferlog import sshd_lines

NOTE = f"{SEEN}/records"
OVERLAP = 5  # seconds that are read again, because a line may come late
FRESH = 600  # seconds in which the log is not read again for systemd's units

# The time in epoch seconds, the address and the port of the last use, by the name of a key: its
# fingerprint, or the method where there is none.
Uses = Mapping[str, tuple[int, str, int]]


@dataclass(frozen=True)
class _Note:
    """How far the records go: complete between two moments, and whether by PAM alone."""

    since: int
    until: int
    by_pam: bool


@dataclass
class Records:
    """What is known of the last uses.

    Args:
        since: the moment from which on every login is known, None where none is kept.
        why: why none is, "" else.
        logged: by uid, what sshd has logged since the records were kept.
    """

    host: Host
    since: int | None = None
    why: str = ""
    logged: dict[int, dict[str, tuple[int, str, int]]] = field(default_factory=dict)
    verified: bool = True  # whether root alone can have written what was logged

    def of(self, uid: int) -> Uses:
        """Return the uses of an account's keys, and its logins by other methods."""
        kept, logged = uses(self.host.text(f"{SEEN}/{uid}")), self.logged.get(uid, {})
        # A file may have lines that any user wrote: they say nothing of what PAM has noted.
        return newest(kept, logged) if self.verified else {**logged, **kept}


def newest(
    known: dict[str, tuple[int, str, int]], more: Mapping[str, tuple[int, str, int]]
) -> dict[str, tuple[int, str, int]]:
    """Return the later use of each key."""
    found = dict(known)
    for name, use in more.items():
        found[name] = max(use, found.get(name, use))
    return found


def read(config: Config, host: Host, keep: bool = False) -> Records:
    """Return the records, with what sshd has logged since they were last kept.

    Args:
        config: whose accounts count.
        host: the facts.
        keep: write it down, for the next time.
    """
    now, before = int(time.time()), _note(host)
    records = Records(host)
    begin = None
    try:
        _read_log(records, config, host, before.until - OVERLAP if before else 0)
        begin = sshd_lines.begin(host)
    except SftpJailError as error:
        records.why = error.message
    by_pam = begin is None and _is_kept_at_login(config, host)
    if by_pam and not can_write(host):
        records.why = f"sshd cannot write {SEEN}"
        if keep:
            _keep(records, _Note(now, now, by_pam=True))  # nobody knows what was before
        return records
    step = host.stat(SCRIPT) if by_pam else None
    if step:
        begin = before.since if before and before.by_pam else int(step.st_mtime)
    if begin is not None:
        goes_on = before is not None and begin <= before.until
        records.why, records.since = "", before.since if before and goes_on else begin
        if keep:
            _keep(records, _Note(records.since, now, by_pam))
    return records


def can_write(host: Host) -> bool:
    """Return whether each sshd that runs may write the records, in its own mount namespace."""
    place = SEEN if host.lstat(SEEN) else STATE
    return all(_has_room(f"/proc/{daemon.pid}/root{place}/.") for daemon in running(host))


def _has_room(path: str) -> bool:
    """Return whether a directory's file system is writable and not full; see statvfs(3)."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return not found.f_flag & os.ST_RDONLY and found.f_bfree > 0


def keep_hourly(config: Config, host: Host) -> None:
    """Keep what was logged, unless that was done a few minutes ago; what fails is left."""
    before = _note(host)
    if before is None or not 0 <= time.time() - before.until < FRESH:
        with contextlib.suppress(SftpJailError):
            read(config, host, keep=True)


def _read_log(records: Records, config: Config, host: Host, since: float) -> None:
    uids = {name: account.uid for name, account in members(config, host).items()}
    for batch in sshd_lines.logins(host, since):
        for login in batch:
            if login.failed or login.user not in uids:
                continue
            records.verified = records.verified and login.verified
            name = login.key or login.method or "-"
            use = {name: (login.at, login.address or "-", login.port or 0)}
            uid = uids[login.user]
            records.logged[uid] = newest(records.logged.get(uid, {}), use)


def _is_kept_at_login(config: Config, host: Host) -> bool:
    """Return whether every session of a jail runs our step, and that keeps it."""
    each = all(at_login(profile, host) for profile in config.profiles)
    return each and "def note_apart" in host.text(SCRIPT)


def _note(host: Host) -> _Note | None:
    fields = host.text(NOTE).split()
    try:
        since, until, way = fields
        return _Note(int(since), int(until), way == "pam")
    except ValueError:
        return None


def _keep(records: Records, note: _Note) -> None:
    with contextlib.suppress(OSError):
        for uid, found in records.logged.items() if records.verified else ():
            keep_uses(uid, found)
        keep_note(NOTE, f"{note.since} {note.until} {'pam' if note.by_pam else 'log'}\n")

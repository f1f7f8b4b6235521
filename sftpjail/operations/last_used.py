"""When accounts and their keys were last used, and since when this is known.

sshd's log is read, and the result is stored: under systemd every hour, and whenever somebody asks.
If every jail has our PAM rules, they also record each login (system/last_use.py), but on a
best-effort basis. So they determine since when logins are known only if there is no log and sshd
can write the records.
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
from ..model import frozen
from ..openssh.daemons import running
from ..openssh.pam_session import SCRIPT, at_login, installed_program
from ..paths import LOCK, SEEN, STATE
from ..system.last_use import keep_note, record_uses, uses
from ..system.locks import lock
from ..transferlog import sshd_lines

NOTE = f"{SEEN}/records"
OVERLAP = 5  # seconds to read again, because a line may be late
PATIENCE = 60.0  # seconds to wait for another run, to store what was read
FRESH = 600  # seconds before systemd's units read the log again

# The time in epoch seconds, the address and the port of the last use, by the name of a key: its
# fingerprint, or the method if there is no key.
Uses = Mapping[str, tuple[int, str, int]]


@frozen
class _Note:
    """The period for which the records are complete, and whether only PAM has written them."""

    since: int
    until: int
    by_pam: bool


@dataclass
class Records:
    """The records of the last uses.

    Args:
        since: the time since which every login is known; None if logins are not recorded.
        why: why they are not recorded, or "".
        logged: by uid, the uses in sshd's log since the records were last stored.
        by_pam: whether the logins themselves keep all of it, without a log.
    """

    host: Host
    since: int | None = None
    why: str = ""
    logged: dict[int, dict[str, tuple[int, str, int]]] = field(default_factory=dict)
    by_pam: bool = False
    verified: bool = True  # whether only root can have written the log

    def newest_of(self, uid: int) -> Uses:
        """Return the uses as `of` does, but always the newest, also by lines of any user."""
        return newest(uses(self.host.text(f"{SEEN}/{uid}")), self.logged.get(uid, {}))

    def of(self, uid: int) -> Uses:
        """Return the uses of an account's keys, and its logins by other methods."""
        kept, logged = uses(self.host.text(f"{SEEN}/{uid}")), self.logged.get(uid, {})
        # Any user may have written lines of a file. They must not replace what PAM has recorded.
        if self.verified:
            return newest(kept, logged)
        return {**logged, **kept}


def newest(
    known: dict[str, tuple[int, str, int]], more: Mapping[str, tuple[int, str, int]]
) -> dict[str, tuple[int, str, int]]:
    """Return the later use of each key."""
    found = dict(known)
    for name, use in more.items():
        found[name] = max(use, found.get(name, use))
    return found


def read(config: Config, host: Host, keep: bool = False) -> Records:
    """Return the records, with the uses in sshd's log since they were last stored.

    Args:
        config: its profiles' accounts count.
        host: the facts.
        keep: store the result.
    """
    now, before = int(time.time()), _note(host)
    records = Records(host)
    begin = None
    try:
        # A note of what is to come was written by a clock that has been put right since.
        known = before is not None and before.until <= now
        _read_log(records, config, host, before.until - OVERLAP if before and known else 0)
        begin = sshd_lines.begin(host)
    except SftpJailError as error:
        records.why = error.message
    by_pam = begin is None and _is_kept_at_login(config, host)
    if by_pam and not can_write(host):
        records.why = f"sshd cannot write {SEEN}"
        if keep:
            _keep(records, _Note(now, now, by_pam=True))  # earlier logins are not known
        return records
    records.by_pam = by_pam
    step = None
    if by_pam:
        step = host.stat(SCRIPT)
    if step:
        if before and before.by_pam:
            begin = before.since
        else:
            begin = int(step.st_mtime)
    if begin is not None:
        goes_on = before is not None and begin <= before.until
        records.why, records.since = "", before.since if before and goes_on else begin
        if before and _has_gap(before, now, host):
            records.since = now
        if keep:
            _keep(records, _Note(records.since, now, by_pam))
    return records


def _has_gap(before: _Note, now: int, host: Host) -> bool:
    """Return whether the timer that keeps the records every hour has not done so for long.

    The host was off, or was restored from a backup, or its clock has been set ahead: the log need
    not say what happened meanwhile. Of log files, `sshd_lines.begin` sees the gaps.
    """
    return host.systemd and now - before.until > sshd_lines.GAP


def can_write(host: Host) -> bool:
    """Return whether each running sshd can write the records, in its own mount namespace."""
    place = STATE
    if host.lstat(SEEN):
        place = SEEN
    return all(_has_room(f"/proc/{daemon.pid}/root{place}/.") for daemon in running(host))


def _has_room(path: str) -> bool:
    """Return whether a directory's file system is writable and not full (statvfs(3))."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return not found.f_flag & os.ST_RDONLY and found.f_bfree > 0


def keep_hourly(config: Config, host: Host) -> None:
    """Store the uses in sshd's log, unless this was done a few minutes ago. Errors are ignored."""
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
    """Return whether every session of a jail runs our step, and that step records logins."""
    each = all(at_login(profile, host) for profile in config.profiles)
    return each and "def note_apart" in installed_program(host)


def _note(host: Host) -> _Note | None:
    fields = host.text(NOTE).split()
    try:
        since, until, way = fields
        return _Note(int(since), int(until), way == "pam")
    except ValueError:
        return None


def _keep(records: Records, note: _Note) -> None:
    # The lock: a teardown must not see the files come back that it removes.
    with contextlib.suppress(OSError, SftpJailError), lock(LOCK, PATIENCE):
        for uid, found in records.logged.items() if records.verified else ():
            record_uses(uid, found)
        keep_note(NOTE, f"{note.since} {note.until} {'pam' if note.by_pam else 'log'}\n")

"""Whether somebody has logged in to an account since a given time, from lastlog and sshd's log.

Only a log that covers the whole time can prove that nobody has. Other sources can only prove that
somebody has.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import time
from collections.abc import Iterator

from ..engine.engine import Engine
from ..errors import SftpJailError
from ..host import Host
from ..jails.states import States
from ..model import Account
from ..openssh.settings import logging
from ..system import programs
from ..transferlog import sources
from ..transferlog.sshd_lines import FILES
from ..transferlog.timestamps import Clock

LASTLOG = "/var/log/lastlog"
_RECORD = 292  # bytes for each uid: struct lastlog of <lastlog.h>, which begins with the time
# The facilities that sshd may use for logins; see syslog(3).
_FACILITIES = {"AUTH": "4", "AUTHPRIV": "10"}
_SAYS_LITTLE = ("SILENT", "QUIET", "FATAL", "ERROR")
_DAEMONS = ("rsyslog", "syslog-ng")


def refuse_if_used(account: Account, since: int, engine: Engine, number: int) -> None:
    """Refuse to delete an account to which somebody has, or may have, logged in.

    Args:
        account: the account that the transaction made.
        since: when it was made, in epoch seconds.
        engine: with the facts.
        number: the transaction.

    Raises:
        SftpJailError: names the evidence, or why there is none; its choice deletes it anyway.
    """
    choice = ("to delete it all the same", f"sftpjail undo --force {number}")
    try:
        found = _last_login(account, since, engine.host) or _logged(account, since, engine)
    except SftpJailError as error:
        words = f"it is not known whether somebody has logged in to {account.name}: {error}"
        raise SftpJailError(words, choices=[choice]) from error
    if found:
        raise SftpJailError(f"somebody has logged in to {account.name}: {found}", choices=[choice])


def _last_login(account: Account, since: int, host: Host) -> str:
    """Return a sentence about a login in lastlog(8) since a given time, or ""."""
    path = host.files.root + LASTLOG
    with contextlib.suppress(OSError, struct.error), open(path, "rb") as handle:
        handle.seek(account.uid * _RECORD)
        (at,) = struct.unpack("=I", handle.read(4))
        if at >= since:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
            return f"{LASTLOG} has a login of {when}"
    return ""


def _logged(account: Account, since: int, engine: Engine) -> str:
    """Return the log line of a login since a given time, or "" if there was none.

    Raises:
        SftpJailError: no log can prove that there was none.
    """
    host, name = engine.host, re.escape(account.name.encode())
    login = re.compile(
        rb"Accepted \S+ for "
        + name
        + rb" from |session opened for (local )?user "
        + name
        + rb"[( ]"
    )
    with contextlib.suppress(SftpJailError):  # that of internal-sftp, which may be off
        for text in sources.recent(host, engine.config, since):
            if login.search(text):
                return text.decode("utf-8", "replace")
    for line in _lines(host, since):
        if login.search(line):
            return line.decode("utf-8", "replace")
    level, facility = logging(host, account.name)
    if level in _SAYS_LITTLE:
        raise SftpJailError(f"sshd logs no logins, with LogLevel {level}")
    if facility not in _FACILITIES:
        raise SftpJailError(f"sshd logs to the facility {facility}")
    if not States(engine.config, host).is_logged(account):
        raise SftpJailError("an sshd logs elsewhere, or nothing (-E, -e, -q, -o LogLevel)")
    return ""


def _lines(host: Host, since: int) -> Iterator[bytes]:
    """Yield the lines of the host's log of logins since a given time.

    Raises:
        SftpJailError: there is no log, or it begins later.
    """
    if host.systemd:
        yield from _journal(since)
        return
    path = next((path for path in FILES if host.lstat(path)), "")
    if not path or not any(host.running(daemon) for daemon in _DAEMONS):
        raise SftpJailError("no daemon writes a log of logins")
    began = False
    for name, packed in sources.opened(host, path):
        clock = Clock(os.fstat(packed.fileno()).st_mtime)
        for line in sources.lines_of(name, packed):
            stamp = clock(line[:15] if line[:1].isalpha() else line.partition(b" ")[0])
            if stamp and stamp.at < since:
                began = True
            else:
                yield line
    if not began:
        raise SftpJailError(f"{path} begins later than the account")


def _journal(since: int) -> Iterator[bytes]:
    asked = ["journalctl", "--quiet", "--no-pager", "--all", "--output=cat"]
    matches = [f"SYSLOG_FACILITY={number}" for number in _FACILITIES.values()]
    rest = b""
    for piece in programs.stream([*asked, f"--since=@{since}", *matches]):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    if rest:
        yield rest
    # Without --lines: with it, systemd 252 looks at the end of the journal and finds nothing.
    if not any(programs.stream([*asked, f"--until=@{since - 1}"])):
        raise SftpJailError("the journal begins later than the account")

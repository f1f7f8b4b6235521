"""What we tell the log of the host."""

from __future__ import annotations

import contextlib
import os
import syslog
from collections.abc import Mapping

from ..escapes import one_line

JOURNAL = "/run/systemd/journal/socket"


def tell(priority: int, words: str, fields: Mapping[str, str] | None = None) -> None:
    """Log a line; nobody waits for it, and it may fail.

    Args:
        priority: as of syslog(3).
        words: whatever is in it, it becomes one line.
        fields: what it has beside that where journald is; see systemd.journal-fields(7). Their
            values have no newline.
    """
    line = one_line(words)
    if fields and os.path.exists(JOURNAL) and _to_journald(priority, line, fields):
        return
    syslog.openlog("sftpjail", syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(priority, line)


def _to_journald(priority: int, line: str, fields: Mapping[str, str]) -> bool:
    """Return whether journald took it, by its native protocol."""
    import socket  # late: few hosts of a useradd need it

    about = {
        "MESSAGE": line,
        "PRIORITY": str(priority),
        "SYSLOG_FACILITY": str(syslog.LOG_AUTH >> 3),
        "SYSLOG_IDENTIFIER": "sftpjail",
        "SYSLOG_PID": str(os.getpid()),
        **fields,
    }
    data = "".join(f"{name}={value}\n" for name, value in about.items())
    with contextlib.suppress(OSError):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as to:
            to.sendto(data.encode("utf-8", "surrogateescape"), JOURNAL)
        return True
    return False

"""Messages to syslog and journald."""

from __future__ import annotations

import contextlib
import os
import syslog
import time
from collections.abc import Mapping

from ..errors.escapes import one_line

JOURNAL = "/run/systemd/journal/socket"


def tell(priority: int, words: str, fields: Mapping[str, str] | None = None) -> None:
    """Log a line. This does not wait, and may fail silently.

    Args:
        priority: that of syslog(3).
        words: the message, which is escaped to one line.
        fields: more fields for journald; see systemd.journal-fields(7). Their values must not
            contain newlines.
    """
    line = one_line(words)
    if fields and os.path.exists(JOURNAL) and _to_journald(priority, line, fields):
        return
    syslog.openlog("sftpjail", syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(priority, line)


def announce_test(name: str, path: str) -> None:
    """Log, as internal-sftp does, that a test is about to log in as an account.

    Args:
        name: the account.
        path: the log socket of its jail. The log daemon sees there that root is the sender.
    """
    import socket  # late: see below

    when = time.strftime("%b %e %H:%M:%S")
    line = f"<{syslog.LOG_AUTH | syslog.LOG_INFO}>{when} internal-sftp[{os.getpid()}]: "
    line += f"sftpjail test of {one_line(name)}"
    to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    with to, contextlib.suppress(OSError):
        to.sendto(line.encode(), path)


def _to_journald(priority: int, line: str, fields: Mapping[str, str]) -> bool:
    """Send a message by journald's native protocol; return whether it was accepted."""
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

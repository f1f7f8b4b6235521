"""What we tell the log of the host."""

from __future__ import annotations

import contextlib
import os
import syslog
from collections.abc import Mapping

JOURNAL = "/run/systemd/journal/socket"


def tell(words: str, fields: Mapping[str, str]) -> None:
    """Log a line, with fields of its own where journald is; nobody waits for it, and it may fail.

    Args:
        words: one line.
        fields: their values have no newline; see systemd.journal-fields(7).
    """
    if os.path.exists(JOURNAL) and _to_journald(words, fields):
        return
    syslog.openlog("sftpjail", syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_INFO, words)


def _to_journald(words: str, fields: Mapping[str, str]) -> bool:
    """Return whether journald took it, by its native protocol."""
    import socket  # late: few hosts of a useradd need it

    about = {
        "MESSAGE": words,
        "PRIORITY": str(syslog.LOG_INFO),
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

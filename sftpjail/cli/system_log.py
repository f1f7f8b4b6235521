"""Syslog: what an administrator must hear of where nobody may read what we print."""

from __future__ import annotations

import syslog

from ..escapes import one_line


def tell(priority: int, words: str) -> None:
    """Send one line to syslog.

    Args:
        priority: as of syslog(3).
        words: whatever is in it, it becomes one line.
    """
    syslog.openlog("sftpjail", syslog.LOG_PID, syslog.LOG_AUTH)
    syslog.syslog(priority, one_line(words))

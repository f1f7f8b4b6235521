"""Whether a running sshd has read its configuration since the last change.

SIGHUP changes neither the pid nor the start time of the process. It shows in the pid file, which
sshd deletes and creates again (sshd.c), and in systemd if sshd notifies it. Files are compared by
their ctime, which nobody can set: tar(1) and `cp -a` restore a file with its old mtime. See
inode(7).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..host import Host
from .daemons import Daemon, changed_state
from .match_blocks import DIRECTORY
from .settings import PROBE, Settings, effective

GRACE = 0.5  # seconds for a reload to finish


def has_read(daemon: Daemon, host: Host, told: Settings | None = None) -> tuple[float, bool]:
    """Return when an sshd read its configuration, and whether that is known.

    If it is not known, the time is when the process began; a later reload has left no trace.

    Args:
        daemon: one that listens.
        host: the facts.
        told: its settings for some account, if they are known; else it is asked.

    Raises:
        SftpJailError: sshd refuses its configuration.
    """
    settings = told or effective(host, "root", daemon=daemon)
    path = settings.get("pidfile")
    found = None
    if path.startswith("/"):
        found = host.lstat(path)
    if found and host.text(path).strip() == str(daemon.pid):
        return found.st_ctime, True
    state = changed_state(daemon, host)
    if state:
        return (state, True)
    return (daemon.began, False)


def unread(daemon: Daemon, host: Host, told: Settings | None = None) -> list[str]:
    """Return the files, and directories of files, that have changed since an sshd read them.

    Args:
        daemon: one that listens.
        host: the facts.
        told: as for `has_read`.

    Raises:
        SftpJailError: sshd refuses its configuration.
    """
    since, _ = has_read(daemon, host, told)
    settings = told or effective(host, PROBE, daemon=daemon)
    files = {daemon.config, *settings.files}
    files |= {path for path, _ in settings.origins.values()}
    if daemon.is_plain:
        files.add(DIRECTORY)
        names = (name for name in host.listdir(DIRECTORY) if name.endswith(".conf"))
        files |= {f"{DIRECTORY}/{name}" for name in names}
    found = ((path, host.stat(path)) for path in sorted(files))
    return [path for path, seen in found if seen and seen.st_ctime > since]


def left_unread(daemon: Daemon, host: Host, told: Settings | None = None) -> list[str]:
    """Return the same once a reload that has just begun has had time to finish."""
    if soon(lambda: not unread(daemon, host, told)):
        return []
    return unread(daemon, host, told)


def soon(true: Callable[[], bool]) -> bool:
    """Return whether a condition becomes true within half a second, for a reload to finish."""
    deadline = time.monotonic() + GRACE
    while not (answer := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer

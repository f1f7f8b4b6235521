"""Whether a running sshd has read its configuration since the last change.

SIGHUP changes neither the pid nor the start time of the process. It shows in the pid file, which
sshd deletes and creates again (sshd.c), and in systemd if sshd notifies it. Files are compared by
their ctime, which nobody can set: tar(1) and `cp -a` restore a file with its old mtime. See
inode(7).
"""

from __future__ import annotations

from ..host import Host
from .daemons import Daemon, changed_state
from .match_blocks import DIRECTORY
from .settings import PROBE, effective


def has_read(daemon: Daemon, host: Host) -> tuple[float, bool]:
    """Return when an sshd read its configuration, and whether that is known.

    If it is not known, the time is when the process began; a later reload has left no trace.

    Args:
        daemon: one that listens.
        host: the facts.

    Raises:
        SftpJailError: sshd refuses its configuration.
    """
    path = effective(host, "root", daemon=daemon).get("pidfile")
    found = None
    if path.startswith("/"):
        found = host.lstat(path)
    if found and host.text(path).strip() == str(daemon.pid):
        return found.st_ctime, True
    state = changed_state(daemon, host)
    if state:
        return (state, True)
    return (daemon.began, False)


def unread(daemon: Daemon, host: Host) -> list[str]:
    """Return the files, and directories of files, that have changed since an sshd read them.

    Args:
        daemon: one that listens.
        host: the facts.

    Raises:
        SftpJailError: sshd refuses its configuration.
    """
    since, _ = has_read(daemon, host)
    settings = effective(host, PROBE, daemon=daemon)
    files = {daemon.config, *settings.files}
    files |= {path for path, _ in settings.origins.values()}
    if daemon.is_plain:
        files.add(DIRECTORY)
        names = (name for name in host.listdir(DIRECTORY) if name.endswith(".conf"))
        files |= {f"{DIRECTORY}/{name}" for name in names}
    found = ((path, host.stat(path)) for path in sorted(files))
    return [path for path, seen in found if seen and seen.st_ctime > since]

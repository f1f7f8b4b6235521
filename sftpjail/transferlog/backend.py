"""Which daemon writes the log."""

from __future__ import annotations

from ..config import Config
from ..errors import SftpJailError
from ..host import Host

PROGRAMS = {"rsyslog": "rsyslogd", "syslog-ng": "syslog-ng"}


def backend(host: Host, config: Config) -> str:
    """Return the daemon that writes the log: as configured, or the one that is installed.

    Raises:
        SftpJailError: the configured one is not installed.
    """
    wanted = config.logs.backend
    installed = [name for name, program in PROGRAMS.items() if host.which(program)]
    if wanted == "auto":
        return next(iter(installed), "journald" if host.systemd else "none")
    if wanted in PROGRAMS and wanted not in installed:
        raise SftpJailError(
            f"[logs] backend = {wanted}, which is not installed", f"apt install {wanted}"
        )
    return wanted

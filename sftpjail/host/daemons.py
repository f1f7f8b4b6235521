"""The daemons of the host, and systemd."""

from __future__ import annotations

import contextlib
import socket

from ..system import listeners, processes, services
from ..system.confinement import Confinement, confinement
from .files import Files


class Daemons:
    """What runs for the host itself."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def anew(self, files: Files) -> Daemons:
        """Return the same daemons, to be looked at again."""
        return type(self)(files)

    def running(self, service: str) -> int | None:
        """Return a daemon's pid, if its pid file names a process that is really that program."""
        return None if self.files.root else processes.running(service)

    def sshds(self) -> list[listeners.Listener]:
        """Return the processes of sshd that wait for connections now."""
        return [] if self.files.root else listeners.listeners()

    def confinement(self, pid: int) -> Confinement:
        """Return how a process is confined; one that has ended is not."""
        with contextlib.suppress(OSError):
            return confinement(pid)
        return Confinement()

    def listens(self, path: str) -> bool:
        """Return whether somebody reads from the datagram socket PATH.

        syslogd does so from /dev/log.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(self.files.root + path)
            except OSError:
                return False
        return True

    def writes_deleted(self, path: str) -> int | None:
        """Return the pid of a process that has PATH open though it was deleted."""
        return None if self.files.root else processes.holds_deleted(path)

    @property
    def systemd(self) -> bool:
        """Whether systemd is PID 1."""
        return self.files.is_dir("/run/systemd/system") if self.files.root else processes.booted()

    def forbids(self, service: str, how: str) -> bool:
        """Return whether the host's policy keeps a package's script from this.

        See `services.forbids`.
        """
        return not self.files.root and services.forbids(service, how)

"""The daemons of the host, and systemd."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING

from ..system import listeners, processes, services
from .files import Files

if TYPE_CHECKING:
    from ..system.confinement import Confinement


class Daemons:
    """The daemons that run on the host."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._confined: dict[int, Confinement] = {}

    def anew(self, files: Files) -> Daemons:
        """Return a copy that has looked at nothing yet."""
        return type(self)(files)

    def running(self, service: str) -> int | None:
        """Return a daemon's pid if its pid file names a process of that program, else None."""
        if self.files.root:
            return None
        return processes.running(service)

    def sshds(self) -> list[listeners.Listener]:
        """Return the sshd processes that are listening for connections."""
        if self.files.root:
            return []
        return listeners.listeners()

    def confinement(self, pid: int) -> Confinement:
        """Return how a process is confined, asked once. A process that has ended is not."""
        from ..system.confinement import Confinement, confinement  # late: useradd waits

        if pid not in self._confined:
            self._confined[pid] = Confinement()
            with contextlib.suppress(OSError):
                self._confined[pid] = confinement(pid)
        return self._confined[pid]

    def listens(self, path: str) -> bool:
        """Return whether a process listens on the datagram socket PATH, as syslogd on /dev/log."""
        import socket  # late: only check and setup come here

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(self.files.root + path)
            except OSError:
                return False
        return True

    def writes_deleted(self, path: str) -> int | None:
        """Return the pid of a process that still has the deleted file PATH open, or None."""
        if self.files.root:
            return None
        return processes.holds_deleted(path)

    @cached_property
    def systemd(self) -> bool:
        """Whether systemd is PID 1."""
        if self.files.root:
            return self.files.is_dir("/run/systemd/system")
        return processes.booted()

    def forbids(self, service: str, how: str) -> bool:
        """Return whether the host's policy forbids this to a package's script.

        See `services.forbids`.
        """
        return not self.files.root and services.forbids(service, how)

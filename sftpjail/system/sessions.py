"""Programs that keep running, with a socket as their input and output."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from typing import BinaryIO

from ..model import frozen
from .processes import after_name, pids
from .programs import decode, pidfds, start
from .signals import postponed


@frozen
class Session:
    """A running program with a socket as its standard input and output.

    Its standard error is kept in memory.
    """

    process: subprocess.Popen[bytes]
    socket: socket.socket
    said: BinaryIO

    def words(self, since: int = 0) -> str:
        """Return what the program and its children wrote to standard error after that offset."""
        return decode(os.pread(self.said.fileno(), 1 << 20, since))

    def written(self) -> int:
        """Return how many bytes were written to standard error."""
        return os.fstat(self.said.fileno()).st_size

    def wait(self, timeout: float) -> None:
        """Wait for the program's end, for at most TIMEOUT seconds.

        It may hang up before it writes its last message.
        """
        with pidfds([self.process.pid]) as fds:  # do not reap it: `end` needs its pid
            select.select(fds, [], [], timeout)

    def end(self, patience: float = 3.0) -> None:
        """Hang up and wait until the program and everything that it started has ended.

        Args:
            patience: seconds, after which the processes that are left are killed.
        """
        deadline = time.monotonic() + patience
        # Repeat this until no process is left, because ssh may have been about to start one.
        while family := _family(self.process.pid):
            with pidfds(family) as fds:
                self._hang_up()
                for fd in fds:
                    if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                        with contextlib.suppress(ProcessLookupError):
                            signal.pidfd_send_signal(fd, signal.SIGKILL)
        self._hang_up()
        self.process.wait()
        self.said.close()

    def _hang_up(self) -> None:
        # shutdown(2) is needed, because paramiko's thread holds the socket until it notices.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def _family(leader: int) -> set[int]:
    """Return the living processes of a session and their descendants.

    ssh(1) does not wait for its ProxyCommand.
    """
    parents, family = dict[int, int](), set[int]()
    for pid in pids():
        with contextlib.suppress(OSError):
            state, parent, _, session, *_ = after_name(pid)
            if state not in (b"Z", b"X"):
                parents[pid] = int(parent)
                if int(session) == leader:
                    family.add(pid)
    while found := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= found
    return family


def converse(argv: Sequence[str], sessions: list[Session]) -> Session:
    """Start ARGV, which runs until `Session.end`.

    A signal to us is handled when the session is in SESSIONS, so that it can be ended.

    Args:
        argv: the program and its arguments; no shell.
        sessions: the new session is added to it.

    Raises:
        SftpJailError: it is not installed or cannot be started.
    """
    ours, theirs = socket.socketpair()
    with postponed(), theirs, contextlib.ExitStack() as failed:
        failed.callback(ours.close)
        said = failed.enter_context(open(os.memfd_create("said"), "w+b"))
        process = start(argv, theirs.fileno(), theirs.fileno(), said)
        failed.pop_all()
        sessions.append(Session(process, ours, said))
    return sessions[-1]

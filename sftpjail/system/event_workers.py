"""The processes in which hook scripts and plugins get events: one for each worker of `watch`.

The watcher runs as root. It sends a request with at most one descriptor over a socket, which is the
standard input of the process, and gets one answer. The process does not run as root, and its answer
is not trusted: it can lie about the result of a script, and nothing more.

Under systemd, each process has a scope of its own, so that everything that it has started ends with
it. Without systemd, it has a process group, and ends its scripts itself when it gets SIGTERM.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import os
import pwd
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence

from ..errors import SftpJailError
from .programs import start

MOST = 64 << 10  # bytes of an answer
_GRACE = 2.0  # seconds that a process has to end its scripts
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CGROUPS = "/sys/fs/cgroup"
# The program of the process; its first argument is the directory of the package.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from sftpjail.watch.worker import program; program()"
)


class WorkerProcess:
    """A running process.

    Args:
        arguments: of the program, `watch/worker.py`.
        scope: the name of its systemd scope, without `.scope`; "" for none.

    Raises:
        SftpJailError: it cannot be started.
    """

    def __init__(self, arguments: Sequence[str], scope: str = "") -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        python = (sys.executable or "/usr/bin/python3", "-I", "-c", _PROGRAM, package)
        argv = (*_in_scope(scope), *python, *arguments)
        try:
            with open(os.devnull, "wb") as null:
                self._process = start(argv, theirs.fileno(), null.fileno(), 2)
        except BaseException:
            self._ours.close()
            raise
        finally:
            theirs.close()
        self._scope = scope

    def ask(self, request: bytes, descriptor: int | None, timeout: float) -> bytes:
        """Send a request and return the answer.

        Args:
            request: a datagram.
            descriptor: goes with it, if not None.
            timeout: seconds to wait for the answer.

        Raises:
            SftpJailError: there was no answer in time, or the process has ended.
        """
        rights = []
        if descriptor is not None:
            rights = [descriptor]
        try:
            socket.send_fds(self._ours, [request], rights)
            if not select.select([self._ours], [], [], timeout)[0]:
                raise SftpJailError(f"no answer within {timeout:.0f} seconds")
            answer = self._ours.recv(MOST)
        except OSError as error:
            raise SftpJailError(f"the worker has ended: {error.strerror}") from error
        if not answer:
            raise SftpJailError("the worker has ended")
        return answer

    def end(self) -> None:
        """End the process and everything that it has started."""
        self._ours.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._scope:
            _kill_scope(self._scope)


def _in_scope(scope: str) -> tuple[str, ...]:
    """Return the command that starts a program in a scope, or nothing."""
    if not scope:
        return ()
    return ("systemd-run", "--scope", "--quiet", "--collect", f"--unit={scope}", "--")


def scopes() -> bool:
    """Return whether systemd manages this host, and can be asked for a scope."""
    return os.path.isdir("/run/systemd/system") and shutil.which("systemd-run") is not None


def _kill_scope(scope: str) -> None:
    """Kill what is left in a scope, even in sessions and process groups of its own."""
    places = (f"{_CGROUPS}/system.slice/{scope}.scope", f"{_CGROUPS}/unified/{scope}.scope")
    for place in places:
        with contextlib.suppress(OSError), open(f"{place}/cgroup.kill", "w") as file:
            file.write("1")
            return
    with contextlib.suppress(SftpJailError):
        argv = ("systemctl", "kill", "--signal=KILL", f"{scope}.scope")
        with open(os.devnull, "r+b") as null:
            start(argv, null, null, null).wait()


# -- in the process itself -------------------------------------------------------------------------


def become(name: str) -> None:
    """Become an account with all its groups, for good, and end when the watcher ends.

    Args:
        name: the account.

    Raises:
        SftpJailError: there is no such account, or the change of user has failed.
    """
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise SftpJailError(f"there is no account {name}") from None
    if os.getuid() != account.pw_uid or os.geteuid() == 0:
        os.setgroups(os.getgrouplist(name, account.pw_gid))
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    if os.getresuid() != (account.pw_uid,) * 3 or os.getresgid() != (account.pw_gid,) * 3:
        raise SftpJailError(f"could not become {name}")
    # After that, since setresuid(2) forgets it.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Requests:
    """The socket in the process: requests come in, and an answer goes out for each."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 64))
        self._null = fcntl.fcntl(os.open(os.devnull, os.O_RDONLY), fcntl.F_DUPFD_CLOEXEC, 64)
        os.dup2(self._null, 0)
        self.give(None)

    def next(self) -> tuple[bytes, int | None] | None:
        """Return a request and the descriptor that came with it, or None at the end."""
        fds = array.array("i")
        room = socket.CMSG_LEN(fds.itemsize)
        data, rights, _, _ = self._socket.recvmsg(1 << 20, room)
        for level, kind, content in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if not data:
            return None
        return data, fds[0] if fds else None

    def answer(self, answer: bytes) -> None:
        """Send the answer to the last request."""
        self._socket.send(answer)

    def give(self, descriptor: int | None) -> None:
        """Make a descriptor number 3, where hook scripts expect it, or open /dev/null there.

        It always has something, so that nothing else is opened under that number.
        """
        os.dup2(self._null if descriptor is None else descriptor, 3, inheritable=False)
        if descriptor not in (None, 3):
            os.close(descriptor)

"""Sessions that go on in jails, as the kernel knows them: whose, from where, and what they move.

sshd has one process of root's for each connection, the monitor, one below it that has become the
user, and one below that for each session (sshd_session.c). The last one is internal-sftp, whose pid
is in the log. Nothing is asked but /proc, so that no user can have a say in it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .listeners import address_of, began
from .processes import after_name, in_jail, of_users

_ESTABLISHED = "01"  # TCP_ESTABLISHED of linux/net/tcp_states.h
# The title of the monitor; sshd-session since OpenSSH 9.8.
_TITLE = re.compile(r"sshd(?:-session)?: (?P<name>.+) \[priv\]")


@dataclass(frozen=True)
class Moving:
    """A file that a session has open.

    Args:
        path: as the user sees it, from the jail's root.
        up: whether it is open for writing.
        position: where in the file the next byte is read or written.
    """

    path: str
    up: bool
    position: int


@dataclass(frozen=True)
class Session:
    """A session that goes on.

    Args:
        uid: whose.
        name: what sshd calls the user, or "" where it has no room for that.
        pid: of internal-sftp, or of the connection while nothing runs in it.
        monitor: the pid of sshd, as in its own lines in the log.
        since: seconds since the epoch.
        address: the client's, or "" where there is none, as of a pipe.
        port: the client's, or 0.
        moving: what is open.
    """

    uid: int
    name: str
    pid: int
    monitor: int
    since: float
    address: str
    port: int
    moving: tuple[Moving, ...]


def sessions() -> list[Session]:
    """Return the sessions of all users in jails, the oldest first; see `processes.in_jail`."""
    peers = _Peers()
    found = list[Session]()
    for uid, all_pids in of_users().items():
        inner = in_jail(uid, all_pids)
        parents = dict[int, int]()
        for pid in inner:
            with contextlib.suppress(OSError):  # it has ended
                parents[pid] = int(after_name(pid)[1])
        for pid, monitor in _of_connections(parents):
            with contextlib.suppress(OSError, ValueError, StopIteration):
                address, port = peers.of(monitor)
                since, moving = began(pid), tuple(_moving(pid))
                found.append(
                    Session(uid, _name(monitor), pid, monitor, since, address, port, moving)
                )
    return sorted(found, key=lambda one: (one.since, one.pid))


def _of_connections(parents: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the pid of each session and of its monitor.

    Args:
        parents: of the processes of a user's sessions.
    """
    servers = defaultdict[int, list[int]](list)
    for pid, parent in parents.items():
        if parent in parents:
            servers[parent].append(pid)
    for pid, parent in parents.items():
        if parent not in parents:
            for server in servers[pid] or [pid]:
                yield server, parent


def _name(monitor: int) -> str:
    """Return the user's name in the title of root's part of sshd, which nobody else can set."""
    with open(f"/proc/{monitor}/cmdline", encoding="utf-8", errors="surrogateescape") as handle:
        title = _TITLE.match(handle.read())
    return title["name"] if title else ""


def _moving(pid: int) -> Iterator[Moving]:
    """Yield the files below its root that a process has open: proc_pid_fdinfo(5).

    The files themselves are not asked anything: they may lie on a server that is gone.
    """
    root = os.readlink(f"/proc/{pid}/root")
    for fd in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        with contextlib.suppress(OSError):  # it is closed
            path = os.readlink(f"/proc/{pid}/fd/{fd}")
            if not path.startswith(f"{root}/"):
                continue
            with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as handle:
                facts = dict(line.split(":", 1) for line in handle if ":" in line)
            flags = int(facts["flags"], 8)
            if not flags & os.O_DIRECTORY:
                up = flags & os.O_ACCMODE != os.O_RDONLY
                yield Moving(path.removeprefix(root), up, int(facts["pos"]))


class _Peers:
    """Who is at the other end of a process's connection; each table of the kernel is read once."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, tuple[str, int]]] = {}

    def of(self, pid: int) -> tuple[str, int]:
        """Return address and port, or ("", 0). Raises OSError where the process has ended."""
        space = os.readlink(f"/proc/{pid}/ns/net")
        if space not in self._tables:
            self._tables[space] = dict(_connected(pid))
        table = self._tables[space]
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                peer = table.get(os.readlink(f"/proc/{pid}/fd/{fd}"))
                if peer:
                    return peer
        return "", 0


def _connected(pid: int) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield each connected socket of a process's network, and the other end: proc_pid_net(5)."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{table}") as handle:
            for line in handle.readlines()[1:]:
                fields = line.split()
                if fields[3] == _ESTABLISHED:
                    address, _, port = fields[2].partition(":")
                    yield f"socket:[{fields[9]}]", (address_of(address), int(port, 16))

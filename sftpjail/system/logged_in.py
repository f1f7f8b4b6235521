"""The running sessions in jails: the user, the client's address and the open files.

For each connection sshd has a process of root's, the monitor, below it one that has become the
user, and below that one for each session (sshd_session.c). The last one is internal-sftp, whose pid
is in the log. Everything is read from /proc, so that no user can influence it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from ..model import frozen
from .listeners import address_of, began
from .processes import after_name, in_jail, of_users

_ESTABLISHED = "01"  # TCP_ESTABLISHED of linux/net/tcp_states.h
# The title of the monitor, which is sshd-session since OpenSSH 9.8.
_TITLE = re.compile(r"sshd(?:-session)?: (?P<name>.+) \[priv\]")


@frozen
class OpenFile:
    """A file that a session has open.

    Args:
        path: as the user sees it, from the jail's root.
        up: whether it is open for writing.
        position: the offset of the next byte to read or write.
    """

    path: str
    up: bool
    position: int


@frozen
class Session:
    """A running session.

    Args:
        uid: the user's uid.
        name: the user's name in sshd's title, or "" if it has no room for the name.
        pid: the pid of internal-sftp, or of the connection while it has no session.
        monitor: the pid of the monitor, as in its own lines in the log.
        since: seconds since the epoch.
        address: the client's address, or "" if there is none, as with a pipe.
        port: the client's port, or 0.
        moving: the open files.
    """

    uid: int
    name: str
    pid: int
    monitor: int
    since: float
    address: str
    port: int
    moving: tuple[OpenFile, ...]


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


def owner(session: Session, names: Mapping[int, Sequence[str]]) -> str:
    """Return the owner of a session, or "". If accounts share a uid, sshd's title decides.

    Args:
        session: the session.
        names: of the accounts that count, by uid.
    """
    owners = names.get(session.uid, ())
    if session.name in owners:
        return session.name
    return next(iter(owners), "")


def _of_connections(parents: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the pid of each session and of its monitor.

    Args:
        parents: the parents' pids, by the pids of a user's sessions.
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
    """Return the user's name in the title of the monitor, which only root can set."""
    with open(f"/proc/{monitor}/cmdline", encoding="utf-8", errors="surrogateescape") as handle:
        title = _TITLE.match(handle.read())
    if not title:
        return ""
    return title["name"]


def _moving(pid: int) -> Iterator[OpenFile]:
    """Yield the files below its root that a process has open (proc_pid_fdinfo(5)).

    The files are not accessed, because their server may be gone.
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
                yield OpenFile(path.removeprefix(root), up, int(facts["pos"]))


class _Peers:
    """The peers of processes' connections. Each table of the kernel is read once."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, tuple[str, int]]] = {}

    def of(self, pid: int) -> tuple[str, int]:
        """Return the peer's address and port, or ("", 0). Raises OSError if the process is gone."""
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
    """Yield each connected socket in a process's network namespace with its peer."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{table}") as handle:
            for line in handle.readlines()[1:]:
                fields = line.split()
                if fields[3] == _ESTABLISHED:
                    address, _, port = fields[2].partition(":")
                    yield f"socket:[{fields[9]}]", (address_of(address), int(port, 16))

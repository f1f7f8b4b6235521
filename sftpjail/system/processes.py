"""Running processes, daemons and open files, as /proc and pid files show them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple


def pids() -> Iterator[int]:
    """Yield the pids of all processes. Any of them may end at any time."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _read(pid: int, name: str) -> bytes:
    """Return a file of /proc/PID. Raises OSError if the process has ended."""
    with open(f"/proc/{pid}/{name}", "rb") as handle:
        return handle.read()


def _links(pid: int, *names: str) -> Iterator[str]:
    """Yield the targets of these links of /proc/PID and its open files, as far as permitted."""
    opened = list[str]()
    with contextlib.suppress(OSError):
        opened = [f"fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    for name in (*names, *opened):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/{pid}/{name}")


def after_name(pid: int) -> list[bytes]:
    """Return the fields of proc_pid_stat(5) after the name, which may contain anything.

    They are the state, the parent, the process group, the session and so on.

    Raises:
        OSError: the process has ended.
    """
    return _read(pid, "stat").rpartition(b")")[2].split()


def holders(target: str) -> list[tuple[int, int, str]]:
    """Return pid, uid and command line of the processes that run below TARGET or have files open.

    See proc(5).
    """
    found = []
    target = os.path.realpath(target)
    for pid in pids():
        paths = _links(pid, "cwd", "root", "exe")
        if any(f"{path}/".startswith(f"{target}/") for path in paths):
            with contextlib.suppress(OSError):
                words = _read(pid, "cmdline").decode("utf-8", "replace").replace("\0", " ")
                found.append((pid, owner(pid), words.strip()[:60] or "?"))
    return found


def owner(pid: int) -> int:
    """Return the real uid of a process, or 0 if it has ended.

    kill(2) lets a process with the same uid end it. The owner of /proc/PID would not do: it is root
    if the process is not dumpable, as in sshd's sessions.
    """
    return max(0, _real_uid(pid))


def held() -> frozenset[str]:
    """Return the open files, root and working directories of processes in our mount namespace."""
    paths, ours = set[str](), os.readlink("/proc/self/ns/mnt")
    for pid in pids():
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/mnt") == ours:
                paths.update(_links(pid, "root", "cwd"))
    return frozenset(path for path in paths if path.startswith("/"))


def holds_deleted(path: str) -> int | None:
    """Return the pid of a process that has the deleted PATH open (proc_pid_fd(5)), or None."""
    return next((pid for pid in pids() if f"{path} (deleted)" in _links(pid)), None)


def booted() -> bool:
    """Return whether systemd runs this system (sd_booted(3)).

    It does not count if we are in a chroot and only see its /run.
    """
    return os.path.isdir("/run/systemd/system") and is_here(1)


def is_here(pid: int) -> bool:
    """Return whether a process has our root directory, also if that cannot be read."""
    try:
        return os.path.samefile(f"/proc/{pid}/root", "/")
    except OSError:
        return True


_PIDFILES = {
    "sshd": "/run/sshd.pid",
    "rsyslog": "/run/rsyslogd.pid",
    "syslog-ng": "/run/syslog-ng.pid",
}


def running(service: str) -> int | None:
    """Return a daemon's pid if its pid file names a process of that program, else None."""
    pid = _by_pidfile(service)
    if pid is None and service == "sshd":
        return _listener()
    return pid


def _by_pidfile(service: str) -> int | None:
    try:
        with open(_PIDFILES.get(service, f"/run/{service}.pid"), encoding="ascii") as handle:
            pid = int(handle.read())
        if _runs(pid, service) and is_here(pid):
            return pid
    except (OSError, ValueError):
        pass
    return None


def _runs(pid: int, program: str) -> bool:
    """Return whether a process runs a program of that name. Raises OSError if it has ended."""
    return os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith(program)


def _listener() -> int | None:
    """Return the pid of a listening sshd, wherever its pid file is, by its title (sshd.c)."""
    for pid in pids():
        with contextlib.suppress(OSError):
            ours = os.stat(f"/proc/{pid}").st_uid == 0 and is_here(pid) and _runs(pid, "sshd")
            if ours and b" [listener] " in _read(pid, "cmdline"):
                return pid
    return None


def of_name(names: Collection[str]) -> set[int]:
    """Return the pids of root's processes with these names."""
    return {pid for pid in pids() if _name(pid) in names}


def with_variable(name: str) -> set[int]:
    """Return the pids of root's processes that were started with an environment variable."""
    begin = f"\0{name}=".encode()
    found = set[int]()
    for pid in pids():
        with contextlib.suppress(OSError):  # it is gone
            # The owner of /proc/PID would not do: a set-user-ID program has its user's environment.
            if _real_uid(pid) == 0 and begin in b"\0" + _read(pid, "environ"):
                found.add(pid)
    return found - {os.getpid()}


def _name(pid: int) -> str:
    """Return the name of a process if it is root's (comm in proc(5)), or "".

    Any user could name a process userdel.
    """
    with contextlib.suppress(OSError):  # it is gone
        if os.stat(f"/proc/{pid}").st_uid == 0:
            return _read(pid, "comm").decode("utf-8", "replace").rstrip("\n")
    return ""


# Of the unified, legacy and hybrid hierarchies.
CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")


def manager_cgroup(uid: int) -> str:
    """Return the cgroup of a user manager itself, relative to one of CGROUPS.

    It is `init.scope` below the cgroup of its service (systemd.special(7)). A service that is only
    being started, and that a condition refuses, does not have it.
    """
    return f"user.slice/user-{uid}.slice/user@{uid}.service/init.scope"


def user_managers() -> list[int]:
    """Return the uids of the running user managers."""
    found = set()
    for tree in CGROUPS:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"{tree}/user.slice"):
                uid = name.removeprefix("user-").removesuffix(".slice")
                if uid.isdigit() and os.path.isdir(f"{tree}/{manager_cgroup(int(uid))}"):
                    found.add(int(uid))
    return sorted(found)


# sshd's own programs, also if an upgrade has replaced the one that runs.
_SSHD = re.compile(r"/usr/(?:s?bin|lib|libexec)/(?:[^/]+/)?sshd(?:-session)?(?: \(deleted\))?")
# The units whose cgroups have programs that users have started.
_FOR_USERS = re.compile(
    r"(?:cron|crond|cronie|atd|incron|ssh|sshd|sshd?@.*|user@.*|session-.*)\.(?:service|scope)"
)


class OutsideProcess(NamedTuple):
    """A process of a user that runs outside any jail.

    `service` is the unit of the system service that runs it, or "". `container` means that root has
    put it into its own PID namespace. An administrator has set up both, and the uid may be another
    user's there. `managed` means that it belongs to the user's own systemd.
    """

    pid: int
    name: str
    service: str = ""
    container: bool = False
    managed: bool = False

    @property
    def own(self) -> bool:
        """Whether the user has started it, and no system service or container."""
        return not self.service and not self.container


def of_users() -> dict[int, list[int]]:
    """Return the pids of all living processes except root's, by real uid (proc_pid_status(5))."""
    found: dict[int, list[int]] = {}
    for pid in pids():
        uid = _real_uid(pid)
        if uid > 0:
            found.setdefault(uid, []).append(pid)
    return found


def _real_uid(pid: int) -> int:
    """Return the real uid of a process, or -1 if it has ended.

    A set-user-ID program belongs to the user who runs it.
    """
    try:
        text = _read(pid, "status")
    except OSError:
        return -1
    dead = re.search(rb"^State:\s+[ZX]", text, re.MULTILINE)
    uid = re.search(rb"^Uid:\s+(\d+)", text, re.MULTILINE)
    if dead or not uid:
        return -1
    return int(uid[1])


def outside(uid: int, pids: Collection[int] | None = None) -> list[OutsideProcess]:
    """Return the processes of a user that run outside any jail.

    These are all except those that sshd runs for a session in a chroot.

    Args:
        uid: the user's uid; root has none.
        pids: the pids from `of_users`; None looks for them.
    """
    found = []
    for pid in of_users().get(uid, []) if pids is None else pids:
        with contextlib.suppress(OSError):  # it is gone
            if _real_uid(pid) == uid and not _in_session(pid, uid):
                found.append(_outsider(pid))
    return found


def in_jail(uid: int, pids: Collection[int] | None = None) -> list[int]:
    """Return the processes that sshd runs for a user's sessions in a chroot.

    Args:
        uid: the user's uid; root has none.
        pids: the pids to look at; None looks at all.
    """
    found = []
    for pid in of_users().get(uid, []) if pids is None else pids:
        with contextlib.suppress(OSError):  # it is gone
            if _real_uid(pid) == uid and _in_session(pid, uid):
                found.append(pid)
    return found


def _in_session(pid: int, uid: int) -> bool:
    """Return whether a process is sshd itself with another root directory than ours.

    Its parent or an ancestor must be sshd's monitor, which is root's (sshd_session.c).
    """
    if os.path.samefile(f"/proc/{pid}/root", "/"):
        return False
    while pid > 1 and _SSHD.fullmatch(os.readlink(f"/proc/{pid}/exe")):
        owner = _real_uid(pid)
        if owner != uid:
            return owner == 0
        pid = int(after_name(pid)[1])
    return False


def unfinished_logins(name: str, uid: int, among: Collection[int] | None = None) -> list[int]:
    """Return sshd's monitors of connections that said this name, and have no session yet.

    sshd asks its Match blocks when a client says its name, and keeps the answer as long as the
    connection lasts: who joins a group after that is not in it there. The monitor has the name in
    its title from then on (mm_answer_pwnamallow in monitor.c), and runs as root.

    Args:
        name: the account's, as clients say it.
        uid: the account's; a process of it is the session.
        among: the pids to look at; None looks at all.
    """
    titles = {f"{program}: {name} [priv]".encode() for program in ("sshd", "sshd-session")}
    found = []
    for pid in pids() if among is None else among:
        with contextlib.suppress(OSError):  # it is gone
            if _read(pid, "cmdline").rstrip(b"\0 ") in titles and _is_sshd_of_root(pid):
                found.append(pid)
    return found and sorted({*found} - _parents(uid))


def _parents(uid: int) -> set[int]:
    """Return the pids of the parents of a user's processes."""
    found = set()
    for pid in of_users().get(uid, []):
        with contextlib.suppress(OSError):  # it is gone
            found.add(int(after_name(pid)[1]))
    return found


def _is_sshd_of_root(pid: int) -> bool:
    program = os.readlink(f"/proc/{pid}/exe")
    return _real_uid(pid) == 0 and is_here(pid) and bool(_SSHD.fullmatch(program))


def unit_of(pid: int) -> str:
    """Return the systemd service or scope that a process belongs to, by its cgroup, or "".

    Raises:
        OSError: the process has ended.
    """
    cgroup = _read(pid, "cgroup").decode("utf-8", "replace")
    groups = re.findall(r"^(?:0:|\d+:name=systemd):(/.*)$", cgroup, re.MULTILINE)
    parts = []
    if groups:
        parts = groups[-1].split("/")
    return next((part for part in parts if part.endswith((".service", ".scope"))), "")


def _outsider(pid: int) -> OutsideProcess:
    comm = _read(pid, "comm").decode("ascii", "replace").rstrip("\n")
    name = re.sub(r"[^\w.+:@()-]", "?", comm)
    unit = unit_of(pid)
    service = ""
    if unit.endswith(".service") and not _FOR_USERS.fullmatch(unit):
        service = unit
    # Other users can make a PID namespace only inside a user namespace.
    namespaces = {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("pid", "user")}
    ours = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in namespaces}
    container = namespaces["pid"] != ours["pid"] and namespaces["user"] == ours["user"]
    return OutsideProcess(pid, name, service, container, unit.startswith("user@"))


def being_deleted() -> frozenset[str]:
    """Return the arguments of every running userdel(8), which include the account's name."""
    return frozenset(_called("userdel"))


def being_created() -> dict[str, int]:
    """Return the arguments of every running useradd(8), with its pid."""
    return _called("useradd")


def _called(program: str) -> dict[str, int]:
    words: dict[str, int] = {}
    for pid in of_name([program]):
        with contextlib.suppress(OSError):
            if is_here(pid):
                called = os.fsdecode(_read(pid, "cmdline")).split("\0")[1:]
                words |= dict.fromkeys(called, pid)
    return words

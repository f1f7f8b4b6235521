"""Who has something open in a directory, which daemons and programs run.

This is read from /proc and pid files, and waited for.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass


def pids() -> Iterator[int]:
    """Yield the pids of all processes; any of them may have ended when it is looked at."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _read(pid: int, name: str) -> bytes:
    """Return a file of /proc/PID. Raises OSError where the process has ended."""
    with open(f"/proc/{pid}/{name}", "rb") as handle:
        return handle.read()


def _links(pid: int, *names: str) -> Iterator[str]:
    """Yield where these links of /proc/PID lead, and its open files, as far as we may know."""
    opened = list[str]()
    with contextlib.suppress(OSError):
        opened = [f"fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    for name in (*names, *opened):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/{pid}/{name}")


def after_name(pid: int) -> list[bytes]:
    """Return the fields of proc_pid_stat(5) behind the name, which may hold anything.

    They are its state, its parent, its process group, its session, and so on.

    Raises:
        OSError: the process has ended.
    """
    return _read(pid, "stat").rpartition(b")")[2].split()


def holders(target: str) -> list[tuple[int, int, str]]:
    """Return (pid, uid, command line) of who has something below TARGET open or is in it.

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
    """Return the real uid of a process; 0 where it has ended.

    kill(2) lets a process of the same uid end it.

    Not the owner of /proc/PID: that is root where the process may not be dumped, as those of
    sshd's sessions.
    """
    return max(0, _real_uid(pid))


def held() -> frozenset[str]:
    """Return every path that a process of our mount namespace has open or is in.

    These are its root, its directory, its files.
    """
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

    One whose /run we see from a chroot does not count.
    """
    return os.path.isdir("/run/systemd/system") and is_here(1)


def is_here(pid: int) -> bool:
    """Return whether a process has the same root as we have; of one that cannot be asked, yes."""
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
    """Return the pid of the daemon, if its pid file names a process that is really that program."""
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
    """Return whether a process is a program of that name. Raises OSError where it has ended."""
    return os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith(program)


def _listener() -> int | None:
    """Return the pid of an sshd that listens, wherever its pid file is.

    It says so in its title (sshd.c).
    """
    for pid in pids():
        with contextlib.suppress(OSError):
            ours = os.stat(f"/proc/{pid}").st_uid == 0 and is_here(pid) and _runs(pid, "sshd")
            if ours and b" [listener] " in _read(pid, "cmdline"):
                return pid
    return None


def of_name(names: Collection[str]) -> set[int]:
    """Return the pids of root's processes of these names."""
    return {pid for pid in pids() if _name(pid) in names}


def with_variable(name: str) -> set[int]:
    """Return the pids of root's processes that began with a variable in their environment."""
    begin = f"\0{name}=".encode()
    found = set[int]()
    for pid in pids():
        with contextlib.suppress(OSError):  # it is gone
            # Not by the owner of /proc/PID: a set-user-ID program has its user's environment.
            if _real_uid(pid) == 0 and begin in b"\0" + _read(pid, "environ"):
                found.add(pid)
    return found - {os.getpid()}


def _name(pid: int) -> str:
    """Return the name of a process of root's (comm in proc(5)), or "".

    Anybody could call one of theirs userdel.
    """
    with contextlib.suppress(OSError):  # it is gone
        if os.stat(f"/proc/{pid}").st_uid == 0:
            return _read(pid, "comm").decode("utf-8", "replace").rstrip("\n")
    return ""


# Unified, legacy, hybrid.
CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")


def manager_cgroup(uid: int) -> str:
    """Return the cgroup that the user manager of UID itself lies in, below one of CGROUPS.

    It is `init.scope` below its service's (systemd.special(7)). A service that is only being
    started, and is refused by a condition, has none.
    """
    return f"user.slice/user-{uid}.slice/user@{uid}.service/init.scope"


def user_managers() -> list[int]:
    """Return the uids of whose user managers run now."""
    found = set()
    for tree in CGROUPS:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"{tree}/user.slice"):
                uid = name.removeprefix("user-").removesuffix(".slice")
                if uid.isdigit() and os.path.isdir(f"{tree}/{manager_cgroup(int(uid))}"):
                    found.add(int(uid))
    return sorted(found)


# sshd's own programs, also where a new version has replaced the one that runs.
_SSHD = re.compile(r"/usr/(?:s?bin|lib|libexec)/(?:[^/]+/)?sshd(?:-session)?(?: \(deleted\))?")
# Services in whose control group are programs that users have started.
_FOR_USERS = re.compile(
    r"(?:cron|crond|cronie|atd|incron|ssh|sshd|sshd?@.*|user@.*|session-.*)\.(?:service|scope)"
)


@dataclass(frozen=True)
class Outsider:
    """A process of a user's that no jail holds.

    `service` is the unit of a system service that runs it, "" where it is none; `container` says
    that root has put it into a PID namespace of its own. Both are an administrator's doing, and the
    uid may mean somebody else in there. `managed`: it belongs to the user's own systemd.
    """

    pid: int
    name: str
    service: str = ""
    container: bool = False
    managed: bool = False

    @property
    def own(self) -> bool:
        """Whether it is the user's and nobody else's."""
        return not self.service and not self.container


def of_users() -> dict[int, list[int]]:
    """Return the pids of all processes but root's and the dead, by real uid.

    It is Uid in proc_pid_status(5).
    """
    found: dict[int, list[int]] = {}
    for pid in pids():
        uid = _real_uid(pid)
        if uid > 0:
            found.setdefault(uid, []).append(pid)
    return found


def _real_uid(pid: int) -> int:
    """Return the real uid of a process, -1 of one that has ended.

    A setuid program that a user runs is the user's.
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


def outside(uid: int, pids: Collection[int] | None = None) -> list[Outsider]:
    """Return the processes of a user that no jail holds.

    That is everything but what sshd runs for a session in a chroot.

    Args:
        uid: whose; root has none.
        pids: those that `of_users` found; None looks again.
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
        uid: whose; root has none.
        pids: those to look at; None looks at all.
    """
    found = []
    for pid in of_users().get(uid, []) if pids is None else pids:
        with contextlib.suppress(OSError):  # it is gone
            if _real_uid(pid) == uid and _in_session(pid, uid):
                found.append(pid)
    return found


def _in_session(pid: int, uid: int) -> bool:
    """Return whether a process is sshd itself, in another root than ours.

    It runs below root's part of it (sshd_session.c).
    """
    if os.path.samefile(f"/proc/{pid}/root", "/"):
        return False
    while pid > 1 and _SSHD.fullmatch(os.readlink(f"/proc/{pid}/exe")):
        owner = _real_uid(pid)
        if owner != uid:
            return owner == 0
        pid = int(after_name(pid)[1])
    return False


def unit_of(pid: int) -> str:
    """Return the service or scope of systemd's that a process belongs to, by its control group.

    Raises:
        OSError: the process has ended.
    """
    cgroup = _read(pid, "cgroup").decode("utf-8", "replace")
    groups = re.findall(r"^(?:0:|\d+:name=systemd):(/.*)$", cgroup, re.MULTILINE)
    parts = groups[-1].split("/") if groups else []
    return next((part for part in parts if part.endswith((".service", ".scope"))), "")


def _outsider(pid: int) -> Outsider:
    comm = _read(pid, "comm").decode("ascii", "replace").rstrip("\n")
    name = re.sub(r"[^\w.+:@()-]", "?", comm)
    unit = unit_of(pid)
    service = unit if unit.endswith(".service") and not _FOR_USERS.fullmatch(unit) else ""
    # Who is no root can have a PID namespace only within a user namespace.
    namespaces = {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("pid", "user")}
    ours = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in namespaces}
    container = namespaces["pid"] != ours["pid"] and namespaces["user"] == ours["user"]
    return Outsider(pid, name, service, container, unit.startswith("user@"))


def being_deleted() -> frozenset[str]:
    """Return the words by which every userdel(8) that runs here was called.

    The names of accounts are among them.
    """
    return frozenset(_called("userdel"))


def being_created() -> dict[str, int]:
    """Return the same of useradd(8), with the pid of each."""
    return _called("useradd")


def _called(program: str) -> dict[str, int]:
    words: dict[str, int] = {}
    for pid in of_name([program]):
        with contextlib.suppress(OSError):
            if is_here(pid):
                called = os.fsdecode(_read(pid, "cmdline")).split("\0")[1:]
                words |= dict.fromkeys(called, pid)
    return words

"""Who has something open in a folder, which daemons and programs run.

This is read from /proc and pid files, and waited for.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass


def holders(target: str) -> list[tuple[int, int, str]]:
    """Return (pid, uid, command line) of who has something below TARGET open or is in it.

    See proc(5).
    """
    found = []
    target = os.path.realpath(target)
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        links = [f"/proc/{pid}/cwd", f"/proc/{pid}/root", f"/proc/{pid}/exe"]
        with contextlib.suppress(OSError):
            links += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
        for link in links:
            with contextlib.suppress(OSError):
                if (os.readlink(link) + "/").startswith(target + "/"):
                    with open(f"/proc/{pid}/cmdline", "rb") as handle:
                        words = (
                            handle.read().decode("utf-8", "replace").replace("\0", " ").strip()[:60]
                        )
                        found.append((pid, owner(pid), words or "?"))
                    break
    return found


def owner(pid: int) -> int:
    """Return the real uid of a process; 0 where it has ended.

    kill(2) lets a process of the same uid end it.

    Not the owner of /proc/PID: that is root where the process may not be dumped, as those of
    sshd's sessions.
    """
    path = f"/proc/{pid}/status"
    with (
        contextlib.suppress(OSError, ValueError),
        open(path, encoding="utf-8", errors="replace") as lines,
    ):
        return next((int(line.split()[1]) for line in lines if line.startswith("Uid:")), 0)
    return 0


def held() -> frozenset[str]:
    """Return every path that a process of our mount namespace has open or is in.

    These are its root, its folder, its files.
    """
    paths, ours = set(), os.readlink("/proc/self/ns/mnt")
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/mnt") != ours:
                continue
            links = [f"/proc/{pid}/root", f"/proc/{pid}/cwd"]
            links += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
            for link in links:
                with contextlib.suppress(OSError):
                    paths.add(os.readlink(link))
    return frozenset(path for path in paths if path.startswith("/"))


def holds_deleted(path: str) -> int | None:
    """Return the pid of a process that has the deleted PATH open (proc_pid_fd(5)), or None."""
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == f"{path} (deleted)":
                    return pid
    return None


def booted() -> bool:
    """Return whether systemd runs this system (sd_booted(3)).

    One whose /run we see from a chroot does not count.
    """
    return os.path.isdir("/run/systemd/system") and _is_here(1)


def _is_here(pid: int | str) -> bool:
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
        pid = _listener()
    return pid


def _by_pidfile(service: str) -> int | None:
    try:
        with open(_PIDFILES.get(service, f"/run/{service}.pid"), encoding="ascii") as handle:
            pid = int(handle.read())
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except (OSError, ValueError):
        return None
    return pid if program.startswith(service) and _is_here(pid) else None


def _listener() -> int | None:
    """Return the pid of an sshd that listens, wherever its pid file is.

    It says so in its title (sshd.c).
    """
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            root = name.isdigit() and os.stat(f"/proc/{name}").st_uid == 0
            if root and os.path.basename(os.readlink(f"/proc/{name}/exe")).startswith("sshd"):
                with open(f"/proc/{name}/cmdline", "rb") as handle:
                    if b" [listener] " in handle.read() and _is_here(name):
                        return int(name)
    return None


def of_name(names: Collection[str]) -> set[str]:
    """Return the pids of root's processes of these names."""
    return {entry for entry in os.listdir("/proc") if entry.isdigit() and _name(entry) in names}


def _name(pid: str) -> str:
    """Return the name of a process of root's (comm in proc(5)), or "".

    Anybody could call one of theirs userdel.
    """
    try:
        if os.stat(f"/proc/{pid}").st_uid != 0:
            return ""
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as handle:
            return handle.read().rstrip("\n")
    except OSError:  # it is gone
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
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        uid = _real_uid(pid)
        if uid > 0:
            found.setdefault(uid, []).append(pid)
    return found


def _real_uid(pid: int) -> int:
    """Return the real uid of a process, -1 of one that has ended.

    A setuid program that a user runs is the user's.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as handle:
            text = handle.read()
    except OSError:
        return -1
    dead = re.search(rb"^State:\s+[ZX]", text, re.MULTILINE)
    uid = re.search(rb"^Uid:\s+(\d+)", text, re.MULTILINE)
    return int(uid[1]) if uid and not dead else -1


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
        with open(f"/proc/{pid}/stat", "rb") as handle:
            pid = int(handle.read().rpartition(b")")[2].split()[1])
    return False


def _outsider(pid: int) -> Outsider:
    with open(f"/proc/{pid}/comm", "rb") as handle:
        name = re.sub(r"[^\w.+:@()-]", "?", handle.read().decode("ascii", "replace").rstrip("\n"))
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as handle:
        groups = re.findall(r"^(?:0:|\d+:name=systemd):(/.*)$", handle.read(), re.MULTILINE)
    parts = groups[-1].split("/") if groups else []
    unit = next((part for part in parts if part.endswith((".service", ".scope"))), "")
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
    words: set[str] = set()
    for pid in of_name(["userdel"]):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as handle:
            words |= set(os.fsdecode(handle.read()).split("\0")[1:] if _is_here(pid) else ())
    return frozenset(words)

"""Who has something open in a folder, which daemons and programs run: read from /proc and pid files, and waited for."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator


def holders(target: str) -> list[tuple[int, str]]:
    """Return (pid, command line) of processes that have something below TARGET open or are in it (proc(5))."""
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
                        found.append(
                            (pid, handle.read().decode("utf-8", "replace").replace("\0", " ").strip()[:60] or "?")
                        )
                    break
    return found


def held() -> frozenset[str]:
    """Return every path that a process of our mount namespace has open or is in: its root, its folder, its files."""
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
    """Return the pid of a process that has PATH open though it was deleted (proc_pid_fd(5)), or None."""
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == f"{path} (deleted)":
                    return pid
    return None


def booted() -> bool:
    """Return whether systemd runs this system (sd_booted(3)), and not one whose /run we see from a chroot."""
    return os.path.isdir("/run/systemd/system") and _is_here(1)


def _is_here(pid: int | str) -> bool:
    """Return whether a process has the same root as we have; of one that cannot be asked, yes."""
    try:
        return os.path.samefile(f"/proc/{pid}/root", "/")
    except OSError:
        return True


_PIDFILES = {"sshd": "/run/sshd.pid", "rsyslog": "/run/rsyslogd.pid", "syslog-ng": "/run/syslog-ng.pid"}


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
    """Return the pid of an sshd that listens, wherever its pid file is; it says so in its title (sshd.c)."""
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            root = name.isdigit() and os.stat(f"/proc/{name}").st_uid == 0
            if root and os.path.basename(os.readlink(f"/proc/{name}/exe")).startswith("sshd"):
                with open(f"/proc/{name}/cmdline", "rb") as handle:
                    if b" [listener] " in handle.read() and _is_here(name):
                        return int(name)
    return None


def any_runs(names: Collection[str]) -> bool:
    """Return whether root runs a process of one of these names."""
    return any(_name(entry) in names for entry in os.listdir("/proc") if entry.isdigit())


def _name(pid: str) -> str:
    """Return the name of a process of root's (comm in proc(5)), or "": anybody could call one of theirs userdel."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != 0:
            return ""
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as handle:
            return handle.read().rstrip("\n")
    except OSError:  # it is gone
        return ""


def being_deleted() -> frozenset[str]:
    """Return the words by which every userdel(8) that runs here was called, the names of accounts among them."""
    words: set[str] = set()
    for pid in (entry for entry in os.listdir("/proc") if entry.isdigit() and _name(entry) == "userdel"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as handle:
            words |= set(os.fsdecode(handle.read()).split("\0")[1:] if _is_here(pid) else ())
    return frozenset(words)


@contextlib.contextmanager
def no_useradd(path: str) -> Iterator[None]:
    """A moment for a hook of shadow's to go: useradd fails if it is gone between being seen and being run (run_part.c).

    So wait, for two seconds at most, for a moment in which neither useradd nor userdel runs, and in which nobody has
    opened the folder since they were looked for: inotify(7), IN_OPEN.
    """
    folder = os.path.dirname(path)
    if os.path.dirname(folder) != "/etc/shadow-maint" or not os.path.lexists(path):
        yield
        return
    import ctypes

    libc, deadline = ctypes.CDLL(None), time.monotonic() + 2
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        watched = fd >= 0 and libc.inotify_add_watch(fd, os.fsencode(folder), 0x20) >= 0
        while time.monotonic() < deadline:
            _drained(fd, watched)
            if not any_runs(("useradd", "userdel")) and not _drained(fd, watched):
                break
            time.sleep(0.001)
        yield
    finally:
        if fd >= 0:
            os.close(fd)  # not before: it takes some milliseconds, in which many a useradd begins


def _drained(fd: int, watched: bool) -> bool:
    """Return whether something had happened by an inotify descriptor, and forget it."""
    try:
        return watched and bool(os.read(fd, 1 << 16))
    except BlockingIOError:
        return False

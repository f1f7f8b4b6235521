"""The only module that writes and mounts. Primitives; what to do and undo is decided elsewhere.

Paths are walked by file descriptor, component by component: a symbolic link is followed only where root alone could
have made it, so that nothing a user puts into a folder of theirs leads root astray.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from shlex import quote

from . import programs
from .errors import SftpJailError
from .processes import any_runs, holders

_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def start_process() -> None:
    """Make the umask a plain one, and open the streams that cron and some daemons leave closed."""
    os.umask(0o022)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout, sys.stderr = sys.stdout or open(os.devnull, "w"), sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def silence_output() -> None:
    """Print no more: the reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


# -- the lock ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def lock(path: str, timeout: float) -> Iterator[None]:
    """Hold the one lock; every run that may change something does so before it reads its first fact.

    Args:
        path: the lock file; its folder is made.
        timeout: seconds to wait for another run.

    Raises:
        SftpJailError: another run holds it all that time, or it cannot be made.
    """
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SftpJailError(f"cannot lock {path}: {error.strerror}", "run sftpjail as root") from error
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SftpJailError(
                        f"another sftpjail has held {path} for {timeout:.0f} seconds", f"fuser -v {path}"
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def unlocked(path: str) -> Iterator[bool]:
    """Yield whether no run holds the lock, and let none begin meanwhile; wait for nobody.

    Args:
        path: the lock file; where there is none, nobody can hold it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        free = True
    except BlockingIOError:
        free = False
    try:
        yield free
    finally:
        os.close(fd)


# -- folders and files ------------------------------------------------------------------------------------------


def _trusted(fd: int) -> bool:
    found = os.fstat(fd)
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022


def open_parent(path: str) -> tuple[int, str]:
    """Return a descriptor of the folder that really holds PATH, and PATH's last name, which is followed by nobody.

    Raises:
        SftpJailError: a component is a symbolic link in a folder where others than root could have put it.
        OSError: a component is missing or no folder.
    """
    todo = [part for part in path.split("/") if part]
    fd, links = os.open("/", _DIR), 0
    try:
        while True:
            name = todo.pop(0)
            if not todo:
                return fd, name
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                is_link = stat.S_ISLNK(found.st_mode)
            except FileNotFoundError:
                is_link = False
            if is_link:
                links += 1
                if not _trusted(fd) or found.st_uid not in (0, os.geteuid()) or links > 40:
                    raise SftpJailError(f"{path}: {name} is a symbolic link that others than root made or can change")
                target = os.readlink(name, dir_fd=fd)
                todo = [part for part in target.split("/") if part] + todo
                if target.startswith("/"):
                    os.close(fd)
                    fd = os.open("/", _DIR)
            else:
                below = os.open(name, _DIR, dir_fd=fd)
                os.close(fd)
                fd = below
    except BaseException:
        os.close(fd)
        raise


@contextlib.contextmanager
def parent(path: str, about: str = "") -> Iterator[tuple[int, str]]:
    """`open_parent` that closes its descriptor, and whose errors name the path, or the file that it is ABOUT."""
    about = about or path
    try:
        fd, name = open_parent(path)
    except OSError as error:
        raise SftpJailError(f"cannot reach {about}: {error.strerror}") from error
    try:
        yield fd, name
    except OSError as error:
        hint = f"lsattr -d {quote(about)}" if error.errno == errno.EPERM else f"df {quote(os.path.dirname(about))}"
        hint = hint if error.errno in (errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS) else ""
        raise SftpJailError(f"cannot change {about}: {error.strerror}", hint) from error
    finally:
        os.close(fd)


def make_dir(path: str, mode: int, uid: int, gid: int) -> None:
    """Make one folder with exactly that owner and mode; parents must exist."""
    with parent(path) as (folder, name), contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
        set_owner(path, uid, gid, mode)


def set_owner(path: str, uid: int, gid: int, mode: int) -> None:
    """Give an existing file or folder, not a symbolic link, this owner and mode."""
    with parent(path) as (folder, name):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)


def remove_dir(path: str) -> bool:
    """Remove a folder if it is empty; return whether it is gone."""
    if not os.path.isdir(os.path.dirname(path)):
        return True
    with parent(path) as (folder, name):
        try:
            os.rmdir(name, dir_fd=folder)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EBUSY, errno.ENOTDIR):  # in use or a mount point: not ours
                return False
            raise
    return True


def _beside(path: str, suffix: str) -> str:
    folder, name = os.path.split(path)
    if os.path.dirname(folder) == "/etc/shadow-maint":
        # useradd runs every regular file in there, a half-written one too: those are staged one folder up.
        folder, name = os.path.dirname(folder), f"{os.path.basename(folder)}-{name}"
    return f"{folder}/.{name}.{suffix}"


def backup_name(path: str) -> str:
    """Return where the old version of PATH is kept, under a name that no daemon's include pattern matches."""
    return _beside(path, "sftpjail-old~")


def stage_name(path: str) -> str:
    """Return where the new version of PATH is written before it is renamed into place."""
    return _beside(path, "sftpjail-new~")


def write_staged(path: str, content: bytes, like: str, mode: int, uid: int, gid: int) -> None:
    """Write and sync the new version of PATH beside it.

    Args:
        path: the file that will be replaced.
        content: all of it.
        like: an existing file whose owner, mode and extended attributes are taken, or "".
        mode, uid, gid: those of the file otherwise.
    """
    unlink(stage_name(path))
    with parent(stage_name(path), path) as (folder, name):
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with open(fd, "wb") as handle:
            if like:
                model = os.stat(like)
                uid, gid, mode = model.st_uid, model.st_gid, stat.S_IMODE(model.st_mode)
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
            for attribute in os.listxattr(like) if like else ():
                os.setxattr(fd, attribute, os.getxattr(like, attribute))
            handle.write(content)
            handle.flush()
            os.fsync(fd)


def move(source: str, target: str) -> None:
    """Rename SOURCE to TARGET, replacing it. Links are not followed at the last name of either."""
    with parent(source, target) as (old, old_name), parent(target) as (new, new_name), _no_useradd(source):
        os.rename(old_name, new_name, src_dir_fd=old, dst_dir_fd=new)


def keep(path: str) -> None:
    """Give the present version of PATH its second name, from which a rollback takes it back."""
    unlink(backup_name(path))
    with parent(path) as (old, old_name), parent(backup_name(path), path) as (new, new_name):
        os.link(old_name, new_name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)


def unlink(path: str) -> None:
    """Remove a file that may be gone already, its folder too."""
    if not os.path.isdir(os.path.dirname(path)):
        return
    with parent(path) as (folder, name), contextlib.suppress(FileNotFoundError), _no_useradd(path):
        os.unlink(name, dir_fd=folder)


@contextlib.contextmanager
def _no_useradd(path: str) -> Iterator[None]:
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


def sync_dirs(paths: set[str]) -> None:
    """Make renames and removals in these folders durable."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def append(path: str, text: str) -> None:
    """Append TEXT to a root-only file and return when it is on the disk."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        data = text.encode("utf-8", "surrogateescape")
        while data:  # a disk that is nearly full takes a part and reports no error
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    except OSError as error:
        raise SftpJailError(f"cannot write {path}: {error.strerror}") from error
    finally:
        os.close(fd)
    sync_dirs({os.path.dirname(path)})


# -- for a trial ------------------------------------------------------------------------------------------------


def new_file(path: str, content: bytes, mode: int) -> None:
    """Make a file that is not there yet, of root's and with exactly that mode."""
    with parent(path) as (folder, name):
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with open(fd, "wb") as handle:
            os.fchmod(fd, mode)
            handle.write(content)


def listen(path: str) -> socket.socket:
    """Return a socket on which everybody may connect by PATH."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o777)
    listener.listen()
    return listener


def remove_tree(path: str) -> None:
    """Remove a folder of root's with all that is in it; it may be gone already."""
    if os.path.lexists(path):
        shutil.rmtree(path)


class Times:
    """The times of a folder, to be put back when what came into it has gone again.

    Args:
        path: the folder; where there is none, or a link, nothing is done.
    """

    def __init__(self, path: str) -> None:
        self._fd = -1
        with contextlib.suppress(OSError, SftpJailError), parent(f"{path.rstrip('/')}/.") as (folder, _):
            self._fd = os.dup(folder)
            self._before = os.fstat(folder)

    def put_back(self) -> None:
        """Give the folder its times back."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # a read-only file system has not changed
                os.utime(self._fd, ns=(self._before.st_atime_ns, self._before.st_mtime_ns))
            os.close(self._fd)
            self._fd = -1


# -- mounts -----------------------------------------------------------------------------------------------------


def mount_all(lines: Sequence[str]) -> None:
    """Mount fstab(5) LINES in their order with one mount(8); what is mounted when it fails is the caller's to undo."""
    with tempfile.NamedTemporaryFile("w", prefix="sftpjail-", suffix=".fstab", errors="surrogateescape") as tab:
        tab.writelines(line + "\n" for line in lines)
        tab.flush()
        answer = programs.run(["mount", "-a", "-T", tab.name], timeout=600.0)
    if answer.code != 0:
        raise SftpJailError(f"mount failed: {answer.words}")


def no_link(target: str) -> None:
    """Make sure that mount(8) will mount on TARGET itself: a folder that was open to others may hold a link of theirs.

    Raises:
        SftpJailError: TARGET is a symbolic link, or one on the way to it is not root's.
    """
    with parent(target) as (folder, name):
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise SftpJailError(
                f"{target} is a symbolic link, and root would mount wherever it leads", f"rm {quote(target)}"
            )


def remount(target: str, options: Sequence[str]) -> None:
    """Give a bind mount other flags."""
    flags = [o for o in options if o in ("ro", "rw", "nosuid", "nodev", "noexec")]
    if "ro" not in flags:
        flags.append("rw")
    programs.must(["mount", "-o", ",".join(["remount", "bind", *flags]), target])


def unmount(target: str) -> None:
    """Unmount TARGET.

    Raises:
        SftpJailError: it is busy, with who holds it, or umount's own words.
    """
    answer = programs.run(["umount", "--", target])
    if answer.code == 0 or "not mounted" in answer.err:
        return
    users = holders(target)
    if users:
        listed = ", ".join(f"{name} (pid {pid})" for pid, name in users[:8])
        raise SftpJailError(f"{target} is in use by {listed}", f"kill {' '.join(str(pid) for pid, _ in users[:8])}")
    raise SftpJailError(f"cannot unmount {target}: {answer.words}")

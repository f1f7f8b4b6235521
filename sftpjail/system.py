"""The only module that writes, mounts or runs a program. Primitives; what to do and undo is decided elsewhere.

Paths are walked by file descriptor, component by component: a symbolic link is followed only where root alone could
have made it, so that nothing a user puts into a folder of theirs leads root astray.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from .errors import SftpJailError
from .processes import holders, running

_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
RUN_DIR = "/run/sftpjail"


# -- programs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a program said: exit code (negative: the signal that killed it), standard output and error."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """The program's own words on one line, for an error message."""
        return " / ".join((self.err.strip() or self.out.strip()).splitlines()[-4:]) or f"exit code {self.code}"


def run(
    argv: Sequence[str],
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    patient: bool = True,
) -> Answer:
    """Run ARGV with a clean environment, in a session of its own so that the terminal's Ctrl-C reaches only us.

    Args:
        argv: the program and its arguments; no shell.
        stdin: what it reads; nothing else.
        env: variables beside PATH and LC_ALL.
        timeout: seconds, after which its whole process group is killed.
        patient: a signal to us waits for its end: usermod(8) must not be killed while it writes /etc/passwd.

    Raises:
        SftpJailError: it is not installed, cannot be started or took too long.
    """
    # In memory and not through pipes: a process that the program leaves behind could hold those open for ever.
    with (
        open(os.memfd_create("stdin"), "w+b") as given,
        open(os.memfd_create("out"), "w+b") as out,
        open(os.memfd_create("err"), "w+b") as err,
    ):
        given.write(stdin.encode("utf-8", "surrogateescape"))
        given.seek(0)
        try:
            process = subprocess.Popen(
                argv, stdin=given, stdout=out, stderr=err, env=_ENV | dict(env or {}), start_new_session=True, cwd="/"
            )
        except OSError as error:
            raise SftpJailError(f"cannot run {argv[0]}: {error.strerror}") from error
        _wait(process, timeout, patient)
        out.seek(0)
        err.seek(0)
        return Answer(process.returncode, _decode(out.read()), _decode(err.read()))


def _wait(process: subprocess.Popen[bytes], timeout: float, patient: bool) -> None:
    try:
        _await(process, timeout)
    except BaseException as error:
        if patient and not isinstance(error, subprocess.TimeoutExpired):
            with contextlib.suppress(subprocess.TimeoutExpired):
                _await(process, timeout)
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            argv = process.args if isinstance(process.args, list | tuple) else [process.args]
            command = " ".join(str(word) for word in argv)
            raise SftpJailError(f"{command} took longer than {timeout:.0f} seconds and was stopped") from error
        raise


def _await(process: subprocess.Popen[bytes], timeout: float) -> None:
    # Popen.wait(timeout) polls, with sleeps of up to 50 ms; a hook of useradd's has no time for that.
    fd = os.pidfd_open(process.pid)
    try:
        ended = select.select([fd], [], [], timeout)[0]
    finally:
        os.close(fd)
    if not ended:
        raise subprocess.TimeoutExpired(process.args, timeout)
    process.wait()


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def must(argv: Sequence[str], **options: float) -> Answer:
    """Run ARGV and return its answer; anything but exit 0 is an error in the program's own words.

    Raises:
        SftpJailError: as `run`, or it failed.
    """
    answer = run(argv, timeout=options.get("timeout", 60.0))
    if answer.code != 0:
        raise SftpJailError(f"{' '.join(argv)} failed: {answer.words}")
    return answer


# Binds the pairs given before `--`, makes sshd's folder where no running sshd has made it, and becomes the program.
_PREVIEW = """
while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 125; shift 2; done; shift
[ -d /run/sshd ] || { mount -t tmpfs -o mode=755 sftpjail /run && mkdir -m 755 /run/sshd; } || exit 125
exec "$@"
"""


def preview(argv: Sequence[str], files: Mapping[str, bytes | None], timeout: float = 60.0) -> Answer:
    """Run ARGV in a private mount namespace in which FILES already have the given content; the host sees nothing.

    Args:
        argv: a program that reads configuration, as `sshd -t`.
        files: path to content; None is a file that is not there.
        timeout: seconds.

    Raises:
        SftpJailError: no private mount namespace is to be had, or as `run`.
    """
    os.makedirs(RUN_DIR, mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RUN_DIR) as stage:
        pairs, folders = [], dict[str, str]()
        changes = sorted(files.items(), key=lambda item: item[1] is not None and os.path.exists(item[0]))
        for number, (path, content) in enumerate(changes):
            path = os.path.realpath(path)
            parent = os.path.dirname(path)
            if content is not None and os.path.exists(path) and parent not in folders:
                staged = f"{stage}/{number}"
                shutil.copy2(path, staged)
                pairs += [staged, path]
            elif os.path.isdir(parent):
                # A file that comes or goes cannot be bound over: its whole folder is shown anew.
                if parent not in folders:
                    folders[parent] = f"{stage}/{number}.d"
                    shutil.copytree(parent, folders[parent], symlinks=True)
                    pairs += [folders[parent], parent]
                staged = os.path.join(folders[parent], os.path.basename(path))
            else:
                continue  # nothing reads a folder that is not there yet
            if content is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(staged)
            else:
                with open(staged, "wb") as handle:
                    handle.write(content)
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _PREVIEW, "sh", *pairs, "--", *argv]
        answer = run(command, timeout=timeout)
    if answer.code == 125 or "unshare failed" in answer.err:
        raise SftpJailError(f"cannot try {argv[0]} in a mount namespace of its own: {answer.words}")
    return answer


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
                is_link = stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
            except FileNotFoundError:
                is_link = False
            if is_link:
                links += 1
                if not _trusted(fd) or links > 40:
                    raise SftpJailError(f"{path}: {name} is a symbolic link in a folder that others can change")
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
    with parent(source, target) as (old, old_name), parent(target) as (new, new_name):
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
    with parent(path) as (folder, name), contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


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


# -- mounts -----------------------------------------------------------------------------------------------------


def mount_all(lines: Sequence[str]) -> None:
    """Mount fstab(5) LINES in their order with one mount(8); what is mounted when it fails is the caller's to undo."""
    with tempfile.NamedTemporaryFile("w", prefix="sftpjail-", suffix=".fstab", errors="surrogateescape") as tab:
        tab.writelines(line + "\n" for line in lines)
        tab.flush()
        answer = run(["mount", "-a", "-T", tab.name], timeout=600.0)
    if answer.code != 0:
        raise SftpJailError(f"mount failed: {answer.words}")


def remount(target: str, options: Sequence[str]) -> None:
    """Give a bind mount other flags."""
    flags = [o for o in options if o in ("ro", "rw", "nosuid", "nodev", "noexec")]
    if "ro" not in flags:
        flags.append("rw")
    must(["mount", "-o", ",".join(["remount", "bind", *flags]), target])


def unmount(target: str) -> None:
    """Unmount TARGET.

    Raises:
        SftpJailError: it is busy, with who holds it, or umount's own words.
    """
    answer = run(["umount", "--", target])
    if answer.code == 0 or "not mounted" in answer.err:
        return
    users = holders(target)
    if users:
        listed = ", ".join(f"{name} (pid {pid})" for pid, name in users[:8])
        raise SftpJailError(f"{target} is in use by {listed}", f"kill {' '.join(str(pid) for pid, _ in users[:8])}")
    raise SftpJailError(f"cannot unmount {target}: {answer.words}")


# -- daemons ----------------------------------------------------------------------------------------------------

_UNITS = {
    "sshd": ("ssh.service", "sshd.service"),
    "rsyslog": ("rsyslog.service",),
    "syslog-ng": ("syslog-ng.service",),
}


def notify(service: str, how: str) -> str:
    """Tell a daemon that its configuration changed; return "" or what the administrator must do.

    Args:
        service: systemd itself, sshd (whatever its unit is called), or the name of a unit and pid file.
        how: reload, restart or daemon-reload.

    Raises:
        SftpJailError: the daemon refused, in its own words.
    """
    if os.path.isdir("/run/systemd/system"):  # sd_booted(3)
        if service == "systemd":
            must(["systemctl", how], timeout=120.0)
            return ""
        for unit in _UNITS.get(service, (f"{service}.service",)):
            if run(["systemctl", "is-active", "--quiet", unit]).code == 0:
                must(["systemctl", how, unit], timeout=120.0)
                return ""
        return ""
    if service == "systemd":
        return ""
    pid = running(service)
    if pid is None:
        return ""
    if how == "reload":
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
        return ""
    if os.access(f"/etc/init.d/{service}", os.X_OK):
        must([f"/etc/init.d/{service}", how], timeout=120.0)
        return ""
    return f"restart {service} (pid {pid}): its configuration changed, and no service manager is here to do it"

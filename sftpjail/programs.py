"""Programs: the only module that starts one, asks one to reload, or shows one a trial configuration."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import SftpJailError
from .processes import running

_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
RUN_DIR = "/run/sftpjail"


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

"""Programs: the only module that starts one, asks one to reload, or shows one a trial configuration."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from .. import fixes
from ..errors import SftpJailError
from ..formats import user_managers as refusal
from .processes import booted, outside, owner, running, user_managers
from .signals import STOP, postponed

_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


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


# userdel(8), and usermod(8) where it changes the home, of an account that a process belongs to.
_IN_USE = re.compile(r"currently used by process (\d+)")
MOMENT = 3.0  # seconds that a session may take to end
LINGERING = 15.0  # and so many where systemd says that it is closing: UserStopDelaySec= of logind.conf(5) is 10


def change_account(argv: Sequence[str], name: str) -> None:
    """Run usermod(8) or userdel(8); where a session of the account is just ending, wait for its end.

    Args:
        argv: the program and its arguments; no shell.
        name: the account.

    Raises:
        SftpJailError: it failed; where a process of the account is in the way, the hint ends it.
    """
    began = time.monotonic()
    while (answer := run(argv, timeout=300.0)).code != 0:
        found, state = _IN_USE.search(answer.err), ""
        if found:
            state = _session_state(name)
            if time.monotonic() - began < (LINGERING if state == "closing" else MOMENT):
                time.sleep(0.5)
                continue
        raise SftpJailError(f"{' '.join(argv)} failed: {answer.words}", _ending(name, state, found[1]) if found else "")


def _session_state(name: str) -> str:
    """Return what systemd-logind knows of an account, as "active" or "closing" (sd_uid_get_state(3)), or ""."""
    return run(["loginctl", "show-user", "--property=State", "--value", name]).out.strip() if booted() else ""


def _ending(name: str, state: str, pid: str) -> str:
    """Return the command that ends what an account runs."""
    if state:
        return f"loginctl terminate-user {name}"
    return fixes.ending({int(pid): owner(int(pid))})  # nothing where it is root's, or has ended since


PATIENCE = 3.0  # seconds that a process has to end by itself
STUBBORN = 10.0  # seconds in which all must have ended


def end_processes(uid: int) -> int:
    """End what a user runs outside of a jail, and nobody else's: SIGTERM, after a while SIGKILL. Return how many.

    Each signal goes through a pidfd(2) that was open before the process was looked at, so that no other process that
    has got its pid meanwhile is hit. A system service, and what is in a container, goes on.

    Args:
        uid: the user; never root.

    Raises:
        SftpJailError: something does not end.
    """
    began, asked = time.monotonic(), set[int]()
    while found := [process for process in outside(uid) if process.own]:
        passed = time.monotonic() - began
        if passed > STUBBORN:
            pids = ",".join(str(process.pid) for process in found[:8])
            raise SftpJailError(f"processes of uid {uid} do not end: {pids}", f"ps -fp {pids}")
        for process in found:
            if passed > PATIENCE or process.pid not in asked:
                asked.add(process.pid)
                _signal(process.pid, uid, signal.SIGKILL if passed > PATIENCE else signal.SIGTERM)
        time.sleep(0.02)
    return len(asked)


def _signal(pid: int, uid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        fd = os.pidfd_open(pid)
        try:
            if any(process.own for process in outside(uid, [pid])):
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)


def attend(folder: str, step: Sequence[str], argv: Sequence[str]) -> int:
    """Run ARGV in FOLDER on our own terminal, in a mount namespace of its own; return its exit code.

    Args:
        folder: where it runs.
        step: the program that makes the mounts there and becomes the command, with its arguments.
        argv: the command; it is looked for in our own PATH.

    Raises:
        SftpJailError: unshare(1) cannot be run.
    """
    command = ["unshare", "--mount", "--propagation", "slave", *step, folder, *argv]
    try:
        return subprocess.run(command, check=False, env={**os.environ, "SFTPJAIL_JAIL": folder}).returncode
    except OSError as error:
        raise SftpJailError(f"cannot run unshare: {error.strerror}") from error


def stream(argv: Sequence[str], idle: float = 0.2) -> Iterator[bytes]:
    """Yield what a program writes, as it comes, in pieces; end the program when the reader stops.

    Args:
        argv: the program and its arguments; no shell.
        idle: seconds after which b"" is yielded, when nothing has come.

    Raises:
        SftpJailError: it is not installed, cannot be started, or failed.
    """
    with open(os.memfd_create("err"), "w+b") as err:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pipesize=1 << 18,
                stderr=err,
                env=_ENV,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise SftpJailError(f"cannot run {argv[0]}: {error.strerror}") from error
        with process:
            assert process.stdout
            try:
                while True:
                    if not select.select([process.stdout], [], [], idle)[0]:
                        yield b""
                        continue
                    piece = os.read(process.stdout.fileno(), 1 << 18)
                    if not piece:
                        break
                    yield piece
            except BaseException:
                process.kill()  # it only reads; a pipe that nobody empties could keep it for ever
                raise
        if process.returncode:
            err.seek(0)
            raise SftpJailError(f"{argv[0]} failed: {Answer(process.returncode, '', _decode(err.read())).words}")


# -- sessions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """A program that goes on, with a socket as its standard input and output, and in memory what it says besides."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    said: BinaryIO

    def words(self, since: int = 0) -> str:
        """Return what the program and its children have written to standard error since that byte."""
        return _decode(os.pread(self.said.fileno(), 1 << 20, since))

    def written(self) -> int:
        """Return how many bytes stand on standard error."""
        return os.fstat(self.said.fileno()).st_size

    def wait(self, timeout: float) -> None:
        """Wait for the program's end so long, in seconds: it may have hung up before its last words."""
        with _pidfds([self.process.pid]) as fds:  # and do not reap it: `end` goes by its number
            select.select(fds, [], [], timeout)

    def end(self, patience: float = 3.0) -> None:
        """Hang up and wait until the program and everything that it started has ended; kill what has not by then.

        Args:
            patience: seconds.
        """
        deadline = time.monotonic() + patience
        # Again until nobody is left: the first round may have been too early for what ssh was about to start.
        while family := _family(self.process.pid):
            with _pidfds(family) as fds:
                self._hang_up()
                for fd in fds:
                    if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
                        with contextlib.suppress(ProcessLookupError):
                            signal.pidfd_send_signal(fd, signal.SIGKILL)
        self._hang_up()
        self.process.wait()
        self.said.close()

    def _hang_up(self) -> None:
        # shutdown(2) too: paramiko's thread holds the socket until it notices.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@contextlib.contextmanager
def _pidfds(pids: Iterable[int]) -> Iterator[list[int]]:
    with contextlib.ExitStack() as opened:
        fds = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                fds.append(os.pidfd_open(pid))
                opened.callback(os.close, fds[-1])
        yield fds


def _family(leader: int) -> set[int]:
    """Return the processes of a session that live, and all below: ssh(1) does not wait for its ProxyCommand."""
    parents, family = dict[int, int](), set[int]()
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit():
                with open(f"/proc/{name}/stat", "rb") as handle:
                    state, parent, _, session = handle.read().rpartition(b")")[2].split()[:4]  # proc_pid_stat(5)
                if state in b"ZX":
                    continue
                parents[int(name)] = int(parent)
                if int(session) == leader:
                    family.add(int(name))
    while found := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= found
    return family


def converse(argv: Sequence[str], sessions: list[Session]) -> Session:
    """Start ARGV, which goes on until `Session.end`; a signal to us meanwhile is heard when that can be called.

    Args:
        argv: the program and its arguments; no shell.
        sessions: the new one is added.

    Raises:
        SftpJailError: it is not installed or cannot be started.
    """
    ours, theirs = socket.socketpair()
    with postponed(), theirs, contextlib.ExitStack() as failed:
        failed.callback(ours.close)
        said = failed.enter_context(open(os.memfd_create("said"), "w+b"))
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=said,
                env=_ENV,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise SftpJailError(f"cannot run {argv[0]}: {error.strerror}") from error
        failed.pop_all()
        sessions.append(Session(process, ours, said))
    return sessions[-1]


# A copy of /run made of binds, since only a folder that is there can be mounted upon; with sshd's own folder beside.
# Everything else in /run stays to be seen: nslcd's socket, by which a member of a group is known as one.
WITH_SSHD = """
with_sshd() {
    mount -n -t tmpfs -o mode=755 sftpjail "$1" && mkdir -m 755 "$1/sshd" || return
    for path in /run/*; do
        name=$1/${path##*/}
        if [ -L "$path" ]; then cp -P "$path" "$name"; elif [ -d "$path" ]; then mkdir "$name"; else : >"$name"; fi
        [ -L "$path" ] || mount -n --rbind "$path" "$name"
    done
    mount -n --move "$1" /run
}
"""
_BESIDE = WITH_SSHD + 'with_sshd "$1" || exit 125; shift; exec "$@"'


def sshd_beside(argv: Sequence[str], folder: str) -> list[str]:
    """Return how to run an sshd where perhaps none runs, so that /run/sshd is missing: it gets one that only it sees.

    Args:
        argv: /usr/sbin/sshd and its arguments.
        folder: an empty folder for the mount.
    """
    if os.path.isdir("/run/sshd"):
        return list(argv)
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", _BESIDE, "sh", folder, *argv]


def in_processes(jobs: Sequence[Callable[[], str]], width: int) -> Generator[str, None, None]:
    """Run functions in processes of their own, a few at a time, and yield what they return, in the order given.

    Ended early, by a signal or else, it passes SIGTERM on, and waits until all have tidied up.

    Args:
        jobs: each returns a text; one that raises yields "".
        width: how many at a time.
    """
    running = dict[int, tuple[int, BinaryIO]]()
    results = dict[int, str]()
    waiting = list(enumerate(jobs))[::-1]
    try:
        for number in range(len(jobs)):
            while number not in results:
                while waiting and len(running) < width:
                    index, job = waiting.pop()
                    out: BinaryIO = open(os.memfd_create("answer"), "w+b")  # noqa: SIM115
                    with postponed():
                        running[_child(job, out)] = (index, out)
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
                with postponed():
                    assert ended is not None
                    os.waitpid(ended.si_pid, 0)
                    index, out = running.pop(ended.si_pid)
                    with out:
                        out.seek(0)
                        results[index] = _decode(out.read())
            yield results.pop(number)
    finally:
        with postponed():
            for pid in running:
                os.kill(pid, signal.SIGTERM)
            for pid, (_, out) in running.items():
                os.waitpid(pid, 0)
                out.close()


def _child(job: Callable[[], str], out: BinaryIO) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        for number in STOP:
            signal.signal(number, _stopped)
        out.write(job().encode("utf-8", "surrogateescape"))
        out.flush()
    finally:
        os._exit(0)


def _stopped(number: int, _: object) -> None:
    raise KeyboardInterrupt


# -- daemons ----------------------------------------------------------------------------------------------------

_UNITS = {
    "sshd": ("ssh.service", "sshd.service"),
    "rsyslog": ("rsyslog.service",),
    "syslog-ng": ("syslog-ng.service",),
}


def forbids(service: str, how: str) -> bool:
    """Return whether policy-rc.d forbids it to a maintainer script: Debian Policy 9.3.3, invoke-rc.d(8).

    Args:
        service: as in `notify`.
        how: start, reload or restart.
    """
    policy = "/usr/sbin/policy-rc.d"
    if "DPKG_MAINTSCRIPT_PACKAGE" not in os.environ or not os.access(policy, os.X_OK):
        return False
    return run([policy, {"sshd": "ssh"}.get(service, service), how]).code == 101


def notify(service: str, how: str) -> str:
    """Tell a daemon that its configuration changed; return "" or what the administrator must do.

    Args:
        service: systemd itself, sshd (whatever its unit is called), the user managers of members, or the name of a
            unit and pid file.
        how: reload, restart or daemon-reload; of user managers stop.

    Raises:
        SftpJailError: the daemon refused, in its own words.
    """
    if service == refusal.SERVICE:
        return _stop_managers() if booted() else ""
    kept = f"policy-rc.d keeps {service} from its {how}: until then it goes by its old configuration"
    if booted():
        if service == "systemd":
            must(["systemctl", how], timeout=120.0)
            return ""
        for unit in _UNITS.get(service, (f"{service}.service",)):
            if run(["systemctl", "is-active", "--quiet", unit]).code == 0:
                if forbids(service, how):
                    return kept
                must(["systemctl", how, unit], timeout=120.0)
                return ""
        return ""
    pid = None if service == "systemd" else running(service)
    if pid is None:
        return ""
    if forbids(service, how):
        return kept
    if how == "reload":
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
        return ""
    if os.access(f"/etc/init.d/{service}", os.X_OK):
        must([f"/etc/init.d/{service}", how], timeout=120.0)
        return ""
    return f"restart {service} (pid {pid}): its configuration changed, and no service manager is here to do it"


STOPPING = 10.0  # seconds for user managers to stop their units, which may ignore SIGTERM


def _stop_managers() -> str:
    """Stop every user manager that systemd would not start any more, as the drop-in of `setup` decides now.

    Asked at the end of a change and not planned by its facts, so that none that began meanwhile is missed. Sessions
    are scopes of their own and go on.

    Returns:
        "", or which ones still run.
    """
    try:
        with open(refusal.DROPIN, encoding="utf-8", errors="surrogateescape") as handle:
            decides = refusal.script(handle.read())
    except FileNotFoundError:
        return ""
    left = stop_managers([uid for uid in user_managers() if decides and _denies(decides, uid)])
    units = " ".join(f"user@{uid}.service" for uid in left)
    return f"still running: {units}; they end with: systemctl stop {units}" if left else ""


def stop_managers(uids: Sequence[int]) -> list[int]:
    """Stop the user managers of these uids, and all that they run; return whose still run.

    A unit of the user's may hold that up, and a login cancel it: then they are killed.
    """
    units = [f"user@{uid}.service" for uid in uids]
    if units and not _succeeds(["systemctl", "stop", *units]):
        for argv in (["kill", "--signal=KILL"], ["stop"], ["reset-failed"]):
            _succeeds(["systemctl", *argv, *units])
    return [uid for uid in user_managers() if uid in uids]


def _denies(decides: str, uid: int) -> bool:
    return run(["/bin/sh", "-c", decides.replace("%i", str(uid))]).code == 1


def _succeeds(argv: Sequence[str]) -> bool:
    with contextlib.suppress(SftpJailError):  # it took too long
        return run(argv, timeout=STOPPING).code == 0
    return False

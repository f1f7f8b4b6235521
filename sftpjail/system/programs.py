"""Run programs to their end: argv lists, no shell, a clean environment, a time limit."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import BinaryIO, NamedTuple

from ..errors import SftpJailError
from ..errors.escapes import look_at
from .outputs import MOST, Ends, Output, WholeOutput
from .processes import in_jail, outside, unfinished_logins
from .signals import postponed
from .waits import Wait

Stream = int | BinaryIO  # for subprocess
_PIPE = 1 << 18  # bytes of a pipe's buffer, and to read at once
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class Answer(NamedTuple):
    """The answer of a program: exit code, standard output and standard error.

    A negative exit code is the signal that killed it.
    """

    code: int
    out: str
    err: str

    @property
    def failed(self) -> bool:
        """Whether it exited with another code than 0, or a signal killed it."""
        return self.code != 0

    @property
    def words(self) -> str:
        """The program's error message on one line.

        It does not include the usage, which useradd(8) and others print after the error.
        """
        lines = (self.err.strip() or self.out.strip()).splitlines()
        starts = (n for n, line in enumerate(lines) if line.lstrip().lower().startswith("usage:"))
        lines = lines[: next(starts, 0) or len(lines)][-4:]
        return " / ".join(map(_shortened, lines)) or f"exit code {self.code}"


def _shortened(line: str) -> str:
    if len(line) <= 500:
        return line
    return f"{line[:250]} ... {line[-250:]}"


def run(
    argv: Sequence[str],
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    patient: bool = True,
    keep: int = 0,
    whom: Callable[[int], str] | None = None,
    fds: Collection[int] = (),
) -> Answer:
    """Run ARGV with a clean environment, in its own session, so that Ctrl-C reaches only us.

    Args:
        argv: the program and its arguments; no shell.
        stdin: the text for its standard input.
        env: variables besides PATH and LC_ALL.
        timeout: seconds, after which its whole process group is killed.
        patient: a signal to us waits for its end, because usermod(8) must not be killed while it
            writes /etc/passwd.
        keep: for a program whose output may be endless: how many bytes to keep of the beginning
            and of the end; 0 keeps everything.
        whom: called with its pid if it takes long; returns what is waited for, see `Wait`.
        fds: descriptors above 2 that it gets under the same numbers.

    Raises:
        SftpJailError: it is not installed, cannot be started, took too long or wrote too much.
    """
    with contextlib.ExitStack() as opened:
        given = opened.enter_context(open(os.memfd_create("stdin"), "w+b"))
        given.write(stdin.encode("utf-8", "surrogateescape"))
        given.seek(0)
        outputs = list[Output]()
        for _ in range(2):
            outputs.append(Ends(keep) if keep else WholeOutput())
            opened.callback(outputs[-1].close)
        started = list[subprocess.Popen[bytes]]()
        try:
            with postponed():
                started.append(start(argv, given, outputs[0].theirs, outputs[1].theirs, env, fds))
            ended = _ends(started[0], timeout, outputs, whom)
        except BaseException:
            if patient and started:
                with postponed():  # a second signal must not kill it either
                    _ends(started[0], timeout, outputs)
            raise
        finally:
            for process in started:
                _kill(process)
        if not ended:
            words = f"{' '.join(argv)} took longer than {timeout:.0f} seconds and was stopped"
            if any(output.is_full() for output in outputs):
                words = f"{' '.join(argv)} wrote more than {MOST >> 20} MiB and was stopped"
            raise SftpJailError(words)
        return Answer(started[0].returncode, *(decode(output.read()) for output in outputs))


def start(
    argv: Sequence[str],
    stdin: Stream,
    stdout: Stream,
    stderr: Stream,
    env: Mapping[str, str] | None = None,
    fds: Collection[int] = (),
) -> subprocess.Popen[bytes]:
    """Start ARGV with a clean environment, in its own session, with / as its working directory.

    Args:
        argv: the program and its arguments; no shell.
        stdin, stdout, stderr: as for subprocess.Popen.
        env: variables besides PATH and LC_ALL.
        fds: descriptors above 2 that it gets under the same numbers.

    Raises:
        SftpJailError: it is not installed or cannot be started.
    """
    try:
        return subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pipesize=_PIPE,
            env=ENV | dict(env or {}),
            start_new_session=True,
            pass_fds=tuple(fds),
            cwd="/",
        )
    except OSError as error:
        raise SftpJailError(f"cannot run {argv[0]}: {error.strerror}") from error


def _ends(
    process: subprocess.Popen[bytes],
    timeout: float,
    outputs: Sequence[Output],
    whom: Callable[[int], str] | None = None,
) -> bool:
    """Wait for a program's end; return whether it ended in time and within the output limit."""
    # Popen.wait(timeout) polls with sleeps of up to 50 ms, which is too slow for useradd's hooks.
    deadline = time.monotonic() + timeout
    wait = None
    if whom:
        wait = Wait(partial(whom, process.pid))
    with pidfds([process.pid]) as fds:
        while (left := deadline - time.monotonic()) > 0:
            pipes = [output.ours for output in outputs if output.ours is not None]
            ready = select.select([*fds, *pipes], [], [], min(left, 1.0))[0]
            for output in outputs:
                output.take()
            if any(output.is_full() for output in outputs):
                return False
            if not fds or fds[0] in ready:
                return True
            if wait:
                wait.goes_on()
    return False


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program's process group if it still runs, and reap it."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def pidfds(pids: Iterable[int]) -> Iterator[list[int]]:
    """Yield pidfds (pidfd_open(2)) of those of these processes that exist."""
    with contextlib.ExitStack() as opened:
        fds = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                fds.append(os.pidfd_open(pid))
                opened.callback(os.close, fds[-1])
        yield fds


def decode(data: bytes) -> str:
    """Return a program's output as text. Bytes that are not UTF-8 become surrogates."""
    return data.decode("utf-8", "surrogateescape")


def must(
    argv: Sequence[str], timeout: float = 60.0, env: Mapping[str, str] | None = None
) -> Answer:
    """Run ARGV and return its answer.

    Raises:
        SftpJailError: as `run`, or its exit code was not 0; has the program's own message.
    """
    answer = run(argv, env=env, timeout=timeout)
    if answer.failed:
        raise SftpJailError(f"{' '.join(argv)} failed: {answer.words}")
    return answer


PATIENCE = 3.0  # seconds between SIGTERM and SIGKILL
STUBBORN = 10.0  # seconds after which processes that have not ended are an error


def end_processes(uid: int) -> int:
    """End a user's own processes outside any jail; return how many.

    They get SIGTERM, and later SIGKILL. Each signal is sent through a pidfd that was opened before
    the process was examined, so that it cannot hit another process with the same pid. System
    services and processes in containers are left alone.

    Args:
        uid: the user; never root.

    Raises:
        SftpJailError: a process does not end.
    """
    return _end(uid, _own)


def end_unfinished_logins(name: str, uid: int) -> int:
    """End the connections to sshd of an account that have no session yet; return how many.

    Args:
        name, uid: the account; see `processes.unfinished_logins`.

    Raises:
        SftpJailError: one does not end.
    """
    return _end(uid, lambda uid, pids: unfinished_logins(name, uid, pids))


def end_sessions(uid: int) -> int:
    """End a user's sessions in a jail, as in `end_processes`; return how many processes.

    sshd's monitor closes the session when the user's process has ended.

    Args:
        uid: the user; never root.

    Raises:
        SftpJailError: a process does not end.
    """
    return _end(uid, in_jail)


def _own(uid: int, pids: Collection[int] | None = None) -> list[int]:
    return [process.pid for process in outside(uid, pids) if process.own]


# Selects processes of a user, from all of them or from the given pids.
_Those = Callable[[int, Collection[int] | None], list[int]]


def _end(uid: int, those: _Those) -> int:
    """End processes of a user; see `end_processes`."""
    began, asked = time.monotonic(), set[int]()
    while found := those(uid, None):
        passed = time.monotonic() - began
        if passed > STUBBORN:
            pids = ",".join(map(str, found[:8]))
            raise SftpJailError(
                f"processes of uid {uid} did not end: {pids}", look_at(f"ps -fp {pids}")
            )
        for pid in found:
            if passed > PATIENCE or pid not in asked:
                asked.add(pid)
                if passed > PATIENCE:
                    number = signal.SIGKILL
                else:
                    number = signal.SIGTERM
                _signal(pid, uid, number, those)
        time.sleep(0.02)
    return len(asked)


def _signal(pid: int, uid: int, number: int, those: _Those) -> None:
    with contextlib.suppress(OSError), pidfds([pid]) as fds:
        for fd in fds:
            if those(uid, [pid]):
                signal.pidfd_send_signal(fd, number)


def stream(argv: Sequence[str], idle: float = 0.2) -> Iterator[bytes]:
    """Yield the output of a program as it arrives, and kill the program when the reader stops.

    Args:
        argv: the program and its arguments; no shell.
        idle: seconds without output after which b"" is yielded.

    Raises:
        SftpJailError: it is not installed, cannot be started, or failed.
    """
    with open(os.memfd_create("err"), "w+b") as err:
        with start(argv, subprocess.DEVNULL, subprocess.PIPE, err) as process:
            assert process.stdout
            try:
                while True:
                    if not select.select([process.stdout], [], [], idle)[0]:
                        yield b""
                        continue
                    piece = os.read(process.stdout.fileno(), _PIPE)
                    if not piece:
                        break
                    yield piece
            except BaseException:
                process.kill()  # it only reads, and could block for ever on a full pipe
                raise
        if process.returncode:
            err.seek(0)
            raise SftpJailError(
                f"{argv[0]} failed: {Answer(process.returncode, '', decode(err.read())).words}"
            )

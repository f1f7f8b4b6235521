"""Make the running sshds reread their configuration, and check that they have."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

from ..config import Config
from ..engine.engine import Engine
from ..errors import SftpJailError, denied
from ..host import Host
from ..model import Problem
from ..openssh.daemons import Daemon, others, running
from ..openssh.match_blocks import DIRECTORY, DROPIN, MAIN
from ..openssh.settings import PROBE, effective
from ..openssh.stale import has_read, unread
from ..paths import WATCH
from ..system import services

PATIENCE = 5.0  # seconds for a daemon to reread its configuration
# Seconds for one that the change itself has told to do so. Told again meanwhile, it would close its
# sockets once more after we had said that all is done.
GRACE = 0.5


def reload_stale(engine: Engine) -> list[Problem]:
    """Make every stale sshd reread its configuration; return the problems that are still open.

    Args:
        engine: its change has been made; its facts may be from before.

    Returns:
        the problems; none if every running sshd follows its configuration, or if the host's policy
        forbids reloads to a package's script. If that cannot be found out, this is one, and it is
        not *open*: the change has been made, and the error is no reason to take it back.
    """
    try:
        return _reload(engine)
    except (SftpJailError, OSError) as error:
        if isinstance(error, SftpJailError):
            why = error.message
        else:
            why = denied(error)
        if not why:
            raise
        what = f"it is not known whether sshd follows its configuration: {why}"
        advice = "run sftpjail check when that is gone"
        return [Problem(what, "sshd jails by what it has read", advice=advice, about="host")]


def wait_until_read() -> None:
    """Wait until every running sshd has read its configuration, for half a second at most.

    Where that cannot be found out, this does not wait.
    """
    with contextlib.suppress(SftpJailError, OSError):
        host = Host()
        _waited(_stale(host), host, GRACE)


def unfinished(left: Sequence[Problem]) -> int:
    """Return the exit code of a command that has made its change and leaves these problems."""
    if any(problem.severity == "open" for problem in left):
        return 1
    if left:
        return 3
    return 0


def _reload(engine: Engine) -> list[Problem]:
    host = Host()
    left = _stale(host)
    if left and services.forbids("sshd", "reload"):
        return []  # the host's policy forbids it, which a notice reports
    left, host = _waited(left, host, GRACE)
    told = {one.pid: one for one in host.daemons.sshds()}
    for daemon in left:
        if daemon.pid in told:
            services.reload_sshd(told[daemon.pid])
    left, host = _waited(left, host, PATIENCE)
    if not left and not others(host):
        return []  # the change itself was already checked with `sshd -T`
    problems = engine.on(host).manager.problems(None, host)
    return [replace(problem, about="host") for problem in problems if problem.severity == "open"]


def _waited(left: list[Daemon], host: Host, seconds: float) -> tuple[list[Daemon], Host]:
    """Return the daemons that are still stale after SECONDS at most, and the facts then."""
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        host = Host()
        left = _stale(host)
    return left, host


def start_watcher(config: Config) -> list[str]:
    """Start the service that hands events out, if it is enabled and has failed; return notices.

    When this returns, it watches, or says in its log why it cannot.
    """
    if not config.events.user:
        return []
    try:
        services.start_again(WATCH)
    except SftpJailError as error:
        return [f"the change is made, but: {error}"]
    return []


def _stale(host: Host) -> list[Daemon]:
    """Return the sshds that have not read our files, as far as this can be determined."""
    found = []
    for daemon in running(host):
        try:
            if not daemon.unknown and _is_ours(daemon, host) and has_read(daemon, host)[1]:
                found += [daemon] if unread(daemon, host) else []
        except SftpJailError:
            continue  # it refuses its configuration, which `check` reports
    return found


def _is_ours(daemon: Daemon, host: Host) -> bool:
    """Return whether an sshd reads the files that we write for sshd."""
    files = effective(host, PROBE, daemon=daemon).files
    return daemon.config == MAIN or DROPIN in files or DIRECTORY in files

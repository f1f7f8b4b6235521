"""The sshds that run go by what is written: they are told, and asked."""

from __future__ import annotations

import time
from dataclasses import replace

from ..engine.engine import Engine
from ..errors import SftpJailError
from ..host import Host
from ..model import Problem
from ..openssh.daemons import Daemon, others, running
from ..openssh.match_blocks import DIRECTORY, DROPIN, MAIN
from ..openssh.settings import PROBE, effective
from ..openssh.stale import has_read, unread
from ..system import services

PATIENCE = 5.0  # seconds for a daemon to read its configuration after it was told


def obey(engine: Engine) -> list[Problem]:
    """Have every stale sshd read its configuration; return what is open on the host even then.

    Args:
        engine: whose change is made; its facts may be those from before.

    Returns:
        the problems, none where every sshd that runs does what is written, or where the host's
        policy keeps a package's script from reloads.
    """
    host = Host()
    left = _stale(host)
    if left and services.forbids("sshd", "reload"):
        return []  # whoever installs the package has said so, and a notice tells of it
    if left:
        told = {one.pid: one for one in host.daemons.sshds()}
        for daemon in left:
            if daemon.pid in told:
                services.reload_sshd(told[daemon.pid])
    deadline = time.monotonic() + PATIENCE
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        host = Host()
        left = _stale(host)
    if not left and not others(host):
        return []  # the change itself was checked with what sshd says of these files
    problems = engine.on(host).manager.problems(None, host)
    return [replace(problem, about="host") for problem in problems if problem.severity == "open"]


def _stale(host: Host) -> list[Daemon]:
    """Return the sshds that have not read files of ours, as far as that is to be known."""
    found = []
    for daemon in running(host):
        try:
            if not daemon.unknown and _is_ours(daemon, host) and has_read(daemon, host)[1]:
                found += [daemon] if unread(daemon, host) else []
        except SftpJailError:
            continue  # it refuses its configuration: `check` says so
    return found


def _is_ours(daemon: Daemon, host: Host) -> bool:
    """Return whether an sshd reads what we write for sshd."""
    files = effective(host, PROBE, daemon=daemon).files
    return daemon.config == MAIN or DROPIN in files or DIRECTORY in files

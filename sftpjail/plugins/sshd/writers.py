"""Who else than root could change the files by which sshd jails: whoever can, opens every jail."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from ... import Problem, SftpJailError
from ...errors.escapes import shown
from ...formats import fixes
from ...host import Host
from ...model import OTHERS_WRITE, components, inside
from ...openssh.daemons import Daemon, others, primary
from ...openssh.match_blocks import DIRECTORY, DROPIN
from ...openssh.repair import reload_command
from ...openssh.settings import PROBE, effective
from ...openssh.stale import unread

_WHY = "it decides whom sshd jails"


def find_problems(host: Host) -> list[Problem]:
    """Return what others than root can change of the configuration of each sshd, each once."""
    found: dict[str, Problem] = {}
    # One that is unknown is not asked: its program may be another's than root's.
    for daemon in (one for one in (primary(host), *others(host)) if not one.unknown):
        for problem in _of(daemon, host):
            found.setdefault(problem.what, problem)
    return list(found.values())


def _of(daemon: Daemon, host: Host) -> Iterator[Problem]:
    try:
        files = effective(host, PROBE, daemon=daemon).files
        # One SIGHUP is enough, and a second one too early would end it; `running` prints the other.
        stale = not daemon.pid or bool(unread(daemon, host))
    except SftpJailError:
        return  # that it cannot be asked is a problem by itself
    paths = {daemon.config, *files}
    if daemon.is_plain and host.is_dir(DIRECTORY):
        names = (name for name in host.listdir(DIRECTORY) if name.endswith(".conf"))
        paths |= {DIRECTORY, *(f"{DIRECTORY}/{name}" for name in names)}
    for path in sorted(paths):
        real = host.realpath(path)
        part = next((part for part in components(real) if _is_loose(part, host, part != real)), "")
        if not part:
            continue
        if real != path:
            what = f"{shown(path)} leads to {shown(real)}, which others than root can change"
            fix = ""
            if path == DROPIN:
                fix = f"rm {DROPIN} && sftpjail setup"
            advice = f"put a file of root's in the place of {shown(path)}"
            yield Problem(what, _WHY, fix, "" if fix else advice, severity="open")
        else:
            again = ""
            if part in paths and not stale:
                again = reload_command(host, daemon)
            yield _changeable(part, again, host)


def _is_loose(path: str, host: Host, above: bool) -> bool:
    """Return whether others than root can change a file, or a directory above it.

    In a directory with the sticky bit nobody can replace what is root's (inode(7)).
    """
    found = host.stat(path)
    if found is None or (above and found.st_uid == 0 and found.st_mode & stat.S_ISVTX):
        return False
    by_group = found.st_mode & 0o020 and found.st_gid != 0
    return bool(found.st_uid != 0 or found.st_mode & 0o002 or by_group)


def _changeable(path: str, again: str, host: Host) -> Problem:
    """Return the problem of a file, or of a directory in which it is.

    Args:
        path: which of them.
        again: the command by which sshd reads it again, since it counts as changed then, or "".
        host: the facts.
    """
    found = host.stat(path)
    assert found is not None
    what = (
        f"{shown(path)} can be changed by others than root "
        f"(owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o})"
    )
    if not inside(path, "/etc"):  # somebody works there
        advice = "keep sshd's files where only root can change them, and name them in its options"
        return Problem(what, _WHY, advice=advice, severity="open")
    commands = []
    if found.st_uid != 0:
        commands = ["chown root:root {}"]
    if found.st_mode & OTHERS_WRITE:
        commands.append("chmod go-w {}")
    fix = fixes.on(path, host, *commands)
    if fix and again:
        fix = f"{fix} && {again}"
    if path == DROPIN:
        fix = "sftpjail setup"
    return Problem(what, _WHY, fix, fixes.advice(path, host), severity="open")

"""Activity outside the jail: crontabs, at jobs, lingering services, processes.

`adopt --close` ends it.
"""

from __future__ import annotations

import posixpath
from shlex import quote

from .. import (
    Account,
    EndProcesses,
    EndProcessesFirst,
    MakeDir,
    Problem,
    Remove,
    Rename,
    Run,
    SftpJailError,
    hookimpl,
)
from ..actions import Action
from ..errors.escapes import Choice
from ..formats import fixes
from ..host import Host
from ..jails.activity import Work, found, kept, listed, of_processes, refuse_shared, unwanted
from ..jails.guards import is_namesake
from ..model import inside
from ..paths import ASIDE, STATE

WHY = "what cron, atd, incrond, systemd or an earlier session runs for it, no jail holds"
_HOW = (
    "the administrator's own; where it obeys files that the user can write, "
    "it runs them outside of the jail"
)


@hookimpl
def on_user_confine(account: Account, host: Host) -> list[Action]:
    # Units need no action: no manager starts for a member, and a running one is a process.
    works = [work for work in unwanted(account, host, jailed=True) if work.kind != "units"]
    logins = host.jobs.unfinished_logins(account.name, account.uid)
    if not works and not logins:
        return []
    refuse_shared(account, works, host)
    paths = {path: work.kind for work in works for path in work.paths}
    directory, taken = f"{ASIDE}{account.name}", set[str]()
    actions: list[Action] = [MakeDir(directory, 0o700)] if paths else []
    for path, kind in paths.items():
        to = _free(f"{directory}/{kind}-{posixpath.basename(path)}", taken, host)
        actions.append(Rename(path, to))
    if "processes" in kept(account, host):
        return actions
    running = [*(one for work in works for one in work.processes), *logins]
    known = tuple(f"{one.pid} {one.name}" for one in running)
    if account.profile and account.profile.home == "inside":
        actions.append(EndProcessesFirst(account.name, account.uid, known))
    return [*actions, EndProcesses(account.name, account.uid, known, tuple(paths))]


def _free(path: str, taken: set[str], host: Host) -> str:
    """Return PATH, or PATH with a number if it is taken."""
    names = (path, *(f"{path}.{number}" for number in range(1, 1000)))
    free = next(name for name in names if name not in taken and host.lstat(name) is None)
    taken.add(free)
    return free


@hookimpl
def on_user_remove(account: Account, deleted: bool, host: Host) -> list[Action]:
    """Restore what `adopt --close` put aside.

    If the account is deleted, the files stay where they are and are reported.
    """
    directory = f"{ASIDE}{account.name}"
    aside = {
        now: before
        for now, before in host.origin(account.name).renamed.items()
        if now.startswith(ASIDE) and host.lstat(now) is not None
    }
    if deleted or not account.exists or is_namesake(account, host):
        aside = {}
    actions: list[Action] = []
    for now, before in aside.items():
        if host.lstat(before) is not None:
            raise _in_the_way(account, before, now, host)
        actions.append(Rename(now, before))
    if any(posixpath.basename(now).startswith("linger-") for now in aside) and host.systemd:
        actions += _manager(account, host)
    return [*actions, Remove(directory)]


def _in_the_way(account: Account, before: str, now: str, host: Host) -> SftpJailError:
    """Return the error that something has the name that what was put aside is to get again."""
    move = fixes.move(before, f"{now}.later", host)
    if inside(before, "/var/spool"):
        # crontab(1) and at(1) let users create files here, but no links.
        move = f"mv -nT {quote(before)} {quote(now + '.later')}"
    fix = f"{move} && sftpjail remove {quote(account.name)}"
    if not move:
        fix = fixes.advice(before, host)
    what = f"{before} is in the way of the one from before the jail of {account.name}, {now}"
    return SftpJailError(what, fix)


def _manager(account: Account, host: Host) -> list[Action]:
    """Return the actions that start the lingering services of an account again."""
    systemctl, unit = host.which("systemctl"), f"user@{account.uid}.service"
    why = f"lingering services of {account.name}"
    # logind reads the files only when it starts, so it must be told. It would not start the manager
    # of a user that it still knows.
    enable = Run((host.which("loginctl"), "enable-linger", account.name), why, always=True)
    start = Run((systemctl, "start", unit), why, undo=(systemctl, "stop", unit), always=True)
    return [enable, start]


@hookimpl
def on_check(account: Account | None, host: Host) -> list[Problem]:
    if account is None:
        return _orphans(host)
    works = [work for work in map(_unmanaged, found(account, host, jailed=True)) if work.words]
    accepted = kept(account, host)
    # Linger and the manager itself are left to the plugin user_manager, unless they were accepted.
    bad = [work for work in works if work.kind not in (*accepted, "linger")]
    good = [work for work in works if work.kind in accepted]
    problems = []
    if bad:
        what = f"outside of its jail {account.name} has {listed(bad)}"
        fix = f"sftpjail adopt --close {quote(account.name)}"
        problems.append(Problem(what, WHY, fix, severity="open"))
    if good:
        what = f"outside of its jail {account.name} has {listed(good)}"
        problems.append(Problem(what, "kept by adopt --keep", severity="advice"))
    return problems + _others(account, host)


def _unmanaged(work: Work) -> Work:
    """Return a Work without the user manager's processes; its words are "" if nothing is left."""
    rest = [process for process in work.processes if not process.managed]
    if len(rest) == len(work.processes):
        return work
    if rest:
        return of_processes(rest)
    return Work(work.kind, "")


def _others(account: Account, host: Host) -> list[Problem]:
    """Return what an administrator has configured to run as the account."""
    problems = []
    lines = host.jobs.cron_lines.get(account.name, ())
    if lines:
        what = f"{', '.join(lines[:4])} runs as {account.name}, outside of its jail"
        problems.append(Problem(what, _HOW, severity="advice"))
    others = [process for process in host.jobs.outside(account.uid) if not process.own]
    places = dict.fromkeys(one.service or f"a container (pid {one.pid})" for one in others)
    if places:
        what = f"{', '.join(list(places)[:4])} runs as {account.name}, outside of its jail"
        problems.append(Problem(what, _HOW, severity="advice"))
    return problems


def _orphans(host: Host) -> list[Problem]:
    """Return the problem of files that were put aside for accounts that no longer exist."""
    begin = posixpath.basename(ASIDE)
    names = [name.removeprefix(begin) for name in host.listdir(STATE) if name.startswith(begin)]
    left = [f"{ASIDE}{name}" for name in names if name not in host.records.known]
    why = "crontabs and jobs of accounts that are gone; sftpjail deletes nobody's files"
    return [
        Problem(
            f"{path} is left",
            why,
            severity="advice",
            choices=(Choice("to delete them", f"rm -rI {quote(path)}"),),
        )
        for path in left
    ]

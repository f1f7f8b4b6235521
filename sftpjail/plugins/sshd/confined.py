"""What the sandbox of sshd's unit forbids its sessions: systemd.exec(5), SANDBOXING.

A session has the mount table and the capabilities of the sshd that it comes from, not ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import commonpath

from ... import Account, Problem
from ...errors.escapes import shown
from ...host import Host
from ...openssh.daemons import Daemon, running

# What sshd cannot do without, for a session in a chroot.
_NEEDED = {
    "CAP_SETGID": "no session gets its groups",
    "CAP_SETUID": "no session becomes its user",
    "CAP_SYS_CHROOT": "no session gets its chroot",
}
_ADMIN = "CAP_SYS_ADMIN"


def host_problems(accounts: list[Account], host: Host) -> list[Problem]:
    """Return what sandboxes forbid to the sessions of these accounts, each cause once."""
    problems = dict[str, Problem]()
    for account in accounts:
        for problem in problems_of(account, host):
            problems.setdefault(problem.what, problem)
    return list(problems.values())


def problems_of(account: Account, host: Host) -> list[Problem]:
    """Return what the sandboxes of the sshds that run forbid to an account's sessions."""
    return [
        problem
        for daemon in running(host)
        for problem in (*_capabilities(account, daemon, host), *_mounts(account, daemon, host))
    ]


def _advice(daemon: Daemon, setting: str) -> str:
    unit = daemon.unit or "its unit"
    drop_in = f"systemctl edit {unit}, with [Service] and {setting}"
    return f"allow it in a drop-in ({drop_in}), and restart {unit}"


def _capabilities(account: Account, daemon: Daemon, host: Host) -> Iterator[Problem]:
    lacks = host.daemons.confinement(daemon.pid).names
    for name, why in _NEEDED.items():
        if name in lacks:
            what = f"{daemon} runs without {name}, so every login in a jail ends"
            yield Problem(what, why, advice=_allow(daemon, name))
    if _ADMIN in lacks and any(bind.kept == "session" for bind in host.binds(account.name)):
        what = f"{daemon} runs without {_ADMIN}, so no session gets its mounts"
        yield Problem(what, "PAM closes each session", advice=_allow(daemon, _ADMIN))


def _allow(daemon: Daemon, name: str) -> str:
    return _advice(daemon, f"CapabilityBoundingSet={name}")


def _mounts(account: Account, daemon: Daemon, host: Host) -> Iterator[Problem]:
    """Yield what a daemon's own mount table shows of a jail in another way than ours."""
    if not host.daemons.confinement(daemon.pid).apart:
        return
    inside = f"/proc/{daemon.pid}/root"
    unseen, elsewhere, closed = list[str](), list[str](), list[str]()
    for path, writable in _paths(account, host):
        if host.stat(path) is None:
            continue
        if host.stat(inside + path) is None:
            unseen.append(path)
        elif not host.same_file(inside + path, path):
            elsewhere.append(path)
        elif writable and host.files.read_only(inside + path) and not host.files.read_only(path):
            closed.append(path)
    jails = shown(_place(account))
    if unseen:
        what = f"{daemon} does not see {shown(_common(unseen, account))}"
        why = "its unit hides it (ProtectHome, InaccessiblePaths), and logins end"
        yield Problem(what, why, advice=_advice(daemon, f"BindPaths={_common(unseen, account)}"))
    if elsewhere:
        what = f"{daemon} does not have the mounts below {jails}"
        why = "its unit has a mount table of its own, and sessions see empty directories"
        yield Problem(what, why, advice=_advice(daemon, "PrivateMounts=no, MountFlags=slave"))
    if closed:
        what = f"{daemon} sees what members may write below {jails} as read-only"
        why = "its unit has ProtectSystem, ProtectHome or ReadOnlyPaths, and uploads fail"
        yield Problem(what, why, advice=_advice(daemon, f"ReadWritePaths={_place(account)}"))


def _paths(account: Account, host: Host) -> Iterator[tuple[str, bool]]:
    """Yield the paths that a session uses, and whether its daemon must be able to write there.

    A mount that a session makes is writable where the daemon's own mount is read-only: mount(2),
    MS_BIND and MS_REMOUNT.
    """
    yield account.jail, False
    if account.profile and account.profile.read_only:
        return
    binds = host.binds(account.name)
    of_session = [bind for bind in binds if bind.kept == "session"]
    yield account.files, account.files not in [bind.target for bind in of_session]
    for bind in binds:
        if bind in of_session:
            yield bind.source, False
        else:
            yield bind.target, not bind.read_only and bind.role != "log"


def _place(account: Account) -> str:
    """Return the directory of all jails like this one's."""
    return account.jail.rpartition("/")[0] or "/"


def _common(paths: list[str], account: Account) -> str:
    if account.jail in paths:
        return _place(account)
    return commonpath(paths)

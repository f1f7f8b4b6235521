"""What may be shown in a jail, and where."""

from __future__ import annotations

import posixpath
from functools import lru_cache
from shlex import quote

from ... import Account, Bind, SftpJailError, fixes
from ...config import Config
from ...errors import Unsafe
from ...escapes import Advice
from ...host import Host
from ...model import components, inside
from ...openssh.chroot_path import fix_flaw

# In a session's table: the administrator's word that the source may lie where others can write.
LOOSE = "x-sftpjail.allow"
ELSEWHERE = Advice("choose another directory")
# Never shown to a jail, nor anything that holds or lies in them,
# unless the configuration names the very directory.
FORBIDDEN = ("/proc", "/sys", "/dev", "/etc", "/root", "/run", "/boot", "/var/lib/sftpjail")


def _outer(account: Account, bind: Bind, host: Host) -> Bind | None:
    """Return the bind of the jail that this one is nested in, if any."""
    outer = [
        b
        for b in host.binds(account.name)
        if b.target != bind.target and inside(bind.target, b.target)
    ]
    return max(outer, key=lambda b: len(b.target)) if outer else None


def place_of(account: Account, bind: Bind, host: Host) -> str:
    """Return the path behind a target.

    Below another bind of the jail, its mount point lies in that one's source.
    """
    outer = _outer(account, bind, host)
    return outer.source + bind.target.removeprefix(outer.target) if outer else bind.target


def judge_target(account: Account, bind: Bind, host: Host) -> None:
    if not inside(bind.target, account.jail) or bind.target == account.jail:
        raise SftpJailError(
            f"{bind.target} is not inside the jail {account.jail} of {account.name}"
        )
    known = {b.target: b for b in host.binds(account.name)}
    if bind.target in known:
        if known[bind.target].source != bind.source and bind.role == "mount":
            raise SftpJailError(
                f"{bind.target} already shows {known[bind.target].source}",
                _away(account, known[bind.target]),
            )
        return
    if bind.role != "mount":
        return
    for other in known:
        if known[other].role == "log" and inside(bind.target, other):
            raise SftpJailError(f"{bind.target} is where the jail has its log socket", ELSEWHERE)
        if inside(other, bind.target):
            raise SftpJailError(
                f"{bind.target} would hide {other}, which is mounted below it",
                _away(account, known[other]),
            )
    if host.lstat(bind.target) is not None and (
        not host.is_dir(bind.target) or host.listdir(bind.target)
    ):
        raise SftpJailError(
            f"{bind.target} is in the way: "
            "it is not an empty directory, and the mount would hide it"
        )
    if host.mount_at(bind.target) is not None:
        raise SftpJailError(
            f"something is mounted on {bind.target} already", f"findmnt {quote(bind.target)}"
        )


def _away(account: Account, bind: Bind) -> str:
    """Return how a bind makes room for another one; what every jail has stays."""
    if bind.role != "mount":
        return ELSEWHERE
    return f"sftpjail umount {account.name} {quote(bind.target.removeprefix(account.jail))}"


def judge_place(account: Account, bind: Bind, place: str, host: Host) -> None:
    """Refuse a mount point that others than root could exchange for a link.

    Root's mount(8) would follow it. That holds at every boot, so what a user could change is no
    place for a mount, however safe it looks now.

    Raises:
        SftpJailError: with the directory that is to blame.
    """
    made = (*host.origin(account.name).made, *host.origin("").made)
    # What is ours, and the home that becomes a jail, is root's alone again
    # before anything is mounted.
    trusted = {host.realpath(part) for part in components(account.jail) if part in made}
    if account.profile and account.profile.in_home:
        trusted.add(host.realpath(account.jail))
    loose = host.loose_parent(place, trusted)
    if loose:
        raise Unsafe(
            f"{bind.target} is no place for a mount: {loose} {host.flaw(loose)}, "
            "so a link could be put in the mount point's place "
            "and root would mount wherever it leads",
            # Above the jails it is a mistake to fix;
            # in what is a user's own, another place is to be chosen.
            (fix_flaw(loose, host) or fixes.advice(loose, host))
            if inside(account.jail, loose)
            else Advice("choose a directory outside of what users can write"),
        )
    outer = _outer(account, bind, host)
    for root, path in (
        (account.jail, bind.target),
        (outer.source if outer else account.jail, place),
    ):
        if host.realpath(path) != host.realpath(root) + path.removeprefix(root):
            raise Unsafe(
                f"a symbolic link leads from {path} to {host.realpath(path)}",
                f"namei -l {quote(path)}",
            )


def judge_source(account: Account, bind: Bind, host: Host, config: Config) -> bool:
    """Refuse what must not be shown in a jail.

    Return whether it lies where others can write, and is allowed to.

    Raises:
        SftpJailError: it is missing, forbidden, or could be exchanged for a link. Nobody judges
            what fstab(5) mounts at a boot, so there no setting allows that.
    """
    if bind.role == "home" and not account.exists:
        return False
    # Made in the same plan.
    coming = bind.role == "home" and not account.local and host.lstat(bind.source) is None
    if not coming and not host.is_dir(bind.source):
        if any(b.target == bind.target for b in host.binds(account.name)):
            raise SftpJailError(
                f"{bind.source}, which {account.name} sees as {bind.target}, is missing",
                f"sftpjail umount {account.name} {quote(bind.target.removeprefix(account.jail))}",
            )
        if host.lstat(bind.source) is not None:
            raise SftpJailError(
                f"{bind.source} is not a directory",
                advice="give the directory that it lies in, or one with a copy",
            )
        fix = fixes.on(bind.source, host, "mkdir {}") or fixes.advice(bind.source, host)
        raise SftpJailError(f"{bind.source} is not a directory of this host", fix)
    real = host.realpath(bind.source)
    allowed = real in config.allow_sources
    # Where a link leads somewhere, who made it is the first question.
    swapped = host.loose_parent(bind.source) if real != bind.source else ""
    reason = "" if allowed or swapped else _forbidden(account, real, bind.role, host, config)
    if reason:
        known = any(known.target == bind.target for known in host.binds(account.name))
        way_out = _way_out(account, bind, host) if known else _permission(real, host)
        raise SftpJailError(f"will not show {bind.source} in a jail: {reason}", way_out)
    loose = swapped or host.loose_parent(real)
    by_session = account.profile is not None and account.profile.mounts == "session"
    if loose and not (allowed and by_session):
        raise Unsafe(
            f"will not show {bind.source} in a jail: {loose} {host.flaw(loose)}, "
            "so somebody could put a link to any directory in its place",
            _way_out(account, bind, host),
        )
    return bool(loose)


def _permission(real: str, host: Host) -> str:
    """Return how an administrator insists on a source.

    Nothing of the system's own, and nobody's home, is proposed.
    """
    top = real == "/" or posixpath.dirname(real) == "/"
    if top or any(inside(real, directory) for directory in FORBIDDEN) or any(host.dwellers(real)):
        return Advice("choose a directory that holds nothing but what the jail is to show")
    return Advice(f"if you are sure: allow = {real} in [mounts] of /etc/sftpjail/sftpjail.conf")


def _way_out(account: Account, bind: Bind, host: Host) -> str:
    """Return what to do about a source in whose place somebody could put another one."""
    if bind.role == "mount" and any(
        known.target == bind.target for known in host.binds(account.name)
    ):
        return _away(account, bind)
    return Advice("choose a directory of which every parent can be written by root alone")


@lru_cache(maxsize=64)
def real_place(host: Host, directory: str) -> str:
    return host.realpath(directory)


def _forbidden(account: Account, real: str, role: str, host: Host, config: Config) -> str:
    bases = tuple(profile.base for profile in config.profiles if profile.base)
    for directory in (*FORBIDDEN, *bases):
        other = real_place(host, directory)
        if inside(real, other):
            return f"{real} is {directory}" if real == other else f"{real} lies in {directory}"
        if inside(other, real):
            return f"{real} holds {directory}"
    if role == "home":
        return ""
    own = host.realpath(account.home)
    if inside(own, real) and own != real:
        return f"{real} holds the home of {account.name}, and who knows whose in future"
    above, below = host.dwellers(real)
    for names, relation in ((above, "belongs to"), (below, "is or holds")):
        others = [name for name in names if _is_other(account, host.accounts[name], host)]
        if relation == "belongs to" and inside(real, own):
            # Its own home may lie in another's; what it holds is its own, but for homes in there.
            others = [name for name in others if not inside(own, _home(name, host))]
        if others:
            return f"{real} {relation} the home of {others[0]}"
    return ""


def _home(name: str, host: Host) -> str:
    return host.realpath(host.accounts[name].home)


def _is_other(account: Account, other: Account, host: Host) -> bool:
    return other.uid != account.uid and not host.is_system(other) and other.home not in ("", "/")

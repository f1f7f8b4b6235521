"""What may be mounted in a jail, and where."""

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

# In a session's table: the administrator allows a source where others can write.
LOOSE = "x-sftpjail.allow"
ELSEWHERE = Advice("choose another directory")
# Never mounted in a jail, nor is anything above or below them, unless the configuration names that
# very directory.
FORBIDDEN = ("/proc", "/sys", "/dev", "/etc", "/root", "/run", "/boot", "/var/lib/sftpjail")


def _outer(account: Account, bind: Bind, host: Host) -> Bind | None:
    """Return the bind in the same jail that contains this one, if any."""
    outer = [
        b
        for b in host.binds(account.name)
        if b.target != bind.target and inside(bind.target, b.target)
    ]
    return max(outer, key=lambda b: len(b.target)) if outer else None


def place_of(account: Account, bind: Bind, host: Host) -> str:
    """Return the path on the host of a target.

    Below another bind in the jail, the mount point is in the source of that bind.
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
    """Return how to remove a bind to make room for another; those of every jail stay."""
    if bind.role != "mount":
        return ELSEWHERE
    return f"sftpjail umount {account.name} {quote(bind.target.removeprefix(account.jail))}"


def judge_place(account: Account, bind: Bind, place: str, host: Host) -> None:
    """Refuse a mount point that others than root could replace with a link.

    mount(8) would follow the link as root, also at any later boot, however safe the path is now.

    Raises:
        SftpJailError: names the directory to blame.
    """
    made = (*host.origin(account.name).made, *host.origin("").made)
    # Our own directories, and a home that becomes a jail, are root's alone again
    # before anything is mounted.
    trusted = {host.realpath(part) for part in components(account.jail) if part in made}
    if account.profile and account.profile.in_home:
        trusted.add(host.realpath(account.jail))
    loose = host.files.loose_parent(place, trusted)
    if loose:
        raise Unsafe(
            f"{bind.target} is no place for a mount: {loose} {host.flaw(loose)}, "
            "so a link could be put in the mount point's place "
            "and root would mount wherever it leads",
            # Above the jails this is a mistake to fix;
            # in a user's own directory, another target must be chosen.
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
    """Refuse a source that must not be mounted in a jail.

    Return whether others can write above it, and it is allowed all the same.

    Raises:
        SftpJailError: it is missing, forbidden, or could be replaced with a link. The latter cannot
            be allowed for binds in fstab(5), which nothing checks at boot.
    """
    if bind.role == "home" and not account.exists:
        return False
    # The same plan creates it.
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
    # If the path leads through a link, what matters first is who could have made the link.
    swapped = host.files.loose_parent(bind.source) if real != bind.source else ""
    reason = "" if allowed or swapped else _forbidden(account, real, bind.role, host, config)
    if reason:
        known = any(known.target == bind.target for known in host.binds(account.name))
        way_out = _way_out(account, bind, host) if known else _permission(real, host)
        raise SftpJailError(f"will not show {bind.source} in a jail: {reason}", way_out)
    loose = swapped or host.files.loose_parent(real)
    by_session = account.profile is not None and account.profile.mounts == "session"
    if loose and not (allowed and by_session):
        raise Unsafe(
            f"will not show {bind.source} in a jail: {loose} {host.flaw(loose)}, "
            "so somebody could put a link to any directory in its place",
            _way_out(account, bind, host),
        )
    return bool(loose)


def _permission(real: str, host: Host) -> str:
    """Return how to allow a source; never for directories of the system, or homes."""
    top = real == "/" or posixpath.dirname(real) == "/"
    if (
        top
        or any(inside(real, directory) for directory in FORBIDDEN)
        or any(host.people.dwellers(real))
    ):
        return Advice("choose a directory that holds nothing but what the jail is to show")
    return Advice(f"if you are sure: allow = {real} in [mounts] of /etc/sftpjail/sftpjail.conf")


def _way_out(account: Account, bind: Bind, host: Host) -> str:
    """Return what to do about a source that others could replace."""
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
    above, below = host.people.dwellers(real)
    for names, relation in ((above, "belongs to"), (below, "is or holds")):
        others = [name for name in names if _is_other(account, host.accounts[name], host)]
        if relation == "belongs to" and inside(real, own):
            # Its home may be in another's. What its home contains is its own, except other homes.
            others = [name for name in others if not inside(own, _home(name, host))]
        if others:
            return f"{real} {relation} the home of {others[0]}"
    return ""


def _home(name: str, host: Host) -> str:
    return host.realpath(host.accounts[name].home)


def _is_other(account: Account, other: Account, host: Host) -> bool:
    return other.uid != account.uid and not host.is_system(other) and other.home not in ("", "/")

"""What may be mounted in a jail, and where."""

from __future__ import annotations

import posixpath
from shlex import quote

from ... import Account, Bind, SftpJailError
from ...config import Config
from ...errors import Unsafe
from ...errors.escapes import Advice, Choice, look_at
from ...formats import fixes
from ...host import Host
from ...jails.away import home_away, refuse_unmounted
from ...jails.homes import FORBIDDEN, refusal, source_problem
from ...model import components, innermost, inside
from ...openssh.chroot_path import new_home, path_fix

# In a session's table: the administrator allows a source where others can write.
LOOSE = "x-sftpjail.allow"
ELSEWHERE = Advice("choose another directory")
BACK = "bring it back, from its disk or a backup, then run sftpjail apply"


def _outer(account: Account, bind: Bind, host: Host) -> Bind | None:
    """Return the bind in the same jail that contains this one, if any."""
    others = (other for other in host.binds(account.name) if other.target != bind.target)
    return innermost(others, bind.target)


def place_of(account: Account, bind: Bind, host: Host) -> str:
    """Return the path on the host of a target.

    Below another bind in the jail, the mount point is in the source of that bind.
    """
    outer = _outer(account, bind, host)
    if outer:
        return outer.source + bind.target.removeprefix(outer.target)
    return bind.target


def judge_target(account: Account, bind: Bind, host: Host) -> None:
    """Refuse a mount point that is not in the jail, or where something is already.

    Raises:
        SftpJailError: with what is there.
    """
    if not inside(bind.target, account.jail) or bind.target == account.jail:
        raise SftpJailError(
            f"{bind.target} is not inside the jail {account.jail} of {account.name}"
        )
    there = _bind_at(account, bind.target, host)
    if there and there.source != bind.source and bind.role == "mount":
        raise SftpJailError(f"{bind.target} already shows {there.source}", _away(account, there))
    if there or bind.role != "mount":
        return
    for other in host.binds(account.name):
        if other.role == "log" and inside(bind.target, other.target):
            raise SftpJailError(f"{bind.target} is where the jail has its log socket", ELSEWHERE)
        if inside(other.target, bind.target):
            raise SftpJailError(
                f"{bind.target} would hide {other.target}, which is mounted below it",
                _away(account, other),
            )
    is_empty = host.is_dir(bind.target) and not host.listdir(bind.target)
    if host.lstat(bind.target) is not None and not is_empty:
        raise SftpJailError(
            f"{bind.target} is in the way: "
            "it is not an empty directory, and the mount would hide it"
        )
    if host.mount_at(bind.target) is not None:
        raise SftpJailError(
            f"something is mounted on {bind.target} already",
            look_at(f"findmnt {quote(bind.target)}"),
        )


def _bind_at(account: Account, target: str, host: Host) -> Bind | None:
    """Return the bind at a place of a jail, whatever the links by which its path leads there."""
    binds = {bind.target: bind for bind in host.binds(account.name)}
    if target in binds:
        return binds[target]
    same = (one for one in binds.values() if host.mount_tables.same_place(one.target, target))
    return next(same, None)


def _is_known(account: Account, bind: Bind, host: Host) -> bool:
    """Return whether the jail has a mount at a bind's target already."""
    return any(known.target == bind.target for known in host.binds(account.name))


def _away(account: Account, bind: Bind) -> str:
    """Return how to remove a bind to make room for another; those of every jail stay."""
    if bind.role != "mount":
        return ELSEWHERE
    return f"sftpjail umount {account.name} {quote(bind.target.removeprefix(account.jail))}"


def gone_for_good(account: Account, bind: Bind) -> Choice:
    """Return the choice to take a mount out of a jail whose source is not there.

    It may only be away: on a disk that is not mounted, say.
    """
    inner = bind.target.removeprefix(account.jail)
    return Choice("if it is gone for good", f"sftpjail umount {quote(account.name)} {quote(inner)}")


def judge_place(account: Account, bind: Bind, place: str, host: Host) -> None:
    """Refuse a mount point that others than root could replace with a link.

    mount(8) would follow the link as root, also at any later boot, however safe the path is now.

    Raises:
        SftpJailError: names the directory to blame.
    """
    loose = host.files.loose_parent(place)
    loose = loose and host.files.loose_parent(place, _ours_above(account, host))
    if loose:
        # Above the jails this is a mistake to fix;
        # in a user's own directory, another target must be chosen.
        fix: str = Advice("choose a directory outside of what users can write")
        if inside(account.jail, loose):
            fix = path_fix(loose, host)
        raise Unsafe(
            f"{bind.target} is no place for a mount: {loose} {host.flaw(loose)}, "
            "so a link could be put in the mount point's place "
            "and root would mount wherever it leads",
            fix,
        )
    outer = None
    if place != bind.target:
        outer = _outer(account, bind, host)
    ways = {bind.target: account.jail, place: outer.source if outer else account.jail}
    for path, root in ways.items():
        if host.realpath(path) != host.realpath(root) + path.removeprefix(root):
            raise Unsafe(
                f"a symbolic link leads from {path} to {host.realpath(path)}",
                look_at(f"namei -l {quote(path)}"),
            )


def _ours_above(account: Account, host: Host) -> set[str]:
    """Return the directories that are root's alone again before anything is mounted.

    They are our own ones, and a home that becomes a jail.
    """
    made = (*host.origin(account.name).made, *host.origin("").made)
    ours = {host.realpath(part) for part in components(account.jail) if part in made}
    if account.profile and account.profile.in_home:
        ours.add(host.realpath(account.jail))
    return ours


def judge_source(account: Account, bind: Bind, host: Host, config: Config) -> bool:
    """Refuse a source that must not be mounted in a jail.

    Return whether others can write above it, and it is allowed all the same.

    Raises:
        SftpJailError: it is missing, forbidden, or could be replaced with a link. The latter cannot
            be allowed for binds in fstab(5), which nothing checks at boot.
    """
    if bind.role == "home" and not account.exists:
        return False
    _refuse_missing(account, bind, host)
    real = host.realpath(bind.source)
    allowed = real in config.allow_sources
    # If the path leads through a link, what matters first is who could have made the link.
    swapped = ""
    if real != bind.source:
        swapped = host.files.loose_parent(bind.source)
    if allowed or swapped:
        reason = ""
    else:
        reason = source_problem(account, real, bind.role, host, config)
    if reason and bind.role == "home":
        raise _not_its_home(account, reason, host, config)
    if reason:
        way_out = _permission(real, host)
        if _is_known(account, bind, host):
            way_out = _source_advice(account, bind, host)
        raise SftpJailError(f"will not show {bind.source} in a jail: {reason}", way_out)
    loose = swapped or host.files.loose_parent(real)
    by_session = account.profile is not None and account.profile.mounts == "session"
    if loose and not (allowed and by_session):
        raise Unsafe(
            f"will not show {bind.source} in a jail: {loose} {host.flaw(loose)}, "
            "so somebody could put a link to any directory in its place",
            _source_advice(account, bind, host),
        )
    return bool(loose)


def left_over(bind: Bind, host: Host) -> SftpJailError | None:
    """Return the error that a bind shows a disk that was unmounted elsewhere, or None."""
    place = host.mount_tables.former_mount_point(bind.source, bind.target)
    if not place:
        return None
    umount = fixes.on(bind.target, host, "umount {}", "sftpjail apply")
    return SftpJailError(
        f"{place} is not mounted any more, and {bind.target} shows what was there",
        choices=[("if it is to stay so", umount)],
        advice="mount it again, then run sftpjail apply",
    )


def hidden_from_above(account: Account, bind: Bind, host: Host) -> str:
    """Return the mount over a directory above an account's jail that hides one in it, or "".

    It is not the jail's, and others may need it: a disk that came late, say.
    """
    point = host.mount_at(bind.target)
    over = ""
    if point:
        over = point.hidden_by
    if over and not inside(over, host.realpath(account.jail)):
        return over
    return ""


def _refuse_missing(account: Account, bind: Bind, host: Host) -> None:
    """Refuse a source that is not there, or away on a disk.

    Raises:
        SftpJailError: with what brings it back.
    """
    if host.is_dir(bind.source) and (left := left_over(bind, host)):
        raise left
    if bind.role == "home" and (away := home_away(account, host)):
        raise away
    refuse_unmounted(bind.source, host)
    # The same plan creates it.
    coming = bind.role == "home" and not account.local and host.lstat(bind.source) is None
    if coming or host.is_dir(bind.source):
        return
    if _is_known(account, bind, host):
        raise SftpJailError(
            f"{bind.source}, which {account.name} sees as {bind.target}, is missing",
            choices=(gone_for_good(account, bind),),
            advice=BACK,
        )
    if host.lstat(bind.source) is not None:
        raise SftpJailError(
            f"{bind.source} is not a directory",
            advice="give the directory that it lies in, or one with a copy",
        )
    fix = fixes.on_or_why(bind.source, host, "mkdir {}")
    raise SftpJailError(f"{bind.source} is not a directory of this host", fix)


def _not_its_home(account: Account, reason: str, host: Host, config: Config) -> SftpJailError:
    """Return the error of a home that must not be shown; the jail that shows it already is open."""
    words = refusal(account, host, config) or f"will not show {account.home} in a jail: {reason}"
    home = host.realpath(account.home)
    homes = (bind.source for bind in host.binds(account.name) if bind.role == "home")
    error = SftpJailError
    if any(host.realpath(source) == home for source in homes):
        error = Unsafe
    return error(words, new_home(account, host))


def _permission(real: str, host: Host) -> str:
    """Return how to allow a source; never for directories of the system, or homes."""
    of_the_host = posixpath.dirname(real) == "/" or any(inside(real, path) for path in FORBIDDEN)
    if of_the_host or any(host.people.accounts_with_home_around(real)):
        return Advice("choose a directory that holds nothing but what the jail is to show")
    return Advice(f"if you are sure: allow = {real} in [mounts] of /etc/sftpjail/sftpjail.conf")


def _source_advice(account: Account, bind: Bind, host: Host) -> str:
    """Return what to do about a source that others could replace."""
    if bind.role == "mount" and _is_known(account, bind, host):
        return _away(account, bind)
    return Advice("choose a directory of which every parent can be written by root alone")

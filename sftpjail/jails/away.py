"""Homes, mount sources and files of jails on a disk or server that is not mounted now.

In their place there is a bare mount point, or nothing. So nothing is made there, no permissions are
given there, and our tables do not change until it is mounted again. If fstab(5) has the mount, a
command mounts it. Otherwise it is unknown whether there is anything to mount.
"""

from __future__ import annotations

import posixpath

from .. import fixes
from ..errors import SftpJailError
from ..escapes import Advice, shown
from ..host import Host
from ..model import Account, components, inside, normal
from ..openssh.chroot_path import make_home
from ..paths import DISKS

_MADE_ANEW = "if it is lost, to make a new one"
_LOST = "if it is lost, to make the jails anew without it"
_AWAY = "what jails show of it is not there"


def unmounted(path: str, host: Host) -> SftpJailError | None:
    """Return the error that a mount of fstab(5) at or above PATH is missing, or None.

    So it is for a jail whose disk is not in fstab; see `disk_away`. The error is the same for all
    accounts concerned.

    Args:
        path: absolute.
        host: the facts.
    """
    point = host.mount_tables.unmounted_ancestor(path)
    if not point:
        return disk_away(path, host)
    command = fixes.on(point, host, "mount {}")
    fix = f"{command} && sftpjail apply" if command else fixes.advice(point, host)
    return SftpJailError(f"{point} is in fstab and not mounted", fix, why=_AWAY)


def disk_away(path: str, host: Host) -> SftpJailError | None:
    """Return the error that the disk is missing that the jails around PATH were on, or None.

    If their directory is there all the same, somebody has moved them, unless it is the bare mount
    point itself.
    """
    for base, point in host.mount_tables.disks.items():
        if not inside(path, base) or host.mount_at(point) is not None:
            continue
        there = host.is_dir(base)
        if there and (base != point or host.listdir(base)):
            continue
        command = _give_up(base, point, host)
        choices = [(_LOST, f"{command} && sftpjail setup && sftpjail apply")] if command else []
        what = f"{point} is not mounted, where the jails in {base} were at the last setup"
        return SftpJailError(what, choices=choices, advice=_bring(point), why=_AWAY)
    return None


def _give_up(base: str, point: str, host: Host) -> str:
    """Return the command after which `setup` makes the jails in BASE without their disk, or ""."""
    if base != point:
        return fixes.on(base, host, "install -d {}")
    # The bare mount point says nothing, so the record must go, which has all disks.
    away = {other for other in host.mount_tables.disks.values() if host.mount_at(other) is None}
    return f"rm {DISKS}" if away == {point} else ""


def refuse_unmounted(path: str, host: Host) -> None:
    """Refuse to make anything below a mount point that is not mounted.

    Raises:
        SftpJailError: see `unmounted`.
    """
    error = unmounted(path, host)
    if error:
        raise error


def home_away(account: Account, host: Host) -> SftpJailError | None:
    """Return the error that an account's home is missing although its jail had it, or None.

    Args:
        account: with its profile.
        host: the facts.
    """
    error = unmounted(account.home, host)
    if error:
        return error
    if not _had_home(account, host):
        return None
    if host.is_dir(account.home) and not _is_bare(account, host):
        return None
    above = _nearest(host.realpath(account.home), host)
    if not host.listdir(above):
        what = f"{above} is empty, where the home of a jailed account was"
        return SftpJailError(what, advice=_bring(above))
    what = f"the home {account.home} of {account.name} is not there"
    choices = [(_MADE_ANEW, command)] if (command := _new_home(account, host)) else []
    return SftpJailError(what, choices=choices, advice=_bring(account.home))


def is_bare_of_homes(account: Account, host: Host) -> bool:
    """Return whether the directory for an account's home is empty, but should have other homes."""
    above = _nearest(host.realpath(account.home), host)
    homes = (b.source for user in host.mount_tables.bind_users for b in host.binds(user))
    return not host.listdir(above) and any(inside(home, above) for home in homes)


def _nearest(path: str, host: Host) -> str:
    """Return PATH if it is a directory, or else its nearest existing parent directory."""
    return next(part for part in reversed(components(path)) if part == "/" or host.is_dir(part))


def _had_home(account: Account, host: Host) -> bool:
    """Return whether an account's jail has shown its home, or was its home."""
    if any(bind.role == "home" for bind in host.binds(account.name)):
        return True
    profile = account.profile
    if profile is None or not profile.in_home:
        return False
    origin = host.origin(account.name)
    return account.files in origin.made or host.realpath(account.home) in origin.owners


def _is_bare(account: Account, host: Host) -> bool:
    """Return whether a home that is a jail is empty, without the directory that we made in it."""
    profile = account.profile
    in_home = profile is not None and profile.in_home
    made = account.files in host.origin(account.name).made if in_home else False
    return made and not host.listdir(account.home)


def _new_home(account: Account, host: Host) -> str:
    """Return the command that makes a new home beside other homes, or "" if none can."""
    home = normal(account.home)
    if host.lstat(home) is not None or posixpath.dirname(home) == "/":
        return ""
    if host.mount_at(home) is not None:
        return ""  # its server is down
    if not (account.local and host.trusted_path(home)) or waits_for_mount(home, host):
        return ""
    return f"{make_home(account, host)} && sftpjail apply"


def waits_for_mount(path: str, host: Host) -> bool:
    """Return whether PATH is on an autofs mount, where nothing can be made."""
    point = host.mount_tables.mount_of(path)
    return point is not None and point.kind == "autofs"


def _bring(path: str) -> Advice:
    """Return advice about a missing path that no command can bring back."""
    return Advice(
        f"mount the disk or server that {shown(path)} is on, then run sftpjail apply, which keeps "
        "all of a jail until then; sftpjail remove takes a jail away"
    )


def refuse_lost_files(account: Account, host: Host) -> None:
    """Refuse to make the directory of an account's files if its disk may be missing.

    It may be missing if the nearest existing parent directory is as empty as a mount point, and we
    have made jails in it before.

    Args:
        account: with a profile whose jails have such a directory.
        host: the facts.

    Raises:
        SftpJailError: has the command to use if the files are lost.
    """
    if host.lstat(account.files) is not None:
        return
    above = _nearest(account.files, host)
    if host.listdir(above):
        return
    had = any(inside(path, above) and path != above for path in host.origin(account.name).made)
    if above != account.jail and (had or _has_lost_jails(above, host)):
        advice = f"{_bring(above)}; where it is lost, make {shown(account.files)} with install(1)"
        raise SftpJailError(f"{above} is empty, where the files of jails were", advice=advice)
    if not had:
        return
    owner = f"-o {account.uid} -g {account.gid}"
    command = fixes.on(account.files, host, f"install -d -m 700 {owner} {{}}")
    choices = [(_MADE_ANEW, f"{command} && sftpjail apply")] if command else []
    what = f"{above} is empty, where the files of {account.name} were"
    raise SftpJailError(what, choices=choices, advice=_bring(above))


def _has_lost_jails(directory: str, host: Host) -> bool:
    """Return whether our records list something in a directory, which is empty now."""
    made = (path for name in host.records.recorded for path in host.origin(name).made)
    return any(inside(path, directory) and path != directory for path in made)

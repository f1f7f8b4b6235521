"""Homes, mount sources and files of jails on a disk or server that is not mounted now.

Such a path shows a bare mount point, or nothing. Until the disk is mounted again, nothing is
created there, no permissions are changed there, and our tables stay as they are. If fstab(5) has
the mount, we print the command that mounts it. Otherwise we cannot know whether the disk will come
back, and print what to do if it is lost.
"""

from __future__ import annotations

import posixpath

from ..errors import SftpJailError
from ..errors.escapes import Advice, shown
from ..formats import fixes
from ..host import Host
from ..model import Account, components, inside, normal
from ..openssh.chroot_path import make_home
from ..paths import DISKS

_NEW_ONE = "if it is lost, to make a new one"
_WITHOUT_IT = "if it is lost, to make the jails anew without it"
_AWAY = "what jails show of it is not there"


def unmounted(path: str, host: Host) -> SftpJailError | None:
    """Return the error that what should be mounted at or above PATH is not, or None.

    The mount is in fstab(5), or is the disk that jails were on at the last setup; see `disk_away`.
    The error is the same for all accounts concerned, so that it is reported once.

    Args:
        path: absolute.
        host: the facts.
    """
    point = host.mount_tables.unmounted_ancestor(path)
    if not point:
        return disk_away(path, host)
    fix = fixes.on_or_why(point, host, "mount {}", "sftpjail apply")
    return SftpJailError(f"{point} is in fstab and not mounted", fix, why=_AWAY)


def disk_away(path: str, host: Host) -> SftpJailError | None:
    """Return the error that the disk with the jails at or above PATH is not mounted, or None.

    A directory of jails that exists without its disk was moved by somebody, and is no error. The
    empty mount point itself is.

    Args:
        path: absolute.
        host: the facts.
    """
    for base, point in host.mount_tables.disks.items():
        if not inside(path, base) or host.mount_at(point) is not None:
            continue
        if host.is_dir(base) and (base != point or host.listdir(base)):
            continue
        command = _give_up(base, point, host)
        choices = []
        if command:
            choices = [(_WITHOUT_IT, f"{command} && sftpjail setup && sftpjail apply")]
        what = f"{point} is not mounted, where the jails in {base} were at the last setup"
        return SftpJailError(what, choices=choices, advice=_to_mount(point), why=_AWAY)
    return None


def _give_up(base: str, point: str, host: Host) -> str:
    """Return the command after which `setup` makes new jails in BASE without their disk, or ""."""
    if base != point:
        return fixes.on(base, host, "install -d {}")
    # The mount point exists already, so only the record says that the disk is missing. That record
    # has all disks, and is deleted only if no other of them is mounted.
    away = {other for other in host.mount_tables.disks.values() if host.mount_at(other) is None}
    if away != {point}:
        return ""
    return f"rm {DISKS}"


def refuse_unmounted(path: str, host: Host) -> None:
    """Refuse to create anything at a path whose disk is not mounted.

    Raises:
        SftpJailError: see `unmounted`.
    """
    error = unmounted(path, host)
    if error:
        raise error


def home_away(account: Account, host: Host) -> SftpJailError | None:
    """Return the error that a home that an account's jail has shown is missing, or None.

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
        return SftpJailError(what, advice=_to_mount(above))
    choices = [(_NEW_ONE, _new_home(account, host))]
    what = f"the home {account.home} of {account.name} is not there"
    return SftpJailError(what, choices=choices, advice=_to_mount(account.home))


def is_bare_of_homes(account: Account, host: Host) -> bool:
    """Return whether the directory for an account's home is empty, but should have other homes."""
    above = _nearest(host.realpath(account.home), host)
    homes = (bind.source for user in host.mount_tables.bind_users for bind in host.binds(user))
    return not host.listdir(above) and any(inside(home, above) for home in homes)


def _nearest(path: str, host: Host) -> str:
    """Return PATH if it is a directory, or else its nearest existing parent directory."""
    return next(part for part in reversed(components(path)) if part == "/" or host.is_dir(part))


def _had_home(account: Account, host: Host) -> bool:
    """Return whether an account's home existed before: its jail has shown it, or was made in it."""
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
    if profile is None or not profile.in_home:
        return False
    return account.files in host.origin(account.name).made and not host.listdir(account.home)


def _new_home(account: Account, host: Host) -> str:
    """Return the command that makes a new home at the same place, or "" if none can."""
    home = normal(account.home)
    if host.lstat(home) is not None or posixpath.dirname(home) == "/":
        return ""
    if host.mount_at(home) is not None:
        return ""  # its server is down
    if not (account.local and host.trusted_path(home)) or waits_for_mount(home, host):
        return ""
    return f"{make_home(account, host)} && sftpjail apply"


def waits_for_mount(path: str, host: Host) -> bool:
    """Return whether PATH is on an autofs mount, where nothing can be created."""
    point = host.mount_tables.mount_of(path)
    return point is not None and point.kind == "autofs"


def _to_mount(path: str) -> Advice:
    """Return the advice to mount what PATH is on, which no command of ours can do."""
    return Advice(
        f"mount the disk or server that {shown(path)} is on, then run sftpjail apply, which keeps "
        "all of a jail until then; sftpjail remove takes a jail away"
    )


def refuse_lost_files(account: Account, host: Host) -> None:
    """Refuse to create the directory of an account's files if its disk may be missing.

    It may be missing if the nearest existing directory above is as empty as a mount point, although
    we have created jails or their files in it before.

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
    had_files = _was_made_in(above, account.name, host)
    if above != account.jail and (had_files or _has_lost_jails(above, host)):
        advice = (
            f"{_to_mount(above)}; where it is lost, make {shown(account.files)} with install(1)"
        )
        raise SftpJailError(f"{above} is empty, where the files of jails were", advice=advice)
    if not had_files:
        return
    owner = f"-o {account.uid} -g {account.gid}"
    install = f"install -d -m 700 {owner} {{}}"
    choices = [(_NEW_ONE, fixes.on(account.files, host, install, "sftpjail apply"))]
    what = f"{above} is empty, where the files of {account.name} were"
    raise SftpJailError(what, choices=choices, advice=_to_mount(above))


def _has_lost_jails(directory: str, host: Host) -> bool:
    """Return whether we have created something for any account in a directory that is empty now."""
    return any(_was_made_in(directory, name, host) for name in host.records.recorded)


def _was_made_in(directory: str, name: str, host: Host) -> bool:
    """Return whether we have created something for an account below a directory."""
    return any(inside(path, directory) and path != directory for path in host.origin(name).made)

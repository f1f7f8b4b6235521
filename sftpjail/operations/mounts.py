"""The binds that an administrator asks for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from stat import S_IMODE

from ..actions import MOUNT_OPTIONS
from ..config import Config
from ..errors import SftpJailError, UsageError
from ..formats.fstab import escape
from ..host import Host
from ..jails.owners import resolve, seen_by, strangers
from ..jails.sharing import limits
from ..jails.sharing import resolve as group_id
from ..jails.submounts import hidden
from ..model import SETID, Account, Bind, Ids, Problem, Profile, group_option, id_map, normal


def target_in(account: Account, target: str) -> str:
    """Return the host's path for a path inside a jail.

    Raises:
        UsageError: it is relative, contains "..", is the jail itself, or does not fit fstab(5).
    """
    if not target.startswith("/") or ".." in target.split("/"):
        raise UsageError(
            f"{target!r} is not a path inside the jail; give one that begins with / and has no .."
        )
    path = normal(f"{account.jail}/{target}")
    if path == account.jail:
        raise UsageError("the mount needs a directory of its own inside the jail, such as /web")
    escape(path)
    return path


def ids_of(owner: str | None, group: str | None, host: Host) -> tuple[Ids | None, int | None]:
    """Return the ids and the gid for `make_bind`, None for what was not given.

    Args:
        owner: OWNER or OWNER:GROUP, each a name or a number.
        group: a group's name or number.
        host: the facts.

    Raises:
        SftpJailError: there is no such account or group.
    """
    owner_ids, gid = None, None
    if owner:
        owner_ids = resolve(owner, host)
    if group:
        gid = group_id(group, host)
    return owner_ids, gid


def make_bind(
    account: Account,
    source: str,
    target: str,
    read_only: bool,
    under_home: bool,
    owner: Ids | None = None,
    allow_setid: bool = False,
    group: int | None = None,
) -> Bind:
    """Return the bind that an administrator asked for.

    Args:
        account: with its profile; it need not be there yet.
        source, target: a directory of the host, and where the jail shows it.
        read_only: nobody can write through it.
        under_home: it may lie below the home.
        owner: whose files the jail is to see as the account's own.
        allow_setid: with OWNER, programs may get a set-user-ID bit that works on the host.
        group: the gid of a group that is to be able to write in SOURCE.

    Of the home at its own place, OWNER is all that can be asked for: the profile mounts it.

    Raises:
        UsageError: a path is not valid, or what is asked for contradicts itself.
        SftpJailError: the target lies below the home.
    """
    path = target_in(account, target)
    if group is not None and (read_only or owner is not None):
        raise UsageError(
            f"the mount at {target} is to let a group write, and has "
            + ("read-only" if read_only else "an owner")
            + " beside it; give one of them"
        )
    profile = account.profile
    if profile and profile.in_home and not under_home:
        raise SftpJailError(
            f"{target} lies below the home of {account.name}: "
            "`deluser --remove-home` and `rm -r` would delete what is mounted there",
            advice="give --under-home if you accept that, or a profile with chroot = /DIRECTORY/%u",
        )
    source = _source_of(source)
    options: tuple[str, ...] = ()
    if owner is not None:
        options = ("ro",) * read_only + (*MOUNT_OPTIONS, id_map(owner, account.uid, account.gid))
        options += (SETID,) * allow_setid
    elif group is not None:
        options = (*MOUNT_OPTIONS, group_option(group))
    role = "mount"
    if _is_home(account, source, path):
        role = "home"
    if role == "home" and (read_only or group is not None):
        raise UsageError(
            f"{target} shows the home of {account.name}, as its profile says: it takes only --as",
            advice="read_only in the profile lets nobody write; see sftpjail.conf(5)",
        )
    return Bind(source, path, read_only, role, options)


def _source_of(source: str) -> str:
    """Return the path of a source without detours.

    Raises:
        UsageError: it is empty, relative to nothing, or does not fit fstab(5).
    """
    if not source:
        raise UsageError("SRC is empty; give a directory of the host")
    try:
        source = normal(os.path.abspath(source))
    except OSError as error:
        raise UsageError(
            f"{source} is relative, and the working directory is gone: {error.strerror}"
        ) from error
    escape(source)
    return source


def _is_home(account: Account, source: str, path: str) -> bool:
    """Return whether a mount is that of the home, which the profile asks for."""
    profile, home = account.profile, normal(account.home)
    if profile is None or profile.in_home or profile.home != "bind" or home == "/":
        return False
    return source == home and path == account.jail + home


def unusable(account: Account, binds: Iterable[Bind], host: Host, config: Config) -> list[Problem]:
    """Return the problems of mounts that an account cannot use as intended, or not fully see.

    Args:
        account: as it is now; if it does not exist yet, there are no problems.
        binds: its mounts, whose sources exist.
        host: the facts; asks the kernel.
        config: names what may be shown.
    """
    if not account.exists:
        return []
    profile = account.profile or Profile("")
    # What the profile itself forbids is not missed: to list a drop box, to write as an auditor.
    if {"opendir", "readdir"} & set(profile.deny):
        needed = {"x"}
    else:
        needed = {"r", "x"}
    problems = []
    for bind in binds:
        problems += hidden(account, bind, host, config)
        problems += strangers(account, bind, host)
        problems += limits(account, bind, host)
        able = set(host.able(seen_by(account, bind), bind.source))
        if not needed <= able:
            problems.append(_cannot(account, bind, "read", "", host))
        elif "w" not in able and not (bind.read_only or profile.read_only):
            way_out = ", or mount it --read-only if that is meant"
            problems.append(_cannot(account, bind, "write in", way_out, host))
    return problems


def _cannot(account: Account, bind: Bind, do: str, way_out: str, host: Host) -> Problem:
    found = host.stat(bind.source)
    owner = "?"
    if found:
        owner = f"{found.st_uid}:{found.st_gid}, mode {S_IMODE(found.st_mode):04o}"
    target = bind.target.removeprefix(account.jail)
    return Problem(
        f"{account.name} cannot {do} {target}: {bind.source} is owned by {owner}",
        "a mount changes no permissions",
        severity="advice",
        advice=f"give it access by owner, group or setfacl(1){way_out}",
    )

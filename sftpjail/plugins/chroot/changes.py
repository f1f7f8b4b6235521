"""The jail's directories.

sshd refuses a chroot if others than root can change any component; so do we, with a reason.
"""

from __future__ import annotations

import json
import posixpath
import stat
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from shlex import quote

from ... import (
    Account,
    Bind,
    GiveDir,
    MakeDir,
    Remove,
    SetOwner,
    SftpJailError,
    Style,
    WriteFile,
    hookimpl,
)
from ...actions import Action, MakeSubvolume, Move
from ...config import Config
from ...errors.escapes import look_at
from ...formats import fixes
from ...host import Host
from ...jails.away import disk_away, home_away, refuse_lost_files, refuse_unmounted
from ...jails.homes import home_problem, refusal
from ...model import components, inside, normal
from ...openssh.chroot_path import new_home, path_fix
from ...paths import DISKS, QUOTAS


def judged(path: str, host: Host, ours: tuple[str, ...]) -> list[Action]:
    """Return the actions that make sshd accept every component of PATH.

    Missing components are created, and ours are fixed.

    Raises:
        SftpJailError: a component that we did not create is wrong. We leave it to the
            administrator.
    """
    actions: list[Action] = []
    for component in components(path):
        wrong = host.flaw(component)
        if wrong and any(host.mount_tables.same_place(component, path) for path in ours):
            actions.append(SetOwner(component, 0, 0, 0o755, remember=False))
        elif wrong:
            raise SftpJailError(
                f"sshd will refuse the chroot {path}: {component} {wrong}",
                path_fix(component, host),
            )
        elif host.stat(component) is None:
            actions.append(MakeDir(component))
    return actions


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    bases = dict.fromkeys(profile.base for profile in config.profiles if profile.base)
    for base in bases:
        _refuse_in_home(base, host)
        if away := disk_away(base, host):
            raise away
        if not host.is_dir(base):
            refuse_unmounted(base, host)
    made = [action for base in bases for action in judged(base, host, host.origin("").made)]
    return [*made, *_disks(bases, host)]


def _disks(bases: Iterable[str], host: Host) -> list[Action]:
    """Return the action that records which disks the directories of jails are on."""
    found = {base: disk for base in bases if (disk := host.mount_tables.disk_of(base))}
    if not found:
        return _no_disks(host)
    return [WriteFile(DISKS, json.dumps(found, indent=1, sort_keys=True) + "\n", mode=0o600)]


def _no_disks(host: Host) -> list[Action]:
    if not host.lstat(DISKS):
        return []
    return [Remove(DISKS, ours=True)]


def _refuse_in_home(base: str, host: Host) -> None:
    """Refuse jails inside somebody's home.

    Deleting that account with its home would delete through the jails' mounts.

    Raises:
        SftpJailError: names the account.
    """
    real = host.realpath(base)
    above, below = host.people.accounts_with_home_around(real)
    homes = {name: host.realpath(host.accounts[name].home) for name in (*above, *below)}
    name = next((name for name, home in homes.items() if home != "/" and inside(real, home)), "")
    if name:
        raise SftpJailError(
            f"{base} is or lies in the home of {name}: "
            "deleted with its home, it would take along what the jails show",
            choices=((f"where {name} needs no home", f"usermod -d /nonexistent {quote(name)}"),),
            advice="set another chroot in /etc/sftpjail/sftpjail.conf",
        )


@hookimpl
def on_teardown(host: Host) -> list[Action]:
    # Those of an earlier configuration too, which only the record knows; no jails are in /etc.
    made = (path for path in host.origin("").made if not inside(path, "/etc"))
    return [*(Remove(path) for path in made if host.is_dir(path)), *_no_disks(host)]


def _jail(account: Account, host: Host, ours: tuple[str, ...]) -> list[Action]:
    """Return the actions that create a jail outside the home.

    Raises:
        SftpJailError: the disk that it is to be on, or was on, is away.
    """
    refuse_unmounted(account.jail, host)
    assert account.profile is not None
    if account.profile.home == "inside":
        refuse_lost_files(account, host)
    actions = judged(account.jail, host, ours)
    if not host.flaw(account.jail):
        actions += _reopened(account, host)
    return actions


def _reopened(account: Account, host: Host) -> list[Action]:
    """Return the actions that restore the mode of a jail that an earlier version closed by it."""
    path = host.realpath(account.jail)
    owner = host.origin(account.name).owners.get(path)
    if not owner:
        return []
    return [SetOwner(path, *owner)]


@hookimpl
def on_user_create(account: Account, host: Host, config: Config) -> list[Action]:
    profile = account.profile
    assert profile is not None
    if normal(account.home) == "/" and (wrong := refusal(account, host, config)):
        raise SftpJailError(wrong, new_home(account, host))  # no mount of it says so
    ours = host.origin(account.name).made + host.origin("").made
    if profile.in_home:
        home = host.realpath(account.home)
        if away := home_away(account, host):
            raise away
        if not host.is_dir(home) and account.local:
            return []  # useradd without -m; the next apply finds the home
        actions = _home_as_jail(account, home, host, ours)
    else:
        actions = _jail(account, host, ours)
    if not profile.is_filled:
        return actions
    if not profile.in_home and profile.home == "bind":
        return actions + _given_home(account, host)
    if not profile.in_home:
        actions += [MakeDir(directory) for directory in _above_files(account)]
    return actions + _files(account, host)


def _home_as_jail(account: Account, home: str, host: Host, ours: tuple[str, ...]) -> list[Action]:
    """Return the actions that make a home, its real path, a jail.

    Raises:
        SftpJailError: it cannot be one.
    """
    wrong = home_problem(account, home, host)
    if wrong:
        raise SftpJailError(
            f"the home {account.home} of {account.name} cannot become its jail: it {wrong}",
            new_home(account, host),
        )
    actions = judged(posixpath.dirname(home), host, ours)
    found = host.stat(home)
    if found is None:
        actions.append(MakeDir(home))
    elif found.st_uid == 0 and home not in host.origin(account.name).owners:
        actions += judged(home, host, ours)  # an administrator has made it a jail already
    else:
        actions.append(SetOwner(home, 0, 0, 0o755))
    return actions


def _above_files(account: Account) -> list[str]:
    """Return the directories of a jail above that of the account's files."""
    above = components(posixpath.dirname(account.files).removeprefix(account.jail))[1:]
    return [account.jail + directory for directory in above]


def _files(account: Account, host: Host) -> list[Action]:
    """Return the action that makes the account's directory in its jail."""
    found = host.lstat(account.files)
    if found is None:
        _refuse_to_hide(account, host)
        make = MakeDir
        if _has_quota(account, host):
            make = MakeSubvolume
        return [make(account.files, 0o700, account.uid, account.gid)]
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid:
        apply = []
        if _is_member(account, host):
            apply = ["sftpjail apply"]
        raise SftpJailError(
            f"{account.files} is already there and is not a directory of {account.name}: "
            f"it belongs to uid {found.st_uid}, perhaps to an earlier account of that name",
            fixes.aside_or_why(account.files, host, *apply),
        )
    return []


def _has_quota(account: Account, host: Host) -> bool:
    """Return whether the directory must be one that btrfs can limit; see plugins/quota.py."""
    profile = account.profile
    if not (profile and profile.quota) and account.name not in host.tagged(QUOTAS, Style.USER):
        return False
    from ...jails.quota import makes_subvolume  # late: useradd waits

    return makes_subvolume(account, account.files, host)


def _is_member(account: Account, host: Host) -> bool:
    """Return whether `apply` would make the jail of an account: `adopt` is for others."""
    profile = account.profile
    assert profile is not None
    named = account.name in profile.match_user
    return named or bool(profile.group and host.in_group(account.name, profile.group))


@hookimpl
def on_user_rename(account: Account, old: str, host: Host) -> list[Action]:
    profile = account.profile
    assert profile is not None
    if old == account.name:
        return _given_files(account, host)
    before = replace(account, name=old).jail
    if profile.in_home or not host.is_dir(before):
        return []
    if host.lstat(account.jail) is not None:
        raise SftpJailError(
            f"{account.jail} is there already, and {before} is the jail of {account.name} "
            "under its former name",
            fixes.aside_or_why(account.jail, host, "sftpjail apply"),
        )
    return [Move(before, account.jail)]


def _given_files(account: Account, host: Host) -> list[Action]:
    """Return the action that gives an account with another uid the directory of its files."""
    found, origin = host.lstat(account.files), host.origin(account.name)
    ours = host.records.made_as(account.files, account.name) in origin.made
    if found is None or not ours or found.st_uid != origin.uid:
        return []
    mode = stat.S_IMODE(found.st_mode)
    return [SetOwner(account.files, account.uid, account.gid, mode, remember=False)]


def _refuse_to_hide(account: Account, host: Host) -> None:
    """Refuse to move a jail while the account's files are in its old one, out of sight.

    Raises:
        SftpJailError: has the command that moves them.
    """
    made = host.origin(account.name).made
    before = [path for path in made if path != account.files and not inside(path, account.jail)]
    for path in before:
        found = host.lstat(path)
        is_its_own = found and stat.S_ISDIR(found.st_mode) and found.st_uid == account.uid
        if not is_its_own or not host.listdir(path):
            continue
        make = fixes.on(posixpath.dirname(account.files), host, "mkdir -p -m 755 {}")
        move = fixes.move(path, account.files, host)
        fix = f"{make} && {move} && sftpjail apply"
        if not (make and move):
            fix = fixes.advice(path, host)
        raise SftpJailError(
            f"the files of {account.name} are in {path}, and its jail would be {account.jail}", fix
        )


def _given_home(account: Account, host: Host) -> list[Action]:
    """Return the actions that create a missing home of a directory service's account.

    This is what pam_mkhomedir(8) would do.

    Raises:
        SftpJailError: it would be a system directory, or be where others than root can write; or it
            is on a disk that is away.
    """
    home = normal(account.home)
    if account.local or not account.exists or host.lstat(home) is not None:
        return []
    if away := home_away(account, host):
        raise away
    wrong = home_problem(account, home, host)
    if wrong:
        raise SftpJailError(
            f"will not make the home {home} of {account.name}: it {wrong}",
            look_at(f"getent passwd {account.name}"),
        )
    mode = int(host.people.home_mode, 8)
    actions = [*judged(posixpath.dirname(home), host, ()), MakeDir(home, 0o700)]
    actions += _skeleton(account, "/etc/skel", home, host)
    return [*actions, GiveDir(home, account.uid, account.gid, mode)]


def _skeleton(account: Account, directory: str, target: str, host: Host) -> list[Action]:
    """Return the actions that copy what is in a directory, for an account; no links."""
    actions: list[Action] = []
    uid, gid = account.uid, account.gid
    for name in host.listdir(directory):
        source, path = f"{directory}/{name}", f"{target}/{name}"
        found = host.lstat(source)
        if found is None:
            continue
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISDIR(found.st_mode):
            actions.append(MakeDir(path, mode, uid, gid))
            actions += _skeleton(account, source, path, host)
        elif stat.S_ISREG(found.st_mode):
            actions.append(WriteFile(path, host.text(source), mode, uid, gid))
    return actions


@hookimpl
def on_user_remove(account: Account, deleted: bool, host: Host) -> list[Action]:
    profile, origin = account.profile, host.origin(account.name)
    assert profile is not None
    made_as = partial(host.records.made_as, owner=account.name)
    actions: list[Action] = []
    if profile.in_home:
        actions += _given_back(account, host)
    else:
        jail = made_as(account.jail)
        actions += [*_reopened(account, host), Remove(jail, directory=True)]
    if not account.exists and made_as(account.files) in origin.made and host.listdir(account.files):
        # Files of a deleted account are for root to look at, not for a new account with its
        # name and uid.
        actions.append(SetOwner(account.files, 0, 0, 0o700, remember=False))
    stays_at_home = profile.home == "inside" and account.local and "home" not in origin.was
    if deleted or not stays_at_home:
        ours = [account.files]
        if not profile.in_home:
            ours += _above_files(account)
        actions += [Remove(made_as(path), directory=True) for path in ours]
    return actions


def _given_back(account: Account, host: Host) -> list[Action]:
    """Return the action that gives a home that was a jail back to its owner.

    Raises:
        SftpJailError: it is on a disk that is away, and would never be given back.
    """
    home, origin = host.realpath(account.home), host.origin(account.name)
    owner = origin.owners.get(home)
    if owner is None or not account.exists:
        return []
    if away := home_away(account, host):
        raise away
    uid, gid, mode = owner
    if uid == origin.uid:
        uid = account.uid  # another one after `usermod -u`
    return [SetOwner(home, uid, gid, mode)]


@hookimpl
def on_jail_binds(account: Account, host: Host) -> list[Bind]:
    profile = account.profile
    assert profile is not None
    home = normal(account.home)
    if profile.in_home or profile.home != "bind" or home == "/":
        return []
    # uid -1 stands for the account that a dry run of `add` would create, with its home. A home that
    # the jail has shown is away, and on_mount says so.
    known = next((bind for bind in host.binds(account.name) if bind.role == "home"), None)
    if account.exists and account.local and not (known or host.is_dir(home)):
        return []
    # Whose files it shows as the account's is written nowhere else.
    mapped = known is not None and known.source == home and known.owner is not None
    options = known.options if known and mapped else ()
    return [Bind(home, account.jail + home, role="home", options=options)]

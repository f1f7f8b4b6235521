"""Bind mounts in jails: what may be mounted where.

For each value of `mounts`, one module knows how binds are stored.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterable
from dataclasses import replace

from ... import (
    Account,
    Bind,
    MakeDir,
    Notify,
    Remove,
    SetLines,
    SetOwner,
    SftpJailError,
    Style,
    Unmount,
    WriteFile,
    hookimpl,
)
from ...actions import MOUNT_OPTIONS, Action, Mount
from ...config import Config
from ...formats import fixes
from ...host import Host
from ...model import GROUP, id_map, inside
from ...openssh.pam_session import SCRIPT, table
from ...paths import FSTAB, TABLES
from . import fstab, session
from .policy import LOOSE, hidden_from_above, judge_place, judge_source, judge_target, place_of

# mount(8) makes no such checks at boot. This unit does, before systemd-user-sessions.service
# permits logins. `setup` writes both files, since fstab's lines stay when the package is removed.
BOOT_UNIT = "/etc/systemd/system/sftpjail-mounts.service"
BOOT_WANTS = "/etc/systemd/system/multi-user.target.d/10-sftpjail.conf"
_BOOT_SERVICE = f"""\
# Made by `sftpjail setup`; changes here are lost.
[Unit]
Description=Judge what fstab has mounted in SFTP jails
Documentation=man:sftpjail(8)
After=local-fs.target remote-fs.target
Before=systemd-user-sessions.service

[Service]
Type=oneshot
ExecStart={SCRIPT} boot
"""
_BOOT_DROP_IN = (
    "# Made by `sftpjail setup`; changes here are lost.\n[Unit]\nWants=sftpjail-mounts.service\n"
)


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    if host.mount_tables.mounts_missing:
        raise SftpJailError(
            f"this kernel cannot mount through descriptors ({host.mount_tables.mounts_missing}), "
            "and by their paths users could lead root's mounts astray: "
            "Linux 5.12 or later is needed, and in a container the right to mount",
        )
    if host.realpath(BOOT_UNIT) == "/dev/null":
        return []  # masked
    in_fstab = any(profile.mounts == "fstab" for profile in config.profiles)
    if not in_fstab or not host.which("systemctl"):
        return [Remove(BOOT_UNIT), Remove(BOOT_WANTS), Remove(posixpath.dirname(BOOT_WANTS))]
    return [
        WriteFile(BOOT_UNIT, _BOOT_SERVICE),
        MakeDir(posixpath.dirname(BOOT_WANTS)),
        WriteFile(BOOT_WANTS, _BOOT_DROP_IN),
        Notify("systemd", "daemon-reload"),
    ]


@hookimpl
def on_teardown(host: Host) -> list[Action]:
    removals = [Remove(BOOT_WANTS), Remove(posixpath.dirname(BOOT_WANTS))]
    if host.realpath(BOOT_UNIT) != "/dev/null":  # masked: that is its administrator's link
        removals.append(Remove(BOOT_UNIT))
    names = [name for name in host.listdir(TABLES) if not name.startswith(".")]
    tables = [action for name in names for action in session.end(name, host)]
    return [*removals, *tables, Notify("systemd", "daemon-reload")]


@hookimpl
def on_user_create(account: Account, host: Host) -> list[Action]:
    if account.profile is not None and account.profile.mounts == "session":
        return [session.begin(account.name)]
    return session.end(account.name, host)


@hookimpl
def on_user_remove(account: Account, deleted: bool, host: Host) -> list[Action]:
    if deleted and account.exists:
        return []
    return session.end(account.name, host)


@hookimpl
def on_mount(account: Account, bind: Bind, host: Host, config: Config) -> list[Action]:
    if host.people.is_leaving(account.name):
        what = f"userdel is deleting {account.name}, and might delete through a mount"
        raise SftpJailError(what, advice="try again when it has ended")
    judge_target(account, bind, host)
    place = place_of(account, bind, host)
    judge_place(account, bind, place, host)
    by_session = account.profile is not None and account.profile.mounts == "session"
    over = ""
    if not by_session:
        over = hidden_from_above(account, bind, host)
    if over:
        what = f"{bind.target} is hidden: something is mounted over {over}"
        raise SftpJailError(what, advice=fixes.by_hand(over))
    loose = bind.role != "log" and judge_source(account, bind, host, config)
    every = (bind, *host.binds(account.name))
    if any(one.map for one in every):
        from .owners import judge_owner  # late: useradd waits

        judge_owner(account, bind, by_session, host, config)
    options = _options(account, bind, loose)
    shared: list[Action] = []
    if any(one.group is not None for one in every):
        from .sharing import share  # late: useradd waits

        kept = (option for option in options if not option.startswith(GROUP))
        option, shared = share(account, bind, host)
        options = (*kept, *filter(None, [option]))
    if by_session:
        stored = session.keep(account, bind, options, host) + fstab.drop(account, bind, host)
    else:
        stored = fstab.keep(account, bind, options, host) + session.drop(account, bind, host)
    return [
        *_mount_point(account, bind, place, host),
        *stored,
        *_without_other_names(account, bind, host),
        *shared,
    ]


def _options(account: Account, bind: Bind, loose: bool) -> tuple[str, ...]:
    """Return the options of a mount: those that it has, or the usual ones; the map as of now."""
    usual = [*MOUNT_OPTIONS]
    if bind.read_only:
        usual.insert(0, "ro")
    options = mapped_to(account, _as_mounted(bind.options or usual))
    if loose:
        return (*options, LOOSE)
    return options


def _as_mounted(options: Iterable[str]) -> tuple[str, ...]:
    """Return the options of a bind without what only fstab has."""
    return tuple(option for option in options if option != "nofail")


def mapped_to(account: Account, options: tuple[str, ...]) -> tuple[str, ...]:
    """Return the options of a mount with the map of owners, if any, to what the account is now."""
    bind = Bind("", "", options=options)
    if bind.owner is None or not account.exists:
        return options
    now = id_map(bind.owner, account.uid, account.gid)
    return tuple(now if option == bind.map else option for option in options)


def _without_other_names(account: Account, bind: Bind, host: Host) -> list[Action]:
    """Return the actions that drop the lines by which a bind's place had another name.

    A link leads there from the jail's path, which the configuration has changed.
    """
    return [
        _set_line(account, known)
        for known in host.binds(account.name)
        if known.target != bind.target and host.mount_tables.same_place(known.target, bind.target)
    ]


def _set_line(account: Account, bind: Bind, *lines: str) -> SetLines:
    """Return the action that sets a bind's line, or removes it, where it is kept."""
    own = bind.kept == "session"
    path = FSTAB
    if own:
        path = table(account.name)
    return SetLines(path, fstab.tag(account, bind), lines, Style.FSTAB, own=own)


@hookimpl
def on_unmount(account: Account, bind: Bind, live_only: bool, host: Host) -> list[Action]:
    actions: list[Action] = []
    in_fstab = bind.kept == "fstab"
    # A session's bind is mounted here only if it used to be in fstab.
    if in_fstab or _is_live(bind, host):
        actions.append(Unmount(bind.source, bind.target, bind.options or MOUNT_OPTIONS))
    if live_only:
        return actions
    if bind.group is not None:
        from .sharing import unshare  # late: useradd waits

        actions += unshare(bind, host)
    actions += [_set_line(account, bind), *_remove_directories(account, bind, host)]
    if in_fstab:
        actions.append(Notify("systemd", "daemon-reload"))
    return actions


def _is_live(bind: Bind, host: Host) -> bool:
    """Return whether the host itself sees a bind's source at its target."""
    return host.mount_at(bind.target) is not None and host.same_file(bind.source, bind.target)


def _remove_directories(account: Account, bind: Bind, host: Host) -> list[Action]:
    """Return the actions that remove a mount point, and what was made above it in the jail.

    The jail itself goes with the account, if at all: without it sshd refuses every login.
    """
    place = host.records.made_as(place_of(account, bind, host), account.name)
    made = {*host.origin(account.name).made}
    made.discard(host.records.made_as(account.jail, account.name))
    actions: list[Action] = [Remove(place, directory=bind.role != "log")]
    while posixpath.dirname(place) in made:
        place = posixpath.dirname(place)
        actions.append(Remove(place, directory=True))
    return actions


@hookimpl
def on_user_rename(account: Account, old: str, host: Host) -> list[Action]:
    if old == account.name:
        return []
    actions = session.end(old, host)
    if actions:
        actions.append(session.begin(account.name))
    binds = host.binds(old)
    for bind in binds:
        actions += _renamed(bind, account, replace(account, name=old), host)
    if any(bind.kept == "fstab" for bind in binds):
        actions.append(Notify("systemd", "daemon-reload"))
    return actions


def _renamed(bind: Bind, account: Account, before: Account, host: Host) -> list[Action]:
    """Return the actions that move a bind from an account's former name to its present one."""
    now = bind
    if inside(bind.target, before.jail):
        now = replace(bind, target=account.jail + bind.target.removeprefix(before.jail))
    mapped = mapped_to(account, bind.options)
    actions: list[Action] = [
        _set_line(before, bind),
        _set_line(account, now, fstab.line(account, now, mapped)),
    ]
    if now.target != bind.target and _is_live(bind, host):
        actions.append(Unmount(bind.source, bind.target, _as_mounted(bind.options)))
        actions.append(Mount(bind.source, now.target, _as_mounted(mapped)))
    return actions


def _not_roots(place: str, uid: int, host: Host) -> SftpJailError:
    """Return the error that a new mount would take a directory from its owner for good."""
    owner = host.people.name_of(uid) or f"uid {uid}"
    command = fixes.on(place, host, "chown 0:0 {}", "chmod 755 {}")
    return SftpJailError(
        f"will not mount anything on {place}: it belongs to {owner}, who could write below the "
        "mount whenever that is not there",
        choices=[("to give it to root", command)],
        advice="or mount it at another place of the jail",
    )


def _mount_point(account: Account, bind: Bind, place: str, host: Host) -> list[Action]:
    """Return the actions that make what a bind is mounted on: a directory, or for a socket a file.

    Raises:
        SftpJailError: it is a directory of somebody's, who could write below the mount.
    """
    source = host.stat(bind.source)
    is_file = source is not None and not stat.S_ISDIR(source.st_mode)
    missing = []
    path = place
    if is_file:
        path = posixpath.dirname(place)
    while path not in ("/", account.jail) and host.stat(path) is None:
        missing.append(path)
        path = posixpath.dirname(path)
    actions: list[Action] = [MakeDir(directory) for directory in reversed(missing)]
    found = host.lstat(place)
    if found is None:
        if is_file:
            return [*actions, WriteFile(place, "")]
        return actions
    is_bare = place == bind.target and host.mount_at(place) is None
    if is_bare and stat.S_ISDIR(found.st_mode) and host.flaw(place):
        known = any(other.target == bind.target for other in host.binds(account.name))
        if bind.role == "mount" and found.st_uid != 0 and not known:
            raise _not_roots(place, found.st_uid, host)
        # While the mount is not there nobody is to upload below it.
        actions.append(SetOwner(place, 0, 0, 0o755, remember=False))
    return actions

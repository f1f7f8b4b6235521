"""Bind mounts in jails: what may be mounted where.

For each value of `mounts`, one module knows how binds are stored.
"""

from __future__ import annotations

import posixpath
import stat
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
    fixes,
    hookimpl,
)
from ...actions import MOUNT_OPTIONS, Action, Mount
from ...config import Config
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
    in_boot = any(profile.mounts == "fstab" for profile in config.profiles) and bool(
        host.which("systemctl")
    )
    if host.realpath(BOOT_UNIT) == "/dev/null":
        return []  # masked
    if not in_boot:
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
    return [] if deleted and account.exists else session.end(account.name, host)


@hookimpl
def on_mount(account: Account, bind: Bind, host: Host, config: Config) -> list[Action]:
    if host.people.is_leaving(account.name):
        what = f"userdel is deleting {account.name}, and might delete through a mount"
        raise SftpJailError(what, advice="try again when it has ended")
    judge_target(account, bind, host)
    place = place_of(account, bind, host)
    judge_place(account, bind, place, host)
    by_session = account.profile is not None and account.profile.mounts == "session"
    over = "" if by_session else hidden_from_above(account, bind, host)
    if over:
        what = f"{bind.target} is hidden: something is mounted over {over}"
        raise SftpJailError(what, advice=fixes.by_hand(over))
    loose = bind.role != "log" and judge_source(account, bind, host, config)
    every = (bind, *host.binds(account.name))
    if any(one.map for one in every):
        from .owners import judge_owner  # late: useradd waits

        judge_owner(account, bind, by_session, host, config)
    usual = ("ro", *MOUNT_OPTIONS) if bind.read_only else MOUNT_OPTIONS
    options = tuple(option for option in bind.options or usual if option != "nofail")
    options = mapped_to(account, options)
    options += (LOOSE,) if loose else ()
    shared: list[Action] = []
    if any(one.group is not None for one in every):
        from .sharing import share  # late: useradd waits

        options = tuple(option for option in options if not option.startswith(GROUP))
        option, shared = share(account, bind, host)
        options += (option,) if option else ()
    now, before = (session, fstab) if by_session else (fstab, session)
    return [
        *_mount_point(account, bind, place, host),
        *now.keep(account, bind, options, host),
        *before.drop(account, bind, host),
        *_without_other_names(account, bind, host),
        *shared,
    ]


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
        SetLines(
            FSTAB if known.kept == "fstab" else table(account.name),
            fstab.tag(account, known),
            (),
            Style.FSTAB,
            own=known.kept == "session",
        )
        for known in host.binds(account.name)
        if known.target != bind.target and host.mount_tables.same_place(known.target, bind.target)
    ]


@hookimpl
def on_unmount(account: Account, bind: Bind, live_only: bool, host: Host) -> list[Action]:
    # A session's bind is mounted here only if it used to be in fstab.
    stray = bind.kept == "fstab" or (
        host.mount_at(bind.target) and host.same_file(bind.source, bind.target)
    )
    unmount = [Unmount(bind.source, bind.target, bind.options or MOUNT_OPTIONS)] if stray else []
    if live_only:
        return [*unmount]
    place = host.records.made_as(place_of(account, bind, host), account.name)
    made = host.origin(account.name).made
    directories: list[Action] = [Remove(place, directory=bind.role != "log")]
    while posixpath.dirname(place) in made:
        place = posixpath.dirname(place)
        directories.append(Remove(place, directory=True))
    path = FSTAB if bind.kept == "fstab" else table(account.name)
    shared: list[Action] = []
    if bind.group is not None:
        from .sharing import unshare  # late: useradd waits

        shared = unshare(bind, host)
    return [
        *unmount,
        *shared,
        SetLines(path, fstab.tag(account, bind), (), Style.FSTAB, own=bind.kept == "session"),
        *directories,
        *([Notify("systemd", "daemon-reload")] if bind.kept == "fstab" else []),
    ]


@hookimpl
def on_user_rename(account: Account, old: str, host: Host) -> list[Action]:
    if old == account.name:
        return []
    before = replace(account, name=old)
    actions = session.end(old, host)
    actions += [session.begin(account.name)] * bool(actions)
    for bind in host.binds(old):
        target = bind.target
        if inside(target, before.jail):
            target = account.jail + target.removeprefix(before.jail)
        now = replace(bind, target=target)
        own = bind.kept == "session"
        paths = (table(old), table(account.name)) if own else (FSTAB, FSTAB)
        mapped = mapped_to(account, bind.options)
        line = fstab.line(account, now, mapped)
        actions += [
            SetLines(paths[0], fstab.tag(before, bind), (), Style.FSTAB, own=own),
            SetLines(paths[1], fstab.tag(account, now), (line,), Style.FSTAB, own=own),
        ]
        live = host.mount_at(bind.target) and host.same_file(bind.source, bind.target)
        if live and target != bind.target:
            before_options, options = (
                tuple(option for option in every if option != "nofail")
                for every in (bind.options, mapped)
            )
            actions.append(Unmount(bind.source, bind.target, before_options))
            actions.append(Mount(bind.source, target, options))
    in_fstab = any(bind.kept == "fstab" for bind in host.binds(old))
    return [*actions, *([Notify("systemd", "daemon-reload")] if in_fstab else [])]


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
    source = host.stat(bind.source)
    missing = []
    path = place if source is None or stat.S_ISDIR(source.st_mode) else posixpath.dirname(place)
    while path not in ("/", account.jail) and host.stat(path) is None:
        missing.append(path)
        path = posixpath.dirname(path)
    actions: list[Action] = [MakeDir(directory) for directory in reversed(missing)]
    found = host.lstat(place)
    if (
        found is not None
        and stat.S_ISDIR(found.st_mode)
        and place == bind.target
        and host.mount_at(place) is None
        and host.flaw(place)
    ):
        known = any(other.target == bind.target for other in host.binds(account.name))
        if bind.role == "mount" and found.st_uid != 0 and not known:
            raise _not_roots(place, found.st_uid, host)
        # While the mount is not there nobody is to upload below it.
        actions.append(SetOwner(place, 0, 0, 0o755, remember=False))
    if source is not None and not stat.S_ISDIR(source.st_mode) and host.lstat(place) is None:
        actions.append(WriteFile(place, ""))
    return actions

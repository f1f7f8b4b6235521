"""Bind mounts in jails: what may be mounted where.

For each value of `mounts`, one module knows how binds are stored.
"""

from __future__ import annotations

import posixpath
import stat

from ... import (
    Account,
    Bind,
    MakeDir,
    Notify,
    Remove,
    SetLines,
    SftpJailError,
    Style,
    Unmount,
    WriteFile,
    hookimpl,
)
from ...actions import MOUNT_OPTIONS, Action
from ...config import Config
from ...host import Host
from ...openssh.pam_session import SCRIPT, table
from ...paths import FSTAB
from . import fstab, session
from .policy import LOOSE, judge_place, judge_source, judge_target, place_of

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
    removals = [Remove(BOOT_UNIT), Remove(BOOT_WANTS), Remove(posixpath.dirname(BOOT_WANTS))]
    return [*removals, Notify("systemd", "daemon-reload")]


@hookimpl
def on_mount(account: Account, bind: Bind, host: Host, config: Config) -> list[Action]:
    if host.people.is_leaving(account.name):
        what = f"userdel is deleting {account.name}, and might delete through a mount"
        raise SftpJailError(what, advice="try again when it has ended")
    judge_target(account, bind, host)
    judge_place(account, bind, place_of(account, bind, host), host)
    by_session = account.profile is not None and account.profile.mounts == "session"
    loose = bind.role != "log" and judge_source(account, bind, host, config)
    usual = ("ro", *MOUNT_OPTIONS) if bind.read_only else MOUNT_OPTIONS
    options = tuple(option for option in bind.options or usual if option != "nofail")
    options += (LOOSE,) if loose else ()
    now, before = (session, fstab) if by_session else (fstab, session)
    return [
        *_mount_point(account, bind, host),
        *now.keep(account, bind, options, host),
        *before.drop(account, bind, host),
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
    place = place_of(account, bind, host)
    made = host.origin(account.name).made
    directories: list[Action] = [Remove(place, directory=bind.role != "log")]
    while posixpath.dirname(place) in made:
        place = posixpath.dirname(place)
        directories.append(Remove(place, directory=True))
    path = FSTAB if bind.kept == "fstab" else table(account.name)
    return [
        *unmount,
        SetLines(path, fstab.tag(account, bind), (), Style.FSTAB, own=bind.kept == "session"),
        *directories,
        *([Notify("systemd", "daemon-reload")] if bind.kept == "fstab" else []),
    ]


def _mount_point(account: Account, bind: Bind, host: Host) -> list[Action]:
    place = place_of(account, bind, host)
    source = host.stat(bind.source)
    missing = []
    path = place if source is None or stat.S_ISDIR(source.st_mode) else posixpath.dirname(place)
    while path not in ("/", account.jail) and host.stat(path) is None:
        missing.append(path)
        path = posixpath.dirname(path)
    actions: list[Action] = [MakeDir(directory) for directory in reversed(missing)]
    if source is not None and not stat.S_ISDIR(source.st_mode) and host.lstat(place) is None:
        actions.append(WriteFile(place, ""))
    return actions

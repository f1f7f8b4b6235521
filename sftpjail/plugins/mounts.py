"""Binds into jails: what may be shown where. How a bind is kept is known by one module for each kind of `mounts`."""

from __future__ import annotations

import posixpath
import stat
from functools import lru_cache
from shlex import quote

from .. import (
    Account,
    Bind,
    Fact,
    Finding,
    MakeDir,
    Notify,
    Remove,
    SetLines,
    SftpJailError,
    Style,
    Unmount,
    WriteFile,
    fixes,
    hookimpl,
    in_fstab,
    in_session,
)
from ..actions import MOUNT_OPTIONS, Action
from ..config import Config
from ..errors import Unsafe
from ..fstab import MountPoint, parse_line
from ..host import Host
from ..in_fstab import FSTAB
from ..jails import is_valid, jailed, mend_flaw
from ..model import components, inside, normal
from ..sessions import SCRIPT, table

# In a session's table: the administrator's word that the source may lie where others can write.
LOOSE = "x-sftpjail.allow"
# Never shown to a jail, nor anything that holds or lies in them, unless the configuration names the very folder.
FORBIDDEN = ("/proc", "/sys", "/dev", "/etc", "/root", "/run", "/boot", "/var/lib/sftpjail")


# mount(8) judges nothing at a boot, so this does before users may log in: systemd-user-sessions.service lifts nologin.
# Both files are setup's and not the package's, whose removal leaves the lines of fstab.
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
_BOOT_DROP_IN = "# Made by `sftpjail setup`; changes here are lost.\n[Unit]\nWants=sftpjail-mounts.service\n"


@hookimpl
def on_setup(host: Host, config: Config) -> list[Action]:
    if host.mounts_missing:
        raise SftpJailError(
            f"this kernel cannot mount through descriptors ({host.mounts_missing}), and by their paths users could "
            "lead root's mounts astray: Linux 5.12 or later is needed, and in a container the right to mount",
        )
    in_boot = any(profile.mounts == "fstab" for profile in config.profiles) and bool(host.which("systemctl"))
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
    if host.is_leaving(account.name):
        what = f"userdel is deleting {account.name}, and might delete through a mount"
        raise SftpJailError(what, f"when it has ended: id {account.name}")
    _judge_target(account, bind, host)
    _judge_place(account, bind, _place(account, bind, host), host)
    session = account.profile is not None and account.profile.mounts == "session"
    loose = bind.role != "log" and _judge_source(account, bind, host, config)
    usual = ("ro", *MOUNT_OPTIONS) if bind.read_only else MOUNT_OPTIONS
    options = tuple(option for option in bind.options or usual if option != "nofail")
    options += (LOOSE,) if loose else ()
    now, before = (in_session, in_fstab) if session else (in_fstab, in_session)
    return [
        *_mount_point(account, bind, host),
        *now.keep(account, bind, options, host),
        *before.drop(account, bind, host),
    ]


@hookimpl
def on_unmount(account: Account, bind: Bind, live_only: bool, host: Host) -> list[Action]:
    # Of a session's bind there is one here only if it was in fstab before.
    stray = bind.kept == "fstab" or (host.mount_at(bind.target) and host.same_file(bind.source, bind.target))
    unmount = [Unmount(bind.source, bind.target, bind.options or MOUNT_OPTIONS)] if stray else []
    if live_only:
        return [*unmount]
    place = _place(account, bind, host)
    made = host.origin(account.name).made
    folders: list[Action] = [Remove(place, folder=bind.role != "log")]
    while posixpath.dirname(place) in made:
        place = posixpath.dirname(place)
        folders.append(Remove(place, folder=True))
    path = FSTAB if bind.kept == "fstab" else table(account.name)
    return [
        *unmount,
        SetLines(path, in_fstab.tag(account, bind), (), Style.FSTAB, own=bind.kept == "session"),
        *folders,
        *([Notify("systemd", "daemon-reload")] if bind.kept == "fstab" else []),
    ]


def _outer(account: Account, bind: Bind, host: Host) -> Bind | None:
    """Return the bind of the jail that this one is nested in, if any."""
    outer = [b for b in host.binds(account.name) if b.target != bind.target and inside(bind.target, b.target)]
    return max(outer, key=lambda b: len(b.target)) if outer else None


def _place(account: Account, bind: Bind, host: Host) -> str:
    """Return the path behind a target: below another bind of the jail, its mount point lies in that one's source."""
    outer = _outer(account, bind, host)
    return outer.source + bind.target.removeprefix(outer.target) if outer else bind.target


def _mount_point(account: Account, bind: Bind, host: Host) -> list[Action]:
    place = _place(account, bind, host)
    source = host.stat(bind.source)
    missing = []
    path = place if source is None or stat.S_ISDIR(source.st_mode) else posixpath.dirname(place)
    while path not in ("/", account.jail) and host.stat(path) is None:
        missing.append(path)
        path = posixpath.dirname(path)
    actions: list[Action] = [MakeDir(folder) for folder in reversed(missing)]
    if source is not None and not stat.S_ISDIR(source.st_mode) and host.lstat(place) is None:
        actions.append(WriteFile(place, ""))
    return actions


def _judge_target(account: Account, bind: Bind, host: Host) -> None:
    if not inside(bind.target, account.jail) or bind.target == account.jail:
        raise SftpJailError(f"{bind.target} is not inside the jail {account.jail} of {account.name}")
    known = {b.target: b for b in host.binds(account.name)}
    if bind.target in known:
        if known[bind.target].source != bind.source and bind.role == "mount":
            raise SftpJailError(
                f"{bind.target} already shows {known[bind.target].source}", _away(account, known[bind.target])
            )
        return
    if bind.role != "mount":
        return
    for other in known:
        if known[other].role == "log" and inside(bind.target, other):
            raise SftpJailError(f"{bind.target} is where the jail has its log socket", "choose another folder")
        if inside(other, bind.target):
            raise SftpJailError(
                f"{bind.target} would hide {other}, which is mounted below it", _away(account, known[other])
            )
    if host.lstat(bind.target) is not None and (not host.is_dir(bind.target) or host.listdir(bind.target)):
        raise SftpJailError(f"{bind.target} is in the way: it is not an empty folder, and the mount would hide it")
    if host.mount_at(bind.target) is not None:
        raise SftpJailError(f"something is mounted on {bind.target} already", f"findmnt {quote(bind.target)}")


def _away(account: Account, bind: Bind) -> str:
    """Return how a bind makes room for another one; what every jail has stays."""
    if bind.role != "mount":
        return "choose another folder"
    return f"sftpjail umount {account.name} {quote(bind.target.removeprefix(account.jail))}"


def _judge_place(account: Account, bind: Bind, place: str, host: Host) -> None:
    """Refuse a mount point that others than root could exchange for a link: root's mount(8) would follow it.

    That holds at every boot, so what a user could change is no place for a mount, however safe it looks now.

    Raises:
        SftpJailError: with the folder that is to blame.
    """
    made = (*host.origin(account.name).made, *host.origin("").made)
    # What is ours, and the home that becomes a jail, is root's alone again before anything is mounted.
    trusted = {host.realpath(part) for part in components(account.jail) if part in made}
    if account.profile and account.profile.in_home:
        trusted.add(host.realpath(account.jail))
    loose = host.loose_parent(place, trusted)
    if loose:
        raise Unsafe(
            f"{bind.target} is no place for a mount: {loose} {host.flaw(loose)}, "
            "so a link could be put in the mount point's place and root would mount wherever it leads",
            # Above the jails it is a mistake to mend; in what is a user's own, another place is to be chosen.
            (mend_flaw(loose, host) or fixes.advice(loose, host))
            if inside(account.jail, loose)
            else "choose a folder outside of what users can write",
        )
    outer = _outer(account, bind, host)
    for root, path in ((account.jail, bind.target), (outer.source if outer else account.jail, place)):
        if host.realpath(path) != host.realpath(root) + path.removeprefix(root):
            raise Unsafe(f"a symbolic link leads from {path} to {host.realpath(path)}", f"namei -l {quote(path)}")


def _judge_source(account: Account, bind: Bind, host: Host, config: Config) -> bool:
    """Refuse what must not be shown in a jail; return whether it lies where others can write, and is allowed to.

    Raises:
        SftpJailError: it is missing, forbidden, or could be exchanged for a link. Nobody judges what fstab(5) mounts
            at a boot, so there no setting allows that.
    """
    if bind.role == "home" and not account.exists:
        return False
    coming = bind.role == "home" and not account.local and host.lstat(bind.source) is None  # made in the same plan
    if not coming and not host.is_dir(bind.source):
        if any(b.target == bind.target for b in host.binds(account.name)):
            raise SftpJailError(
                f"{bind.source}, which {account.name} sees as {bind.target}, is missing",
                f"sftpjail umount {account.name} {quote(bind.target.removeprefix(account.jail))}",
            )
        if host.lstat(bind.source) is not None:
            raise SftpJailError(f"{bind.source} is not a folder", "give the folder that it lies in, or one with a copy")
        hint = fixes.on(bind.source, host, "mkdir {}") or fixes.advice(bind.source, host)
        raise SftpJailError(f"{bind.source} is not a folder of this host", hint)
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
            f"will not show {bind.source} in a jail: {loose} {host.flaw(loose)}, so somebody could put a link to any "
            "directory in its place",
            _way_out(account, bind, host),
        )
    return bool(loose)


def _permission(real: str, host: Host) -> str:
    """Return how an administrator insists on a source; nothing of the system's own, and nobody's home, is proposed."""
    top = real == "/" or posixpath.dirname(real) == "/"
    if top or any(inside(real, folder) for folder in FORBIDDEN) or any(host.dwellers(real)):
        return "choose a directory that holds nothing but what the jail is to show"
    return f"if you mean it: allow = {real} in [mounts] of /etc/sftpjail/sftpjail.conf"


def _way_out(account: Account, bind: Bind, host: Host) -> str:
    """Return what to do about a source in whose place somebody could put another one."""
    if bind.role == "mount" and any(known.target == bind.target for known in host.binds(account.name)):
        return _away(account, bind)
    return "choose a directory of which every parent can be written by root alone"


@lru_cache(maxsize=64)
def _real(host: Host, folder: str) -> str:
    return host.realpath(folder)


def _forbidden(account: Account, real: str, role: str, host: Host, config: Config) -> str:
    bases = tuple(profile.base for profile in config.profiles if profile.base)
    for folder in (*FORBIDDEN, *bases):
        other = _real(host, folder)
        if inside(real, other):
            return f"{real} is {folder}" if real == other else f"{real} lies in {folder}"
        if inside(other, real):
            return f"{real} holds {folder}"
    if role == "home":
        return ""
    own = host.realpath(account.home)
    if inside(own, real) and own != real:
        return f"{real} holds the home of {account.name}, and who knows whose in future"
    above, below = host.dwellers(real)
    for names, relation in ((above, "belongs to"), (below, "is or holds")):
        others = [name for name in names if _is_other(account, host.accounts[name], host)]
        if others and not (relation == "belongs to" and inside(real, own)):
            return f"{real} {relation} the home of {others[0]}"
    return ""


def _is_other(account: Account, other: Account, host: Host) -> bool:
    return other.uid != account.uid and not host.is_system(other) and other.home not in ("", "/")


FLAGS = ("ro", "nosuid", "nodev", "noexec")


def _live(account: Account, bind: Bind, host: Host) -> Finding | None:
    """Return what is wrong with one bind as the kernel has it."""
    user, point = quote(account.name), host.mount_at(bind.target)
    if not inside(bind.target, account.jail):
        return None  # the plan says so
    if host.lstat(bind.source) is None and bind.role == "mount":
        what, why = f"{bind.source}, which {bind.target} is to show, is missing", f"{account.name} sees an empty folder"
        if bind.kept == "session":
            why = f"PAM closes the sessions of {account.name}: a jail shows all or nothing"
        return Finding(what, why, f"sftpjail umount {user} {quote(bind.target.removeprefix(account.jail))}")
    if bind.kept == "session":
        return None
    if point is None:
        return Finding(f"{bind.target} is in fstab and not mounted", f"the jail lacks {bind.source}", "sftpjail apply")
    if not host.same_file(bind.source, bind.target):
        return None  # see _others
    lost = [flag for flag in FLAGS if flag in bind.options and flag not in point.options]
    if lost:
        why = f"{account.name} could write" if "ro" in lost else "the kernel does not enforce what fstab says"
        return Finding(f"{bind.target} is mounted without {','.join(lost)}", why, "sftpjail apply")
    if "ro" in point.options and "ro" not in bind.options:
        return Finding(
            f"{bind.target} is mounted read-only, and fstab does not say so", "uploads to it fail", "sftpjail apply"
        )
    return None


def _others(account: Account, host: Host) -> list[Finding]:
    """Return which mounts show something else than they should, all in one: apply stops at any of them."""
    wrong = [
        bind
        for bind in sorted(host.binds(account.name), key=lambda bind: -bind.target.count("/"))
        if inside(bind.target, account.jail) and host.mount_at(bind.target) and host.lstat(bind.source)
        if not host.same_file(bind.source, bind.target)
    ]
    if not wrong:
        return []
    what = "; ".join(f"{bind.target} shows something else than {bind.source}" for bind in wrong)
    commands = [fixes.on(bind.target, host, "umount {}") for bind in wrong]
    mend = " && ".join([*commands, "sftpjail apply"]) if all(commands) else ""
    why = "something was mounted over it, or the folder was made anew"
    return [Finding(what, why, mend, fixes.advice(wrong[0].target, host))]


@hookimpl
def on_check(account: Account | None, host: Host, config: Config) -> list[Finding]:
    if account is None:
        return [*_broken_fstab(host), *_strays(host, config), *_windows(host, config)]
    binds = host.binds(account.name)
    mounted = [bind for bind in binds if host.mount_at(bind.target)]
    if host.mount_at(account.jail) and mounted and not any(host.lstat(bind.target) for bind in mounted):
        what, why = f"something is mounted on the jail {account.jail} itself", "it hides everything that was in it"
        return [Finding(what, why, fixes.on(account.jail, host, "umount {}"), fixes.advice(account.jail, host))]
    if not host.is_dir(account.jail):
        return []  # which is the fault
    live = (_live(account, bind, host) for bind in binds)
    return [*_others(account, host), *(finding for finding in live if finding)]


def _broken_fstab(host: Host) -> list[Finding]:
    """Return the lines that mount(8) does not understand, and those that have lost our mark."""
    findings: list[Finding] = []
    marked = {bind.target for user in host.bind_users for bind in host.binds(user)}
    for number, line in enumerate(host.text(FSTAB).split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = parse_line(line)
        if entry is None:
            what = f"line {number} of {FSTAB} is broken: it has fewer than four fields"
            findings.append(
                Finding(what, "mount(8) passes it by", f"sed -i '{number}s/^/#/' {FSTAB} && sftpjail apply")
            )
        elif (user := entry.option("x-sftpjail.user")) and not is_valid(user):
            what = f"line {number} of {FSTAB} is marked as of {user!r}, which is no account's name"
            findings.append(Finding(what, "no command takes it away", f"sed -i '{number}s/^/#/' {FSTAB}"))
        elif not user and entry.target in marked:
            what = f"line {number} of {FSTAB} mounts {entry.target} a second time"
            why = "another line of it carries x-sftpjail.user"
            findings.append(Finding(what, why, f"sed -i '{number}s/^/#/' {FSTAB}"))
    return findings


def _strays(host: Host, config: Config) -> list[Finding]:
    """Return the mounts that are left in jails of nobody."""
    bases = [host.realpath(profile.base) for profile in config.profiles if profile.base]
    named = {host.realpath(posixpath.dirname(e.target)) + "/" + posixpath.basename(e.target) for e in host.fstab}
    found = []
    for point in host.mounts:
        for base in bases:
            name = point.removeprefix(base + "/").partition("/")[0]
            if inside(point, base) and point != base and host.is_gone(name) and point not in named:
                what = f"{point} is still mounted, and there is no account {name}"
                mend = fixes.on(point, host, "umount {}")
                why = "who deletes the folder deletes what is mounted"
                found.append(Finding(what, why, mend, fixes.advice(point, host)))
    return found


# File systems that show the host itself, wherever they are mounted.
OF_THE_HOST = ("proc", "sysfs", "devtmpfs")


def _windows(host: Host, config: Config) -> list[Finding]:
    """Return the mounts in jails that are none of ours and show the host: what `mount` would never show."""
    found = []
    jails = jailed(config, host)
    for target, point in host.mounts.items():
        account = _jail_around(target, host, config, jails)
        if account is None or any(host.mount_at(bind.target) is point for bind in host.binds(account.name)):
            continue
        reason = _host_in(point, host, config) if host.is_dir(target) else ""
        if reason:
            what = f"{target} is mounted in the jail of {account.name}, and {reason}"
            mend = fixes.on(target, host, "umount {}")
            found.append(Finding(what, "its sessions see the host", mend, fixes.advice(target, host)))
    return found


def _jail_around(target: str, host: Host, config: Config, jails: dict[str, Account]) -> Account | None:
    """Return whose of the jails a mount point lies in."""
    names = []
    for profile in config.profiles:
        base = _real(host, profile.base) if profile.base else ""
        if base and inside(target, base) and target != base:
            names.append(target.removeprefix(f"{base}/").partition("/")[0])
        elif profile.in_home:
            names += host.dwellers(target)[0]
    around = (jails[name] for name in names if name in jails)
    return next((account for account in around if inside(target, host.realpath(account.jail))), None)


def _host_in(point: MountPoint, host: Host, config: Config) -> str:
    """Return why what a mount shows is the host, or "". A bind has its source's file system, and its path there."""
    if point.kind in OF_THE_HOST:
        return f"it is a file system of type {point.kind}"
    bases = tuple(profile.base for profile in config.profiles if profile.base)
    for other in host.mounts.values():
        if other.device != point.device or not inside(point.root, other.root) or other.target == point.target:
            continue
        source = normal(f"{other.target}/{posixpath.relpath(point.root, other.root)}")
        for secret in (*FORBIDDEN, *bases):
            if inside(_real(host, secret), source):
                return f"it shows {source}" + ("" if source == secret else f", which holds {secret}")
    return ""


@hookimpl
def on_explain(account: Account, host: Host) -> list[Fact]:
    facts = []
    for bind in sorted(host.binds(account.name), key=lambda bind: bind.target):
        point, wrong = host.mount_at(bind.target), _live(account, bind, host)
        other = point and host.lstat(bind.source) and not host.same_file(bind.source, bind.target)
        flags = ",".join(flag for flag in ("ro", "rw", *FLAGS[1:]) if point and flag in point.options)
        note = "shows something else" if other else wrong.what if wrong else flags or "mounted"
        if bind.kept == "session" and not wrong:
            note = ",".join(("ro" if bind.read_only else "rw", *(flag for flag in FLAGS[1:] if flag in bind.options)))
            note += ", for each session"
        facts.append(Fact("mounts", bind.target.removeprefix(account.jail), bind.source, note, bool(wrong or other)))
    return facts or [Fact("mounts", "none", "")]

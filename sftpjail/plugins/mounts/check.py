"""Which binds are wrong, and which other mounts expose the host in a jail."""

from __future__ import annotations

import posixpath
from shlex import quote

from ... import Account, Bind, Fact, Problem, fixes
from ...config import Config
from ...formats.fstab import MountPoint, parse_line
from ...host import Host
from ...jails.membership import is_valid, jailed
from ...model import inside, normal
from ...paths import FSTAB
from .policy import FORBIDDEN, real_place

FLAGS = ("ro", "nosuid", "nodev", "noexec")


def _live(account: Account, bind: Bind, host: Host) -> Problem | None:
    """Return what is wrong with a bind in the kernel's mount table."""
    user, point = quote(account.name), host.mount_at(bind.target)
    if not inside(bind.target, account.jail):
        return None  # reported by the plan
    if host.lstat(bind.source) is None and bind.role == "mount":
        what, why = (
            f"{bind.source}, which {bind.target} is to show, is missing",
            f"{account.name} sees an empty directory",
        )
        if bind.kept == "session":
            why = f"PAM closes the sessions of {account.name}: a jail shows all or nothing"
        return Problem(
            what, why, f"sftpjail umount {user} {quote(bind.target.removeprefix(account.jail))}"
        )
    if bind.kept == "session":
        return None
    if point is None:
        return Problem(
            f"{bind.target} is in fstab and not mounted",
            f"the jail lacks {bind.source}",
            "sftpjail apply",
        )
    if not host.same_file(bind.source, bind.target):
        return None  # see _others
    lost = [flag for flag in FLAGS if flag in bind.options and flag not in point.options]
    if lost:
        why = (
            f"{account.name} could write"
            if "ro" in lost
            else "the kernel does not enforce what fstab says"
        )
        return Problem(f"{bind.target} is mounted without {','.join(lost)}", why, "sftpjail apply")
    if "ro" in point.options and "ro" not in bind.options:
        return Problem(
            f"{bind.target} is mounted read-only, and fstab does not say so",
            "uploads to it fail",
            "sftpjail apply",
        )
    return None


def _others(account: Account, host: Host) -> list[Problem]:
    """Return one problem for all binds that show another directory; any of them stops apply."""
    wrong = [
        bind
        for bind in sorted(host.binds(account.name), key=lambda bind: -bind.target.count("/"))
        if inside(bind.target, account.jail)
        and host.mount_at(bind.target)
        and host.lstat(bind.source)
        if not host.same_file(bind.source, bind.target)
    ]
    if not wrong:
        return []
    what = "; ".join(f"{bind.target} shows something other than {bind.source}" for bind in wrong)
    commands = [fixes.on(bind.target, host, "umount {}") for bind in wrong]
    fix = " && ".join([*commands, "sftpjail apply"]) if all(commands) else ""
    why = "something was mounted over it, or the directory was made anew"
    return [Problem(what, why, fix, fixes.advice(wrong[0].target, host))]


def find_problems(account: Account | None, host: Host, config: Config) -> list[Problem]:
    if account is None:
        return [*_broken_fstab(host), *_strays(host, config), *_windows(host, config)]
    binds = host.binds(account.name)
    mounted = [bind for bind in binds if host.mount_at(bind.target)]
    if (
        host.mount_at(account.jail)
        and mounted
        and not any(host.lstat(bind.target) for bind in mounted)
    ):
        what, why = (
            f"something is mounted on the jail {account.jail} itself",
            "it hides everything that was in it",
        )
        return [
            Problem(
                what,
                why,
                fixes.on(account.jail, host, "umount {}"),
                fixes.advice(account.jail, host),
            )
        ]
    if not host.is_dir(account.jail):
        return []  # reported elsewhere
    live = (_live(account, bind, host) for bind in binds)
    return [*_others(account, host), *(problem for problem in live if problem)]


def _broken_fstab(host: Host) -> list[Problem]:
    """Return the lines of fstab that mount(8) rejects, and those that have lost our mark."""
    problems: list[Problem] = []
    marked = {bind.target for user in host.mount_tables.bind_users for bind in host.binds(user)}
    for number, line in enumerate(host.text(FSTAB).split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = parse_line(line)
        if entry is None:
            what = f"line {number} of {FSTAB} is broken: it has fewer than four fields"
            problems.append(
                Problem(
                    what,
                    "mount(8) skips it",
                    f"sed -i '{number}s/^/#/' {FSTAB} && sftpjail apply",
                )
            )
        elif (user := entry.option("x-sftpjail.user")) and not is_valid(user):
            what = f"line {number} of {FSTAB} is marked as of {user!r}, which is no account's name"
            problems.append(
                Problem(what, "no command removes it", f"sed -i '{number}s/^/#/' {FSTAB}")
            )
        elif not user and entry.target in marked:
            what = f"line {number} of {FSTAB} mounts {entry.target} a second time"
            why = "another line of it carries x-sftpjail.user"
            problems.append(Problem(what, why, f"sed -i '{number}s/^/#/' {FSTAB}"))
    return problems


def _strays(host: Host, config: Config) -> list[Problem]:
    """Return the mounts left in jails that belong to no account."""
    bases = [host.realpath(profile.base) for profile in config.profiles if profile.base]
    named = {
        host.realpath(posixpath.dirname(e.target)) + "/" + posixpath.basename(e.target)
        for e in host.fstab
    }
    found = []
    for point in host.mounts:
        for base in bases:
            name = point.removeprefix(base + "/").partition("/")[0]
            if (
                inside(point, base)
                and point != base
                and host.people.is_gone(name)
                and point not in named
            ):
                what = f"{point} is still mounted, and there is no account {name}"
                fix = fixes.on(point, host, "umount {}")
                why = "who deletes the directory deletes what is mounted"
                found.append(Problem(what, why, fix, fixes.advice(point, host)))
    return found


# File systems that expose the host, wherever they are mounted.
OF_THE_HOST = ("proc", "sysfs", "devtmpfs")


def _windows(host: Host, config: Config) -> list[Problem]:
    """Return the foreign mounts in jails that show what our `mount` never would."""
    found = []
    jails = jailed(config, host)
    for target, point in host.mounts.items():
        account = _jail_around(target, host, config, jails)
        if account is None or any(
            host.mount_at(bind.target) is point for bind in host.binds(account.name)
        ):
            continue
        reason = _host_in(point, host, config) if host.is_dir(target) else ""
        if reason:
            what = f"{target} is mounted in the jail of {account.name}, and {reason}"
            fix = fixes.on(target, host, "umount {}")
            found.append(
                Problem(what, "its sessions see the host", fix, fixes.advice(target, host))
            )
    return found


def _jail_around(
    target: str, host: Host, config: Config, jails: dict[str, Account]
) -> Account | None:
    """Return the name of the account whose jail contains a mount point."""
    names = []
    for profile in config.profiles:
        base = real_place(host, profile.base) if profile.base else ""
        if base and inside(target, base) and target != base:
            names.append(target.removeprefix(f"{base}/").partition("/")[0])
        elif profile.in_home:
            names += host.people.dwellers(target)[0]
    around = (jails[name] for name in names if name in jails)
    return next(
        (account for account in around if inside(target, host.realpath(account.jail))), None
    )


def _host_in(point: MountPoint, host: Host, config: Config) -> str:
    """Return why a mount exposes the host, or "".

    A bind mount has the file system of its source, and its path there.
    """
    if point.kind in OF_THE_HOST:
        return f"it is a file system of type {point.kind}"
    bases = tuple(profile.base for profile in config.profiles if profile.base)
    for other in host.mounts.values():
        if (
            other.device != point.device
            or not inside(point.root, other.root)
            or other.target == point.target
        ):
            continue
        source = normal(f"{other.target}/{posixpath.relpath(point.root, other.root)}")
        for secret in (*FORBIDDEN, *bases):
            if inside(real_place(host, secret), source):
                return f"it shows {source}" + (
                    "" if source == secret else f", which holds {secret}"
                )
    return ""


def list_facts(account: Account, host: Host) -> list[Fact]:
    facts = []
    for bind in sorted(host.binds(account.name), key=lambda bind: bind.target):
        point, wrong = host.mount_at(bind.target), _live(account, bind, host)
        other = point and host.lstat(bind.source) and not host.same_file(bind.source, bind.target)
        flags = ",".join(
            flag for flag in ("ro", "rw", *FLAGS[1:]) if point and flag in point.options
        )
        note = flags or "mounted"
        if wrong:
            note = wrong.what
        if other:
            note = "shows something else"
        if bind.kept == "session" and not wrong:
            note = ",".join(
                (
                    "ro" if bind.read_only else "rw",
                    *(flag for flag in FLAGS[1:] if flag in bind.options),
                )
            )
            note += ", for each session"
        facts.append(
            Fact(
                "mounts",
                bind.target.removeprefix(account.jail),
                bind.source,
                note,
                bool(wrong or other),
            )
        )
    return facts or [Fact("mounts", "none", "")]

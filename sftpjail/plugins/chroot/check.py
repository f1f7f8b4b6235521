"""Whether sshd accepts a jail as a chroot, and whether sessions can work in it."""

from __future__ import annotations

import contextlib
import grp
import os
import posixpath
import pwd
import stat
from shlex import quote

from ... import Account, Fact, Problem
from ...config import Config
from ...errors.escapes import Choice, shown
from ...formats import fixes
from ...host import Host
from ...jails.away import home_away, is_bare_of_homes, waits_for_mount
from ...jails.homes import refusal
from ...jails.owners import acting
from ...model import components, inside, normal
from ...openssh.chroot_path import make_home, new_home, path_fix
from ...openssh.match_blocks import start_of


def _components(account: Account, host: Host) -> list[Problem]:
    if host.lstat(account.jail) is None:
        what = f"the jail {account.jail} is missing"
        return [Problem(what, "sshd refuses every login", "sftpjail apply")]
    return [
        Problem(
            f"{component} {host.flaw(component)}",
            "sshd refuses the chroot and closes the login",
            path_fix(component, host),
        )
        for component in components(account.jail)
        if host.flaw(component)
    ]


def _work_directory(account: Account, host: Host, config: Config) -> list[Problem]:
    """Return why an account cannot work in the directory where its sessions start."""
    assert account.profile is not None
    if _unmounted(account, account.home, host):
        return []  # what lies there now is not the home
    if account.profile.home == "bind":
        away = home_away(account, host)
        if away:
            return [Problem.of(away, "the session has no directory to start and write in")]
        if not host.is_dir(account.home):
            return [_homeless(account, host)]
    shown = [bind.source for bind in host.binds(account.name) if bind.role == "home"]
    if shown and normal(account.home) not in shown:
        what = f"the home of {account.name} is {account.home} now, and its jail shows {shown[0]}"
        return [Problem(what, "the session does not start in its home", "sftpjail apply")]
    if not host.is_dir(account.jail):
        return []
    start = start_of(account, host, config)
    if _unmounted(account, account.jail + start, host):
        return []
    writer, path = acting(account, account.jail + start.rstrip("/"), host)
    barred = _barred(account, start, host)
    if barred:
        return [barred]
    if not host.is_dir(path):
        what = f"{start}, where the sessions of {account.name} are to start, is not in its jail"
        install = f"install -d -o {writer.uid} -g {writer.gid} {{}}"
        return [Problem(what, "sshd closes the session", fixes.on_or_why(path, host, install))]
    if account.profile.read_only or {"open", "write"} & set(account.profile.deny):
        return []
    if not account.profile.is_filled:
        return []  # where such an account can write is the administrator's to say
    if start == "/" and (account.profile.start or shown):
        return []  # as configured, or the home's mount is the problem
    if start == "/":
        what = f"the session of {account.name} starts in /, where only root writes"
        return [Problem(what, f"{account.home} is not in the jail", "sftpjail apply")]
    return _unwritable(account, writer, start, path, host)


def _unmounted(account: Account, path: str, host: Host) -> bool:
    """Return whether a mount is missing at PATH or above, so that nobody can judge what lies there.

    The plugin mounts reports it.
    """
    if host.mount_tables.unmounted_ancestor(path):
        return True
    return any(
        bind.kept == "fstab"
        and inside(normal(path), bind.target)
        and (host.mount_at(bind.target) is None or not host.same_file(bind.source, bind.target))
        for bind in host.binds(account.name)
    )


def _homeless(account: Account, host: Host) -> Problem:
    """Return the problem that an account's home does not exist.

    A home directly below / is one inside a jail that was made by hand, and is not created on the
    host. Elsewhere the path must be trusted: mkhomedir_helper(8) follows it, and creates, fills and
    chowns what it finds. It cannot make anything where automount(8) does.
    """
    what = f"the home {account.home} does not exist"
    why = "the session has no directory to start and write in"
    if waits_for_mount(account.home, host):
        return Problem(what, why, advice="automount(8) mounts none there: look at its map")
    if is_bare_of_homes(account, host):
        return Problem(what, why, advice="mount the disk or server that the other homes are on")
    safe = host.trusted_path(normal(account.home))
    fix = safe and f"{make_home(account, host)} && sftpjail apply"
    if posixpath.dirname(normal(account.home)) == "/":
        fix = new_home(account, host)
    return Problem(what, why, fix, fixes.advice(account.home, host))


def _barred(account: Account, start: str, host: Host) -> Problem | None:
    """Return the problem that an account may not enter a directory above START."""
    for part in components(start)[:-1]:
        who, path = acting(account, normal(account.jail + part), host)
        if host.is_dir(path) and not host.may(who, path, "x"):
            what = f"{account.name} may not enter {path}"
            why = f"the session cannot start in {start}"
            return Problem(what, why, fixes.on_or_why(path, host, "chmod o+rx {}"))
    return None


def _left_at_home(account: Account, host: Host) -> list[Problem]:
    """Return the problem that files remain in an account's former home, outside its jail."""
    home = host.origin(account.name).was.get("home", "")
    if account.profile is None or account.profile.home != "inside" or home in ("", "/"):
        return []
    names = [
        name
        for name in host.listdir(home)
        if name not in (*host.listdir("/etc/skel"), ".ssh", ".cache")
    ]
    if not names:
        return []
    more = ""
    if len(names) > 1:
        more = " and more"
    what = (
        f"{shown(names[0])}{more} in {home}, where {account.name} was at home, is not in its jail"
    )
    why = f"its sessions see {account.files}"
    move = fixes.aside(home, host)
    if not move or host.owner_name(home) not in ("", account.name):
        return [Problem(what, why, advice=fixes.advice(home, host))]
    copy = fixes.as_user(account.name, "cp", "-an", f"{home}/.", account.files)
    return [Problem(what, why, f"{copy} && {move}")]


def _unwritable(
    account: Account, writer: Account, start: str, path: str, host: Host
) -> list[Problem]:
    """Return what prevents an account from writing in PATH, as WRITER; it sees that as START."""
    why = "uploads fail"
    if host.files.read_only(path):
        what = f"{start} of {account.name} lies on a file system that is mounted read-only"
        return [_read_only(what, why, path, host)]
    found = host.stat(path)
    if found and not (host.may(writer, path, "w") and host.may(writer, path, "x")):
        return [_not_permitted(account, writer, start, path, found, host)]
    if host.files.full(path):
        free = f"delete what is not needed, or make it larger; `df -h {quote(path)}` shows it"
        return [Problem(f"the file system of {start} is full", why, advice=free)]
    if not host.thorough or not host.which("lsattr"):
        return []
    if "i" in host.ask(["lsattr", "-d", path]).out.partition(" ")[0]:
        what = f"{start} of {account.name} is immutable"
        return [Problem(what, why, fixes.on_or_why(path, host, "chattr -i {}"))]
    return []


def _not_permitted(
    account: Account, writer: Account, start: str, path: str, found: os.stat_result, host: Host
) -> Problem:
    """Return the problem that owner, mode or access list prevent an account from writing.

    It does so as WRITER, who is another where its mount has a map of owners.
    """
    why = "uploads fail"
    owner = f"owner {found.st_uid}:{found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}"
    what = f"{account.name} cannot write in {start} ({owner})"
    below = host.mount_tables.mount_place_below(path)
    if below:
        advice = (
            f"{shown(below)}, where something is mounted, lies in it: whoever can write there "
            "could put something else in its place, so choose another directory with `start`, "
            "or take that mount away"
        )
        return Problem(what, why, "", advice)
    if not (host.same_file(path, account.home) or host.same_file(path, account.files)):
        # It may be somebody else's. setfacl(1) takes a name of digits for a uid.
        give = f"setfacl -m u:{writer.uid}:rwx {{}}"
        return Problem(what, why, fixes.on_or_why(path, host, give))
    whose = ""
    if writer is account:
        whose = _whose(account, path, host)
    if whose:
        what = f"{account.name} cannot write in {start}: it is {whose}'s"
        choice = Choice(f"to give {account.name} a home of its own", new_home(account, host))
        return Problem(what, why, choices=(choice,))
    commands = []
    if found.st_uid != writer.uid:
        commands.append(f"chown {writer.uid}:{writer.gid} {{}}")
    if found.st_mode & 0o300 != 0o300:
        commands.append("chmod u+wx {}")
    return Problem(what, why, fixes.on_or_why(path, host, *commands))


def _whose(account: Account, home: str, host: Host) -> str:
    """Return the person besides an account whose home, or whose directory, a home is, or ""."""
    owner = host.owner_name(home)
    others = []
    if owner:
        others = [owner]
    others += host.people.accounts_with_home_around(host.realpath(account.home))[1]
    people = (host.accounts[name] for name in others if name != account.name)
    return next(
        (one.name for one in people if one.uid != account.uid and not host.is_system(one)), ""
    )


def _read_only(what: str, why: str, path: str, host: Host) -> Problem:
    """Return the problem of a file system that is mounted read-only.

    The kernel does that too, where a disk fails, and then nobody should write.
    """
    command = fixes.on_or_why(path, host, 'mount -o remount,rw "$(findmnt -n -o TARGET -T {})"')
    choice = Choice("if its disk is sound, which dmesg says", command)
    return Problem(what, why, choices=(choice,))


def find_problems(account: Account | None, host: Host, config: Config) -> list[Problem]:
    if account is None or account.profile is None or refusal(account, host, config):
        return []  # why its jail cannot be made is the problem, and no command may help it along
    return _components(account, host) or [
        *_work_directory(account, host, config),
        *_left_at_home(account, host),
    ]


def list_facts(account: Account, host: Host, config: Config) -> list[Fact]:
    if account.profile is None:
        return []
    facts = [
        _component_fact(component, depth, host)
        for depth, component in enumerate(components(account.jail))
    ]
    start = start_of(account, host, config)
    able = host.may(*acting(account, account.jail + start.rstrip("/"), host), "w")
    note = "it cannot write there"
    if able:
        note = "it can write there"
    return [*facts, Fact("session", "starts in", start, note)]


def _component_fact(component: str, depth: int, host: Host) -> Fact:
    """Return the owner and mode of a component of a jail's path, and whether sshd accepts it."""
    found, name = host.stat(component), component.rpartition("/")[2] or "/"
    if found is None:
        return Fact("chroot", name, "is missing", "sshd will refuse it", True, depth)
    value = f"{_owner(found)} {stat.S_IMODE(found.st_mode):04o}"
    acl, itself = host.acl(component), host.lstat(component)
    if acl:
        value += f", ACL {acl}"
    if itself and stat.S_ISLNK(itself.st_mode):
        value += " (a link)"
    flaw = host.flaw(component)
    return Fact("chroot", name, value, flaw or "good", bool(flaw), depth)


def _owner(found: os.stat_result) -> str:
    """Return owner and group by their names, or by number where they have none."""
    user, group = str(found.st_uid), str(found.st_gid)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(found.st_uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(found.st_gid).gr_name
    return f"{user}:{group}"

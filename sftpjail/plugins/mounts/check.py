"""Which binds are wrong, and which other mounts expose the host in a jail."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from itertools import chain, product
from shlex import quote

from ... import Account, Bind, Fact, Problem
from ...actions.mounts import in_the_way
from ...config import Config, keyfile
from ...formats import fixes
from ...formats.fstab import MountPoint, parse_line
from ...host import Host
from ...jails.away import unmounted
from ...jails.homes import FORBIDDEN
from ...jails.membership import is_valid, jailed
from ...jails.owners import named, others, seen_by
from ...jails.sharing import others as not_shared
from ...jails.submounts import hidden
from ...model import SETID, inner_first, inside, normal
from ...openssh.repair import basic
from ...paths import FSTAB
from . import sharing
from .policy import BACK, gone_for_good, hidden_from_above, left_over

FLAGS = ("ro", "nosuid", "nodev", "noexec")


def _live(account: Account, bind: Bind, host: Host) -> Problem | None:
    """Return what is wrong with a bind in the kernel's mount table."""
    point = host.mount_at(bind.target)
    if not inside(bind.target, account.jail):
        return None  # reported by the plan
    if host.lstat(bind.source) is None and bind.role == "mount":
        what = f"{bind.source}, which {bind.target} is to show, is missing"
        why = f"{account.name} sees an empty directory"
        if bind.kept == "session":
            why = f"PAM closes the sessions of {account.name}: a jail shows all or nothing"
        return Problem(what, why, choices=(gone_for_good(account, bind),), advice=BACK)
    if bind.kept == "session":
        return None
    if point is None:
        return Problem(
            f"{bind.target} is in fstab and not mounted",
            f"the jail lacks {bind.source}",
            "sftpjail apply",
        )
    if point.hidden_by:
        what = f"{bind.target} is hidden: something is mounted over {point.hidden_by}"
        why = f"the jail lacks {bind.source}"
        if over := hidden_from_above(account, bind, host):
            return Problem(what, why, advice=fixes.by_hand(over))
        return Problem.of(in_the_way(what, point.hidden_by, host), why)
    if not host.same_file(bind.source, bind.target):
        return None  # see _others
    lost = [flag for flag in FLAGS if flag in bind.options and flag not in point.options]
    if lost:
        why = "the kernel does not enforce what fstab says"
        if "ro" in lost:
            why = f"{account.name} could write"
        return Problem(f"{bind.target} is mounted without {','.join(lost)}", why, "sftpjail apply")
    return _too_little(account, bind, point)


def _too_little(account: Account, bind: Bind, point: MountPoint) -> Problem | None:
    """Return what keeps an account from writing in a mount, or lets it write as another."""
    if bind.map and not point.is_mapped:
        return Problem(
            f"{bind.target} is mounted without its map of owners",
            f"the files there are not {account.name}'s, and what it uploads is not its owner's",
            "sftpjail apply",
        )
    if point.is_mapped and not bind.map:
        return Problem(
            f"{bind.target} is mounted with a map of owners, and fstab does not say so",
            f"{account.name} has rights there that nobody has given it",
            "sftpjail apply",
            severity="open",
        )
    if "ro" in point.options and "ro" not in bind.options:
        return Problem(
            f"{bind.target} is mounted read-only, and fstab does not say so",
            "uploads to it fail",
            "sftpjail apply",
        )
    return None


def _setid(account: Account, bind: Bind, host: Host) -> Problem | None:
    """Return the problem that programs which are uploaded may run as their owner on the host."""
    owner = bind.owner
    if owner is None or bind.read_only or SETID in bind.options:
        return None
    place = host.mount_tables.runs_setid(bind.source)
    if not place:
        return None
    return Problem(
        f"{bind.source} is on {place}, which is mounted without nosuid",
        f"a program that {account.name} uploads with its set-user-ID bit runs as "
        f"{named(owner, host)} for everybody on the host",
        severity="open",
        advice=f"mount {place} with nosuid, or accept it: sftpjail mount --as … --allow-setid",
    )


def _others(account: Account, host: Host) -> list[Problem]:
    """Return one problem for all binds that show another directory; any of them stops apply."""
    wrong = [
        bind
        for bind in inner_first(host.binds(account.name))
        if _shows_another(account, bind, host)
    ]
    if not wrong:
        return []
    left = next(filter(None, (left_over(bind, host) for bind in wrong)), None)
    if left:
        return [Problem.of(left, "what is uploaded to it is not where it seems to be")]
    what = "; ".join(f"{bind.target} shows something other than {bind.source}" for bind in wrong)
    if all(host.is_stale_mount(bind.source, bind.target) for bind in wrong):
        why = "it shows what was there before the disk was exchanged, or the directory made anew"
        return [Problem(what, why, "sftpjail apply")]
    why = "something was mounted over it, or the directory was made anew"
    places = [host.mount_tables.place(bind.target) for bind in wrong]
    over = (point for point in host.mounts if any(inside(point, place) for place in places))
    points = sorted(over, reverse=True)
    own = {host.mount_tables.place(bind.target) for bind in host.binds(account.name)}
    foreign = [point for point in points if point not in own or host.is_lost_by_umount(point)]
    if foreign:
        return [Problem(what, why, advice=fixes.by_hand(foreign[0]))]
    commands = [fixes.on(point, host, "umount {}") for point in points]
    if not all(commands):
        return [Problem(what, why, advice=fixes.advice(wrong[0].target, host))]
    return [Problem(what, why, " && ".join([*commands, "sftpjail apply"]))]


def _shows_another(account: Account, bind: Bind, host: Host) -> bool:
    """Return whether what is mounted in sight at a bind's target is not its source."""
    point = host.mount_at(bind.target)
    if point is None or point.hidden_by or not inside(bind.target, account.jail):
        return False
    return host.lstat(bind.source) is not None and not host.same_file(bind.source, bind.target)


def find_problems(account: Account | None, host: Host, config: Config) -> list[Problem]:
    if account is None:
        return [*_broken_fstab(host), *_strays(host, config), *_windows(host, config)]
    binds = host.binds(account.name)
    absent = _absent(account, host)
    if absent:
        return [absent]
    if host.mount_at(account.jail) and _is_covered(account, host):
        what = f"something is mounted on the jail {account.jail} itself"
        why = "it hides everything that was in it"
        return [replace(Problem.of(in_the_way(what, account.jail, host), why), hides=True)]
    if not host.is_dir(account.jail):
        return []  # reported elsewhere
    live = (_live(account, bind, host) for bind in binds)
    setid = (_setid(account, bind, host) for bind in binds)
    shared = (sharing.find_problems(account, bind, host) for bind in binds)
    below = (hidden(account, bind, host, config) for bind in binds)
    return [
        *_others(account, host),
        *(problem for problem in live if problem),
        *(problem for problem in setid if problem),
        *chain.from_iterable(shared),
        *chain.from_iterable(below),
    ]


def _is_covered(account: Account, host: Host) -> bool:
    """Return whether what is mounted on a jail hides what was in it: mounts, or their targets."""
    made = host.origin(account.name).made
    ours = [
        bind.target
        for bind in host.binds(account.name)
        if host.mount_at(bind.target) or (bind.kept == "session" and bind.target in made)
    ]
    return bool(ours) and not any(map(host.lstat, ours))


def _absent(account: Account, host: Host) -> Problem | None:
    """Return the problem that a mount of the host is missing above what a jail shows.

    What lies below its mount point meanwhile is nobody's to judge, to change or to fill.
    """
    sources = [bind.source for bind in host.binds(account.name) if bind.role != "log"]
    places = [account.jail, account.home, keyfile(account.name), *sources]
    errors = (unmounted(place, host) for place in places)
    error = next(filter(None, errors), None)
    if not error:
        return None
    return replace(Problem.of(error), hides=True)


def _broken_fstab(host: Host) -> list[Problem]:
    """Return the lines of fstab that mount(8) rejects, and those that have lost our mark."""
    problems: list[Problem] = []
    marked = {
        normal(bind.target) for user in host.mount_tables.bind_users for bind in host.binds(user)
    }
    for number, line in enumerate(host.text(FSTAB).split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        entry = parse_line(line)
        if entry is None:
            what = f"line {number} of {FSTAB} is broken: it has fewer than four fields"
            fix = f"{_without(line)} && sftpjail apply"
            problems.append(Problem(what, "mount(8) skips it", fix))
        elif (user := entry.option("x-sftpjail.user")) and not is_valid(user):
            what = f"line {number} of {FSTAB} is marked as of {user!r}, which is no account's name"
            problems.append(Problem(what, "no command removes it", _without(line)))
        elif not user and normal(entry.target) in marked:
            what = f"line {number} of {FSTAB} mounts {entry.target} a second time"
            why = "another line of it carries x-sftpjail.user"
            problems.append(Problem(what, why, _without(line)))
    return problems


def _without(line: str) -> str:
    """Return the command that comments out a line of fstab(5).

    It goes by what the line says: its number may be another one when other fixes have been run.
    """
    return f"sed -i {quote(f's/^{basic(line)}$/#&/')} {FSTAB}"


def _strays(host: Host, config: Config) -> list[Problem]:
    """Return the mounts left in jails that belong to no account."""
    bases = [host.realpath(profile.base) for profile in config.profiles if profile.base]
    in_fstab = {host.mount_tables.place(entry.target) for entry in host.fstab}
    found = []
    for point, base in product(host.mounts, bases):
        name = point.removeprefix(base + "/").partition("/")[0]
        if not inside(point, base) or point == base or point in in_fstab:
            continue
        if host.people.is_gone(name):
            what = f"{point} is still mounted, and there is no account {name}"
            why = "who deletes the directory deletes what is mounted"
            found.append(Problem.of(in_the_way(what, point, host), why))
    return found


# File systems that expose the host, wherever they are mounted.
OF_THE_HOST = ("proc", "sysfs", "devtmpfs")


def _windows(host: Host, config: Config) -> list[Problem]:
    """Return the foreign mounts in jails that show what our `mount` never would."""
    found = []
    jails = jailed(config, host)
    for target, point in host.mounts.items():
        account = _jail_around(target, host, config, jails)
        if account is None or not host.is_dir(target):
            continue
        ours = any(host.mount_at(bind.target) is point for bind in host.binds(account.name))
        reason = ""
        if not ours:
            reason = _host_in(point, host, config)
        if reason:
            what = f"{target} is mounted in the jail of {account.name}, and {reason}"
            fix = fixes.on_or_why(target, host, "umount {}")
            found.append(Problem(what, "its sessions see the host", fix))
    return found


def _jail_around(
    target: str, host: Host, config: Config, jails: dict[str, Account]
) -> Account | None:
    """Return the account whose jail contains a mount point, or None."""
    names = []
    for profile in config.profiles:
        base = ""
        if profile.base:
            base = host.realpath(profile.base)
        if base and inside(target, base) and target != base:
            names.append(target.removeprefix(f"{base}/").partition("/")[0])
        elif profile.in_home:
            names += host.people.accounts_with_home_around(target)[0]
    for account in (jails[name] for name in names if name in jails):
        if inside(target, host.realpath(account.jail)):
            return account
    return None


def _host_in(point: MountPoint, host: Host, config: Config) -> str:
    """Return why a mount exposes the host, or "".

    A bind mount has the file system of its source, and its path there.
    """
    if point.kind in OF_THE_HOST:
        return f"it is a file system of type {point.kind}"
    secrets = (*FORBIDDEN, *(profile.base for profile in config.profiles if profile.base))
    same = (other for other in host.mounts.values() if other.device == point.device)
    for other in same:
        if other.target == point.target or not inside(point.root, other.root):
            continue
        source = normal(f"{other.target}/{posixpath.relpath(point.root, other.root)}")
        for secret in secrets:
            if inside(host.realpath(secret), source):
                shown = f"it shows {source}"
                if secret == source:
                    return shown
                return f"{shown}, which holds {secret}"
    return ""


def _able(account: Account, bind: Bind, host: Host) -> str:
    """Return in words what an account can do in a directory that is mounted in its jail."""
    able = set(host.able(seen_by(account, bind), bind.source))
    if bind.read_only:
        able.discard("w")
    if "x" not in able:
        return "do nothing there"
    words = [word for what, word in (("r", "read"), ("w", "write")) if what in able]
    return " and ".join(words) or "reach only what it knows by name"


def _whose(bind: Bind, host: Host) -> str:
    """Return in words whose files a mount with a map shows as the account's, and whose not."""
    if bind.group is not None:
        words = f", where the group {host.people.group_label(bind.group)} can write"
        rest = not_shared(bind, host)
    elif bind.owner is not None:
        words = f", and has the files of {named(bind.owner, host)}"
        rest = others(bind, host)
    else:
        return ""
    if rest:
        return f"{words}; {rest}"
    return words


def list_facts(account: Account, host: Host) -> list[Fact]:
    facts = []
    profile = account.profile
    if profile and profile.mounts_because:
        facts.append(Fact("mounts", "mounts = auto", profile.mounts, profile.mounts_because))
    binds = sorted(host.binds(account.name), key=lambda bind: bind.target)
    for bind in binds:
        name = bind.target.removeprefix(account.jail)
        facts.append(Fact("mounts", name, bind.source, *_state(account, bind, host)))
    if binds:
        return facts
    return [*facts, Fact("mounts", "none", "")]


def _state(account: Account, bind: Bind, host: Host) -> tuple[str, bool]:
    """Return in words what a bind is like now, and whether that is bad."""
    point, wrong = host.mount_at(bind.target), _live(account, bind, host)
    gone = bind.role != "log" and not host.is_dir(bind.source)
    other = point is not None and not gone and not host.same_file(bind.source, bind.target)
    if point and other and bind.kept == "fstab":
        covered = point.hidden_by or point.under
        return "hidden, something is mounted over it" if covered else "shows something else", True
    if wrong:
        return wrong.what, True
    if gone:
        return f"{bind.source} is not there", True
    if bind.kept == "session":
        mode = "rw"
        if bind.read_only:
            mode = "ro"
        flags = [mode, *(flag for flag in FLAGS[1:] if flag in bind.options)]
        note = f"{','.join(flags)}, for each session"
    else:
        now = point.options if point else ()
        note = ",".join(flag for flag in ("ro", "rw", *FLAGS[1:]) if flag in now) or "mounted"
    if bind.role != "log" and not other:
        note += f"; {account.name} can {_able(account, bind, host)}{_whose(bind, host)}"
    return note, other

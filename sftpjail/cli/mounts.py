"""mount and umount: directories of the host inside a jail."""

from __future__ import annotations

import argparse
import sys
from shlex import join, quote

from ..engine.plan import OnMount, OnUnmount
from ..errors import Absent, SftpJailError, UsageError
from ..host import Host
from ..jails.membership import find_jailed
from ..jails.owners import named
from ..jails.renames import refuse_renamed
from ..jails.sharing import is_as_left
from ..model import Account, Bind, inside
from ..openssh.pam_session import program, table
from ..operations.mounts import ids_of, make_bind, target_in, unusable
from ..system.namespaces import run_in_namespace
from .context import Command, Context


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    _register_mount(add_parser)
    parser = add_parser("umount", "remove a mount from a jail")
    parser.add_argument("user", metavar="USER")
    parser.add_argument("target", metavar="DST")
    parser.set_defaults(run=umount)
    parser = add_parser(
        "enter",
        "run a command, given after --, in a jail's directory, "
        "with the mounts that its sessions see",
    )
    parser.add_argument("user", metavar="USER")
    parser.set_defaults(run=enter)


def _register_mount(add_parser: Command) -> None:
    parser = add_parser(
        "mount", "bind mount a directory of the host in a jail, now and after a reboot"
    )
    parser.add_argument("user", metavar="USER")
    parser.add_argument("source", metavar="SRC", help="a directory of the host")
    parser.add_argument("target", metavar="DST", help="its path inside the jail, such as /web")
    parser.add_argument(
        "--read-only", action="store_true", help="nobody can write through the mount"
    )
    parser.add_argument(
        "--under-home",
        action="store_true",
        help=(
            "with chroot = %%h: allow DST below the home, "
            "where `deluser --remove-home` deletes through the mount"
        ),
    )
    _register_owners(parser)
    parser.set_defaults(run=mount)


def _register_owners(parser: argparse.ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument(
        "--as",
        dest="owner",
        metavar="OWNER[:GROUP]",
        default="",
        help="in the jail the files of OWNER and GROUP are USER's, and on disk they stay theirs",
    )
    whose.add_argument(
        "--group",
        metavar="GROUP",
        default="",
        help="GROUP, which USER is in, can write in SRC and owns the group of what is made there",
    )
    parser.add_argument(
        "--allow-setid",
        action="store_true",
        help=(
            "with --as: SRC may be on a mount without nosuid, "
            "where an uploaded program can run as OWNER on the host"
        ),
    )


def mount(context: Context) -> int:
    """Fire on_mount for one bind."""
    given = context.arguments
    with context.engine() as engine:
        account = find_jailed(given.user, engine.config, engine.host)
        refuse_renamed(account, engine.host)
        bind = _wanted(account, context, engine.host)
        _refuse_missing(account, engine.host)
        when = ""
        if account.profile and account.profile.mounts == "session":
            when = ", from the next session on"
        context.carry_out(
            engine,
            [OnMount(account, bind)],
            f"{account.name} sees {bind.source} as {given.target}"
            f"{', read-only' if bind.read_only else ''}{_owned(bind, engine.host)}{when}",
            f"{account.name} sees {bind.source} as {given.target} already",
        )
        context.look_after(lambda: unusable(account, [bind], engine.host, engine.config))
    return context.close(0)


def _wanted(account: Account, context: Context, host: Host) -> Bind:
    """Return the bind that the command line asks for.

    Raises:
        UsageError, SftpJailError: it cannot be.
    """
    given = context.arguments
    if given.allow_setid and not given.owner:
        raise UsageError("--allow-setid is for --as: without that nobody gets another's files")
    owner, group = ids_of(given.owner, given.group, host)
    paths = given.source, given.target
    return make_bind(
        account,
        *paths,
        given.read_only,
        given.under_home,
        owner,
        allow_setid=given.allow_setid,
        group=group,
    )


def _owned(bind: Bind, host: Host) -> str:
    """Return in words whose files a mapped mount shows, or which group can write there."""
    if bind.group is not None:
        return f", where the group {host.people.group_label(bind.group)} can write"
    if bind.owner is None:
        return ""
    return f", where the files of {named(bind.owner, host)} are its own"


def _refuse_missing(account: Account, host: Host) -> None:
    """Refuse to do anything in a jail that does not exist.

    Raises:
        SftpJailError: has the command that makes it.
    """
    if not host.is_dir(account.jail):
        raise SftpJailError(f"the jail {account.jail} is missing", "sftpjail apply")


def umount(context: Context) -> int:
    """Fire on_unmount for one bind."""
    given = context.arguments
    with context.engine() as engine:
        account = find_jailed(given.user, engine.config, engine.host)
        path = target_in(account, given.target)
        binds = [bind for bind in engine.host.binds(account.name) if bind.target == path]
        if not binds:
            raise _no_mount(account, given.target, engine.host)
        _refuse_below(account, path, engine.host)
        if binds[0].role != "mount":
            plain = join(["sftpjail", "mount", account.name, binds[0].source, given.target])
            raise SftpJailError(
                f"{given.target} belongs to every jail of profile "
                f"{account.profile.name if account.profile else ''}",
                choices=[("to end --as", plain)] if binds[0].owner else [],
                advice="see sftpjail.conf(5)",
            )
        changed = [b for b in binds if b.group is not None and not is_as_left(b, engine.host)]
        context.carry_out(
            engine,
            [OnUnmount(account, bind) for bind in binds],
            f"{account.name} no longer sees {given.target}"
            + (
                ", from the next session on"
                if any(bind.kept == "session" for bind in binds)
                else ""
            ),
        )
        context.warn(
            f"{bind.source} keeps its group, mode and access lists: somebody has changed them "
            "since it was mounted"
            for bind in changed
        )
    return context.close(0)


def _refuse_below(account: Account, path: str, host: Host) -> None:
    """Refuse to remove a mount from under another one.

    Raises:
        SftpJailError: has the command that removes the other first.
    """
    below = [
        bind.target
        for bind in host.binds(account.name)
        if inside(bind.target, path) and bind.target != path
    ]
    if below:
        first = below[0].removeprefix(account.jail)
        raise SftpJailError(
            f"{below[0]} is mounted below {path}",
            choices=(
                ("to remove that one first", f"sftpjail umount {account.name} {quote(first)}"),
            ),
        )


def _no_mount(account: Account, target: str, host: Host) -> Absent:
    """Return the error that an account has no mount at TARGET, with the mounts that it has."""
    points = [
        quote(bind.target.removeprefix(account.jail))
        for bind in host.binds(account.name)
        if bind.role == "mount"
    ]
    return Absent(
        f"{account.name} has no mount at {target}; nothing was changed",
        advice=f"its mounts: {', '.join(points)}" if points else "it has no mounts",
    )


def enter(context: Context) -> int:
    """Run a command of the host as root in the jail's directory.

    Its mount namespace is like that of a session.
    """
    given = context.arguments
    with context.engine(reading=True) as engine:
        account = find_jailed(given.user, engine.config, engine.host)
        _refuse_missing(account, engine.host)
        tab = table(account.name)
        has_tab = engine.host.lstat(tab) is not None
    command = given.options or ["ls", "-la"]
    if context.dry_run:
        context.answers |= {"dry_run": True, "directory": account.jail, "argv": command}
        context.say([f"! run {join(command)} in {account.jail}"])
        return context.close(0)
    run = f"{program()}sys.exit(main(sys.argv[1:]))\n"
    step = [sys.executable, "-I", "-c", run, "enter", tab if has_tab else ""]
    return run_in_namespace(account.jail, step, command)

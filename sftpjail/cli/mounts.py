"""mount and umount: directories of the host inside a jail."""

from __future__ import annotations

import sys
from shlex import join, quote

from ..engine.plan import OnMount, OnUnmount
from ..errors import SftpJailError
from ..jails.membership import find_jailed
from ..model import inside
from ..openssh.pam_session import program, table
from ..operations.mounts import make_bind, target_in
from ..system.namespaces import attend
from .context import Command, Context


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
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
    parser.set_defaults(run=mount)
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


def mount(context: Context) -> int:
    """Fire on_mount for one bind."""
    given = context.arguments
    with context.engine() as engine:
        account = find_jailed(given.user, engine.config, engine.host)
        bind = make_bind(account, given.source, given.target, given.read_only, given.under_home)
        when = (
            ", from the next session on"
            if account.profile and account.profile.mounts == "session"
            else ""
        )
        context.carry_out(
            engine,
            [OnMount(account, bind)],
            f"{account.name} sees {bind.source} as {given.target}"
            f"{', read-only' if bind.read_only else ''}{when}",
            f"{account.name} sees {bind.source} as {given.target} already",
        )
    return context.close(0)


def umount(context: Context) -> int:
    """Fire on_unmount for one bind."""
    given = context.arguments
    with context.engine() as engine:
        account = find_jailed(given.user, engine.config, engine.host)
        path = target_in(account, given.target)
        binds = [bind for bind in engine.host.binds(account.name) if bind.target == path]
        below = [
            bind.target
            for bind in engine.host.binds(account.name)
            if inside(bind.target, path) and bind.target != path
        ]
        if binds and below:
            first = below[0].removeprefix(account.jail)
            raise SftpJailError(
                f"{below[0]} is mounted below {path}",
                f"sftpjail umount {account.name} {quote(first)}",
            )
        if binds and binds[0].role != "mount":
            raise SftpJailError(
                f"{given.target} belongs to every jail of profile "
                f"{account.profile.name if account.profile else ''}",
                advice="see sftpjail.conf(5)",
            )
        context.carry_out(
            engine,
            [OnUnmount(account, bind) for bind in binds],
            f"{account.name} no longer sees {given.target}"
            + (
                ", from the next session on"
                if any(bind.kept == "session" for bind in binds)
                else ""
            ),
            f"{account.name} has no mount at {given.target}",
        )
    return context.close(0)


def enter(context: Context) -> int:
    """Run a command of the host's, as root, in the jail's directory.

    Its mount namespace is like a session's.
    """
    given = context.arguments
    with context.engine(reading=True) as engine:
        account = find_jailed(given.user, engine.config, engine.host)
        if not engine.host.is_dir(account.jail):
            raise SftpJailError(f"the jail {account.jail} is missing", "sftpjail apply")
        tab = table(account.name)
        has_tab = engine.host.lstat(tab) is not None
    command = given.options or ["ls", "-la"]
    if context.dry_run:
        context.answers |= {"dry_run": True, "directory": account.jail, "argv": command}
        context.say([f"! run {join(command)} in {account.jail}"])
        return context.close(0)
    step = [sys.executable, "-I", "-c", program(), "enter", tab if has_tab else ""]
    return attend(account.jail, step, command)

"""Which directories a group may write in because a jail shows them: `mount --group`."""

from __future__ import annotations

import re
import stat
from shlex import quote

from ... import Account, Bind, Problem, SftpJailError
from ...actions import Action, Share, Unshare
from ...errors import Unsafe
from ...errors.escapes import Choice
from ...formats import acl
from ...host import Host
from ...jails.handmade import written
from ...jails.homes import SYSTEM, TOPS
from ...jails.sharing import is_member, refusal, sharing
from ...model import group_option, inside
from ...openssh.handmade import Block
from ...openssh.pam_session import table
from ...paths import FSTAB


def share(account: Account, bind: Bind, host: Host) -> tuple[str, list[Action]]:
    """Return the option that a mount's line is to have, "" for none, and the actions.

    Args:
        account: with its profile; it need not be there yet.
        bind: the mount, with a group or without one.
        host: the facts.

    Raises:
        SftpJailError: the group must not have the directory, or its file system cannot do that.
    """
    known = next((b for b in host.binds(account.name) if b.target == bind.target), None)
    gid = bind.group
    if gid is None:
        return "", unshare(known, host) if known else []
    real = host.realpath(bind.source)
    around = sharing(real, host)
    for name, other in around:
        if other.group is not None and other.group != gid:
            raise _other_group(name, other, gid, host)
    if not any(other.target == bind.target for _, other in around):
        _judge(account, bind, real, gid, host)
    now = host.access(real)
    former = next((other.former for _, other in around if other.former), "")
    former = former or (acl.written(now) if now else "")
    return group_option(gid, former), [Share(real, gid)]


def unshare(bind: Bind, host: Host) -> list[Action]:
    """Return the action that restores the source of a mount once no other shares it."""
    former = acl.read(bind.former)
    if bind.group is None or former is None:
        return []
    real = host.realpath(bind.source)
    lines = (
        (FSTAB if other.kept == "fstab" else table(name), f"{name} {other.target}")
        for name, other in sharing(real, host)
    )
    return [Unshare(real, bind.group, former, tuple(lines))]


def _other_group(name: str, other: Bind, gid: int, host: Host) -> SftpJailError:
    has = host.people.group_label(other.group or 0)
    return SftpJailError(
        f"will not let the group {host.people.group_label(gid)} write in {other.source}: "
        f"by a mount of {name} the group {has} does",
        advice=f"a directory has one group: give --group {has}, or unmount that of {name} first",
    )


def _judge(account: Account, bind: Bind, real: str, gid: int, host: Host) -> None:
    """Refuse a directory or a group for a new mount.

    Raises:
        SftpJailError: with the reason.
    """
    group = host.people.group_label(gid)
    begin = f"will not let the group {group} write in {bind.source}"
    reason = refusal(gid, host)
    if reason:
        raise SftpJailError(f"{begin}: {reason}", advice="choose another group")
    found = host.stat(real)
    if real in TOPS or any(inside(real, directory) for directory in SYSTEM):
        reason = "it is a directory of the system"
    elif found is not None and found.st_mode & stat.S_ISVTX:
        reason = "it is sticky, for everybody's files"
    reason = reason or _harm(account, real, host)
    if reason:
        raise SftpJailError(f"{begin}: {reason}", advice="choose a directory of its own for it")
    loose = host.files.loose_parent(real)
    if loose:
        raise Unsafe(f"{begin}: others than root can write in {loose}")
    if not host.files.has_access_lists(real):
        raise SftpJailError(
            f"{begin}: its file system has no access lists, and without one each client's umask "
            "would take the right to write from the group",
            advice="mount --as does without, where the kernel maps owners",
        )
    if account.exists and not is_member(account, gid, host):
        raise SftpJailError(
            f"{account.name} is not in the group {group}, and could not write in {bind.source}",
            f"usermod --append --groups {quote(group)} {quote(account.name)}",
        )


def _harm(account: Account, real: str, host: Host) -> str:
    """Return who could no longer log in if a group could write in a directory, or "".

    sshd takes no key from a home in which others than its owner can write (StrictModes of
    sshd_config(5)), and no jail shows what lies in such a directory.

    Raises:
        SftpJailError: an sshd is installed and does not say which chroots others have.
    """
    home = real.removesuffix("/.ssh")
    for name in host.people.accounts_with_home_around(home)[1]:
        own = host.realpath(host.accounts[name].home) == home and host.lstat(f"{home}/.ssh")
        if own and name != account.name:
            return f"{name} has its home there, and sshd would not take its keys any more"
    for name in host.mount_tables.bind_users:
        for bind in host.binds(name):
            source = host.realpath(bind.source)
            if bind.role != "log" and inside(source, real) and source != real:
                return f"{source} lies in it, which {name} sees as {bind.target}"
    try:
        for block in written(host):
            if _has_chroot(block, real, host):
                return f"a chroot of {block} is there, and sshd would refuse it"
    except SftpJailError as error:
        if host.which("sshd"):
            raise error.saying(
                f"whether {real} is or holds a chroot of others is not known: {error.message}"
            ) from error
    return ""


def _has_chroot(block: Block, real: str, host: Host) -> bool:
    """Return whether a directory is a chroot of a Match block, or lies above one."""
    chroot = block.option("chrootdirectory")
    assert chroot is not None
    if chroot.value.startswith("%h"):
        return bool(host.people.accounts_with_home_around(real)[1])
    directory = chroot.value.partition("%")[0].rpartition("/")[0]
    above = host.realpath(directory or "/")
    rest = re.findall("%.|[^%]+", chroot.value.removeprefix(directory))
    names = "".join("[^/]+" if part[0] == "%" else re.escape(part) for part in rest)
    return inside(above, real) or bool(re.fullmatch(re.escape(above.rstrip("/")) + names, real))


def find_problems(account: Account, bind: Bind, host: Host) -> list[Problem]:
    """Return what keeps a group, or an account of it, from writing in a mounted directory."""
    gid = bind.group
    real = host.realpath(bind.source)
    if gid is None or not host.is_dir(real):
        return []
    group = host.people.group_label(gid)
    if Share(real, gid).pending(host, account.name):
        return [
            Problem(
                f"the group {group} has lost its rights in {bind.source}",
                f"{account.name} shows it as {bind.target} to write in by that group",
                "sftpjail apply",
            )
        ]
    if is_member(account, gid, host):
        return []
    inner = bind.target.removeprefix(account.jail)
    name = quote(account.name)
    join = f"usermod --append --groups {quote(group)} {name}"
    leave = f"sftpjail umount {name} {quote(inner)}"
    return [
        Problem(
            f"{account.name} is not in the group {group}",
            f"by that group it was to write in {bind.target}",
            choices=(
                *((Choice("if it is to write there", join),) if host.group(group) else ()),
                Choice(f"to take {inner} out of its jail", leave),
            ),
        )
    ]

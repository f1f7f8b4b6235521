"""Which owners a mount may show as the account's: `mount --as`."""

from __future__ import annotations

from shlex import quote

from ... import Account, Bind, SftpJailError
from ...config import Config
from ...errors import Unsafe
from ...formats import fixes
from ...host import Host
from ...jails.membership import find
from ...jails.owners import SETTING, named, permission, refusal
from ...model import SETID, Ids, inside
from ...openssh.pam_session import SCRIPT, installed_program

MOUNT_SINCE = (2, 39)  # the first mount(8) that knows X-mount.idmap; an older one ignores it


def judge_owner(account: Account, bind: Bind, by_session: bool, host: Host, config: Config) -> None:
    """Refuse a map of owners that must not be, or that this host cannot have.

    Args:
        account: with its profile; it need not be there yet.
        bind: the mount, with a map or without one.
        by_session: it is made for each session.
        host, config: the facts.

    Raises:
        SftpJailError: with the reason.
    """
    _judge_around(account, bind, host)
    if not bind.map:
        return
    owner = bind.owner
    if owner is None:
        raise SftpJailError(
            f"{bind.target} has a map of owners that sftpjail has not made: {bind.map}",
            advice="give that line the form that `sftpjail mount --as` writes, or none",
        )
    begin = f"will not show the files of {named(owner, host)} as those of {account.name}"
    known = any(
        (other.target, other.source, other.owner) == (bind.target, bind.source, owner)
        and (bind.read_only or not other.read_only)
        for other in host.binds(account.name)
    )
    _judge_owner(account, bind, begin, known, host, config)
    if not known:
        _judge_source(bind, owner, host)
    _judge_host(begin, bind, by_session, host)
    if not by_session:
        _judge_group(account, begin, host, config)


def _judge_owner(
    account: Account, bind: Bind, begin: str, known: bool, host: Host, config: Config
) -> None:
    """Refuse an owner whose files nobody may have, or that the configuration does not name.

    Raises:
        SftpJailError: with the reason; where the jail has them already, it is open.
    """
    owner = bind.owner
    assert owner is not None
    reason, advice, line = refusal(owner, host, config), "choose another owner", ""
    if not reason and account.exists and account.gid == 0:
        reason, advice = f"the primary group of {account.name} is root's", "give it one of its own"
    if not reason and (line := permission(owner, host, config)):
        reason = f"{SETTING} does not allow it"
        advice = f"if {account.name} may do what its programs may do there: {line} in {SETTING}"
    if not reason:
        return
    if not known:
        raise SftpJailError(f"{begin}: {reason}", advice=advice)
    if not line:
        advice = ""
    raise Unsafe(f"{begin} any longer: {reason}", choices=[_way_out(account, bind)], advice=advice)


def _way_out(account: Account, bind: Bind) -> tuple[str, str]:
    """Return the choice to end a map: with its mount, or without it where that is the home's."""
    name, inner = quote(account.name), quote(bind.target.removeprefix(account.jail))
    if bind.role == "home":
        show = f"sftpjail mount {name} {quote(bind.source)} {inner}"
        return f"to show {bind.source} with the owners that its files have", show
    return f"to take {inner} out of its jail", f"sftpjail umount {name} {inner}"


def _judge_around(account: Account, bind: Bind, host: Host) -> None:
    """Refuse mounts in mounts with a map: root's directories are nobody's there, even for root.

    Raises:
        SftpJailError: one would lie in the other.
    """
    for other in host.binds(account.name):
        if other.target == bind.target:
            continue
        if other.map and inside(bind.target, other.target):
            outer, inner = other, bind
        elif bind.map and inside(other.target, bind.target):
            outer, inner = bind, other
        else:
            continue
        raise SftpJailError(
            f"nothing can be mounted in a mount with --as, as {inner.target} would be in "
            f"{outer.target}",
            advice="mount it beside that",
        )


def _judge_source(bind: Bind, owner: Ids, host: Host) -> None:
    """Refuse a new source whose files would not be as asked for.

    Raises:
        SftpJailError: the account could not write in it, or make set-user-ID programs there that
            work on the host.
    """
    found = host.stat(bind.source)
    if found is None:
        return
    if bind.read_only:
        return
    if (found.st_uid, found.st_gid) != owner:
        instead = ""
        if bind.role != "home":
            instead = ", or --read-only"
        words = f"nobody could write in {bind.source}: it is owned by {found.st_uid}:{found.st_gid}"
        give = fixes.on(bind.source, host, f"chown {owner.uid}:{owner.gid} {{}}")
        raise SftpJailError(
            f"{words}, and neither its owner nor its group may be another than "
            f"{named(owner, host)} ({owner.uid}:{owner.gid})",
            choices=[("to give it that owner", give)],
            advice=f"give --as the owner and the group that it has{instead}",
        )
    place = host.mount_tables.runs_setid(bind.source)
    if place and SETID not in bind.options:
        raise Unsafe(
            f"{bind.source} is on {place}, which is mounted without nosuid: a program that is "
            f"uploaded with its set-user-ID bit would run as {named(owner, host)} for everybody "
            "on the host",
            advice=f"mount {place} with nosuid, or its files at a place of their own with it; "
            "--allow-setid accepts what that means",
        )


def _judge_host(begin: str, bind: Bind, by_session: bool, host: Host) -> None:
    """Refuse what the kernel, the file system, mount(8) or the program for logins cannot do.

    Raises:
        SftpJailError: with the reason.
    """
    if host.files.loose_parent(bind.source):
        raise Unsafe(f"{begin}: others than root can write above {bind.source}")
    reason = host.mount_tables.unmappable(bind.source)
    if reason:
        raise SftpJailError(
            f"{begin}: {bind.source}: {reason}",
            advice="tmpfs, ext4, xfs and btrfs can on Linux 5.15 and later; overlayfs cannot",
        )
    if by_session:
        program = installed_program(host)
        if program and "X-mount.idmap" not in program:
            raise SftpJailError(f"{begin}: {SCRIPT} is of an earlier version", "sftpjail setup")
        return
    version = host.programs.util_linux
    if version < MOUNT_SINCE:
        now = "of another kind"
        if any(version):
            now = ".".join(map(str, version))
        raise SftpJailError(
            f"{begin}: mount(8) is {now} here and knows maps of owners from util-linux 2.39 on: "
            "after a boot fstab would show the files as they are",
            advice="mounts = session in the profile does without mount(8)",
        )


def _judge_group(account: Account, begin: str, host: Host, config: Config) -> None:
    """Refuse a mount that the host sees, for an account whose primary group is others' too.

    Raises:
        SftpJailError: they could reach the files there that the owner's group may reach.
    """
    if not account.exists:
        return
    group = host.people.group_of(account.gid)
    if group is None:
        return
    for name in host.group_members(group) or ():
        if name != account.name and find(name, config, host).profile is None:
            raise SftpJailError(
                f"{begin}: {name}, who is not jailed, is in its primary group {group} too, "
                f"and would reach {account.jail} with the rights of that group",
                advice=f"give {account.name} a primary group of its own (usermod -g), "
                "or its profile mounts = session",
            )

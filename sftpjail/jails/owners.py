"""Whose files a jail sees as the account's own: `mount --as`.

Such a mount maps one uid and one gid on disk to others in the jail. Files whose owner or group is
not mapped, above all root's, appear as nobody's. The kernel lets sessions read them according to
the permission bits for others, and never lets them write, rename, delete or link to these files, or
change their mode.
"""

from __future__ import annotations

from dataclasses import replace

from ..config import Config
from ..errors import SftpJailError, did_you_mean
from ..host import Host
from ..model import Account, Bind, Ids, Problem, innermost, number
from .guards import ADMIN_GROUPS, administrator
from .membership import find

# Members of these are root, can become root, or can read what only root should.
GUARDED = (*ADMIN_GROUPS, "root", "disk", "shadow", "kmem", "docker", "lxd", "incus", "libvirt")
NOBODY = 65534  # what the kernel shows for an id that is not mapped
_LOGIN = ("nologin", "false")
MOST = 100_000  # entries of a directory that are looked at
SETTING = "[mounts] of /etc/sftpjail/sftpjail.conf"


def resolve(text: str, host: Host) -> Ids:
    """Return the ids of OWNER or OWNER:GROUP, where each is a name, or the number of one.

    Args:
        text: what an administrator gave.
        host: the facts.

    Raises:
        SftpJailError: there is no such account or group.
    """
    name, colon, group = text.partition(":")
    account = host.account(name)
    if account is None and (uid := number(name)) is not None:
        account = host.account(host.people.name_of(uid) or "")
    if account is None:
        hint = did_you_mean(name, host.accounts)
        raise SftpJailError(f"there is no account {name!r} to own files{hint}", advice=_HELP)
    if not colon:
        return Ids(account.uid, account.gid)
    found = host.group(group)
    gid = found.gid if found else number(group)
    if gid is None or (found is None and host.people.group_of(gid) is None):
        raise SftpJailError(f"there is no group {group!r} to own files", advice=_HELP)
    return Ids(account.uid, gid)


_HELP = "see mount in sftpjail(8)"


def named(owner: Ids, host: Host) -> str:
    """Return OWNER or OWNER:GROUP as `resolve` reads it: names, or numbers without a name.

    The group is left out if it is the owner's primary group.
    """
    name = host.people.name_of(owner.uid)
    account = None
    if name:
        account = host.account(name)
    if account is not None and account.gid == owner.gid:
        return account.name
    return f"{name or owner.uid}:{host.people.group_of(owner.gid) or owner.gid}"


def refusal(owner: Ids, host: Host, config: Config) -> str:
    """Return why no jail may show an owner's files as its own, or "".

    Args:
        owner: whose files.
        host: the facts.
        config: has the owners that an administrator allows with `as`.
    """
    if 0 in owner:
        return "root's files are never given to anybody else"
    if NOBODY in owner:
        return f"{NOBODY} is nobody, the owner shown for files whose owner is not mapped"
    for group in GUARDED:
        found = host.group(group)
        if found is not None and found.gid == owner.gid:
            return f"who has the files of the group {group} has the host"
    everybody = [a for a in host.accounts.values() if a.uid == owner.uid]
    known = host.account(host.people.name_of(owner.uid) or "")
    for account in {a.name: a for a in (*everybody, *([known] if known else []))}.values():
        reason = _logs_in(account, host, config)
        if reason:
            return reason
    return ""


def _logs_in(account: Account, host: Host, config: Config) -> str:
    """Return why an account seems to belong to a person, whose files must not be shared, or ""."""
    name = account.name
    if find(name, config, host).profile is not None:
        return f"{name} is jailed and logs in itself"
    if administrator(account, host):
        return f"{name} is an administrator"
    if account.shell.endswith(_LOGIN):
        return ""
    return f"{name} can log in itself: its shell is {account.shell or '/bin/sh'}"


def permission(owner: Ids, host: Host, config: Config) -> str:
    """Return the line of the configuration that would allow an owner, or "" if it is allowed."""
    wanted = named(owner, host)
    if wanted in config.owners or any(_is_same(one, owner, host) for one in config.owners):
        return ""
    return f"as = {', '.join([*config.owners, wanted])}{',' * (not config.owners)}"


def _is_same(text: str, owner: Ids, host: Host) -> bool:
    try:
        return resolve(text, host) == owner
    except SftpJailError:
        return False


def others(bind: Bind, host: Host) -> str:
    """Return in words how many files in a mapped mount have owners that are not mapped, or ""."""
    owner = bind.owner
    if owner is None:
        return ""
    count, whole = host.files.count_others(bind.source, owner, MOST)
    if not count and whole:
        return ""
    at_least = ""
    if not whole:
        at_least = "at least "
    return f"{at_least}{count} file{'s' * (count != 1)} in {bind.source} {_OTHERS[count == 1]}"


_OTHERS = {True: "is another owner's or group's", False: "are other owners' or groups'"}


def seen_by(account: Account, bind: Bind) -> Account:
    """Return the account with the uid and gid that it has in the source of a bind."""
    owner = bind.owner
    if owner is None:
        return account
    return replace(account, uid=owner.uid, gid=owner.gid)


def acting(account: Account, path: str, host: Host) -> tuple[Account, str]:
    """Return the account with its uid and gid at a path in its jail, and the host's path.

    Args:
        account: with its profile.
        path: begins with the jail.
        host: the facts.
    """
    inner = innermost(host.binds(account.name), path)
    if inner is None or inner.owner is None:
        return account, host.mount_tables.behind(account.name, path)
    return seen_by(account, inner), inner.source + path.removeprefix(inner.target)


def strangers(account: Account, bind: Bind, host: Host) -> list[Problem]:
    """Return the problem that some of what a mapped mount shows is not the account's to change."""
    words = others(bind, host)
    owner = bind.owner
    if not words or owner is None:
        return []
    return [
        Problem(
            words,
            f"{account.name} sees them as nobody's: it can read them by their bits for others, "
            "and not change, rename or delete them",
            severity="advice",
            advice=f"if they are to be its own, give them to {owner.uid}:{owner.gid} by chown(1)",
        )
    ]

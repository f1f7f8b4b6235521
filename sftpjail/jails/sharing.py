"""Directories in which a group of the host may write: `mount --group`.

The directory gets the group, the set-group-ID bit and a default access list. Its contents do not
change. This needs no idmapped mount, but is weaker: each file belongs to its uploader, and the mode
that a client sends with it limits what the group may do.
"""

from __future__ import annotations

from ..errors import SftpJailError, did_you_mean
from ..formats import acl
from ..host import Host
from ..model import Account, Bind, Problem, number
from .owners import GUARDED, MOST, NOBODY

LIMIT = (
    "a client that sends a mode with its upload, as sftp(1) sends that of the local file, decides "
    "what the group may do with it: with 0644 read, with 0600 nothing"
)


def resolve(text: str, host: Host) -> int:
    """Return the gid of a group, given by its name or number.

    Raises:
        SftpJailError: there is no such group.
    """
    found = host.group(text)
    gid = found.gid if found else number(text)
    if gid is None or (found is None and host.people.group_of(gid) is None):
        hint = did_you_mean(text, host.people.groups)
        raise SftpJailError(
            f"there is no group {text!r} to share files with{hint}",
            advice="see mount in sftpjail(8)",
        )
    return gid


def refusal(gid: int, host: Host) -> str:
    """Return why a group must not be able to write what jails show, or ""."""
    if gid == 0:
        return "root's group is never given to anybody else"
    if gid == NOBODY:
        return f"{NOBODY} is the group of nobody"
    for name in GUARDED:
        found = host.group(name)
        if found is not None and found.gid == gid:
            return f"who is in the group {name} has the host"
    return ""


def is_member(account: Account, gid: int, host: Host) -> bool:
    """Return whether an account is in a group, including its primary group."""
    if account.gid == gid:
        return True
    name = host.people.group_of(gid)
    return bool(name and host.in_group(account.name, name))


def sharing(real: str, host: Host) -> list[tuple[str, Bind]]:
    """Return the mounts that share a directory with a group, each with its account's name.

    Args:
        real: the directory, without links.
        host: the facts.
    """

    def find() -> dict[str, list[tuple[str, Bind]]]:
        found: dict[str, list[tuple[str, Bind]]] = {}
        for name in sorted(host.mount_tables.bind_users):
            for bind in host.binds(name):
                if bind.group is not None:
                    found.setdefault(host.realpath(bind.source), []).append((name, bind))
        return found

    return host.files.once((sharing,), find).get(real, [])


def is_as_left(bind: Bind, host: Host) -> bool:
    """Return whether a shared directory still has the group and mode that the mounts have set.

    Then removing the last mount restores what it had before.
    """
    now, former = host.access(host.realpath(bind.source)), acl.read(bind.former)
    if now is None or former is None or bind.group is None:
        return False
    return now == acl.shared(former, bind.group)


def others(bind: Bind, host: Host) -> str:
    """Return in words how many files in a shared directory the group cannot change, or ""."""
    if bind.group is None:
        return ""
    count, whole = host.files.count_not_shared(bind.source, bind.group, MOST)
    if not count and whole:
        return ""
    at_least, group = "" if whole else "at least ", host.people.group_label(bind.group)
    files = f"{count} file{'s' * (count != 1)}"
    return f"the group {group} cannot change {at_least}{files} in {bind.source}"


def limits(account: Account, bind: Bind, host: Host) -> list[Problem]:
    """Return what an account cannot do in a directory that its mount shares with a group."""
    if bind.group is None:
        return []
    group = host.people.group_label(bind.group)
    found = [
        Problem(
            f"what is uploaded to {bind.source} belongs to its uploader and the group {group}",
            LIMIT,
            severity="advice",
            advice="where the kernel maps owners, mount --as has no such limit",
        )
    ]
    words = others(bind, host)
    if words:
        found.append(
            Problem(
                words,
                f"a mount changes nothing that is in a directory, so {account.name} cannot either",
                severity="advice",
                advice=f"if the group is to have them: chgrp(1) {group} and chmod(1) g+rwX, "
                "where nobody else could lead these programs elsewhere",
            )
        )
    return found

"""Where on the host a path of a session is, and as whom the session writes there."""

from __future__ import annotations

from ..host import Host
from ..model import Account, innermost, normal
from ..system.uploads import Place, Uploader


def place_of(path: str, account: Account, host: Host) -> Place:
    """Return where a file of a jail is on the host.

    For a file in a mounted directory, this is its path in the mount's source. With session mounts
    the host has no other path for it; with fstab mounts it is the same file.

    Args:
        path: as the session saw it. Its `..` are resolved as if there were no symbolic links. If
            that leads to another file, that file is the same account's, or is not opened.
        account: with its profile.
        host: the facts.
    """
    there = _in_jail(path, account)
    bind = innermost(host.binds(account.name), there)
    if bind:
        above, source = (bind.target, bind.source)
    else:
        above, source = (account.jail, account.jail)
    below = there.removeprefix(normal(above)).strip("/")
    deep = bind is not None and "rbind" in bind.options
    return Place(source, tuple(below.split("/")) if below else (), deep)


def uploader_at(path: str, account: Account, host: Host) -> Uploader:
    """Return the uid and gids with which an account writes a file, after any map of owners.

    Args:
        path, account, host: as in `place_of`.
    """
    bind = innermost(host.binds(account.name), _in_jail(path, account))
    if bind and bind.owner:
        return Uploader(bind.owner.uid, (bind.owner.gid,))
    groups = (host.group(name) for name in host.groups_of(account.name))
    return Uploader(account.uid, (account.gid, *(group.gid for group in groups if group)))


def _in_jail(path: str, account: Account) -> str:
    return normal(account.jail + normal("/" + path))

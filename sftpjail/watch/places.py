"""Where on the host lies what a session saw under a path, and as whose."""

from __future__ import annotations

from ..host import Host
from ..model import Account, Bind, inside, normal
from ..system.uploads import Place, Uploader


def place_of(path: str, account: Account, host: Host) -> Place:
    """Return where a file of a jail is on the host.

    What lies in a mounted directory lies in the mount's source: with session mounts the host knows
    it by no other path, and with those of fstab it is the same file.

    Args:
        path: as the session saw it. Its `..` are taken as if there were no symbolic links: what is
            there instead is no other account's, or it is not opened.
        account: with its profile.
        host: the facts.
    """
    there = _in_jail(path, account)
    bind = _shown_by(there, account, host)
    above, source = (bind.target, bind.source) if bind else (account.jail, account.jail)
    below = there.removeprefix(normal(above)).strip("/")
    deep = bind is not None and "rbind" in bind.options
    return Place(source, tuple(below.split("/")) if below else (), deep)


def uploader_at(path: str, account: Account, host: Host) -> Uploader:
    """Return as whom an account writes a file, as the host has it: a map of owners changes that.

    Args:
        path, account, host: as in `place_of`.
    """
    bind = _shown_by(_in_jail(path, account), account, host)
    if bind and bind.owner:
        return Uploader(bind.owner.uid, (bind.owner.gid,))
    groups = (host.group(name) for name in host.groups_of(account.name))
    return Uploader(account.uid, (account.gid, *(group.gid for group in groups if group)))


def _in_jail(path: str, account: Account) -> str:
    return normal(account.jail + normal("/" + path))


def _shown_by(there: str, account: Account, host: Host) -> Bind | None:
    """Return the innermost bind that shows a path, or None: the jail has that of its own."""
    outer = [bind for bind in host.binds(account.name) if inside(there, bind.target)]
    return max(outer, key=lambda bind: len(bind.target), default=None)

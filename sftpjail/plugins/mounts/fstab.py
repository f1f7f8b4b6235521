"""Binds with `mounts = fstab`: mounted now, and stored in fstab(5) for the next boot."""

from __future__ import annotations

from ...actions import MOUNT_OPTIONS, Action, Mount, Notify, SetLines, Unmount
from ...formats.fstab import FstabEntry
from ...formats.tagged_lines import Style
from ...host import Host
from ...model import Account, Bind
from ...paths import FSTAB


def tag(account: Account, bind: Bind) -> str:
    """Return the tag of a bind's line; see `Style`."""
    return f"{account.name} {bind.target}"


def line(account: Account, bind: Bind, options: tuple[str, ...]) -> str:
    """Return the line of fstab(5) for a bind, with our mark."""
    role = () if bind.role == "mount" else (f"x-sftpjail.role={bind.role}",)
    marked = (*options, f"x-sftpjail.user={account.name}", *role)
    return FstabEntry(bind.source, bind.target, "none", marked).line()


def keep(account: Account, bind: Bind, options: tuple[str, ...], host: Host) -> list[Action]:
    """Return the actions that store a bind. With nofail a missing source does not stop a boot."""
    former = next((b.map for b in host.binds(account.name) if b.target == bind.target), "")
    return [
        SetLines(
            FSTAB, tag(account, bind), (line(account, bind, (*options, "nofail")),), Style.FSTAB
        ),
        Mount(bind.source, bind.target, options, former),
        Notify("systemd", "daemon-reload"),
    ]


def drop(account: Account, bind: Bind, host: Host) -> list[Action]:
    """Return the actions that drop a bind that is now stored elsewhere.

    Running sessions may still need it, since they open files by path. It is therefore unmounted
    only once nobody is in the jail, now or in a later run.
    """
    mounted = host.mount_at(bind.target) is not None
    if not mounted and tag(account, bind) not in host.tagged(FSTAB, Style.FSTAB):
        return []
    actions: list[Action] = [
        SetLines(FSTAB, tag(account, bind), (), Style.FSTAB),
        Notify("systemd", "daemon-reload"),
    ]
    ours = mounted and host.same_file(bind.source, bind.target)
    if ours and not host.mount_tables.is_busy(account.jail):
        actions.insert(0, Unmount(bind.source, bind.target, bind.options or MOUNT_OPTIONS))
    return actions

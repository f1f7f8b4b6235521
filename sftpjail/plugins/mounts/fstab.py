"""Binds of `mounts = fstab`: in fstab(5), so that they are there after a boot, and live."""

from __future__ import annotations

from ...actions import MOUNT_OPTIONS, Action, Mount, Notify, SetLines, Unmount
from ...formats.fstab import FstabEntry
from ...formats.tagged_lines import Style
from ...host import Host
from ...model import Account, Bind
from ...paths import FSTAB


def tag(account: Account, bind: Bind) -> str:
    """Return what names a bind's line among ours; see lines.Style."""
    return f"{account.name} {bind.target}"


def line(account: Account, bind: Bind, options: tuple[str, ...]) -> str:
    """Return a bind as a line of fstab(5), with our marks."""
    role = () if bind.role == "mount" else (f"x-sftpjail.role={bind.role}",)
    marked = (*options, f"x-sftpjail.user={account.name}", *role)
    return FstabEntry(bind.source, bind.target, "none", marked).line()


def keep(account: Account, bind: Bind, options: tuple[str, ...], host: Host) -> list[Action]:
    """Return what keeps a bind. `nofail`: a source that is gone must not stop the boot."""
    return [
        SetLines(
            FSTAB, tag(account, bind), (line(account, bind, (*options, "nofail")),), Style.FSTAB
        ),
        Mount(bind.source, bind.target, options),
        Notify("systemd", "daemon-reload"),
    ]


def drop(account: Account, bind: Bind, host: Host) -> list[Action]:
    """Return what forgets a bind that is kept elsewhere from now on.

    A session that began with it may still need it, and opens files by their paths: so it is
    unmounted when nobody is in the jail, by this run or one of the next.
    """
    actions: list[Action] = [
        SetLines(FSTAB, tag(account, bind), (), Style.FSTAB),
        Notify("systemd", "daemon-reload"),
    ]
    ours = host.mount_at(bind.target) is not None and host.same_file(bind.source, bind.target)
    if ours and not host.is_busy(account.jail):
        actions.insert(0, Unmount(bind.source, bind.target, bind.options or MOUNT_OPTIONS))
    return actions

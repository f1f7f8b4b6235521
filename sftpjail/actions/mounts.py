"""What mounts and unmounts."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import SftpJailError
from ..errors.escapes import shown
from ..formats import fixes
from ..formats.fstab import MountPoint
from ..model import MAP, frozen, map_ids
from .base import Action, Phase
from .view import View

__all__ = ["MOUNT_OPTIONS", "Mount", "Unmount"]

MOUNT_OPTIONS = ("bind", "nosuid", "nodev", "private")


@frozen
class Mount(Action):
    """`source` shows at `target` in the host's mount table, with the flags that `options` name.

    What shows there of its former disk, of a deleted directory, or with other owners, gives way.
    `former` is the map of owners that is there so far as a table says; a mount keeps its map for
    life, and the kernel does not say which it is.
    """

    phase = Phase.MOUNTS
    source: str
    target: str
    options: tuple[str, ...] = MOUNT_OPTIONS
    former: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        return ("mount", self.target)

    @property
    def map(self) -> str:
        """The option with a map of owners, or ""."""
        return next((option for option in self.options if option.startswith(MAP)), "")

    def pending(self, view: View, owner: str) -> bool:
        point = view.mount_at(self.target)
        if point is None:
            return True
        if point.hidden_by:
            what = f"{self.target} is hidden: something is mounted over {point.hidden_by}"
            raise in_the_way(what, point.hidden_by, view)
        if not view.same_file(self.source, self.target):
            if view.is_stale_mount(self.source, self.target):
                return True
            if view.mount_changed(self.target):
                return True  # the path was looked at later than the table: the next plan tells
            what = f"something other than {self.source} is mounted on {self.target}"
            raise in_the_way(what, self.target, view)
        return not self.flags_hold(point) or not self.owners_hold(point, view)

    def owners_hold(self, point: MountPoint, view: View) -> bool:
        """Return whether a mount of our source shows the owners that it is to show.

        Whether it has a map the kernel says; which one it is the owner of the source shows, if
        that is mapped.
        """
        if not self.map or not point.is_mapped:
            return bool(self.map) == point.is_mapped
        if self.former and self.former != self.map:
            return False
        disk, jail = map_ids(self.map, self.target)
        below, above = view.stat(self.source), view.lstat(self.target)
        if below is None or above is None:
            return True
        pairs = (
            (below.st_uid, disk.uid, above.st_uid, jail.uid),
            (below.st_gid, disk.gid, above.st_gid, jail.gid),
        )
        return all(on_disk != mapped or shown == to for on_disk, mapped, shown, to in pairs)

    def flags_hold(self, point: MountPoint) -> bool:
        """Return whether a mount has the flags asked for, no more and no less of read-only.

        Nor of a map of owners.
        """
        wanted = {"nosuid", "nodev", "ro", "noexec"} & set(self.options)
        if bool(self.map) != point.is_mapped:
            return False
        return wanted <= set(point.options) and ("ro" in wanted) == ("ro" in point.options)

    def diff(self, view: View) -> Iterator[str]:
        mark = "+"
        if view.mount_at(self.target):
            mark = "~"
        yield f"{mark} mount {self.source} on {self.target} ({','.join(self.options)})"


@frozen
class Unmount(Action):
    """Nothing is mounted at `target`.

    `source` and `options` are what an undo mounts there again.
    """

    phase = Phase.UNMOUNT
    source: str
    target: str
    options: tuple[str, ...] = MOUNT_OPTIONS

    @property
    def key(self) -> tuple[str, ...]:
        return ("mount", self.target)

    def pending(self, view: View, owner: str) -> bool:
        return view.mount_at(self.target) is not None

    def diff(self, view: View) -> Iterator[str]:
        yield f"- mount {self.source} on {self.target}"


def in_the_way(what: str, path: str, view: View) -> SftpJailError:
    """Return the error of what is mounted on a path, with the command that takes it away.

    Where that loses files, as of a tmpfs, a person decides.
    """
    if view.is_lost_by_umount(path):
        command = fixes.on(path, view, "umount {}", "sftpjail apply")
        label = f"if what is in {shown(path)} is not needed: this deletes it"
        return SftpJailError(what, choices=[(label, command)], advice=fixes.by_hand(path))
    return SftpJailError(what, fixes.on_or_why(path, view, "umount {}"))

"""What mounts and unmounts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import fixes
from ..errors import SftpJailError
from ..formats.fstab import MountPoint
from .base import Action, Phase
from .view import View

__all__ = ["MOUNT_OPTIONS", "Mount", "Unmount"]

MOUNT_OPTIONS = ("bind", "nosuid", "nodev", "private")


@dataclass(frozen=True)
class Mount(Action):
    """`source` shows at `target` in the host's mount table, with the flags that `options` name.

    What shows there of its former disk, or of a deleted directory, gives way.
    """

    phase = Phase.MOUNTS
    source: str
    target: str
    options: tuple[str, ...] = MOUNT_OPTIONS

    @property
    def key(self) -> tuple[str, ...]:
        return ("mount", self.target)

    def pending(self, view: View, owner: str) -> bool:
        point = view.mount_at(self.target)
        if point is None:
            return True
        if not view.same_file(self.source, self.target):
            if view.shows_former(self.source, self.target):
                return True
            what = f"something other than {self.source} is mounted on {self.target}"
            if view.is_lost_by_umount(self.target):
                choices = fixes.losing(self.target, view)
                raise SftpJailError(what, choices=choices, advice=fixes.by_hand(self.target))
            fix = fixes.on(self.target, view, "umount {}")
            raise SftpJailError(what, fix or fixes.advice(self.target, view))
        return not self.flags_hold(point)

    def flags_hold(self, point: MountPoint) -> bool:
        """Return whether a mount has the flags asked for, no more and no less of read-only."""
        wanted = {"nosuid", "nodev", "ro", "noexec"} & set(self.options)
        return wanted <= set(point.options) and ("ro" in wanted) == ("ro" in point.options)

    def diff(self, view: View) -> Iterator[str]:
        mark = "~" if view.mount_at(self.target) else "+"
        yield f"{mark} mount {self.source} on {self.target} ({','.join(self.options)})"


@dataclass(frozen=True)
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

"""Bind mounts in the host's mount table."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

from ...actions import Mount, Unmount, View
from ...errors import SftpJailError
from ...system import mounts
from ...system.mounts import mount_points, point_at
from ..plan import Step, blaming
from .base import Kind, Undo, kind


@kind(Mount, "mount")
class MountKind(Kind[Mount]):
    """Something is mounted, or what is mounted gets other flags."""

    def record(self, action: Mount, view: View) -> Undo:
        point = view.mount_at(action.target)
        options = list(point.options) if point else None
        return {"op": "mount", "path": action.target, "options": options}

    def perform(self, action: Mount, view: View) -> None:
        if view.mount_at(action.target) is not None:
            mounts.remount(action.target, action.options)
        else:
            mounts.mount(action.source, action.target, action.options)

    def revert(self, undo: Undo) -> str:
        if point_at(mount_points(), undo["path"]) is None:
            return ""
        if undo["options"] is None:
            return mounts.unmount_busy(undo["path"])
        mounts.remount(undo["path"], undo["options"])
        return ""

    def verify(self, steps: Sequence[Step]) -> None:
        """Hold the mounts against the mount table, which is read once for all."""
        points = mount_points()
        for step in steps:
            action = step.action
            assert isinstance(action, Mount)
            point = point_at(points, action.target)
            if point is None or not action.flags_hold(point):
                what = f"came up as {','.join(point.options)}" if point else "did not come up"
                what = f"the mount of {action.source} on {action.target} {what}"
                with blaming(step):
                    raise SftpJailError(what, f"findmnt {quote(action.target)}")

    def verify_again(self, steps: Sequence[Step], view: View) -> None:
        self.verify(steps)


@kind(Unmount, "unmount")
class UnmountKind(Kind[Unmount]):
    """Nothing is mounted."""

    def record(self, action: Unmount, view: View) -> Undo:
        bind = {"source": action.source, "options": list(action.options)}
        return {"op": "unmount", "path": action.target} | bind

    def perform(self, action: Unmount, view: View) -> None:
        mounts.unmount(action.target)

    def revert(self, undo: Undo) -> None:
        if point_at(mount_points(), undo["path"]) is None:
            mounts.mount(undo["source"], undo["path"], tuple(undo["options"]))

    def verify_again(self, steps: Sequence[Step], view: View) -> None:
        points = mount_points()
        for step in steps:
            target = step.action.target  # type: ignore[attr-defined]
            if point_at(points, target) is not None:
                with blaming(step):
                    raise SftpJailError(f"{target} is mounted again", f"findmnt {quote(target)}")

"""Bind mounts in the host's mount table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote

from ...actions import Mount, Phase, Unmount, View
from ...errors import SftpJailError
from ...errors.escapes import look_at
from ...formats.fstab import MountPoint
from ...model import MAP, inside, normal
from ...system import mounts
from ...system.mounts import mount_points, point_at
from ..plan import Step, blaming
from .base import Kind, Undo, kind


@kind(Mount, "mount")
class MountKind(Kind[Mount]):
    """Mount something, or change the flags of a mount."""

    foreseen = Phase.FILES  # fstab(5)

    def record(self, action: Mount, view: View) -> Undo:
        point = view.mount_at(action.target)
        options = None
        if point:
            options = [option for option in point.options if option != "idmapped"]
            if point.is_mapped and action.former:
                options.append(action.former)
        undo: Undo = {"op": "mount", "path": action.target, "options": options}
        # They show an undo whether somebody has mounted something else there since.
        undo |= {"source": action.source, "shown": mounts.identity(action.source)}
        undo["flags"] = list(action.options)
        if point and not view.same_file(action.source, action.target):
            undo["former"] = [point.device, point.root]
        elif point and not action.owners_hold(point, view):
            undo["mapped"] = point.is_mapped
        return undo

    def perform(self, action: Mount, view: View) -> str:
        point = view.mount_at(action.target)
        same = mounts.identity(action.source) == mounts.identity(action.target)
        if same != (point is not None):  # as by `mount -a` meanwhile, or it is a former disk
            point = point_at(mount_points(), action.target)
        if point is None:
            mounts.mount(action.source, action.target, action.options)
            return ""
        if same and action.owners_hold(point, view):
            mounts.remount(action.target, action.options)
            return ""
        # It shows its former disk, or owners that it cannot lose while it is mounted.
        said = mounts.unmount_busy(action.target)
        mounts.mount(action.source, action.target, action.options)
        what = "shows another disk"
        if same:
            what = "has other owners"
        return said and f"{action.target} {what} now: {said}"

    def revert(self, undo: Undo) -> str:
        points = mount_points()
        point = point_at(points, undo["path"])
        if point is not None and _is_anothers(undo, point):
            return f"{undo['path']} stays mounted as it is: somebody has changed that mount since"
        if "former" in undo:
            return _revert_former(undo, point, points)
        if "mapped" in undo:
            return _revert_owners(undo, point)
        if point is None:
            return ""
        if undo["options"] is None:
            return mounts.unmount_busy(undo["path"])
        mounts.remount(undo["path"], undo["options"])
        return ""

    def verify(self, steps: Sequence[Step]) -> None:
        """Compare the mounts with the mount table, which is read once for all."""
        points = mount_points()
        for step in steps:
            action = step.action
            assert isinstance(action, Mount)
            point = point_at(points, action.target)
            if point is None or not action.flags_hold(point):
                what = "did not come up"
                if point:
                    what = f"came up as {','.join(point.options)}"
                what = f"the mount of {action.source} on {action.target} {what}"
                with blaming(step):
                    raise SftpJailError(what, look_at(f"findmnt {quote(action.target)}"))

    def verify_again(self, steps: Sequence[Step], view: View) -> None:
        self.verify(steps)


def _is_anothers(undo: Undo, point: MountPoint) -> bool:
    """Return whether somebody has mounted something else there since, or has set other flags."""
    if "source" not in undo:  # of an earlier version
        return False
    if [point.device, point.root] == undo.get("former"):
        return False
    source, shown = undo["source"], mounts.identity(undo["path"])
    # If the source is gone or on another disk, the former mount is still there.
    if os.path.exists(source) and shown not in (mounts.identity(source), undo["shown"]):
        return True
    if undo["options"] is None or "former" in undo:
        return False
    return _flags(point.options) not in (_flags(undo["options"]), _flags(undo["flags"]))


def _flags(options: Iterable[str]) -> set[str]:
    """Return the options of a mount that `remount` changes."""
    return {"ro", "nosuid", "nodev", "noexec"}.intersection(options)


def _revert_owners(undo: Undo, point: MountPoint | None) -> str:
    """Show the same directory with the owners that it had there before."""
    path, options = undo["path"], undo["options"]
    was_mapped = undo["mapped"]
    if was_mapped and not any(option.startswith(MAP) for option in options):
        if point is not None:
            mounts.unmount_busy(path)
        return f"nothing is mounted on {path} any more: no table says with which owners it was"
    if point is not None and not was_mapped and not point.is_mapped:
        mounts.remount(path, options)
        return ""
    said = ""
    if point is not None:
        said = mounts.unmount_busy(path)
    mounts.mount(undo["source"], path, options)
    return said


def _revert_former(undo: Undo, point: MountPoint | None, points: Mapping[str, MountPoint]) -> str:
    """Mount what was there before the disk was replaced, if it is still mounted anywhere."""
    path, (device, root) = undo["path"], undo["former"]
    if point is not None:
        if [point.device, point.root] == [device, root]:
            return ""
        mounts.unmount_busy(path)
    for other in points.values():
        if other.device == device and inside(root, other.root) and other.target != path:
            source = normal(f"{other.target}/{os.path.relpath(root, other.root)}")
            mounts.mount(source, path, tuple(undo["options"]))
            return ""
    return f"nothing is mounted on {path} any more: what it showed is mounted nowhere else"


@kind(Unmount, "unmount")
class UnmountKind(Kind[Unmount]):
    """Unmount something."""

    def record(self, action: Unmount, view: View) -> Undo:
        bind = {"source": action.source, "options": list(action.options)}
        return {"op": "unmount", "path": action.target} | bind

    def perform(self, action: Unmount, view: View) -> None:
        mounts.unmount(action.target)

    def revert(self, undo: Undo) -> str:
        source, target = undo["source"], undo["path"]
        if point_at(mount_points(), target) is not None:
            return ""
        if not os.path.exists(source):  # somebody went on without us, as userdel(8) does
            return f"nothing is mounted on {target} any more: {source} is gone"
        mounts.mount(source, target, tuple(undo["options"]))
        return ""

    def verify_again(self, steps: Sequence[Step], view: View) -> None:
        points = mount_points()
        for step in steps:
            target = step.action.target  # type: ignore[attr-defined]
            if point_at(points, target) is not None:
                with blaming(step):
                    raise SftpJailError(
                        f"{target} is mounted again", look_at(f"findmnt {quote(target)}")
                    )

"""Directories that a group shares: give them to it, and take them back."""

from __future__ import annotations

import os

from ...actions import Share, Unshare, View
from ...formats import acl
from ...system import files
from .base import Kind, Undo, kind


@kind(Share, "share")
class ShareKind(Kind[Share]):
    """Let a group write in a directory."""

    about = ("path", "former", "set")

    def record(self, action: Share, view: View) -> Undo:
        return _record("share", action)

    def perform(self, action: Share, view: View) -> None:
        files.set_access(action.path, action.wanted)

    def revert(self, undo: Undo) -> str:
        return _revert(undo)


@kind(Unshare, "unshare")
class UnshareKind(Kind[Unshare]):
    """Restore the directory that a group has shared."""

    about = ("path", "former", "set")

    def record(self, action: Unshare, view: View) -> Undo:
        return _record("unshare", action)

    def perform(self, action: Unshare, view: View) -> None:
        files.set_access(action.path, action.wanted)

    def revert(self, undo: Undo) -> str:
        return _revert(undo)


def _record(op: str, action: Share | Unshare) -> Undo:
    now = files.access_of(action.path)
    states = {"former": acl.written(now), "set": acl.written(action.wanted(now))}
    return {"op": op, "path": action.path} | states


def _revert(undo: Undo) -> str:
    """Restore what the directory had, unless somebody else has changed that since."""
    path, former, given = undo["path"], acl.read(undo["former"]), acl.read(undo["set"])
    if former is None or given is None or not os.path.isdir(path):
        return ""
    # A step or an undo may have been cut short.
    ours = {*acl.stages(former, given), *acl.stages(given, former)}
    stays = ""

    def wanted(now: acl.Access) -> acl.Access:
        nonlocal stays
        if now in ours:
            return former
        stays = f"the group and the access lists of {path} stay: somebody has set others since"
        return now

    files.set_access(path, wanted)
    return stays

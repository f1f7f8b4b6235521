"""Files and directories: make, write, change owner, rename, remove."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Sequence

from ...actions import MakeDir, MakeSubvolume, Remove, Rename, SetOwner, View, WriteFile
from ...errors import SftpJailError
from ...formats import fixes
from ...formats.digest import sha256
from ...formats.tagged_lines import Style, edit, tagged
from ...system import files
from ..merge import Edit
from ..plan import Step, blaming
from .base import Kind, OriginDraft, Undo, drop, kind, state_of

# The undo records that restore an old version.
OLD_VERSIONS = ("file", "unremove")


_SET_ID = stat.S_ISUID | stat.S_ISGID


@kind(MakeDir, "made-dir")
class MakeDirKind(Kind[MakeDir]):
    """Make a directory."""

    def record(self, action: MakeDir, view: View) -> Undo:
        return {"op": "made-dir", "path": action.path}

    def perform(self, action: MakeDir, view: View) -> None:
        if isinstance(action, MakeSubvolume):
            from ...system import subvolumes  # late: few hosts have them, and useradd waits

            subvolumes.make(action.path, action.mode, action.uid, action.gid)
        else:
            files.make_dir(action.path, action.mode, action.uid, action.gid)

    def revert(self, undo: Undo) -> None:
        if files.is_there(undo["path"]):
            files.remove_dir(undo["path"])

    def touched(self, action: MakeDir) -> Iterable[str]:
        return (action.path,)


@kind(SetOwner, "owner")
class SetOwnerKind(Kind[SetOwner]):
    """Set the owner and mode of a file or directory."""

    def record(self, action: SetOwner, view: View) -> Undo:
        found = files.look(action.path)
        mode = stat.S_IMODE(found.st_mode)
        was = {"owner": [found.st_uid, found.st_gid], "mode": mode}
        given = {"owner": [action.uid, action.gid], "mode": action.mode}
        return {"op": "owner", "path": action.path, "was": was, "given": given}

    def perform(self, action: SetOwner, view: View) -> None:
        files.set_owner(action.path, action.uid, action.gid, action.mode)

    def revert(self, undo: Undo) -> str | None:
        path = undo["path"]
        if os.path.islink(path) or not files.is_there(path):
            return None
        if "was" not in undo:  # of an earlier version, which did not say what was given
            files.set_owner(path, undo["uid"], undo["gid"], undo["mode"])
            return None
        return _revert_owner(path, undo)

    def remember(self, action: SetOwner, view: View, draft: OriginDraft) -> None:
        super().remember(action, view, draft)
        if draft.owners.get(action.path) == (action.uid, action.gid, action.mode):
            del draft.owners[action.path]


def _revert_owner(path: str, undo: Undo) -> str | None:
    """Undo a change of owner and mode, except for what somebody else has changed since."""
    found, was, given = files.look(path), undo["was"], undo["given"]
    now, mode = [found.st_uid, found.st_gid], stat.S_IMODE(found.st_mode)
    owner = state_of(undo, "owner", now)
    if owner == "another":  # the mode of before may be too wide for another's
        return f"the owner and the mode of {path} stay: somebody has given it to another since"
    uid, gid = was["owner"] if owner == "ours" else now
    # chown(2) takes the set-user-ID bit off a file; then we were stopped before we set the mode.
    narrow = [wide & ~_SET_ID for wide in (was["mode"], given["mode"])]
    if mode not in narrow and state_of(undo, "mode", mode) == "another":
        if stat.S_ISDIR(found.st_mode):
            kept = mode
        else:
            kept = mode & ~_SET_ID
        files.set_owner(path, uid, gid, kept)
        return f"the mode of {path} stays: somebody has set another since"
    if (owner, mode) != ("before", was["mode"]):
        files.set_owner(path, uid, gid, was["mode"])
    return None


@kind(WriteFile, "file")
class WriteFileKind(Kind[WriteFile]):
    """Write a file, or remove it if it would be empty."""

    def record(self, action: WriteFile, view: View) -> Undo:
        content = action.result(view)
        sets = action.sets if isinstance(action, Edit) else ()
        path = files.resolve(action.path)
        before = {s.tag: view.tagged(s.path, s.style).get(s.tag, ()) for s in sets}
        return {
            "op": "file",
            "path": path,
            "existed": files.is_there(path),
            # They show a recovery whether somebody has edited the file since. It then undoes only
            # our lines.
            "new": None if content is None else sha256(content).hexdigest(),
            "lines": before if sets else None,
            "style": sets[0].style.value if sets else "",
        }

    def perform(self, action: WriteFile, view: View) -> None:
        path = files.resolve(action.path)
        if files.is_there(path):
            files.keep(path)
        self._write(path, action, view)

    def perform_again(self, action: WriteFile, view: View) -> None:
        self._write(files.resolve(action.path), action, view)

    def _write(self, path: str, action: WriteFile, view: View) -> None:
        if self._stage(path, action, view, sync=True):
            files.move(files.stage_name(path), path)
        else:
            files.unlink(path)

    def _stage(self, path: str, action: WriteFile, view: View, sync: bool) -> bool:
        """Write what a file is to hold beside it; return whether it holds anything."""
        content = action.result(view)
        if content is None:
            return False
        like = action.keep and files.is_there(path)
        files.write_staged(path, content, like, action.mode, action.uid, action.gid, sync)
        return True

    def stage(self, action: WriteFile, view: View, undo: Undo) -> str:
        path: str = undo["path"]
        if not self._stage(path, action, view, sync=False):
            return ""
        return path

    def perform_staged(self, action: WriteFile, undo: Undo) -> None:
        path = undo["path"]
        if not undo.get("again") and files.is_there(path):
            files.keep(path)
        files.move(files.stage_name(path), path)

    def revert(self, undo: Undo) -> None:
        path = undo["path"]
        written = {undo["new"], *undo.get("later", ())}
        if undo["existed"]:
            backup = files.backup_name(path)
            if files.is_there(backup) and _ours(path, backup, written):
                files.move(backup, path)
                # If the step had not begun, both are the same file, and rename(2) keeps both.
                drop(backup)
            elif files.is_there(backup):
                _revert_edited(path, backup, undo)
        elif _ours(path, "", written):
            drop(path)
        drop(files.stage_name(path))

    def remember(self, action: WriteFile, view: View, draft: OriginDraft) -> None:
        super().remember(action, view, draft)
        goes = isinstance(action, Edit) and not any(s.lines for s in action.sets)
        if goes and action.result(view) is None:
            draft.made.pop(action.path, None)

    def verify_again(self, steps: Sequence[Step], view: View) -> None:
        """Compare files with what was written; in a shared file, only our lines."""
        for step in steps:
            action = step.action
            assert isinstance(action, WriteFile)
            wanted = action.result(view)
            found = files.read_file(files.resolve(action.path))
            if found == wanted or (found is not None and _holds_lines(action, found)):
                continue
            with blaming(step):
                raise SftpJailError(f"{action.path} is no longer as it was written")

    def touched(self, action: WriteFile) -> Iterable[str]:
        return (files.resolve(action.path),)


def _holds_lines(action: WriteFile, content: bytes) -> bool:
    """Return whether a shared file has the lines that we set."""
    if not isinstance(action, Edit):
        return False
    lines = tagged(content.decode("utf-8", "surrogateescape"), action.sets[0].style)
    return all(lines.get(line.tag, ()) == line.lines for line in action.sets)


def _ours(path: str, backup: str, written: Collection[str | None]) -> bool:
    """Return whether nobody has edited a file since we were interrupted.

    It is then the old version, or WRITTEN has the hash of its content.
    """
    if not files.is_there(path):
        return True
    if backup and os.path.samestat(files.look(path), files.look(backup)):
        return True
    content = files.read_file(path)
    return content is not None and sha256(content).hexdigest() in written


def first_versions(undos: Sequence[Undo]) -> list[Undo]:
    """Return undo records, merged so that there is one for each old version kept.

    Args:
        undos: in order; see `Journal.once`.
    """
    later: dict[str, list[Undo]] = {}
    for undo in undos:
        if undo.get("again"):
            later.setdefault(undo["path"], []).append(undo)
    return [
        _from_first(undo, later.get(undo["path"], ())) if undo["op"] in OLD_VERSIONS else undo
        for undo in undos
        if not undo.get("again")
    ]


def _from_first(first: Undo, later: Sequence[Undo]) -> Undo:
    """Return the undo record of a step, merged with LATER ones on the same path."""
    if not later:
        return first
    steps = [first, *later]
    edits = [undo["lines"] for undo in steps if undo["op"] == "file"]
    lines = None  # not all are edits of lines: an edited file keeps its old version beside it
    if len(edits) == len(steps) and None not in edits:
        lines = {tag: was for edit in reversed(edits) for tag, was in edit.items()}
    both = {"op": "file", "existed": True, "new": None, "style": ""} | first
    written = [undo["new"] for undo in steps if undo["op"] == "file"]
    return both | {"op": "file", "later": written, "lines": lines}


def _revert_edited(path: str, backup: str, undo: Undo) -> None:
    """Undo only our lines in a file edited since, or else keep its old version beside it."""
    content = files.read_file(path)
    if undo["lines"] is None or content is None:
        files.move(backup, f"{path}.sftpjail-before")
        return
    lines = {tag: tuple(lines) for tag, lines in undo["lines"].items()}
    text = edit(content.decode("utf-8", "surrogateescape"), lines, Style(undo["style"]))
    files.write_staged(path, text.encode("utf-8", "surrogateescape"), True, 0o644, 0, 0)
    files.move(files.stage_name(path), path)
    drop(backup)


@kind(Remove, "unremove", "remove-dir")
class RemoveKind(Kind[Remove]):
    """Set a file aside until the commit. An empty directory is removed then (see journal.py)."""

    def record(self, action: Remove, view: View) -> Undo:
        found = files.look(action.path)
        if stat.S_ISDIR(found.st_mode):
            return {"op": "remove-dir", "path": action.path, "inode": found.st_ino}
        return {"op": "unremove", "path": action.path}

    def perform(self, action: Remove, view: View) -> None:
        if not stat.S_ISDIR(files.look(action.path).st_mode):
            files.move(action.path, files.backup_name(action.path))

    def perform_again(self, action: Remove, view: View) -> None:
        if not stat.S_ISDIR(files.look(action.path).st_mode):
            files.unlink(action.path)

    def revert(self, undo: Undo) -> None:
        if undo["op"] == "remove-dir":
            return
        backup = files.backup_name(undo["path"])
        if files.is_there(backup) and not files.is_there(undo["path"]):
            files.move(backup, undo["path"])

    def remember(self, action: Remove, view: View, draft: OriginDraft) -> None:
        super().remember(action, view, draft)
        draft.made.pop(action.path, None)

    def touched(self, action: Remove) -> Iterable[str]:
        return (action.path,)


@kind(Rename, "rename")
class RenameKind(Kind[Rename]):
    """Rename a user's file, or move it to another directory."""

    about = ("path", "to")

    def record(self, action: Rename, view: View) -> Undo:
        there = files.is_there(action.to)
        inode = files.look(action.path).st_ino
        names = {"path": action.path, "to": action.to}
        return {"op": "rename"} | names | {"inode": inode, "there": there}

    def perform(self, action: Rename, view: View) -> None:
        if files.is_there(action.to):
            fix = fixes.aside_or_why(action.to, view)
            raise SftpJailError(f"{action.to} is in the way of {action.path}", fix)
        files.move_or_copy(action.path, action.to)

    def revert(self, undo: Undo) -> str | None:
        path, to, inode = undo["path"], undo["to"], undo.get("inode")
        drop(files.stage_name(to))
        if undo.get("there") or not files.is_there(to):
            return None
        if "there" not in undo and os.lstat(to).st_ino != inode:  # by an earlier version
            return None
        if not files.is_there(path):
            files.move_or_copy(to, path)
        elif os.lstat(path).st_ino == inode:  # stopped between the copy and the removal
            files.unlink(to)
        else:
            return f"{to} is left: there is another {path} by now"
        return None

    def remember(self, action: Rename, view: View, draft: OriginDraft) -> None:
        origin = action.origin(view)
        draft.take(origin)
        if draft.renamed.pop(action.path, None) != action.to:
            draft.renamed |= origin.renamed

"""The undo records, and how each is carried out: one function for each kind.

Each may find its step done, half done or never begun, and each can run twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import LinkRefused, SftpJailError
from ..formats.tagged_lines import Style, edit
from ..system import files, mounts, programs
from ..system.accounts import entries
from ..system.mounts import mount_points, point_at

Undo = dict[str, Any]


def drop(path: str) -> None:
    """Remove an old version or a staged file, if there is one."""
    # First a look: on a read-only file system even the removal of nothing fails. Behind a user's
    # link nothing is ours.
    if os.path.lexists(path):
        with contextlib.suppress(LinkRefused):
            files.unlink(path)


def is_undo(undo: Mapping[str, Any]) -> bool:
    """Return whether a line of the journal that has an "op" is one that `revert` can carry out."""
    about = undo.get("path", undo.get("name"))
    return (
        isinstance(undo["op"], str)
        and undo["op"] in _REVERT
        and isinstance(about, str)
        and "\0" not in about
    )


def _ours(path: str, backup: str, new: str | None) -> bool:
    """Return whether a file is as we wrote it, or as it was before.

    Then nobody has edited it since we were stopped.
    """
    if not os.path.lexists(path) or (
        backup and os.path.samestat(files.look(path), files.look(backup))
    ):
        return True
    content = files.read_file(path)
    return content is not None and hashlib.sha256(content).hexdigest() == new


def _revert_edited(path: str, backup: str, undo: Undo) -> None:
    """Undo an edit of a file that an administrator changed since: only our lines, or not at all."""
    content = files.read_file(path)
    if undo["lines"] is None or content is None:
        files.move(backup, f"{path}.sftpjail-before")
        return
    lines = {tag: tuple(lines) for tag, lines in undo["lines"].items()}
    text = edit(content.decode("utf-8", "surrogateescape"), lines, Style(undo["style"]))
    files.write_staged(path, text.encode("utf-8", "surrogateescape"), True, 0o644, 0, 0)
    files.move(files.stage_name(path), path)
    drop(backup)


def _revert_file(undo: Undo) -> None:
    path = undo["path"]
    if undo["existed"]:
        backup = files.backup_name(path)
        if os.path.lexists(backup) and _ours(path, backup, undo["new"]):
            files.move(backup, path)
            # rename(2) leaves both names where they are one file: the step had not begun.
            drop(backup)
        elif os.path.lexists(backup):
            _revert_edited(path, backup, undo)
    elif _ours(path, "", undo["new"]):
        drop(path)
    drop(files.stage_name(path))


def _revert_remove(undo: Undo) -> None:
    if os.path.lexists(files.backup_name(undo["path"])) and not os.path.lexists(undo["path"]):
        files.move(files.backup_name(undo["path"]), undo["path"])


def _revert_rename(undo: Undo) -> str | None:
    path, to, inode = undo["path"], undo["to"], undo.get("inode")
    drop(files.stage_name(to))
    if undo.get("there") or not os.path.lexists(to):
        return None
    if "there" not in undo and os.lstat(to).st_ino != inode:  # a journal of an earlier version
        return None
    if not os.path.lexists(path):
        files.carry(to, path)
    elif os.lstat(path).st_ino == inode:  # stopped between the copy and the removal of the first
        files.unlink(to)
    else:
        return f"{to} is left: there is another {path} by now"
    return None


def _revert_owner(undo: Undo) -> None:
    if not os.path.islink(undo["path"]) and os.path.lexists(undo["path"]):
        files.set_owner(undo["path"], undo["uid"], undo["gid"], undo["mode"])


def _revert_make_dir(undo: Undo) -> None:
    if os.path.lexists(undo["path"]):
        files.remove_dir(undo["path"])


def _revert_mount(undo: Undo) -> str:
    if point_at(mount_points(), undo["path"]) is None:
        return ""
    if undo["options"] is None:
        return mounts.unmount_busy(undo["path"])
    mounts.remount(undo["path"], undo["options"])
    return ""


def _revert_unmount(undo: Undo) -> None:
    if point_at(mount_points(), undo["path"]) is None:
        mounts.mount(undo["source"], undo["path"], tuple(undo["options"]))


def _revert_account(undo: Undo) -> str:
    name, now = undo["name"], {group: _members(group) for group in (*undo["joined"], *undo["left"])}
    commands = [undo["usermod"]] if undo["usermod"] else []
    commands += [
        ["gpasswd", "--delete", name, group]
        for group in undo["joined"]
        if name in (now[group] or ())
    ]
    for group in undo["left"]:
        members = now[group]
        if members is not None and name not in members:
            commands.append(["gpasswd", "--add", name, group])
    return "; ".join(filter(None, (_change_account(name, argv) for argv in commands)))


def _change_account(name: str, argv: list[str]) -> str:
    """Run what changes an account, and return why it refused where that is no failure.

    Who is gone gets nothing back.

    Raises:
        SftpJailError: it refused though the account stands in passwd(5).
    """
    answer = programs.run(argv)
    if answer.code == 0:
        return ""
    if any(fields[0] == name for fields in entries("/etc/passwd")):
        raise SftpJailError(f"{' '.join(argv)} failed: {answer.words}")
    return f"{name} is left as it is: {answer.words}"


def _members(group: str) -> list[str] | None:
    """Return who is in a group of group(5); None where there is none."""
    found = (fields[3] for fields in entries("/etc/group") if fields[0] == group)
    return next(([name for name in members.split(",") if name] for members in found), None)


_GROUP_BUSY = 8  # of groupdel(8): it is somebody's primary group


def _revert_group(undo: Undo) -> str | None:
    name, members = undo["name"], _members(undo["name"])
    if members is None and undo["gid"] is not None:
        programs.must(["groupadd", "-g", str(undo["gid"]), name])
    if members is None or undo["gid"] is not None:
        return None
    answer = None if members else programs.run(["groupdel", name])
    if answer is None or answer.code == _GROUP_BUSY:
        return f"the group {name} stays: somebody is in it by now"
    if answer.code != 0:
        raise SftpJailError(f"groupdel {name} failed: {answer.words}")
    return None


def _revert_run(undo: Undo) -> None:
    if undo["argv"]:
        programs.must(undo["argv"])


_REVERT: dict[str, Callable[[Undo], str | None]] = {
    "file": _revert_file,
    "unremove": _revert_remove,
    "rename": _revert_rename,
    "owner": _revert_owner,
    "made-dir": _revert_make_dir,
    "remove-dir": lambda undo: None,
    "mount": _revert_mount,
    "unmount": _revert_unmount,
    "account": _revert_account,
    "group": _revert_group,
    "run": _revert_run,
    "notify": lambda undo: None,
}


def revert(undo: Undo) -> str | None:
    """Carry an undo out; return what the administrator must know of it, if anything.

    Raises:
        LinkRefused: a user has put a link there; what we made is gone.
        SftpJailError, OSError: it failed; the next run tries again.
    """
    return _REVERT[undo["op"]](undo)

"""Carry out actions as one transaction: the undo on the disk first, then the step; all or nothing.

`undo_of` and `perform` are the two sides of each action of the vocabulary.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from functools import singledispatch
from shlex import quote

from .. import fixes
from ..actions import (
    Action,
    Check,
    EndProcesses,
    MakeDir,
    Mount,
    Notify,
    Remove,
    Rename,
    Run,
    SetAccount,
    SetGroup,
    SetOwner,
    Unmount,
    View,
    WriteFile,
)
from ..errors import SftpJailError
from ..formats.tagged_lines import small_keywords
from ..model import number
from ..system import accounts, files, mounts, previews, programs, services
from ..system.accounts import entries
from ..system.mounts import mount_points, point_at
from .merge import Edit
from .plan import Step, blaming
from .undo import Undo


@singledispatch
def undo_of(action: Action, view: View) -> Undo:
    """Return the record from which the journal can take the step back, asked before the step."""
    raise TypeError(action)


@singledispatch
def perform(action: Action, view: View) -> str | None:
    """Take the step; return what the administrator must know of it, if anything.

    Raises:
        SftpJailError: it failed; what it did by then is undone from its record.
    """
    raise TypeError(action)


@undo_of.register
def _undo_of_make_dir(action: MakeDir, view: View) -> Undo:
    return {"op": "made-dir", "path": action.path}


@perform.register
def _perform_make_dir(action: MakeDir, view: View) -> None:
    files.make_dir(action.path, action.mode, action.uid, action.gid)


@undo_of.register
def _undo_of_set_owner(action: SetOwner, view: View) -> Undo:
    found = files.look(action.path)
    mode = stat.S_IMODE(found.st_mode)
    return {
        "op": "owner",
        "path": action.path,
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mode": mode,
    }


@perform.register
def _perform_set_owner(action: SetOwner, view: View) -> None:
    files.set_owner(action.path, action.uid, action.gid, action.mode)


@undo_of.register
def _undo_of_write_file(action: WriteFile, view: View) -> Undo:
    content = action.result(view)
    sets = action.sets if isinstance(action, Edit) else ()
    path = files.resolve(action.path)
    return {
        "op": "file",
        "path": path,
        "existed": os.path.lexists(path),
        # By these a recovery knows whether somebody has edited the file since, and takes
        # only our lines back.
        "new": None if content is None else hashlib.sha256(content).hexdigest(),
        "lines": {s.tag: view.tagged(s.path, s.style).get(s.tag, ()) for s in sets}
        if sets
        else None,
        "style": sets[0].style.value if sets else "",
    }


@perform.register
def _perform_write_file(action: WriteFile, view: View) -> None:
    path = files.resolve(action.path)
    content = action.result(view)
    exists = os.path.lexists(path)
    if exists:
        files.keep(path)
    if content is None:
        files.unlink(path)
        return
    files.write_staged(path, content, exists and action.keep, action.mode, action.uid, action.gid)
    files.move(files.stage_name(path), path)


@undo_of.register
def _undo_of_remove(action: Remove, view: View) -> Undo:
    found = files.look(action.path)
    if stat.S_ISDIR(found.st_mode):
        return {"op": "remove-dir", "path": action.path, "inode": found.st_ino}
    return {"op": "unremove", "path": action.path}


@perform.register
def _perform_remove(action: Remove, view: View) -> None:
    # A folder goes with the commit; see Journal.
    if not stat.S_ISDIR(files.look(action.path).st_mode):
        files.move(action.path, files.backup_name(action.path))


@undo_of.register
def _undo_of_rename(action: Rename, view: View) -> Undo:
    there = os.path.lexists(action.to)
    inode = files.look(action.path).st_ino
    return {"op": "rename", "path": action.path, "to": action.to, "inode": inode, "there": there}


@perform.register
def _perform_rename(action: Rename, view: View) -> None:
    if os.path.lexists(action.to):
        fix = fixes.aside(action.to, view) or fixes.advice(action.to, view)
        raise SftpJailError(f"{action.to} is in the way of {action.path}", fix)
    files.carry(action.path, action.to)


@undo_of.register
def _undo_of_end_processes(action: EndProcesses, view: View) -> Undo:
    return {"op": "run", "name": action.name, "argv": []}  # what has ended stays so


@perform.register
def _perform_end_processes(action: EndProcesses, view: View) -> str:
    ended = programs.end_processes(action.uid)
    back = [path for path in action.empty if os.path.lexists(path)]
    if back:
        raise SftpJailError(
            f"a process of {action.name} made {back[0]} again before it was ended",
            f"sftpjail adopt --close {quote(action.name)}",
        )
    return f"ended {ended} process{'es' * (ended != 1)} of {action.name}" if ended else ""


@undo_of.register
def _undo_of_mount(action: Mount, view: View) -> Undo:
    point = view.mount_at(action.target)
    return {"op": "mount", "path": action.target, "options": list(point.options) if point else None}


@perform.register
def _perform_mount(action: Mount, view: View) -> None:
    if view.mount_at(action.target) is not None:
        mounts.remount(action.target, action.options)
    else:
        mounts.mount(action.source, action.target, action.options)


def verify_mounts(steps: Sequence[Step]) -> None:
    """Hold binds that were made against the mount table, which is read once for all.

    Raises:
        SftpJailError: one did not come up, or without the flags that were asked for.
    """
    points = mount_points()
    for step in steps:
        action = step.action
        if not isinstance(action, Mount):
            continue
        point = point_at(points, action.target)
        if point is None or not action.flags_hold(point):
            what = f"came up as {','.join(point.options)}" if point else "did not come up"
            what = f"the mount of {action.source} on {action.target} {what}"
            with blaming(step):
                raise SftpJailError(what, f"findmnt {quote(action.target)}")


@undo_of.register
def _undo_of_unmount(action: Unmount, view: View) -> Undo:
    return {
        "op": "unmount",
        "path": action.target,
        "source": action.source,
        "options": list(action.options),
    }


@perform.register
def _perform_unmount(action: Unmount, view: View) -> None:
    mounts.unmount(action.target)


_USERMOD = {"shell": "--shell", "home": "--home", "group": "--gid", "expire": "--expiredate"}


@undo_of.register
def _undo_of_set_account(action: SetAccount, view: View) -> Undo:
    join, leave = action.group_changes(view)
    argv = ["usermod", *_usermod(action.before(view)), action.name] if action.fields() else []
    return {
        "op": "account",
        "name": action.name,
        "usermod": argv,
        "joined": list(join),
        "left": list(leave),
    }


def _usermod(fields: Mapping[str, str]) -> list[str]:
    argv: list[str] = []
    for name, value in fields.items():
        # shadow(5) counts days, usermod(8) takes those as well as dates; "" is never.
        argv += [_USERMOD[name], value]
    return argv


@perform.register
def _perform_set_account(action: SetAccount, view: View) -> None:
    join, leave = action.group_changes(view)
    if action.fields():
        accounts.change_account(["usermod", *_usermod(action.fields()), action.name], action.name)
    for group in join:
        programs.must(["gpasswd", "--add", action.name, group])
    for group in leave:
        programs.must(["gpasswd", "--delete", action.name, group])


@undo_of.register
def _undo_of_set_group(action: SetGroup, view: View) -> Undo:
    gid = None
    if not action.present:
        gid = next(
            (number(fields[2]) for fields in entries("/etc/group") if fields[0] == action.name),
            None,
        )
    return {"op": "group", "name": action.name, "gid": gid}


@perform.register
def _perform_set_group(action: SetGroup, view: View) -> None:
    programs.must(["groupadd" if action.present else "groupdel", action.name])


@undo_of.register
def _undo_of_run(action: Run, view: View) -> Undo:
    return {"op": "run", "name": action.why, "argv": list(action.undo)}


@perform.register
def _perform_run(action: Run, view: View) -> None:
    answer = programs.run(
        action.argv, action.stdin, dict(action.env), action.timeout, patient=False
    )
    if answer.code != 0:
        raise SftpJailError(f"{action.argv[0]} ({action.why}) refused: {answer.words}")


@undo_of.register
def _undo_of_check(action: Check, view: View) -> Undo:
    return {"op": "run", "name": action.why, "argv": []}


@perform.register
def _perform_check(action: Check, view: View) -> None:
    judge(action, previews.preview(action.argv, {}))


def judge(action: Check, answer: programs.Answer) -> None:
    """Hold a program's answer against what a Check wants.

    Raises:
        SftpJailError: it says no, or says something else.
    """
    command = " ".join(action.argv)
    if answer.code != 0:
        raise SftpJailError(f"{action.why}: {command} says: {answer.words}", action.fix)
    said = small_keywords(answer.out)
    missing = [line for line in action.lines if line not in said.splitlines()]
    wanted = small_keywords(action.prints or "")
    if action.prints is not None and _kept(said, action) != _kept(wanted, action):
        other = [line for line in _kept(said, action) if line not in wanted.splitlines()]
        raise SftpJailError(
            f"{action.why}: {command} now says {'; '.join(other[:3]) or 'less than before'}",
            action.fix,
        )
    if missing:
        words = f" but: {answer.words}" if answer.err.strip() else ""
        raise SftpJailError(
            f"{action.why}: {command} does not say {'; '.join(missing)}{words}", action.fix
        )


def _kept(text: str, action: Check) -> list[str]:
    return [line for line in text.splitlines() if line.partition(" ")[0] not in action.ignoring]


@undo_of.register
def _undo_of_notify(action: Notify, view: View) -> Undo:
    return {"op": "notify", "name": action.service, "how": action.how, "late": not action.required}


@perform.register
def _perform_notify(action: Notify, view: View) -> str:
    return services.notify(action.service, action.how)


def sync_batch(actions: Sequence[Action]) -> None:
    """Make the names that a batch of steps changed durable, one fsync for each folder."""
    paths = {a.path for a in actions if isinstance(a, Remove | MakeDir)}
    paths |= {files.resolve(a.path) for a in actions if isinstance(a, WriteFile)}
    folders = {os.path.dirname(path) for path in paths}
    files.sync_dirs({folder for folder in folders if os.path.isdir(folder)})

"""Accounts and groups, changed by the programs of shadow."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ...actions import (
    AddAccount,
    CloseAccount,
    DeleteAccount,
    OpenAccount,
    SetAccount,
    SetGroup,
    View,
)
from ...errors import SftpJailError
from ...model import number
from ...system import account_lines, accounts, new_home, programs
from ...system.accounts import JOINS, entries
from .base import Draft, Kind, Undo, kind

_USERMOD = {"shell": "--shell", "home": "--home", "group": "--gid", "expire": "--expiredate"}
_GROUP_BUSY = 8  # of groupdel(8): it is somebody's primary group


@kind(AddAccount, "added-account")
class AddAccountKind(Kind[AddAccount]):
    """An account exists. Undone, its lines are what they were, and its home goes if it is new."""

    def record(self, action: AddAccount, view: View) -> Undo:
        name, places = action.name, {"home": action.home, "spool": f"/var/mail/{action.name}"}
        absent = {what: path for what, path in places.items() if not os.path.lexists(path)}
        lines = account_lines.read_lines(name)
        return {"op": "added-account", "name": name, "lines": lines, "absent": absent}

    def perform(self, action: AddAccount, view: View) -> None:
        answer = programs.run(action.argv, env={JOINS: action.name}, timeout=300.0)
        if answer.code != 0:
            raise SftpJailError(f"{action.argv[0]} failed: {answer.words}")

    def revert(self, undo: Undo) -> str | None:
        name, absent = undo["name"], undo["absent"]
        uid = _uid(name)
        home = absent.get("home", "")
        if os.path.isdir(home) and not new_home.is_untouched(home):
            return f"the account {name} stays: there are files in {home} by now"
        if uid and _is_sole(uid):
            programs.end_processes(uid)
        new_home.remove_spool(absent.get("spool", ""))
        gone = not home or new_home.remove_home(home, uid)
        # Last: by these lines another undo, should this one be cut short, knows whose home it is.
        account_lines.put_back(name, undo["lines"])
        return None if gone else f"{home} stays"


@kind(DeleteAccount, "deleted-account")
class DeleteAccountKind(Kind[DeleteAccount]):
    """An account is gone. Undone, it is back with hash, dates and memberships."""

    def record(self, action: DeleteAccount, view: View) -> Undo:
        lines = account_lines.read_lines(action.name)
        return {"op": "deleted-account", "name": action.name, "lines": lines}

    def perform(self, action: DeleteAccount, view: View) -> str:
        try:
            accounts.change_account(["userdel", action.name], action.name)
        except SftpJailError as error:
            if _uid(action.name) is not None:
                raise
            return error.message  # it has deleted the account, and complains of something else
        return ""

    def revert(self, undo: Undo) -> str | None:
        name, before = undo["name"], undo["lines"]
        if account_lines.is_another(name, before):
            return f"the account {name} stays as it is: somebody has made it since"
        account_lines.put_back(name, before)
        return None


def _uid(name: str) -> int | None:
    """Return the uid of a local account as it is this moment; None where there is none."""
    found = (fields[2] for fields in entries("/etc/passwd") if fields[0] == name)
    return next((number(uid) for uid in found), None)


def _is_sole(uid: int) -> bool:
    """Return whether one account alone has this uid; useradd -o gives it to several."""
    return sum(number(fields[2]) == uid for fields in entries("/etc/passwd")) == 1


@kind(SetAccount, "account")
class SetAccountKind(Kind[SetAccount]):
    """An account has other fields of passwd(5) and shadow(5), and is in other groups."""

    def record(self, action: SetAccount, view: View) -> Undo:
        join, leave = action.group_changes(view)
        argv = ["usermod", *_usermod(action.before(view)), action.name] if action.fields() else []
        groups = {"joined": list(join), "left": list(leave)}
        return {"op": "account", "name": action.name, "usermod": argv} | groups

    def perform(self, action: SetAccount, view: View) -> None:
        join, leave = action.group_changes(view)
        if action.fields():
            argv = ["usermod", *_usermod(action.fields()), action.name]
            accounts.change_account(argv, action.name)
        for group in join:
            accounts.change_group(["gpasswd", "--add", action.name, group], action.name)
        for group in leave:
            accounts.change_group(["gpasswd", "--delete", action.name, group], action.name)

    def revert(self, undo: Undo) -> str:
        name = undo["name"]
        now = {group: _members(group) for group in (*undo["joined"], *undo["left"])}
        commands = [undo["usermod"]] if undo["usermod"] else []
        for group in undo["joined"]:
            if name in (now[group] or ()):
                commands.append(["gpasswd", "--delete", name, group])
        for group in undo["left"]:
            members = now[group]
            if members is not None and name not in members:
                commands.append(["gpasswd", "--add", name, group])
        return "; ".join(filter(None, (_change(name, argv) for argv in commands)))

    def remember(self, action: SetAccount, view: View, draft: Draft) -> None:
        origin = action.origin(view)
        draft.take(origin)
        if isinstance(action, CloseAccount | OpenAccount):
            draft.closed = origin.closed
        given = action.fields()
        draft.was = {name: value for name, value in draft.was.items() if given.get(name) != value}


def _usermod(fields: Mapping[str, str]) -> list[str]:
    argv: list[str] = []
    for name, value in fields.items():
        # shadow(5) counts days, usermod(8) takes those as well as dates; "" is never.
        argv += [_USERMOD[name], value]
    return argv


def _change(name: str, argv: list[str]) -> str:
    """Run what changes an account, and return why it refused where that is no failure.

    Who is gone gets nothing back.

    Raises:
        SftpJailError: it refused though the account stands in passwd(5).
    """
    answer = programs.run(argv, env={JOINS: name})
    if answer.code == 0:
        return ""
    if any(fields[0] == name for fields in entries("/etc/passwd")):
        raise SftpJailError(f"{' '.join(argv)} failed: {answer.words}")
    return f"{name} is left as it is: {answer.words}"


def _members(group: str) -> list[str] | None:
    """Return who is in a group of group(5); None where there is none."""
    found = (fields[3] for fields in entries("/etc/group") if fields[0] == group)
    return next(([name for name in members.split(",") if name] for members in found), None)


@kind(SetGroup, "group")
class SetGroupKind(Kind[SetGroup]):
    """A group exists, or one of ours is gone."""

    def record(self, action: SetGroup, view: View) -> Undo:
        gid = None
        if not action.present:
            known = (fields for fields in entries("/etc/group") if fields[0] == action.name)
            gid = next((number(fields[2]) for fields in known), None)
        return {"op": "group", "name": action.name, "gid": gid}

    def perform(self, action: SetGroup, view: View) -> None:
        accounts.change_group(["groupadd" if action.present else "groupdel", action.name])

    def revert(self, undo: Undo) -> str | None:
        name, members = undo["name"], _members(undo["name"])
        if members is None and undo["gid"] is not None:
            accounts.change_group(["groupadd", "-g", str(undo["gid"]), name])
        if members is None or undo["gid"] is not None:
            return None
        answer = None if members else programs.run(["groupdel", name], env={JOINS: ""})
        if answer is None or answer.code == _GROUP_BUSY:
            return f"the group {name} stays: somebody is in it by now"
        if answer.code != 0:
            raise SftpJailError(f"groupdel {name} failed: {answer.words}")
        return None

    def remember(self, action: SetGroup, view: View, draft: Draft) -> None:
        super().remember(action, view, draft)
        if not action.present:
            draft.made.pop(f"group:{action.name}", None)

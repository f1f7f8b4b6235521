"""Accounts and groups, changed by the programs of shadow."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ...actions import (
    AddAccount,
    AddAccounts,
    CloseAccount,
    DeleteAccount,
    DeleteAccounts,
    NewAccount,
    OpenAccount,
    RestoreAccount,
    SetAccount,
    SetGroup,
    SetPasswords,
    View,
)
from ...errors import SftpJailError
from ...errors.escapes import some
from ...model import number
from ...system import account_lines, accounts, files, new_home, processes, programs
from ...system.accounts import JOINS, entries
from .base import Kind, OriginDraft, Undo, kind, state_of

_USERMOD = {
    "shell": "--shell",
    "home": "--home",
    "group": "--gid",
    "expire": "--expiredate",
    "comment": "--comment",
}
# Of these usermod(8) judges nothing that we have not judged: for many accounts, they are set by one
# edit instead.
_PLAIN = frozenset(("shell", "expire", "comment"))
_IN_WORDS = {"expire": "expiry", "group": "primary group"}
_TOUCHED = ("/etc/passwd",)  # the programs sync each file that they write, and not its name
_GROUP_BUSY = 8  # of groupdel(8): it is the primary group of an account


@kind(AddAccount, "added-account")
class AddAccountKind(Kind[AddAccount]):
    """Make an account. The undo restores its lines, and removes its home if it is new."""

    about = ("name",)

    def record(self, action: AddAccount, view: View) -> Undo:
        # Before there is a record by which the account of somebody else would be taken away.
        account_lines.refuse_taken([action.name])
        name, places = action.name, {"home": action.home, "spool": f"/var/mail/{action.name}"}
        absent = {what: path for what, path in places.items() if not files.is_there(path)}
        about = {"op": "added-account", "name": name, "uid": _wanted_uid(action.argv)}
        return about | {"lines": account_lines.read_lines(name), "absent": absent}

    def perform(self, action: AddAccount, view: View) -> None:
        new = not files.is_there(action.home)
        answer = accounts.run(action.argv, action.name)
        if answer.failed:
            raise SftpJailError(f"{action.argv[0]} failed: {answer.words}")
        if new:
            new_home.sync(action.home)

    def touched(self, action: AddAccount) -> Iterable[str]:
        return (*_TOUCHED, action.home)

    def revert(self, undo: Undo) -> str | None:
        name, absent = undo["name"], undo["absent"]
        uid = _uid(name)
        if uid is not None and undo.get("uid") not in (None, uid):
            return f"the account {name} stays as it is: somebody else has made it"
        home = absent.get("home", "")
        if os.path.isdir(home) and not new_home.is_untouched(home):
            return f"the account {name} stays: there are files in {home} by now"
        if uid and _is_sole(uid):
            programs.end_processes(uid)
        new_home.remove_spool(absent.get("spool", ""))
        gone = not home or new_home.remove_home(home, uid)
        # Last: by these lines another undo, should this one be cut short, knows whose home it is.
        account_lines.put_back(name, undo["lines"])
        if gone:
            return None
        return f"{home} stays"


@kind(AddAccounts, "added-accounts")
class AddAccountsKind(Kind[AddAccounts]):
    """Make many accounts. The undo restores their lines, and removes their new homes."""

    about = ("name",)

    def record(self, action: AddAccounts, view: View) -> Undo:
        made = [one for one in action.accounts if one.skeleton and not files.is_there(one.home)]
        names = [one.name for one in action.accounts]
        return {
            "op": "added-accounts",
            "name": names[0],
            "made": {one.name: _told(one) for one in action.accounts},
            "homes": {one.name: one.home for one in made},
            "before": account_lines.left_lines(names),
            "joined": account_lines.group_lines({g for one in action.accounts for g in one.groups}),
        }

    def perform(self, action: AddAccounts, view: View) -> None:
        from ...system import new_accounts, passwords  # late: useradd waits

        account_lines.refuse_taken([one.name for one in action.accounts])
        new_accounts.make(action.program, action.accounts)
        # Before there is a password: who has expired is let in at no moment.
        new_accounts.set_aging(action.accounts, action.aging)
        passwords.write((one.name, one.password) for one in action.accounts)
        new_accounts.make_homes(action.accounts, action.home_mode)

    def touched(self, action: AddAccounts) -> Iterable[str]:
        return (*_TOUCHED, *(one.home for one in action.accounts if one.skeleton))

    def revert(self, undo: Undo) -> str | None:
        from ...system import new_accounts

        made, homes, stay = undo["made"], undo["homes"], {}
        others = account_lines.others_of(made)
        uids = {name: int(told[0]) for name, told in made.items() if name not in others}
        there = {fields[0]: number(fields[2]) for fields in entries("/etc/passwd")}
        bearers = Counter(there.values())
        mine = [uid for name, uid in uids.items() if name in there and bearers[uid] == 1]
        new_accounts.end_processes(mine)
        for name, home in homes.items():
            if name in uids and not new_home.remove_home(home, uids[name], half=True):
                stay[name] = home
        # Last: by these lines another undo, should this one be cut short, knows whose homes these
        # are. An account that is not as it was to be is somebody else's.
        going = {name: made[name] for name in uids.keys() - stay.keys()}
        others.update(account_lines.take_away(going, undo["before"], undo.get("joined")))
        return "; ".join(_left(others, stay)) or None


def _told(account: NewAccount) -> list[str]:
    """Return what tells an account that we made from another of its name; see `take_away`."""
    return [str(account.uid), str(account.gid), account.home, account.shell]


def _left(others: Collection[str], stay: Mapping[str, str]) -> Iterator[str]:
    """Yield sentences about accounts that an undo leaves: other people's, and those with files."""
    if others:
        whose = some(sorted(others), 8)
        yield f"these accounts stay as they are: somebody else has made them: {whose}"
    if stay:
        whose = some((f"{name} ({home})" for name, home in stay.items()), 8)
        yield f"these accounts stay: there are files in their homes by now: {whose}"


@kind(SetPasswords, "passwords")
class SetPasswordsKind(Kind[SetPasswords]):
    """Set passwords. The undo restores the old ones, unless they were changed again.

    The old hashes are in the journal during the transaction, and nowhere else.
    """

    about = ("name",)

    def record(self, action: SetPasswords, view: View) -> Undo:
        given = {n: password for n, password in action.passwords if view.account(n) is not None}
        old = {name: view.shadow(name) for name in given}
        return {
            "op": "passwords",
            "name": action.names[0],
            "before": {name: [shadow.password, shadow.changed] for name, shadow in old.items()},
            "given": {name: account_lines.digest(password) for name, password in given.items()},
        }

    def perform(self, action: SetPasswords, view: View) -> None:
        from ...system import passwords

        passwords.write(action.passwords)

    def touched(self, action: SetPasswords) -> Iterable[str]:
        return _TOUCHED

    def revert(self, undo: Undo) -> str | None:
        others = account_lines.put_passwords_back(undo["before"], undo["given"])
        if not others:
            return None
        return f"the passwords of {some(others, 8)} stay: somebody has set others since"


@kind(DeleteAccount, "deleted-account")
class DeleteAccountKind(Kind[DeleteAccount]):
    """Delete an account. The undo restores it with hash, dates and memberships."""

    about = ("name",)

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
        if _uid(action.name) is not None:
            raise SftpJailError(
                f"userdel reported no error, and the account {action.name} is there"
            )
        return ""

    def touched(self, action: DeleteAccount) -> Iterable[str]:
        return _TOUCHED

    def revert(self, undo: Undo) -> str | None:
        name, before = undo["name"], undo["lines"]
        if account_lines.stands(name, before):
            return None  # userdel(8) begins with passwd(5); its groups may have changed since
        if account_lines.is_another(name, before):
            return f"the account {name} stays as it is: somebody has made it since"
        account_lines.put_back(name, before)
        return None


@kind(DeleteAccounts, "deleted-accounts")
class DeleteAccountsKind(Kind[DeleteAccounts]):
    """Delete many accounts. The undo restores them with hashes, dates and memberships."""

    about = ("name",)

    def record(self, action: DeleteAccounts, view: View) -> Undo:
        lines = account_lines.read_all(action.names)
        return {"op": "deleted-accounts", "name": action.names[0], "lines": lines}

    def perform(self, action: DeleteAccounts, view: View) -> None:
        found = (view.account(name) for name in action.names)
        uids = {account.name: account.uid for account in found if account is not None}
        used = {processes.owner(pid) for pid in processes.pids()}
        account_lines.take_out({name: uid for name, uid in uids.items() if uid not in used})
        for name in (name for name, uid in uids.items() if uid in used):
            # It waits for a session that is just ending, and refuses any other.
            accounts.change_account(["userdel", name], name)

    def touched(self, action: DeleteAccounts) -> Iterable[str]:
        return _TOUCHED

    def revert(self, undo: Undo) -> str | None:
        others = account_lines.bring_back(undo["lines"])
        if not others:
            return None
        whose = some(others, 8)
        return f"these accounts stay as they are: somebody has made them since: {whose}"


@kind(RestoreAccount, "restored-account")
class RestoreAccountKind(Kind[RestoreAccount]):
    """Restore a deleted account. The undo removes its lines again."""

    about = ("name",)

    def record(self, action: RestoreAccount, view: View) -> Undo:
        before = account_lines.read_lines(action.name)
        about = {"op": "restored-account", "name": action.name}
        return about | {"lines": before, "restored": action.lines}

    def perform(self, action: RestoreAccount, view: View) -> None:
        account_lines.put_back(action.name, dict(action.lines), only_new=True)

    def touched(self, action: RestoreAccount) -> Iterable[str]:
        return _TOUCHED

    def revert(self, undo: Undo) -> str | None:
        name = undo["name"]
        if account_lines.is_another(name, undo["restored"]):
            return f"the account {name} stays as it is: somebody has made it since"
        uid = _uid(name)
        if uid and _is_sole(uid):
            programs.end_processes(uid)
        account_lines.put_back(name, undo["lines"])
        return None


def _wanted_uid(argv: Sequence[str]) -> int | None:
    """Return the uid that a command gives to an account, or None if it chooses one."""
    if "--uid" not in argv[:-1]:
        return None
    return number(argv[argv.index("--uid") + 1])


def _uid(name: str) -> int | None:
    """Return the present uid of a local account, or None if there is none."""
    found = (fields[2] for fields in entries("/etc/passwd") if fields[0] == name)
    return next((number(uid) for uid in found), None)


def _is_sole(uid: int) -> bool:
    """Return whether only one account has this uid. `useradd -o` can give it to several."""
    return sum(number(fields[2]) == uid for fields in entries("/etc/passwd")) == 1


@kind(SetAccount, "account")
class SetAccountKind(Kind[SetAccount]):
    """Change an account's fields of passwd(5) and shadow(5), and its groups."""

    about = ("name",)

    def record(self, action: SetAccount, view: View) -> Undo:
        join, leave = action.group_changes(view)
        account = view.account(action.name)
        about = {"op": "account", "name": action.name, "uid": account and account.uid}
        fields = {"was": dict(action.before(view)), "given": action.fields()}
        return about | fields | {"joined": list(join), "left": list(leave)}

    def perform(self, action: SetAccount, view: View) -> None:
        join, leave = action.group_changes(view)
        if action.fields():
            argv = ["usermod", *_usermod(action.fields()), action.name]
            accounts.change_account(argv, action.name)
        for group in join:
            accounts.change_group(["gpasswd", "--add", action.name, group], action.name)
        for group in leave:
            accounts.change_group(["gpasswd", "--delete", action.name, group], action.name)

    def perform_together(self, actions: Sequence[SetAccount], view: View) -> Collection[int]:
        chosen = [at for at, action in enumerate(actions) if _is_plain(action, view)]
        if len({actions[at].name for at in chosen}) < 2:
            return ()  # usermod(8) does it, and logs it
        many = [actions[at] for at in chosen]
        account_lines.edit_fields({one.name for one in many}, lambda now: _set(many, view, now))
        return chosen

    def touched(self, action: SetAccount) -> Iterable[str]:
        return _TOUCHED

    def is_joint(self, undo: Undo) -> bool:
        fields = undo.get("was")
        groups = undo.get("joined") or undo.get("left")
        return isinstance(fields, dict) and fields.keys() <= _PLAIN and not groups

    def revert_together(self, undos: Sequence[Undo]) -> list[str]:
        notices: list[str] = []
        names = {undo["name"] for undo in undos}
        account_lines.edit_fields(names, lambda now: notices.extend(_put_back(undos, now)))
        return notices

    def revert(self, undo: Undo) -> str:
        name = undo["name"]
        stands = account_lines.read_fields(name)
        uid = undo.get("uid")
        if uid is not None and stands and number(stands["uid"]) != uid:
            return _of_another(name)
        commands, others = _commands_back(undo, stands)
        now = {group: _members(group) for group in (*undo["joined"], *undo["left"])}
        for group in undo["joined"]:
            if name in (now[group] or ()):
                commands.append(["gpasswd", "--delete", name, group])
        for group in undo["left"]:
            members = now[group]
            if members is not None and name not in members:
                commands.append(["gpasswd", "--add", name, group])
        said = [_change(name, argv) for argv in commands]
        return "; ".join(filter(None, [*said, _kept(name, others)]))

    def remember(self, action: SetAccount, view: View, draft: OriginDraft) -> None:
        origin = action.origin(view)
        draft.take(origin)
        if isinstance(action, CloseAccount | OpenAccount):
            draft.closed = origin.closed
        given = action.fields()
        draft.was = {name: value for name, value in draft.was.items() if given.get(name) != value}


def _is_plain(action: SetAccount, view: View) -> bool:
    """Return whether an action only sets fields that need none of what usermod(8) looks at."""
    fields = action.fields()
    if not fields or not fields.keys() <= _PLAIN or any(action.group_changes(view)):
        return False
    return not fields.get("expire") or fields["expire"].isdecimal()  # as shadow(5) has it


def _set(actions: Sequence[SetAccount], view: View, now: dict[str, dict[str, str]]) -> None:
    """Set fields of accounts in what they have now. Raises SftpJailError for one that is gone."""
    for action in actions:
        name, found, account = action.name, now.get(action.name, {}), view.account(action.name)
        fields = action.fields()
        error = ""
        if not found or account is None or number(found["uid"]) != account.uid:
            error = f"somebody has removed or changed the account {name} meanwhile"
        elif not fields.keys() <= found.keys():
            error = f"{name} has no line in /etc/shadow to expire by"
        elif any(set(value) & set(":\n") for value in fields.values()):
            error = f"no field of {name} can have a colon or a line break"
        if error:
            failed = SftpJailError(error)
            failed.action, failed.owner = action, name
            raise failed
        found |= fields


def _put_back(undos: Sequence[Undo], now: dict[str, dict[str, str]]) -> Iterator[str]:
    """Undo changes of fields in what accounts have now; yield notices about what stays."""
    for undo in undos:
        name, uid = undo["name"], undo.get("uid")
        found = now.get(name)
        if found is None:
            yield f"{name} is left as it is: there is no such account any more"
        elif uid is not None and number(found["uid"]) != uid:
            yield _of_another(name)
        else:
            back, others = _fields_back(undo, found)
            found |= {field: value for field, value in back.items() if field in found}
            yield from filter(None, [_kept(name, others)])


def _of_another(name: str) -> str:
    return f"the account {name} stays as it is: somebody else has made it"


def _kept(name: str, others: Sequence[str]) -> str:
    """Return a sentence about the fields that an undo leaves, or ""."""
    if not others:
        return ""
    which = " and the ".join(_IN_WORDS.get(field, field) for field in others)
    stay = "stays"
    if others[1:]:
        stay = "stay"
    return f"the {which} of {name} {stay}: somebody has set another since"


def _commands_back(undo: Undo, now: Mapping[str, str]) -> tuple[list[list[str]], list[str]]:
    """Return the commands that undo a change of fields, and the fields that are somebody else's.

    Args:
        undo: the record.
        now: what the fields are this moment; none where the account is gone.
    """
    name = undo["name"]
    if "was" not in undo:  # of an earlier version, which did not say what was set
        return [undo["usermod"]] if undo["usermod"] else [], []
    if undo["was"] and not now:
        return [["usermod", *_usermod(undo["was"]), name]], []  # says that it is gone
    back, others = _fields_back(undo, now)
    return [["usermod", *_usermod(back), name]] if back else [], others


def _fields_back(undo: Undo, now: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what the fields that we set were, and which fields somebody has set since."""
    states = {field: state_of(undo, field, now.get(field)) for field in undo["was"]}
    back = {field: undo["was"][field] for field, state in states.items() if state == "ours"}
    return back, [field for field, state in states.items() if state == "another"]


def _usermod(fields: Mapping[str, str]) -> list[str]:
    argv: list[str] = []
    for name, value in fields.items():
        # shadow(5) counts days, usermod(8) takes those as well as dates; "" is never.
        argv += [_USERMOD[name], value]
    return argv


def _change(name: str, argv: list[str]) -> str:
    """Run a command that changes an account.

    Returns:
        why it refused, if the account no longer exists, which is not a failure.

    Raises:
        SftpJailError: it refused although the account is in passwd(5).
    """
    answer = programs.run(argv, env={JOINS: name})
    if answer.code == 0:
        return ""
    if any(fields[0] == name for fields in entries("/etc/passwd")):
        raise SftpJailError(f"{' '.join(argv)} failed: {answer.words}")
    return f"{name} is left as it is: {answer.words}"


def _members(group: str) -> list[str] | None:
    """Return the members of a group in group(5), or None if there is no such group."""
    found = (fields[3] for fields in entries("/etc/group") if fields[0] == group)
    return next(([name for name in members.split(",") if name] for members in found), None)


@kind(SetGroup, "group")
class SetGroupKind(Kind[SetGroup]):
    """Make a group, or remove one of ours. The undo restores its lines in their old places."""

    about = ("name",)

    def record(self, action: SetGroup, view: View) -> Undo:
        lines = None
        if not action.present:
            lines = account_lines.read_group(action.name)
        return {"op": "group", "name": action.name, "lines": lines}

    def perform(self, action: SetGroup, view: View) -> None:
        accounts.change_group(["groupadd" if action.present else "groupdel", action.name])

    def touched(self, action: SetGroup) -> Iterable[str]:
        return _TOUCHED

    def revert(self, undo: Undo) -> str | None:
        name, members = undo["name"], _members(undo["name"])
        if undo.get("lines"):
            return account_lines.put_group_back(name, undo["lines"]) or None
        gid = undo.get("gid")  # of an earlier version
        if members is None and gid is not None:
            accounts.change_group(["groupadd", "-g", str(gid), name])
        if members is None or gid is not None:
            return None
        answer = None
        if not members:
            answer = programs.run(["groupdel", name], env={JOINS: ""})
        if answer is None or answer.code == _GROUP_BUSY:
            return f"the group {name} stays: somebody is in it by now"
        if answer.failed:
            raise SftpJailError(f"groupdel {name} failed: {answer.words}")
        return None

    def remember(self, action: SetGroup, view: View, draft: OriginDraft) -> None:
        super().remember(action, view, draft)
        if not action.present:
            draft.made.pop(f"group:{action.name}", None)

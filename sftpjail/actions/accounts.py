"""What changes accounts and groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from shlex import join
from typing import Any

from ..model import Closed, Origin, frozen
from .base import Action, Phase
from .view import View

__all__ = [
    "AddAccount",
    "AddAccounts",
    "CloseAccount",
    "DeleteAccount",
    "DeleteAccounts",
    "NewAccount",
    "OpenAccount",
    "RestoreAccount",
    "SetAccount",
    "SetComment",
    "SetExpiry",
    "SetGroup",
    "SetPasswords",
]


@frozen
class _NewAccount(Action):
    """A local account exists that does not yet, however it comes."""

    phase = Phase.ACCOUNTS
    name: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("account", self.name)

    def pending(self, view: View, owner: str) -> bool:
        return view.account(self.name) is None


@frozen
class AddAccount(_NewAccount):
    """A local account exists.

    `argv` is the command that makes it: useradd(8), or Debian's adduser(8). `home` is the
    directory that this makes along with it.
    """

    argv: tuple[str, ...]
    home: str

    def diff(self, view: View) -> Iterator[str]:
        yield f"! run {join(self.argv)}"


@frozen
class NewAccount:
    """A local account as it is to be, with a group of its own.

    `groups` are the supplementary ones. `password` is what shadow(5) has; "*" is none. `expire` is
    in days as there, or "". `skeleton`: its home is made, as useradd(8) does.
    """

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    comment: str = ""
    groups: tuple[str, ...] = ()
    expire: str = ""
    password: str = field(default="*", repr=False)
    skeleton: bool = False


@frozen
class AddAccounts(Action):
    """Many local accounts exist that do not yet, by one run of systemd-sysusers(8).

    `program` is that, or systemd-standalone-sysusers. `aging` are the fields of shadow(5) that
    useradd(8) fills by login.defs(5) and its own defaults: the least and the most days of a
    password, those of a warning, and those after which an expired one shuts out.
    `home_mode` is that of a new home.
    """

    phase = Phase.ACCOUNTS
    program: str
    accounts: tuple[NewAccount, ...]
    aging: tuple[str, str, str, str] = ("", "", "", "")
    home_mode: int = 0o700

    @property
    def key(self) -> tuple[str, ...]:
        return ("accounts", *(account.name for account in self.accounts))

    def pending(self, view: View, owner: str) -> bool:
        return any(view.account(account.name) is None for account in self.accounts)

    def diff(self, view: View) -> Iterator[str]:
        for account in self.accounts:
            password = ""
            if account.password != "*":
                password = ", password (set)"
            yield f"+ account {account.name}, uid {account.uid}, home {account.home}{password}"


@frozen
class SetPasswords(Action):
    """Local accounts have other passwords, by one chpasswd(8).

    `passwords` has what shadow(5) is to have, by name; "*" is none. It is shown nowhere. An undo
    within the transaction restores the former ones; the history has neither.
    """

    phase = Phase.ACCOUNTS
    passwords: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Whose."""
        return tuple(name for name, _ in self.passwords)

    @property
    def key(self) -> tuple[str, ...]:
        return ("passwords", *self.names)

    def pending(self, view: View, owner: str) -> bool:
        return any(view.shadow(name).password != password for name, password in self.passwords)

    def diff(self, view: View) -> Iterator[str]:
        for name, password in self.passwords:
            word = "(set)"
            if view.shadow(name).password.startswith("$"):
                word = "(changed)"
            yield f"~ account {name}: password {word if password.startswith('$') else 'none'}"


@frozen
class DeleteAccount(Action):
    """A local account is gone, by userdel(8). Its files stay."""

    phase = Phase.ACCOUNTS
    name: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("account", self.name)

    def pending(self, view: View, owner: str) -> bool:
        return view.account(self.name) is not None

    def diff(self, view: View) -> Iterator[str]:
        yield f"! run userdel {self.name}"


@frozen
class DeleteAccounts(Action):
    """Many local accounts are gone, each with its own group, by one edit. Their files stay.

    For those that userdel(8) would do nothing else for; see operations/deletions.py.
    """

    phase = Phase.ACCOUNTS
    names: tuple[str, ...]

    @property
    def key(self) -> tuple[str, ...]:
        return ("accounts", *self.names)

    def pending(self, view: View, owner: str) -> bool:
        return any(view.account(name) is not None for name in self.names)

    def diff(self, view: View) -> Iterator[str]:
        yield from (f"- account {name}" for name in self.names)


@frozen
class RestoreAccount(_NewAccount):
    """A local account that was deleted is back, with the same uid and no password.

    `lines` is what the files of shadow have had of it; see account_lines.py.
    """

    lines: Mapping[str, Any]

    def diff(self, view: View) -> Iterator[str]:
        yield f"+ account {self.name}, as it was, without a password"


@frozen
class SetAccount(Action):
    """Fields of a local account, as usermod(8) sets them; None leaves a field alone.

    `expire` is YYYY-MM-DD or "".
    """

    phase = Phase.ACCOUNTS
    name: str
    shell: str | None = None
    home: str | None = None
    group: str | None = None
    add_groups: tuple[str, ...] = ()
    remove_groups: tuple[str, ...] = ()
    expire: str | None = None

    @property
    def key(self) -> tuple[str, ...]:
        return ("account", self.name, *self.fields())

    def fields(self) -> dict[str, str]:
        """Return the fields of passwd(5) and shadow(5) that this sets."""
        pairs = {"shell": self.shell, "home": self.home, "group": self.group, "expire": self.expire}
        return {name: value for name, value in pairs.items() if value is not None}

    def before(self, view: View) -> Mapping[str, str]:
        """Return what those fields are now."""
        account = view.account(self.name)
        if account is None:
            return {}
        now = {
            "shell": account.shell,
            "home": account.home,
            "group": str(account.gid),
            "expire": view.expiry(self.name) if self.expire is not None else "",
        }
        return {name: now[name] for name in self.fields()}

    def group_changes(self, view: View) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the supplementary groups still to join and to leave."""
        return (
            tuple(g for g in self.add_groups if not view.in_group(self.name, g)),
            tuple(g for g in self.remove_groups if view.in_group(self.name, g)),
        )

    def pending(self, view: View, owner: str) -> bool:
        return self.before(view) != self.fields() or any(self.group_changes(view))

    def diff(self, view: View) -> Iterator[str]:
        before = self.before(view)
        for name, value in self.fields().items():
            if before.get(name) != value:
                yield (
                    f"~ account {self.name}: {name} {before.get(name) or 'none'}"
                    f" -> {value or 'none'}"
                )
        join, leave = self.group_changes(view)
        yield from (f"~ account {self.name}: joins group {group}" for group in join)
        yield from (f"~ account {self.name}: leaves group {group}" for group in leave)

    def origin(self, view: View) -> Origin:
        return Origin(was=self.before(view))


@frozen
class SetExpiry(SetAccount):
    """An account expires on another date, because an administrator wants it.

    It stays so when its jail goes.
    """

    def origin(self, view: View) -> Origin:
        return Origin()


@frozen
class SetComment(SetAccount):
    """An account has another comment in passwd(5). It stays so when its jail goes."""

    comment: str = ""

    def fields(self) -> dict[str, str]:
        """Return the one field that this sets."""
        return {"comment": self.comment}

    def before(self, view: View) -> Mapping[str, str]:
        """Return what that is now."""
        return {"comment": view.comment(self.name)}

    def origin(self, view: View) -> Origin:
        return Origin()


@frozen
class CloseAccount(SetAccount):
    """An account is shut out before anything else is done, and its record says why.

    jails/closing.py makes these. `expire` is set for one that shadow(5) knows; any other's name is
    put on a list by SetLines.
    """

    phase = Phase.CLOSING
    closed: Closed | None = None

    @property
    def key(self) -> tuple[str, ...]:
        return ("closing", self.name)

    def pending(self, view: View, owner: str) -> bool:
        return super().pending(view, owner) or view.origin(self.name).closed != self.closed

    def diff(self, view: View) -> Iterator[str]:
        yield f"~ account {self.name}: closed: {self.closed.why if self.closed else ''}"
        yield from super().diff(view)

    def origin(self, view: View) -> Origin:
        return Origin(closed=self.closed)


@frozen
class OpenAccount(SetAccount):
    """An account that is shut out is let in again when all else is done.

    `expire` is the expiry it had before.
    """

    phase = Phase.OPENING

    @property
    def key(self) -> tuple[str, ...]:
        return ("closing", self.name)

    def pending(self, view: View, owner: str) -> bool:
        return super().pending(view, owner) or view.origin(self.name).closed is not None

    def diff(self, view: View) -> Iterator[str]:
        yield f"~ account {self.name}: no longer closed"
        yield from super().diff(view)

    def origin(self, view: View) -> Origin:
        return Origin()


@frozen
class SetGroup(Action):
    """A group exists (groupadd(8)), or one of ours that has no members is gone (groupdel(8))."""

    phase = Phase.ACCOUNTS
    name: str
    present: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        return ("group", self.name)

    def pending(self, view: View, owner: str) -> bool:
        members = view.group_members(self.name)
        if self.present:
            return members is None
        return members == () and f"group:{self.name}" in view.origin(owner).made

    def diff(self, view: View) -> Iterator[str]:
        yield f"{'+' if self.present else '-'} group {self.name}"

    def origin(self, view: View) -> Origin:
        if self.present:
            return Origin(made=(f"group:{self.name}",))
        return Origin()

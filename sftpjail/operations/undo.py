"""Plan the inverse of one transaction, or report why there is none.

The inverse is planned like any other change, from the present facts; nothing is replayed. Jails
that the transaction made are removed. Jails that it removed are made again, with the keys and
mounts in the history. Anything that was only adapted to the configuration stays, because the next
`apply` would do it again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from shlex import quote
from typing import Any

from ..actions import (
    DeleteAccount,
    DeleteAccounts,
    Rename,
    RestoreAccount,
    SetComment,
    SetOwner,
)
from ..config import keyfile
from ..engine.engine import Engine
from ..engine.history import Entry, undone_by
from ..engine.memory import differs
from ..engine.plan import (
    Event,
    OnDetach,
    OnKeyAdd,
    OnKeyMigrate,
    OnKeyRemove,
    OnMount,
    OnSetup,
    OnTeardown,
    OnUnmount,
    OnUserConnections,
    OnUserCreate,
    OnUserDisable,
    OnUserEnable,
    OnUserExpire,
    OnUserKeep,
    OnUserLimit,
    OnUserQuota,
    OnUserRemove,
    OnUserRetention,
    Plan,
    Step,
)
from ..errors import JailUnknown, NotJailed, SftpJailError
from ..errors.escapes import look_at
from ..jails.addresses import listed
from ..jails.closing import DISABLE, date_of, is_disabled
from ..jails.guards import guard
from ..jails.membership import find, jailed, not_jailed, refuse_name, untaken
from ..model import Account, Bind, inside, number
from ..openssh.public_keys import read
from ..system.account_lines import in_the_way
from .apply import passing, refuse_unknown, refuse_untaken, still_jailed
from .deletions import by_one_edit
from .events import create_events, leave_events, left_events
from .imports import engine_without, imported, plan_back
from .keys import present
from .limits import limited_by
from .logins import refuse_if_used
from .rejail import ages_before, jail_again

Kept = dict[str, Any]


def chosen(entries: Sequence[Entry], number: int | None) -> Entry:
    """Return the transaction to undo.

    Args:
        entries: the history.
        number: its id; None for the last one.

    Raises:
        SftpJailError: there is no such transaction, or it is undone already.
    """
    found = [entry for entry in entries if number in (None, entry["id"])]
    if not found:
        if number is None:
            words = "the history is empty"
        else:
            words = f"there is no transaction {number}"
        raise SftpJailError(words, look_at("sftpjail history"))
    entry = found[-1]
    later = undone_by(entries).get(entry["id"])
    if later is not None:
        raise SftpJailError(f"transaction {entry['id']} is undone already, by {later}")
    return entry


class Inverse:
    """The inverse of a transaction.

    Args:
        entry: from `chosen`.
        entries: the history.
        engine: with the present facts.
        force: delete an account even if somebody has logged in to it.

    `restore` has the steps that restore deleted accounts, and `given` the paths whose owners they
    change. `plan` must then be called with the facts after these steps. `opened` has sentences
    about accounts that the plan lets in, `stays` about what it leaves as it is.

    Raises:
        SftpJailError: a later transaction builds on it, or its results were changed since.
    """

    def __init__(self, entry: Entry, entries: Sequence[Entry], engine: Engine, force: bool) -> None:
        self.entry, self.force = entry, force
        self.items: list[Kept] = entry["undo"]
        self._now = engine.config
        self.opened: list[str] = []
        self.stays: list[str] = []
        self._events: list[Event] = []
        self._also: list[Step] = []
        self._rest: list[Event] = []  # what can be planned only when all else is done
        self._begin = 0  # where the events of the account in hand begin
        _refuse_later(entry, entries)
        self._refuse_undo_of_import()
        self._refuse_changed(engine)
        self.deleted = {item["account"]: item for item in self.items if item["event"] == "deleted"}
        self.restore = [step for item in self.deleted.values() for step in _restored(item, engine)]
        back = [step.action for step in self.restore if isinstance(step.action, SetOwner)]
        self.given = {action.path: (action.uid, action.gid, action.mode) for action in back}

    def on(self, engine: Engine) -> Engine:
        """Return the engine to plan and apply it with: for an import, without its profiles."""
        item = imported(self.items)
        if item:
            return engine_without(item, engine)
        return engine

    def _refuse_undo_of_import(self) -> None:
        """Refuse if the transaction itself is the undo of an import."""
        item = imported(self.items)
        if item and not item["profiles"]:
            words = f"transaction {self.entry['id']} gave jails by hand back, and is not undone"
            raise SftpJailError(words, "sftpjail import --apply")

    def _refuse_changed(self, engine: Engine) -> None:
        """Refuse if a file or an account is no longer as the transaction has left it."""
        last = {_place(left): left for left in _lefts(self.entry)}
        for left in last.values():
            what = differs(left, engine.host)
            if what:
                words = f"what transaction {self.entry['id']} left in {what} was changed since"
                raise refusal(words, self.items)

    def plan(self, engine: Engine) -> Plan:
        """Return the plan.

        Args:
            engine: with the facts of now, or of when the accounts of `restore` are back.

        Raises:
            SftpJailError: the host has changed so that this cannot be, or there is nothing to do.
        """
        self.opened, self.stays, self._events, self._also = [], [], [], []
        self._rest = []
        item = imported(self.items)
        if item:
            return self._plan_of_import(item, engine)
        first, last = self._of_host(engine)
        accounts = by_account(self.items)
        for name in reversed(accounts):
            self._of_account(name, accounts[name], engine)
        if not (first or last or self._events or self._also):
            words = "; ".join(dict.fromkeys(self.stays)) or "it changed nothing that can be undone"
            raise SftpJailError(f"transaction {self.entry['id']} is not undone: {words}")
        self._delete_together(engine)
        events = [*first, *self._events, *last]
        ahead, limited = limited_by(events, engine.host)
        return engine.plan([*ahead, *events], also=self._also, limited=limited)

    def _plan_of_import(self, item: Mapping[str, Any], engine: Engine) -> Plan:
        """Return the plan that gives imported jails back to the hand that made them."""
        first = any(i["event"] == OnSetup.hook and i.get("first") for i in self.items)
        keys = {i["key"] for i in self.items if i["event"] == OnKeyAdd.hook}
        return plan_back(item, first, keys, self._now, engine)

    def _delete_together(self, engine: Engine) -> None:
        """Have one step delete the accounts that need no userdel(8) each."""
        names = [s.action.name for s in self._also if isinstance(s.action, DeleteAccount)]
        many = by_one_edit(names, engine.host)
        if many:
            gone = {DeleteAccount(name) for name in many}
            self._also = [step for step in self._also if step.action not in gone]
            self._also.append(Step(DeleteAccounts(many), "accounts"))

    @property
    def is_staged(self) -> bool:
        """Whether `plan_rest` has something, now that `plan` has planned."""
        return bool(self._rest)

    def plan_rest(self, engine: Engine) -> Plan:
        """Return what must follow `plan`: expiry dates after an account is shut out or let in, and
        mounts after another one is unmounted.
        """
        return engine.plan(self._rest)

    # -- the host --------------------------------------------------------------------------------

    def _sets_up(self) -> bool:
        return any(item["event"] in (OnTeardown.hook, OnDetach.hook) for item in self.items)

    def _of_host(self, engine: Engine) -> tuple[list[Event], list[Event]]:
        """Return the events of the host, before and after those of accounts."""
        if self._sets_up():
            self._jail_newcomers(engine)
            return [OnSetup()], []
        events = {item["event"]: item for item in self.items if "account" not in item}
        if OnSetup.hook not in events:
            return [], []
        if not events[OnSetup.hook].get("first"):
            # With addresses came or went their rule of PAM, and does so again.
            if not any(item["event"] == OnUserLimit.hook for item in self.items):
                self.stays.append("what sftpjail.conf asks for stays: change that, and apply it")
            return [], []
        jails = jailed(engine.config, engine.host)
        refuse_unknown(engine)
        refuse_untaken(engine)
        if jails:
            raise still_jailed(list(jails))
        return [], [*left_events(engine, jails), OnTeardown()]

    def _jail_newcomers(self, engine: Engine) -> None:
        """Add the jails of those who have come into a profile's group since the teardown."""
        for account in untaken(engine.config, engine.host).values():
            raise refuse_name(account)
        known = {item["account"] for item in self.items if "account" in item}
        for name, account in jailed(engine.config, engine.host).items():
            guard(account, engine.host)
            if name not in known:
                self._events += create_events(account, engine.host, engine.manager)

    @property
    def _own(self) -> list[Event]:
        """The events so far of the account in hand."""
        return self._events[self._begin :]

    # -- one account -----------------------------------------------------------------------------

    def _of_account(self, name: str, items: list[Kept], engine: Engine) -> None:
        """Add the events that undo the changes of an account."""
        self._begin = len(self._events)
        events = {item["event"] for item in items}
        create = next((i for i in items if i["event"] == OnUserCreate.hook), {})
        gone = next((i for i in items if i["event"] == OnUserRemove.hook and i.get("member")), None)
        if "added" in events or create.get("new"):
            self._leave(name, items, "added" in events, engine)
        elif gone is not None:
            self._return(gone, engine)
        elif create and _has_moved(items, engine):
            self.stays.append(f"the jail of {name} stays where the configuration wants it")
        else:
            self._of_items([item for item in reversed(items) if item is not create], engine)
            if create and not self._own:
                self._of_item(create, engine)

    def _of_items(self, items: list[Kept], engine: Engine) -> None:
        """Undo the changes of an account, beginning with whether it is shut out."""
        closing = [item for item in items if item["event"] in _CLOSING]
        ages = [item for item in items if item["event"] == OnUserRetention.hook]
        others = [item for item in items if item not in closing + ages]
        for item in closing + others:
            self._of_item(item, engine)
        # A directory must be there, and whose it is depends on what is mounted at it.
        mounts = any(isinstance(event, OnMount) for event in self._own)
        for item in ages:
            event = OnUserRetention(_jailed(item, engine), ages_before(item))
            (self._rest if mounts else self._events).append(event)

    def _leave(self, name: str, items: list[Kept], added: bool, engine: Engine) -> None:
        """Remove a jail that the transaction made, and with ADDED also the account."""
        removal = _removal(name, added)
        account = _same(name, items, engine)
        if not account.local:
            group = ""
            if account.profile:
                group = account.profile.group
            raise SftpJailError(
                f"{name} comes from a directory service, and is jailed for as long as it is there",
                advice=f"take it out of the group {group} there",
            )
        if added and not self.force:
            refuse_if_used(account, self.entry["time"], engine, self.entry["id"])
        _refuse_more(account, items, removal, engine)
        found, events = leave_events(name, engine, added)
        if found is None:
            raise SftpJailError(f"{name} is not jailed any more")
        self._events += events
        if added:
            self._also.append(Step(DeleteAccount(name), "accounts", name))
        else:
            self.opened.append(f"{name} can log in outside of a jail")

    def _return(self, item: Kept, engine: Engine) -> None:
        """Restore a jail that the transaction removed."""
        name = item["account"]
        if engine.host.account(name) is not None:
            account = _same(name, [item], engine)
        elif name in self.deleted:
            account = _foreseen(self.deleted[name])
        elif self._sets_up():
            self.stays.append(f"the account {name} is gone by now")
            return
        else:
            raise SftpJailError(f"the account {name} is gone by now", f"sftpjail add {name}")
        again = jail_again(account, item, engine, self._sets_up())
        self.stays += again.stays
        self._events += again.events
        self._also += again.also
        self.opened += again.opened

    def _of_item(self, item: Kept, engine: Engine) -> None:
        """Undo one change, such as that of a mount or a key."""
        undo = _UNDO_OF.get(item["event"])
        if undo is not None:
            undo(self, item, engine)
            return
        reason = _WHY_NOT.get(item["event"], "{}: {}")
        self.stays.append(reason.format(item["account"], item["event"]))

    def _of_mount(self, item: Kept, engine: Engine) -> None:
        """Unmount what was mounted, or mount what was unmounted."""
        bind = _bind(item)
        if bind.role != "mount" or not item.get("new", True) or item.get("live_only"):
            self.stays.append(f"the mounts of {item['account']} stay as its jail needs them")
            return
        account = _jailed(item, engine)
        if item["event"] == OnUnmount.hook and self._makes_room(bind):
            self._rest.append(OnMount(account, bind))
        else:
            self._events.append(_of_bind(item, bind, account, engine))

    def _of_key(self, item: Kept, engine: Engine) -> None:
        """Remove a key that was added, or add one that was removed."""
        opposite = _opposite_of_key(item, _jailed(item, engine), engine)
        self._events.append(opposite)
        if isinstance(opposite, OnKeyAdd):
            fingerprint = opposite.key.fingerprint
            self.opened.append(f"{item['account']} can log in again with {fingerprint}")

    def _of_expiry(self, item: Kept, engine: Engine) -> None:
        """Restore an expiry date, after the account is shut out or let in."""
        follows = any(isinstance(event, OnUserDisable | OnUserEnable) for event in self._own)
        expire = OnUserExpire(_jailed(item, engine), date_of(item["expiry"]))
        (self._rest if follows else self._events).append(expire)

    def _of_connections(self, item: Kept, engine: Engine) -> None:
        self._events.append(OnUserConnections(_jailed(item, engine), int(item["most"])))

    def _of_keep(self, item: Kept, engine: Engine) -> None:
        self._events.append(OnUserKeep(_jailed(item, engine), bool(item["keep"])))

    def _of_quota(self, item: Kept, engine: Engine) -> None:
        self._events.append(OnUserQuota(_jailed(item, engine), item["size"]))

    def _of_comment(self, item: Kept, engine: Engine) -> None:
        self._also.append(_comment_back(item, engine))

    def _of_key_file(self, item: Kept, engine: Engine) -> None:
        self._also.append(_key_file_back(item, engine))

    def _of_key_file_back(self, item: Kept, engine: Engine) -> None:
        self._events.append(_key_file_away(item, engine))

    def _makes_room(self, bind: Bind) -> bool:
        """Return whether the plan unmounts what was mounted in place of a mount."""
        ends = [event for event in self._own if isinstance(event, OnUnmount)]
        return bind.target in [event.bind.target for event in ends]

    def _of_closing(self, item: Kept, engine: Engine) -> None:
        """Disable an account again, or enable it."""
        account, before = _jailed(item, engine), item["closed"]
        disabled = is_disabled(account, engine.host)
        if disabled == (item["event"] == OnUserEnable.hook):
            raise SftpJailError(f"{account.name} is {'' if disabled else 'not '}disabled by now")
        if before and before["by"] == DISABLE:
            self._events.append(OnUserDisable(account, before["why"], before["until"]))
        else:
            _refuse_unjailed(account, engine)
            self._events.append(OnUserEnable(account))
            self.opened.append(f"{account.name} can log in to its jail again")

    def _of_addresses(self, item: Kept, engine: Engine) -> None:
        """Restore the addresses from which an account may log in."""
        account = _jailed(item, engine)
        before = tuple(item.get("addresses", ()))
        now = listed(engine.host).get(account.name, ())
        self._events.append(OnUserLimit(account, before))
        if not before or (now and not set(before) <= set(now)):
            where = " ".join(before) or "any address"
            self.opened.append(f"{account.name} can log in from {where}")


_CLOSING = (OnUserDisable.hook, OnUserEnable.hook)
# By the event of a change. What is not among them stays; see _WHY_NOT.
_UNDO_OF: dict[str, Callable[[Inverse, Kept, Engine], None]] = {
    OnMount.hook: Inverse._of_mount,
    OnUnmount.hook: Inverse._of_mount,
    OnKeyAdd.hook: Inverse._of_key,
    OnKeyRemove.hook: Inverse._of_key,
    **dict.fromkeys(_CLOSING, Inverse._of_closing),
    OnUserExpire.hook: Inverse._of_expiry,
    OnUserConnections.hook: Inverse._of_connections,
    OnUserKeep.hook: Inverse._of_keep,
    OnUserQuota.hook: Inverse._of_quota,
    OnUserLimit.hook: Inverse._of_addresses,
    "comment": Inverse._of_comment,
    OnKeyMigrate.hook: Inverse._of_key_file,
    "key file back": Inverse._of_key_file_back,
}


def _has_moved(items: list[Kept], engine: Engine) -> bool:
    """Return whether mounts were removed because the jail has moved or no longer needs them.

    A mount inside the present jail was unmounted by an administrator.
    """
    removed = [item for item in items if item["event"] == OnUnmount.hook]
    if not removed:
        return False
    jail = find(removed[0]["account"], engine.config, engine.host).jail
    binds = [_bind(item) for item in removed]
    return any(bind.role != "mount" or not inside(bind.target, jail) for bind in binds)


_WHY_NOT = {
    OnUserCreate.hook: "the jail of {} was only repaired, and apply would repair it again",
    OnUserRemove.hook: "of {} nothing but what was left of a jail was taken away",
    "password": "{} keeps its password, since the history has no other",
    "on_user_close": "{} stays shut out until its jail can be made",
    "on_user_confine": "what ended outside of the jail of {} stays ended",
    "on_user_rename": "what is of {} has the name and uid that passwd(5) has",
}


def _refuse_unjailed(account: Account, engine: Engine) -> None:
    """Refuse to let in whom sshd would not jail. Whatever else its jail lacks ends the session.

    Raises:
        NotJailed: with the line of sshd_config(5) that wins.
        JailUnknown: sshd does not say whether it would.
    """
    try:
        engine.plan(create_events(account, engine.host, engine.manager))
    except (NotJailed, JailUnknown):
        raise
    except SftpJailError:
        pass


def _comment_back(item: Kept, engine: Engine) -> Step:
    """Return the step that gives an account its former comment.

    Raises:
        SftpJailError: it has got another one since, or is another account.
    """
    name = _same(item["account"], [item], engine).name
    if engine.host.comment(name) != item["after"]:
        raise SftpJailError(f"the comment of {name} was changed since")
    return Step(SetComment(name, comment=item["before"]), "accounts", name)


def _same(name: str, items: list[Kept], engine: Engine) -> Account:
    """Return the account that the transaction was about.

    Raises:
        SftpJailError: it was deleted, or another account has its name now.
    """
    uid = next((item["uid"] for item in items if item.get("uid", -1) >= 0), -1)
    if engine.host.account(name) is None:
        raise SftpJailError(f"the account {name} is gone by now")
    busy = passing(name, engine.host)
    if busy:
        raise SftpJailError(f"{name} is left alone: {busy}", advice="try again when that has ended")
    account = find(name, engine.config, engine.host)
    if uid >= 0 and account.uid != uid:
        raise SftpJailError(f"{name} has the uid {account.uid} now, and had {uid}")
    return account


def _jailed(item: Kept, engine: Engine) -> Account:
    """Return the account of a mount or a key, which must still be jailed if it was.

    Raises:
        SftpJailError: it was deleted, another account has its name, or it is no longer jailed.
    """
    account = _same(item["account"], [item], engine)
    if item["profile"] and account.profile is None:
        raise not_jailed(account, engine.host, f"{account.name} is not jailed any more")
    return account


def by_account(items: Iterable[Kept]) -> dict[str, list[Kept]]:
    """Return the items of each account, in the order of their first items."""
    found: dict[str, list[Kept]] = {}
    for item in items:
        if "account" in item:
            found.setdefault(item["account"], []).append(item)
    return found


# -- later transactions, and changes by others ---------------------------------------------------


def _refuse_later(entry: Entry, entries: Sequence[Entry]) -> None:
    """Refuse if a later transaction, which is not undone, builds on this one."""
    undone = undone_by(entries)
    places = {_place(left) for left in _lefts(entry)}
    accounts = by_account(entry["undo"]) | {"": [i for i in entry["undo"] if "account" not in i]}
    for later in entries:
        if later["id"] <= entry["id"] or later["id"] in undone or "reverts" in later:
            continue
        builds = any(
            _builds_on(one, kept)
            for one in later["undo"]
            for kept in accounts.get(one.get("account", ""), ())
        )
        if builds or places & {_place(left) for left in _lefts(later)}:
            words = f"transaction {later['id']} came later and builds on {entry['id']}"
            raise refusal(words, entry["undo"])


def _lefts(entry: Entry) -> list[Kept]:
    """Return the states in which a transaction left things, without the host's own files.

    Any setup or apply adapts these files to the configuration. They count only if the transaction
    changed the host's setup. The configuration that an import has written always counts.
    """
    host = {OnTeardown.hook, OnDetach.hook}
    of_host = any(i["event"] in host or i.get("first") for i in entry["undo"])
    configuration = (imported(entry["undo"]) or {}).get("path")
    return [
        left
        for left in entry.get("left", ())
        if of_host or not left["host"] or left.get("path", "") == configuration
    ]


def _place(left: Kept) -> tuple[str, str]:
    """Return the place of such a state: the lines of a tag in a file, a file, or an account."""
    return left.get("path", f"account {left.get('account')}"), left.get("tag", "")


def _builds_on(later: Kept, kept: Kept) -> bool:
    """Return whether a later change builds on another one of the same account or the host."""
    if "bind" in later and "bind" in kept:
        return inside(later["bind"]["target"], kept["bind"]["target"])
    if "key" in later and "key" in kept:
        return bool(later["key"] == kept["key"])
    if later["event"] == OnUserRemove.hook:
        return True
    if "account" not in kept:
        return later["event"] in (OnSetup.hook, OnTeardown.hook, OnDetach.hook)
    whole = kept.get("new") or kept["event"] in ("added", "deleted", OnUserRemove.hook)
    return bool(whole) and ("bind" in later or "key" in later or later["event"] in _WHOLE)


_WHOLE = ("added", "deleted", OnKeyMigrate.hook)


def refusal(words: str, items: Sequence[Kept]) -> SftpJailError:
    """Return the error that a transaction is not undone, with what has the intended effect instead.

    A command that takes something away is a choice.
    """
    events = {item["event"] for item in items}
    if imported(items):
        return SftpJailError(words, look_at("sftpjail history"))
    if OnSetup.hook in events:
        label = "to remove from this host what sftpjail made"
        return SftpJailError(words, choices=((label, "sftpjail teardown"),))
    if events & {OnTeardown.hook, OnDetach.hook}:
        return SftpJailError(words, "sftpjail setup")
    choices = [
        choice
        for name, about in by_account(items).items()
        for choice in _instead_of(name, {item["event"] for item in about})
    ]
    if not choices or len(choices) > _MOST:
        return SftpJailError(words, look_at("sftpjail history"))
    return SftpJailError(words, choices=choices)


_MOST = 8  # choices that one error names


def _instead_of(name: str, events: Collection[str]) -> list[tuple[str, str]]:
    """Return the choice that has the effect for one account, with its label, if there is any."""
    if "added" in events or OnUserCreate.hook in events:
        return [_removal(name, "added" in events)]
    if "deleted" in events:
        return [(f"to make the account {name} anew", f"sftpjail add {quote(name)}")]
    if OnUserRemove.hook in events:
        return [(f"to jail {name} again", f"sftpjail adopt {quote(name)}")]
    return []


def _removal(name: str, deleted: bool) -> tuple[str, str]:
    """Return the choice to remove a jail, or an account with it."""
    if deleted:
        label = f"to delete the account {name}"
        return label, f"sftpjail remove --delete-account {quote(name)}"
    return f"to make {name} an ordinary account", f"sftpjail remove {quote(name)}"


def _refuse_more(
    account: Account, items: list[Kept], removal: tuple[str, str], engine: Engine
) -> None:
    """Refuse to remove a jail that has keys or mounts from other transactions."""
    host, name = engine.host, account.name
    lines = {item["key"] for item in items if item["event"] == OnKeyAdd.hook}
    targets = {item["bind"]["target"] for item in items if item["event"] == OnMount.hook}
    ours = keyfile(name) in host.origin(name).made
    if ours and any(key.line not in lines for key in present(account, host).values()):
        raise SftpJailError(f"{name} has keys by now that came otherwise", choices=(removal,))
    binds = [bind for bind in host.binds(name) if bind.role == "mount"]
    if any(bind.target not in targets for bind in binds):
        raise SftpJailError(f"{name} has mounts by now that came otherwise", choices=(removal,))


# -- accounts, mounts and keys -------------------------------------------------------------------


def _restored(item: Kept, engine: Engine) -> list[Step]:
    """Return the steps that restore a deleted account.

    Raises:
        SftpJailError: its name, uid or gid is in use now.
    """
    name, lines = item["account"], item["lines"]
    account = _foreseen(item)
    owner = engine.host.people.name_of(account.uid)
    why = in_the_way(name, lines) or (
        f"its uid {account.uid} belongs to {owner} now" if owner is not None else ""
    )
    if why:
        raise SftpJailError(f"the account {name} cannot come back: {why}", f"sftpjail add {name}")
    steps = [Step(RestoreAccount(name, lines), "accounts", name)]
    for path, (uid, gid, mode) in item["owners"].items():
        give = SetOwner(path, uid, gid, mode, remember=False)
        found = engine.host.lstat(path)
        # Only paths that are still as `remove --delete-account` has left them.
        if found and (found.st_uid, found.st_gid) == (0, 0) and give.pending(engine.host, name):
            steps.append(Step(give, "chroot", name))
    return steps


def _foreseen(item: Kept) -> Account:
    """Return a deleted account as it will be restored."""
    (line,) = (own["line"] for own in item["lines"]["passwd"]["own"])
    name, _, uid, gid, _, home, shell = line.split(":")
    return Account(name, number(uid) or 0, number(gid) or 0, home, shell)


def _bind(item: Kept) -> Bind:
    return Bind(**item["bind"] | {"options": tuple(item["bind"]["options"])})


def _of_bind(item: Kept, was: Bind, account: Account, engine: Engine) -> Event:
    there = [bind for bind in engine.host.binds(account.name) if inside(bind.target, was.target)]
    now = next((bind for bind in there if bind.target == was.target), None)
    if item["event"] == OnUnmount.hook:
        if now is not None:
            raise SftpJailError(f"{now.source} is mounted at {was.target} now")
        return OnMount(account, was)
    if now is None or any(
        getattr(now, name) != getattr(was, name)
        for name in ("source", "read_only", "owner", "group")
    ):
        raise SftpJailError(f"the mount at {was.target} was changed or removed since")
    if len(there) > 1:
        raise SftpJailError(f"there is a mount below {was.target}")
    return OnUnmount(account, now)


def _opposite_of_key(item: Kept, account: Account, engine: Engine) -> Event:
    there = {key.line: key for key in present(account, engine.host).values()}
    key = there.get(item["key"])
    if item["event"] == OnKeyAdd.hook:
        if key is None:
            raise SftpJailError(f"the key of {account.name} was changed or removed since")
        return OnKeyRemove(account, key)
    if key is not None:
        raise SftpJailError(f"{account.name} has this key again already")
    keys, problems = read(item["key"], engine.host, "the history")
    if problems or len(keys) != 1:
        raise SftpJailError(f"the key of {account.name} is none that would be added now")
    return OnKeyAdd(account, keys[0])


def _key_file_back(item: Kept, engine: Engine) -> Step:
    """Return the step that renames a retired key file in a home back."""
    path, name = item["path"], item["account"]
    now = f"{path}.sftpjail"
    if engine.host.origin(name).renamed.get(now) != path or engine.host.lstat(now) is None:
        raise SftpJailError(f"{now} is gone or was changed since")
    if engine.host.lstat(path) is not None:
        raise SftpJailError(f"there is another {path} by now")
    return Step(Rename(now, path), "keys", name)


def _key_file_away(item: Kept, engine: Engine) -> Event:
    """Return the event that retires a key file in a home again."""
    path, account = item["path"], _same(item["account"], [item], engine)
    if account.profile is None:
        raise not_jailed(account, engine.host, f"{account.name} is not jailed any more")
    if engine.host.lstat(path) is None:
        raise SftpJailError(f"{path} is gone or was changed since")
    if engine.host.lstat(f"{path}.sftpjail") is not None:
        raise SftpJailError(f"there is another {path}.sftpjail by now")
    return OnKeyMigrate(account, path)

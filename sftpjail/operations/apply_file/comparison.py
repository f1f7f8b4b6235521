"""Bring a host to the state that a file of accounts describes, as one transaction.

First come new accounts, passwords, comments, and mounts that must be removed to make room for
others; then jails, expiry dates, keys and mounts; last the accounts that are shut out or let in. If
no account is new, and no step is in the way of a later one, there is only one plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from shlex import quote
from typing import Any

from ...accounts_file.entry import Entry, MountWanted, values_of, without_hashes
from ...accounts_file.reading import AccountsFile
from ...actions import AddAccount, AddAccounts, NewAccount, SetComment, SetPasswords
from ...config import keyfile
from ...engine.engine import Engine, Stage
from ...engine.plan import (
    Event,
    OnKeyAdd,
    OnKeyRemove,
    OnMount,
    OnUnmount,
    OnUserDisable,
    OnUserEnable,
    OnUserExpire,
    OnUserQuota,
    OnUserRetention,
    Plan,
    Step,
    names_of,
)
from ...errors import SftpJailError, UsageError
from ...escapes import shown
from ...formats.retention import setting
from ...host import Host
from ...jails import quota, retention
from ...jails.closing import EXPIRED, days_of, is_disabled, is_shut, today, why_spared
from ...jails.directory import refuse_silent
from ...jails.guards import guard
from ...jails.homes import refusal
from ...jails.membership import find, jailed, not_jailed
from ...jails.owners import resolve
from ...jails.sharing import resolve as group_id
from ...model import SETID, Account, Bind, Key, Profile, components, inside, size
from ...openssh import public_keys
from ..apply import passing
from ..events import create_events
from ..export import KeyLine, Known, hash_of, key_lines, known
from ..mounts import make_bind, target_in
from ..new_accounts import (
    Numbers,
    aging,
    bulk_program,
    home_of,
    makes_subvolume,
    profile_for,
    shell_of,
    takes,
    useradd,
)
from ..renames import make_way

MISSING = "the file of accounts does not list it"
_GUARD = "a file of accounts never overrides this; see sftpjail adopt --force"


@dataclass(frozen=True)
class Change:
    """The change of one account.

    `kind` is new, changed, unchanged or disabled (as FILE does not list it). `lines` say in words
    what changes. `password` is what is shown of one: "(set)", "(changed)" or "none"; "" where that
    is not managed.
    """

    name: str
    kind: str
    before: Entry | None
    after: Entry
    lines: tuple[str, ...] = ()
    password: tuple[str, str] = ("", "")

    def describe(self) -> dict[str, Any]:
        """Return the change for --json, without password hashes."""
        before = None if self.before is None else shown_values(self.before, self.password[0])
        after = shown_values(self.after, self.password[1])
        return {"user": self.name, "change": self.kind, "before": before, "after": after}


def shown_values(entry: Entry, password: str) -> dict[str, Any]:
    """Return an account for --json.

    Args:
        entry: the account.
        password: what is shown of its password, "" for nothing.
    """
    values = values_of(replace(entry, password=None))
    del values["name"]
    return values | ({"password": password} if password else {})


@dataclass
class _New:
    """An account that is to be made."""

    made: NewAccount
    profile: Profile
    entry: Entry
    keys: list[Key]
    stale: list[KeyLine] = field(default_factory=list)
    subvolume: bool = False  # its home must be one of btrfs

    @property
    def expected(self) -> Account:
        """The account, in the form that the plan of its jail needs before it exists."""
        return Account(self.made.name, -1, -1, self.made.home, self.made.shell, self.profile)

    def levels(self, host: Host) -> list[list[Bind]]:
        """Return the mounts by how many others of the jail's lie above; see `_by_level`."""
        mounts = self.entry.mounts or ()
        return _by_level([_bind(self.expected, mount, {}, host) for mount in mounts])

    @property
    def depth(self) -> int:
        """How many of the mounts lie in each other."""
        targets = {target_in(self.expected, mount.target) for mount in self.entry.mounts or ()}
        parts = (components(target) for target in targets)
        return max((sum(part in targets for part in found) for found in parts), default=0)


def faults_of(file: AccountsFile) -> dict[str, SftpJailError]:
    """Return the first error in the file for each account."""
    found: dict[str, SftpJailError] = {}
    for fault in file.faults:
        found.setdefault(fault.name or f"line {fault.line}", UsageError(fault.words(file.path)))
    return found


def any_shut(file: AccountsFile, engine: Engine) -> bool:
    """Return whether a file could let in an account that is shut out.

    It could if it lists such an account, or has a password for one whose password is locked.
    """
    host, jails = engine.host, jailed(engine.config, engine.host)
    listed = [entry for entry in file.entries if entry.name in jails]
    return any(
        is_shut(jails[entry.name], host)
        or (entry.password and _is_locked(host.shadow(entry.name).password))
        for entry in listed
    )


class FromFile:
    """The changes that a file of accounts requires on a host.

    Args:
        file: the file.
        engine: with the facts.
        missing: shut out the jailed accounts that FILE does not list.
        failed: the errors of accounts that are already known to fail.

    `changes` has the accounts in FILE and those that are shut out. `errors` has by name why an
    account cannot be changed as FILE requires. `opened` has sentences about accounts that are let
    in again, `shut` the accounts that `missing` shuts out, and `notices` what else to report.
    """

    def __init__(
        self,
        file: AccountsFile,
        engine: Engine,
        missing: bool = False,
        failed: Mapping[str, SftpJailError] | None = None,
    ) -> None:
        self._file, self._engine, self._host = file, engine, engine.host
        self.changes: list[Change] = []
        self.errors: dict[str, SftpJailError] = {}
        self.opened: list[str] = []
        self.shut: list[str] = []
        self.notices: list[str] = []
        self._steps: list[Step] = []
        self._room: list[OnUnmount] = []  # what is unmounted first
        self._events: list[Event] = []
        self._inner: dict[int, list[OnMount]] = {}  # by how many that come lie above
        self._storage: list[Event] = []
        self._access: list[Event] = []
        self._passwords: list[tuple[str, str]] = []
        self._new: dict[str, _New] = {}
        self._program = bulk_program(self._host)
        self.errors |= faults_of(file) | dict(failed or {})
        self._jails = jailed(engine.config, self._host)
        self._read()
        if missing:
            self._shut_out_missing()
        if self._passwords:
            self._steps.append(_step(SetPasswords(tuple(self._passwords))))

    def _fail(self, name: str, error: SftpJailError) -> None:
        error.owner = name
        self.errors.setdefault(name, error)

    def placed(self, name: str, error: SftpJailError) -> SftpJailError:
        """Add the line of FILE and the account's name to an error, and return it."""
        line = next((entry.line for entry in self._file.entries if entry.name == name), 0)
        if not line or error.message.startswith(f"{self._file.path}, line "):
            return error
        words = f"{self._file.path}, line {line}: {name}: {error.message}"
        error.message = without_hashes(words)
        return error

    # -- reading ----------------------------------------------------------------------------------

    def _read(self) -> None:
        """Compare each account of FILE with the host."""
        entries = [entry for entry in self._file.entries if entry.name not in self.errors]
        listed = (self._jails[entry.name] for entry in entries if entry.name in self._jails)
        damaged = dict[str, SftpJailError]()
        there = known(listed, self._host, damaged)
        for name, error in damaged.items():
            self._fail(name, self.placed(name, error))
        entries = [entry for entry in entries if entry.name not in damaged]
        names = [entry.name for entry in entries]
        before = {one.account.name: one for one in there}
        new = [name for name in names if name not in before]
        stale = dict(zip(new, key_lines(new, self._host), strict=True))
        texts = ["\n".join(entry.keys or ()) for entry in entries]
        keys = public_keys.read_many(texts, self._host)
        numbers = Numbers(self._host, {entry.uid for entry in entries if entry.uid is not None})
        for entry, (found, wrong) in zip(entries, keys, strict=True):
            try:
                if wrong:
                    raise SftpJailError(f"keys: {wrong[0]}")
                wanted = _once(found)
                if entry.name in before:
                    self._compare(entry, wanted, before[entry.name])
                else:
                    self._make(entry, wanted, [*stale[entry.name][0]], numbers)
            except SftpJailError as error:
                self._fail(entry.name, self.placed(entry.name, error))
        self._steps += self._makers()

    def _make(self, entry: Entry, keys: list[Key], stale: list[KeyLine], numbers: Numbers) -> None:
        """Plan an account that does not exist yet."""
        host, config, name = self._host, self._engine.config, entry.name
        refuse_silent(name, host)
        if host.account(name) is not None:
            words = "it is an account already, and not jailed"
            raise not_jailed(find(name, config, host), host, words)
        profile = profile_for(name, entry.profile, config)
        self._judge_group(name, profile)
        if host.group(name) is not None:
            raise SftpJailError(f"there is a group {name} already", advice="see groupdel(8)")
        if make_way(name, self._engine):
            words = f"something is left of an earlier account {name}"
            raise SftpJailError(words, f"sftpjail remove {quote(name)}")
        uid = entry.uid if entry.uid is not None else numbers.take()
        taken = numbers.taken_by(uid)
        if taken:
            raise SftpJailError(f"uid {uid} is not free: {taken}")
        home = home_of(name, profile, host)
        account = Account(name, uid, -1, home, profile=profile)
        guard(account, host, _GUARD)
        self._judge_home(account, profile)
        made = NewAccount(
            *(name, uid, numbers.gid_for(uid), home, shell_of(profile, host), entry.comment or ""),
            groups=(profile.group,) if profile.group else (),
            expire=_first_expiry(entry),
            password=entry.password or "*",
            skeleton=profile.home != "inside",
        )
        new = _New(made, profile, entry, keys, stale)
        binds = [_bind(account, mount, {}, host) for mount in entry.mounts or ()]
        self._judge_targets(new.expected, binds)
        new.subvolume = self._plan_quota(entry, account, profile)
        self._write_ages(entry)
        self._new[name] = new
        after = self._with_keys(replace(entry, uid=uid, profile=profile.name), stale)
        password = "" if entry.password is None else _secret(entry.password)
        line = f"+ {name}: {', '.join(_parts(after, password))}"
        self.changes.append(Change(name, "new", None, after, (line,), ("", password)))

    def _plan_quota(self, entry: Entry, account: Account, profile: Profile) -> bool:
        """Write down the quota of a new account, which its jail is then made with.

        Returns:
            whether its home must be a subvolume, because a quota limits it.

        Raises:
            SftpJailError: its file system limits no directory.
        """
        host = self._host
        own = None if entry.quota is None else bytes_of(entry.quota)
        if own is not None:
            quota.enforced(account, own, host)
            for action in quota.store(account.name, own, False, host):
                self._steps.append(Step(action, "storage", account.name))
        limit = profile.quota if own is None else own
        return makes_subvolume(account.name, profile, limit or 0, host)

    def _write_ages(self, entry: Entry) -> None:
        """Write down what is to be deleted of a new account, though nothing is yet.

        Raises:
            SftpJailError: nothing deletes old files on this host.
        """
        if entry.retention:
            retention.refuse_host(self._host)
            settings = tuple(setting(*age) for age in entry.retention)
            for action in retention.store(entry.name, settings, self._host):
                self._steps.append(Step(action, "storage", entry.name))

    def _with_keys(self, after: Entry, stale: Sequence[KeyLine]) -> Entry:
        """Return a new account with the keys already in its key file, if FILE manages no keys."""
        name = after.name
        if after.keys is not None or not stale:
            return after
        self.notices.append(
            f"{keyfile(name)} is there already, and what it has lets {name} in: "
            f"a file of accounts with a field keys says which keys {name} has"
        )
        return replace(after, keys=tuple(one.key.line for one in stale))

    def _judge_group(self, name: str, profile: Profile) -> None:
        """Refuse a group that the account cannot join, or that would not determine its jail."""
        host = self._host
        if profile.group and host.group(profile.group) is None:
            raise SftpJailError(f"there is no group {profile.group}", "sftpjail setup")
        if profile.group and profile.group not in host.people.groups:
            raise SftpJailError(
                f"the group {profile.group} comes from a directory service",
                advice="make the account there: no local command adds one to that group",
            )
        if name in profile.match_user:
            return
        for other in self._engine.config.profiles:
            if other is profile:
                return
            group = host.people.groups.get(other.group)
            if group is not None and name in group.members:
                raise SftpJailError(
                    f"the group {other.group} lists {name}, and so profile {other.name} jails it",
                    f"gpasswd --delete {quote(name)} {quote(other.group)}",
                )

    def _judge_targets(self, account: Account, binds: Sequence[Bind]) -> None:
        """Refuse a mount at a place where the jail of a new account shows something itself."""
        if not binds:
            return
        for own in self._engine.manager.binds(account, self._host):
            for bind in binds:
                below_log = own.role == "log" and inside(bind.target, own.target)
                if inside(own.target, bind.target) or below_log:
                    target, place = (
                        shown(path.removeprefix(account.jail)) for path in (bind.target, own.target)
                    )
                    what = "its home" if own.role == "home" else "something of its own"
                    words = f"nothing can be mounted at {target}: the jail has {what} at {place}"
                    raise SftpJailError(f"mounts: {words}", advice="give another target")

    def _judge_home(self, account: Account, profile: Profile) -> None:
        """Refuse a home that belongs to somebody else, or that no jail may be in or show."""
        found = self._host.lstat(account.home)
        if profile.home != "inside" and found is not None and found.st_uid != account.uid:
            raise SftpJailError(
                f"{account.home} is there already, and belongs to uid {found.st_uid}",
                advice=f"move it away, or give it to uid {account.uid}",
            )
        wrong = refusal(account, self._host, self._engine.config)
        if wrong:
            raise SftpJailError(wrong)

    def _makers(self) -> Iterator[Step]:
        """Yield the steps that make the new accounts: one for all, or else one for each."""
        every = list(self._new.values())
        fit = [new for new in every if self._program and takes(new.made) and not new.subvolume]
        many = [new.made for new in fit]
        if many:
            mode = int(self._host.people.home_mode, 8)
            yield _step(AddAccounts(self._program, tuple(many), aging(self._host), mode))
        single = [new for new in every if new.made not in many] if len(many) < len(every) else []
        for new in single:
            yield _step(useradd(new.made, new.profile, new.subvolume), new.made.name)
            if new.made.password != "*":
                self._passwords.append((new.made.name, new.made.password))
        if single:
            count = f"{len(single)} account{'s' * (len(single) != 1)}"
            self.notices.append(f"useradd made {count}, one at a time: {self._why(single)}")

    def _why(self, single: Sequence[_New]) -> str:
        """Return why accounts are made one at a time."""
        if not self._program:
            return "there is no systemd-sysusers"
        odd = ["takes no such names or comments"] * any(not takes(new.made) for new in single)
        odd += ["makes no subvolumes of btrfs"] * any(new.subvolume for new in single)
        return f"{self._program} {', and '.join(odd)}"

    def _compare(self, entry: Entry, keys: list[Key], now: Known) -> None:
        """Plan the changes of an existing account."""
        account, host, before = now.account, self._host, now.entry
        busy = passing(entry.name, host)
        if busy:
            raise SftpJailError(busy)
        guard(account, host, _GUARD)
        self._refuse_other(entry, account)
        after, password = self._managed(entry, keys, now)
        lines = [*_differences(before, after)]
        events, more = self._of_keys(entry, keys, now)
        lines += more
        mounts, more = self._of_mounts(entry, account)
        lines += more
        if password[1] != password[0]:
            lines.append(f"password {password[1]}")
        self._events += [*mounts, *events]
        if entry.comment is not None and entry.comment != before.comment:
            step = SetComment(entry.name, comment=entry.comment)
            self._steps.append(_step(step, entry.name))
        self._of_storage(entry, before, account, bool(more))
        self._of_access(before, after, account)
        kind = "changed" if lines else "unchanged"
        said = tuple(f"~ {entry.name}: {line}" for line in lines)
        self.changes.append(Change(entry.name, kind, before, after, said, password))

    def _refuse_other(self, entry: Entry, account: Account) -> None:
        name, profile = entry.name, account.profile.name if account.profile else ""
        if entry.uid is not None and entry.uid != account.uid:
            raise SftpJailError(
                f"uid: it has {account.uid}, and a file of accounts changes no uid",
                advice=f"correct the file; or see usermod -u, and sftpjail adopt for {name} then",
            )
        if entry.profile and entry.profile != profile:
            self._engine.config.profile(entry.profile)
            raise SftpJailError(f"profile: it is jailed by profile {profile} already")
        foreign = entry.comment is not None or entry.password is not None
        if foreign and not account.local:
            raise SftpJailError("comment and password: it comes from a directory service")

    def _managed(self, entry: Entry, keys: list[Key], now: Known) -> tuple[Entry, tuple[str, str]]:
        """Return the account as FILE requires it, and how its old and new password are shown.

        Fields that FILE does not manage stay as they are.
        """
        given = {key: value for key, value in vars(entry).items() if value is not None}
        after = replace(now.entry, **given | {"profile": now.entry.profile, "password": None})
        if entry.disabled is None:
            after = replace(after, reason=now.entry.reason, until=now.entry.until)
        elif entry.disabled and entry.until and entry.until <= today():
            after = replace(after, disabled=False)  # its time is over
        if after.disabled and not after.reason:
            after = replace(after, reason=now.entry.reason)
        if not after.disabled:
            after = replace(after, reason="", until="")
        if entry.keys is not None:
            after = replace(after, keys=tuple(key.line for key in keys))
        if entry.password is None:
            return after, ("", "")
        field = self._host.shadow(entry.name).password
        if entry.password in (hash_of(field), field):
            return after, (_secret(entry.password), _secret(entry.password))
        self._passwords.append((entry.name, entry.password or "*"))
        if _is_locked(field) and entry.password and not _is_locked(entry.password):
            self.opened.append(f"{entry.name} can log in with a password again: it is locked")
        return after, (_secret(hash_of(field)), "(changed)" if entry.password else "none")

    def _of_keys(self, entry: Entry, keys: list[Key], now: Known) -> tuple[list[Event], list[str]]:
        if entry.keys is None:
            return [], []
        events, lines = _key_events(now.account, keys, now.keys)
        return events, lines

    def _of_mounts(self, entry: Entry, account: Account) -> tuple[list[Event], list[str]]:
        """Return the events of an account's jail and mounts, and the changes of mounts in words."""
        host = self._host
        events = create_events(account, host, self._engine.manager)
        if entry.mounts is None:
            return events, []
        there = {bind.target: bind for bind in host.binds(account.name) if bind.role == "mount"}
        wanted = {
            bind.target: bind
            for bind in (_bind(account, mount, there, host) for mount in entry.mounts)
        }
        same = {
            target
            for target, bind in wanted.items()
            if target in there and _is_same(bind, there[target])
        }
        gone = [bind for target, bind in there.items() if target not in wanted]
        other = [
            there[target]
            for target, bind in wanted.items()
            if target in there and bind.source != there[target].source
        ]
        early = _early(wanted, there, same, gone, other)
        self._room += [OnUnmount(account, bind) for bind in _deepest_first(early)]
        stays = same - {bind.target for bind in early}
        changed = there.keys() - stays
        coming = [bind for target, bind in wanted.items() if target not in stays]
        events = [
            *(OnUnmount(account, bind) for bind in _deepest_first(gone) if bind not in early),
            *(e for e in events if not (isinstance(e, OnMount) and e.bind.target in changed)),
            *self._mounted(account, coming),
        ]
        lines = [f"- mount {_mount_words(account, bind)}" for bind in (*gone, *other)]
        lines += [
            f"+ mount {_mount_words(account, wanted[target])}"
            for target in sorted(wanted.keys() - same)
        ]
        return events, lines

    def _mounted(self, account: Account, binds: Sequence[Bind]) -> list[OnMount]:
        """Return the events of mounts; what is mounted below another one of them comes later.

        Its mount point is in that one's source, which the facts say when that one is there.
        """
        levels = _by_level(binds)
        for number, level in enumerate(levels[1:], 1):
            self._inner.setdefault(number, []).extend(OnMount(account, bind) for bind in level)
        return [OnMount(account, bind) for level in levels[:1] for bind in level]

    def _of_storage(self, entry: Entry, before: Entry, account: Account, remounted: bool) -> None:
        """Plan the quota of an account, and which of its directories lose their old files.

        Args:
            entry, before: the account as FILE requires it, and as it is.
            account: the same.
            remounted: its mounts change, and with them what its directories are.

        Raises:
            SftpJailError: its file system limits no directory, or a directory must keep its files.
        """
        if entry.quota is not None and entry.quota != before.quota:
            own = bytes_of(entry.quota)
            profile = account.profile.quota if account.profile else 0
            quota.enforced(account, profile if own is None else own, self._host)
            self._storage.append(OnUserQuota(account, own))
        if entry.retention is not None and entry.retention != before.retention:
            known = dict(before.retention or ())
            for directory in () if remounted else dict(entry.retention).keys() - known:
                reason = retention.refusal(account, directory, self._host)
                if reason:
                    raise SftpJailError(f"retention: {directory}: {reason}")
            self._storage.append(OnUserRetention(account, entry.retention))

    def _of_access(self, before: Entry, after: Entry, account: Account) -> None:
        """Plan the expiry date, and whether the account is shut out or let in."""
        name, host = account.name, self._host
        if after.expires != before.expires:
            self._events.append(OnUserExpire(account, after.expires or ""))
            past = is_shut(account, host) and not before.disabled
            if past and (not after.expires or after.expires >= today()):
                self.opened.append(f"{name} is let in again")
        if after.disabled and (before.disabled, before.reason, before.until) != (
            after.disabled,
            after.reason,
            after.until,
        ):
            self._access.append(OnUserDisable(account, after.reason, after.until))
        elif before.disabled and not after.disabled:
            self._access.append(OnUserEnable(account))
            self.opened.append(f"{name} is let in again")

    def _shut_out_missing(self) -> None:
        """Plan to shut out the jailed accounts that FILE does not list."""
        listed = {entry.name for entry in self._file.entries}
        accounts = [account for name, account in self._jails.items() if name not in listed]
        damaged = dict[str, SftpJailError]()
        for now in known(accounts, self._host, damaged):
            account, reserved = now.account, why_spared(now.account, self._host)
            if reserved:
                self.notices.append(f"{account.name} is not shut out: {reserved}")
            elif not is_disabled(account, self._host):
                self._access.append(OnUserDisable(account, MISSING))
                self.shut.append(account.name)
                after = replace(now.entry, disabled=True, reason=MISSING, until="")
                line = f"~ {account.name}: disabled: {MISSING}"
                self.changes.append(Change(account.name, "disabled", now.entry, after, (line,)))
        for name, error in damaged.items():
            self._fail(name, error)

    # -- planning ---------------------------------------------------------------------------------

    @property
    def is_staged(self) -> bool:
        """Whether something must be done before the rest can be planned."""
        dated = {names_of(event) for event in self._events if isinstance(event, OnUserExpire)}
        both = dated & {names_of(event) for event in self._access}
        return bool(self._new or self._room or self._inner or self._storage or both)

    def plan(self) -> Plan:
        """Return the plan, or the first one if there are several stages."""
        events = [*self._events, *self._access]
        return self._planned(self._engine, self._room if self.is_staged else events, self._steps)

    def _planned(self, engine: Engine, events: Sequence[Event], also: Sequence[Step] = ()) -> Plan:
        """Return a plan. Raises SftpJailError if it fails for one of the accounts."""
        try:
            return engine.plan(events, also=also)
        except SftpJailError as error:
            for name, found in engine.plan(events, tolerant=True, also=also).errors.items():
                found.owner = name
                raise self.placed(name, found) from error
            raise

    def stages(self) -> tuple[Stage, ...]:
        """Return the further stages."""
        if not self.is_staged:
            return ()
        closed = any(_is_shut_out(new.entry) for new in self._new.values())
        stores = self._storage or any(new.entry.retention for new in self._new.values())
        new = (new.depth for new in self._new.values())
        depth = max((*new, *(number + 1 for number in self._inner), 1))
        inner = [partial(self._plan_inner, number) for number in range(1, depth)]
        last = [self._plan_access, *[self._plan_expiry] * closed]
        return (self._plan_jails, *inner, *[self._plan_storage] * bool(stores), *last)

    def _plan_jails(self, later: Engine) -> Plan:
        events = list(self._events)
        for account, new in self._made(later):
            guard(account, later.host, _GUARD)
            events += _jail_events(account, new, later)
        return self._planned(later, events)

    def _plan_inner(self, number: int, later: Engine) -> Plan:
        """Plan the mounts that NUMBER others which have come lie above."""
        events: list[Event] = [*self._inner.get(number, ())]
        for account, new in self._made(later):
            levels = new.levels(later.host)
            binds = levels[number] if number < len(levels) else ()
            events += [OnMount(account, bind) for bind in binds]
        return self._planned(later, events)

    def _plan_storage(self, later: Engine) -> Plan:
        """Plan quotas, and what is deleted: the directories are there by now."""
        events = list(self._storage)
        for account, new in self._made(later):
            if new.entry.retention:
                self._judge_ages(account, new.entry.retention, later.host)
                events.append(OnUserRetention(account, new.entry.retention))
        return self._planned(later, events)

    def _judge_ages(self, account: Account, ages: tuple[tuple[str, int], ...], host: Host) -> None:
        """Refuse a directory that must keep its files, unless it only is not there yet.

        Where a host moves, files come when the accounts are there.
        """
        for directory, _ in ages:
            reason, name = retention.refusal(account, directory, host), account.name
            if reason and host.lstat(retention.place(account, directory, host)) is not None:
                error = SftpJailError(f"retention: {directory}: {reason}")
                error.owner = name
                raise self.placed(name, error)
            words = (
                f"no file of {name} in {shown(directory)} is deleted until it is there and "
                "sftpjail apply is run"
            )
            if reason and words not in self.notices:
                self.notices.append(words)

    def _plan_access(self, later: Engine) -> Plan:
        events = list(self._access)
        for account, new in self._made(later):
            if _is_shut_out(new.entry):
                events.append(OnUserDisable(account, new.entry.reason, new.entry.until))
        return self._planned(later, events)

    def _plan_expiry(self, later: Engine) -> Plan:
        """Plan the expiry dates that new disabled accounts get when they are enabled."""
        made = self._made(later)
        return self._planned(
            later,
            [
                OnUserExpire(a, new.entry.expires or "")
                for a, new in made
                if _is_shut_out(new.entry)
            ],
        )

    def _made(self, later: Engine) -> list[tuple[Account, _New]]:
        """Return the new accounts, which exist by now.

        Raises:
            SftpJailError: sshd would jail one by another profile than FILE requires.
        """
        found = jailed(later.config, later.host) if self._new else {}
        for name, new in self._new.items():
            profile = found[name].profile if name in found else None
            if profile is None or profile.name != new.profile.name:
                where = f"profile {profile.name} jails it" if profile else "no profile jails it"
                raise SftpJailError(f"{name} was to be in {new.profile.name}, but {where}")
        return [(found[name], new) for name, new in self._new.items()]

    def preview(self) -> Plan:
        """Return the whole plan, as far as it can be told before new accounts are there.

        An account that cannot be planned for is left out, with its error in the plan. Of a mount
        that takes another one's place, lies above such a one or below it, only the end of what is
        there is planned.
        """
        room: dict[str, list[str]] = {}
        for leaving in self._room:
            room.setdefault(names_of(leaving), []).append(leaving.bind.target)
        events: list[Event] = [*self._room]
        events += [
            event
            for event in self._events
            if not (isinstance(event, OnMount) and _touches(event, room.get(names_of(event), ())))
        ]
        for new in self._new.values():
            events += _jail_events(new.expected, new, self._engine, expected=True)
        if not self.is_staged:
            events += self._access
        single = {step.owner: step for step in self._steps if isinstance(step.action, AddAccount)}
        others = [step for step in self._steps if step.owner not in single]
        plan = self._engine.plan(events, tolerant=True, also=others)
        # What its jail changes of such an account comes after useradd, in a plan of its own.
        plan.steps = [*(single[name] for name in single if name not in plan.errors), *plan.steps]
        for name, error in plan.errors.items():
            self._fail(name, self.placed(name, error))
        return plan


def bytes_of(quota: str) -> int | None:
    """Return the quota of an entry in bytes: 0 for none, None for what the profile says."""
    if quota in ("", "none"):
        return 0 if quota else None
    return size(quota)


def _is_shut_out(entry: Entry) -> bool:
    """Return whether an account is to be disabled, and that is not over."""
    return bool(entry.disabled) and not (entry.until and entry.until <= today())


def _first_expiry(entry: Entry) -> str:
    """Return the expiry of a new account: whoever is to be disabled is shut out at no moment."""
    if _is_shut_out(entry):
        return EXPIRED
    return days_of(entry.expires) if entry.expires else ""


def _step(action: Any, owner: str = "") -> Step:
    return Step(action, "accounts", owner)


def _once(keys: Sequence[Key]) -> list[Key]:
    """Return keys each once. Raises SftpJailError: one is there twice, with other options."""
    found: dict[str, Key] = {}
    for key in keys:
        first = found.setdefault(public_keys.blob(key), key)
        if first.line != key.line:
            raise SftpJailError(f"keys: {key.fingerprint} stands there twice, and not alike")
    return list(found.values())


def _jail_events(
    account: Account, new: _New, engine: Engine, expected: bool = False
) -> list[Event]:
    """Return the events of the jail of a new account, with its keys and mounts."""
    keys, _ = _key_events(account, new.keys, new.stale)
    return [
        *create_events(account, engine.host, engine.manager, arrived=not expected),
        *(keys if new.entry.keys is not None else []),
        *(OnMount(account, bind) for level in new.levels(engine.host)[:1] for bind in level),
    ]


def _key_events(
    account: Account, keys: Sequence[Key], there: Sequence[KeyLine]
) -> tuple[list[Event], list[str]]:
    """Return the events after which an account has exactly these keys, and in words what changes.

    A line that means the same stays as it is written.
    """
    wanted = {key.line: key for key in keys}
    kept = {one.key.line: one.raw.line for one in there if one.key.line in wanted}
    stays = set(kept.values())
    gone = {one.raw.line: one.raw for one in there if one.raw.line not in stays}
    new = [key for line, key in wanted.items() if line not in kept]
    # First those that come: there is no moment without a key.
    events: list[Event] = [OnKeyAdd(account, key) for key in new]
    events += [OnKeyRemove(account, key) for key in gone.values()]
    lines = [f"+ key {_key_words(key)}" for key in new]
    lines += [f"- key {_key_words(key)}" for key in gone.values()]
    return events, lines


def _key_words(key: Key) -> str:
    options = f" ({','.join(key.options)})" if key.options else ""
    return f"{key.fingerprint} {shown(key.comment) if key.comment else ''}".rstrip() + options


def _bind(account: Account, mount: MountWanted, known: Mapping[str, Bind], host: Host) -> Bind:
    """Return the bind that a mount of FILE is.

    One that is there may stay below a home, and on a source without nosuid.
    """
    there = known.get(target_in(account, mount.target))
    return make_bind(
        account,
        mount.source,
        mount.target,
        mount.read_only,
        under_home=there is not None,
        owner=resolve(mount.owner, host) if mount.owner else None,
        allow_setid=there is not None and SETID in there.options,
        group=group_id(mount.group, host) if mount.group else None,
    )


def _by_level(binds: Sequence[Bind]) -> list[list[Bind]]:
    """Return binds by how many of them lie above each, those with none first."""
    targets, found = {bind.target for bind in binds}, dict[int, list[Bind]]()
    for bind in binds:
        above = sum(part in targets for part in components(bind.target)[:-1])
        found.setdefault(above, []).append(bind)
    return [found[number] for number in sorted(found)]


def _early(
    wanted: Mapping[str, Bind],
    there: Mapping[str, Bind],
    same: Collection[str],
    gone: Sequence[Bind],
    other: Sequence[Bind],
) -> list[Bind]:
    """Return what is to be unmounted before anything else is mounted.

    What lies below a mount that comes, goes or becomes another one is mounted there anew: its mount
    point is in another directory then.

    Args:
        wanted, there: the mounts to be, and those of now, by target.
        same: the targets of those that are as they are to be.
        gone, other: those of now that go, and that make room for another one.
    """
    new, left = wanted.keys() - there.keys(), [bind.target for bind in gone]
    outer = {*new, *left, *(bind.target for bind in other)}
    moved = [there[target] for target in same if _is_below(target, outer)]
    below = any(_is_below(target, outer) for target in (*new, *left))
    return [*other, *moved, *(gone if other or moved or below else ())]


def _touches(event: OnMount, targets: Sequence[str]) -> bool:
    """Return whether a mount is at one of these targets, above or below it."""
    target = event.bind.target
    return any(inside(target, other) or inside(other, target) for other in targets)


def _is_below(target: str, others: Collection[str]) -> bool:
    return any(part in others for part in components(target)[:-1])


def _is_same(one: Bind, other: Bind) -> bool:
    both = one, other
    return len({(bind.source, bind.read_only, bind.owner, bind.group) for bind in both}) == 1


def _deepest_first(binds: Sequence[Bind]) -> list[Bind]:
    return sorted(binds, key=lambda bind: -bind.target.count("/"))


def _mount_words(account: Account, bind: Bind) -> str:
    only = ", read-only" if bind.read_only else ""
    owner = f", the files of {bind.owner.uid}:{bind.owner.gid} as its own" if bind.owner else ""
    if bind.group is not None:
        owner = f", for the group {bind.group} to write in"
    return f"{shown(bind.source)} at {shown(bind.target.removeprefix(account.jail))}{only}{owner}"


def _is_locked(password: str) -> bool:
    """Return whether passwd -l has locked a password of shadow(5)."""
    return password.startswith("!") and bool(hash_of(password))


def _secret(password: str) -> str:
    return "(set)" if password else "none"


def _differences(before: Entry, after: Entry) -> Iterator[str]:
    """Yield in words what changes beside keys, mounts and password."""
    if before.comment != after.comment:
        yield f"comment {shown(before.comment or '')} -> {shown(after.comment or '')}"
    if before.expires != after.expires:
        yield f"expires {before.expires or 'never'} -> {after.expires or 'never'}"
    if before.quota != after.quota:
        yield f"quota {before.quota or 'profile'} -> {after.quota or 'profile'}"
    had, has = (dict(entry.retention or ()) for entry in (before, after))
    for directory in sorted(had.keys() | has.keys()):
        ages = [f"{one[directory]}d" if directory in one else "never" for one in (had, has)]
        if ages[0] != ages[1]:
            yield f"retention of {shown(directory)} {' -> '.join(ages)}"
    if after.disabled and (before.reason, before.until) != (after.reason, after.until):
        until = f", until {after.until}" if after.until else ""
        yield f"disabled: {shown(after.reason)}{until}"
    elif before.disabled != after.disabled:
        yield "enabled" if before.disabled else "disabled"


def _parts(entry: Entry, password: str) -> Iterator[str]:
    """Yield in words what a new account has."""
    yield f"uid {entry.uid}"
    yield f"profile {entry.profile}"
    for noun, values in (("key", entry.keys or ()), ("mount", entry.mounts or ())):
        yield f"{len(values)} {noun}{'s' * (len(values) != 1)}"
    yield from [f"password {password}"] * bool(password)
    yield from [f"expires {entry.expires}"] * bool(entry.expires)
    yield from [f"quota {entry.quota}"] * bool(entry.quota)
    yield from (f"{shown(directory)} for {days}d" for directory, days in entry.retention or ())
    yield from ["disabled"] * bool(entry.disabled)

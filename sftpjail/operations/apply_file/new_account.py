"""Accounts of FILE that do not exist yet. All are checked, then created by a few programs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from shlex import quote

from ...accounts_file.entry import Entry
from ...actions import AddAccounts, NewAccount
from ...config import keyfile
from ...engine.engine import Engine
from ...engine.plan import Step
from ...errors import SftpJailError
from ...errors.escapes import counted, shown
from ...formats import fixes
from ...formats.retention import setting
from ...host import Host
from ...jails import quota, retention
from ...jails.closing import EXPIRED, days_of
from ...jails.directory import refuse_silent
from ...jails.guards import guard
from ...jails.homes import refusal
from ...jails.membership import find, not_jailed, refuse_missing
from ...model import Account, Bind, Key, Profile, inside
from ..export import KeyLine
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
from .change import Change, creation, password_word
from .draft import OVERRIDE, Draft, NewJail, to_be_disabled
from .mounts import by_level, wanted_binds


class NewAccounts:
    """The accounts to create.

    Args:
        engine: with the facts.
        reserved: the uids that FILE gives to accounts itself.
    """

    def __init__(self, engine: Engine, reserved: Collection[int]) -> None:
        self._engine, self._host, self._config = engine, engine.host, engine.config
        self._numbers = Numbers(engine.host, reserved)

    def draft(
        self, entry: Entry, keys: Sequence[Key], stale: Sequence[KeyLine]
    ) -> tuple[Change, Draft]:
        """Return what to do for one account.

        Args:
            entry: what FILE says of it.
            keys: those of FILE.
            stale: those in its key file already.

        Raises:
            SftpJailError: it cannot be made, or not jailed.
        """
        profile = self._profile(entry)
        account = self._account(entry, profile)
        guard(account, self._host, OVERRIDE)
        binds = wanted_binds(account, entry.mounts, self._host)
        self._judge_home(account, profile, binds)
        made = self._made(account, entry, profile)
        expected = replace(account, uid=-1, shell=made.shell)
        self._judge_targets(expected, binds)
        draft = Draft(steps=self._storage(account, entry))
        limit = (profile.quota if entry.quota_bytes is None else entry.quota_bytes) or 0
        subvolume = makes_subvolume(entry.name, profile, limit, self._host)
        depth = len(by_level(binds))
        draft.new.append(NewJail(made, profile, entry, keys, stale, depth, subvolume))
        after = replace(entry, uid=account.uid, profile=profile.name)
        if stale and entry.keys is None:
            after = replace(after, keys=tuple(one.key.line for one in stale))
            draft.notices.append(
                f"{keyfile(entry.name)} is there already, and what it has lets {entry.name} in: "
                f"a file of accounts with a field keys says which keys {entry.name} has"
            )
        password = ""
        if entry.password is not None:
            password = password_word(entry.password)
        return creation(after, password), draft

    def _profile(self, entry: Entry) -> Profile:
        """Return the profile. Raises SftpJailError: the name is taken, or cannot be in it."""
        host, name = self._host, entry.name
        refuse_silent(name, host)
        if host.account(name) is not None:
            words = "it is an account already, and not jailed"
            raise not_jailed(find(name, self._config, host), host, words)
        profile = profile_for(name, entry.profile, self._config)
        self._judge_group(name, profile)
        if host.group(name) is not None:
            raise SftpJailError(f"there is a group {name} already", advice="see groupdel(8)")
        if make_way(name, self._engine):
            words = f"something is left of an earlier account {name}"
            label = "to remove its keys, mounts and record"
            raise SftpJailError(words, choices=((label, f"sftpjail remove {quote(name)}"),))
        return profile

    def _judge_group(self, name: str, profile: Profile) -> None:
        """Refuse a group that the account cannot join, or that would not determine its jail."""
        host = self._host
        refuse_missing(profile, host)
        if profile.group and profile.group not in host.people.groups:
            raise SftpJailError(
                f"the group {profile.group} comes from a directory service",
                advice="make the account there: no local command adds one to that group",
            )
        if name in profile.match_user:
            return
        for other in self._config.profiles:
            if other is profile:
                return
            group = host.people.groups.get(other.group)
            if group is not None and name in group.members:
                raise SftpJailError(
                    f"the group {other.group} lists {name}, and so profile {other.name} jails it",
                    choices=(
                        (
                            f"to take {name} out of {other.group}",
                            f"gpasswd --delete {quote(name)} {quote(other.group)}",
                        ),
                    ),
                )

    def _account(self, entry: Entry, profile: Profile) -> Account:
        """Return the account with the uid of FILE, or else a free one."""
        if entry.uid is None:
            uid = self._numbers.take()
        else:
            uid = entry.uid
        taken = self._numbers.taken_by(uid)
        if taken:
            raise SftpJailError(f"uid {uid} is not free: {taken}")
        home = home_of(entry.name, profile, self._host)
        return Account(entry.name, uid, -1, home, profile=profile)

    def _judge_home(self, account: Account, profile: Profile, binds: Sequence[Bind]) -> None:
        """Refuse a home that belongs to somebody else, or that no jail may be in or show."""
        found = self._host.lstat(account.home)
        owner = next((bind.owner for bind in binds if bind.role == "home"), None)
        uid = owner.uid if owner else account.uid
        if owner and found is None:
            make = f"install -d -m 750 -o {owner.uid} -g {owner.gid} {{}}"
            raise SftpJailError(
                f"mounts: the home {account.home} is to have the files of another owner, and is "
                "not there",
                fixes.on(account.home, self._host, make),
            )
        if profile.home != "inside" and found is not None and found.st_uid != uid:
            raise SftpJailError(
                f"{account.home} is there already, and belongs to uid {found.st_uid}",
                advice=f"move it away, or give it to uid {uid}",
            )
        wrong = refusal(account, self._host, self._config)
        if wrong:
            raise SftpJailError(wrong)

    def _made(self, account: Account, entry: Entry, profile: Profile) -> NewAccount:
        expire = ""
        if entry.expires:
            expire = days_of(entry.expires)
        return NewAccount(
            account.name,
            account.uid,
            self._numbers.gid_for(account.uid),
            account.home,
            shell_of(profile, self._host),
            entry.comment or "",
            groups=(profile.group,) if profile.group else (),
            # An account that is to be disabled is shut out from the beginning.
            expire=EXPIRED if to_be_disabled(entry) else expire,
            password=entry.password or "*",
            skeleton=profile.home != "inside",
        )

    def _judge_targets(self, account: Account, binds: Sequence[Bind]) -> None:
        """Refuse a mount where the jail of a new account already has a mount of its own."""
        for own in self._engine.manager.binds(account, self._host) if binds else ():
            for bind in binds:
                if bind.role == own.role == "home":
                    continue
                below_log = own.role == "log" and inside(bind.target, own.target)
                if not (inside(own.target, bind.target) or below_log):
                    continue
                paths = bind.target, own.target
                target, place = (shown(path.removeprefix(account.jail)) for path in paths)
                what = "something of its own"
                if own.role == "home":
                    what = "its home"
                words = f"nothing can be mounted at {target}: the jail has {what} at {place}"
                raise SftpJailError(f"mounts: {words}", advice="give another target")

    def _storage(self, account: Account, entry: Entry) -> list[Step]:
        """Return the steps that record the quota, and where old files are deleted.

        The jail is then made with that quota. Nothing is there yet that could be deleted.

        Raises:
            SftpJailError: its file system limits no directory, or nothing on this host deletes.
        """
        host, name, own = self._host, account.name, entry.quota_bytes
        actions = []
        if own is not None:
            quota.enforced(account, own, host)
            actions += quota.store(name, own, False, host)
        if entry.retention:
            retention.refuse_host(host)
            ages = tuple(setting(*age) for age in entry.retention)
            actions += retention.store(name, ages, host)
        return [Step(action, "storage", name) for action in actions]


def making(new: Sequence[NewJail], host: Host) -> Draft:
    """Return the steps that make all new accounts: one for those that fit, one each for others."""
    program, draft = bulk_program(host), Draft()
    many = [one for one in new if program and takes(one.made) and not one.subvolume]
    if many:
        mode = int(host.people.home_mode, 8)
        every = tuple(one.made for one in many)
        draft.steps.append(Step(AddAccounts(program, every, aging(host), mode), "accounts", ""))
    fit = {one.made.name for one in many}
    single = [one for one in new if one.made.name not in fit]
    for one in single:
        action = useradd(one.made, one.profile, one.subvolume)
        draft.steps.append(Step(action, "accounts", one.made.name))
        if one.made.password != "*":
            draft.passwords.append((one.made.name, one.made.password))
    if single:
        count, why = counted(len(single), "account"), _why_single(program, single)
        draft.notices.append(f"useradd made {count}, one at a time: {why}")
    return draft


def _why_single(program: str, single: Sequence[NewJail]) -> str:
    """Return why accounts are made one at a time."""
    if not program:
        return "there is no systemd-sysusers"
    odd = []
    if not all(takes(one.made) for one in single):
        odd.append("takes no such names or comments")
    if any(one.subvolume for one in single):
        odd.append("makes no subvolumes of btrfs")
    return f"{program} {', and '.join(odd)}"

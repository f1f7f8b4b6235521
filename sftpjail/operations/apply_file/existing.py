"""Change an account that is jailed already to what FILE says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...accounts_file.entry import Entry
from ...actions import SetComment
from ...engine.engine import Engine
from ...engine.plan import (
    OnUserDisable,
    OnUserEnable,
    OnUserExpire,
    OnUserQuota,
    OnUserRetention,
    Step,
)
from ...errors import SftpJailError
from ...jails import quota, retention
from ...jails.closing import is_out, is_shut, own_expiry, uses_pam
from ...jails.guards import guard
from ...model import Key
from ..apply import passing
from ..events import create_events
from ..export import Known, hash_of
from .change import Change, differences, password_word
from .draft import OVERRIDE, Draft, to_be_disabled
from .keys import key_changes
from .mounts import MountChanges


class ExistingAccount:
    """An account that is jailed already.

    Args:
        entry: what FILE says of it.
        keys: those of FILE.
        now: the account as it is.
        engine: with the facts.
    """

    def __init__(self, entry: Entry, keys: Sequence[Key], now: Known, engine: Engine) -> None:
        self._entry, self._keys, self._now, self._engine = entry, keys, now, engine
        self._account, self._before, self._host = now.account, now.entry, engine.host
        self._after = self._wanted()
        self._draft = Draft()

    def draft(self) -> tuple[Change, Draft]:
        """Return what to do for it. Raises SftpJailError if it cannot be as FILE says."""
        entry, before, after, name = self._entry, self._before, self._after, self._entry.name
        busy = passing(name, self._host)
        if busy:
            raise SftpJailError(busy)
        guard(self._account, self._host, OVERRIDE)
        self._refuse_other()
        lines, of_mounts = [*differences(before, after)], self._change_mounts()
        if entry.keys is not None:
            events, of_keys = key_changes(self._account, self._keys, self._now.keys)
            self._draft.events += events
            lines += of_keys
        lines += of_mounts
        password = self._change_password()
        if password[0] != password[1]:
            lines.append(f"password {password[1]}")
        if entry.comment is not None and entry.comment != before.comment:
            step = Step(SetComment(name, comment=entry.comment), "accounts", name)
            self._draft.steps.append(step)
        self._change_storage(remounted=bool(of_mounts))
        self._change_access()
        said = tuple(f"~ {name}: {line}" for line in lines)
        kind = "unchanged"
        if lines:
            kind = "changed"
        return Change(name, kind, before, after, said, password), self._draft

    def _refuse_other(self) -> None:
        """Refuse changes that a file of accounts cannot make."""
        entry, account = self._entry, self._account
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

    def _wanted(self) -> Entry:
        """Return the account as FILE requires it; what FILE does not manage stays as it is."""
        entry, before = self._entry, self._before
        given = {key: value for key, value in vars(entry).items() if value is not None}
        after = replace(before, **given | {"profile": before.profile, "password": None})
        if entry.keys is not None:
            after = replace(after, keys=tuple(key.line for key in self._keys))
        if entry.disabled is None:
            after = replace(after, reason=before.reason, until=before.until)
        elif not to_be_disabled(entry):
            after = replace(after, disabled=False)
        if not after.disabled:
            return replace(after, reason="", until="")
        if after.reason:
            return after
        return replace(after, reason=before.reason)

    def _change_mounts(self) -> list[str]:
        """Plan the jail with its mounts, and return the changes of mounts in words."""
        account, mounts = self._account, self._entry.mounts
        repairs = create_events(account, self._host, self._engine.manager)
        if mounts is None:
            self._draft.events += repairs
            return []
        changes = MountChanges(account, mounts, self._host)
        self._draft.add(changes.draft(repairs))
        return changes.lines

    def _change_password(self) -> tuple[str, str]:
        """Plan the password, and return what is shown of the old one and of the new one."""
        name, new = self._entry.name, self._entry.password
        if new is None:
            return "", ""
        old = self._host.shadow(name).password
        if new in (hash_of(old), old):
            return password_word(new), password_word(new)
        self._draft.passwords.append((name, new or "*"))
        if is_locked(old) and new and not is_locked(new):
            words = f"{name} can log in with a password again: it is locked"
            self._draft.opened.append(words)
        return password_word(hash_of(old)), "(changed)" if new else "none"

    def _change_storage(self, remounted: bool) -> None:
        """Plan the quota, and the directories in which old files are deleted.

        Args:
            remounted: its mounts change, and with them what its directories are.

        Raises:
            SftpJailError: its file system limits no directory, or a directory must keep its files.
        """
        entry, before, account = self._entry, self._before, self._account
        if entry.quota is not None and entry.quota != before.quota:
            own = entry.quota_bytes
            profile = 0
            if account.profile:
                profile = account.profile.quota
            quota.enforced(account, profile if own is None else own, self._host)
            self._draft.storage.append(OnUserQuota(account, own))
        if entry.retention is not None and entry.retention != before.retention:
            known = dict(before.retention or ())
            for directory in () if remounted else dict(entry.retention).keys() - known:
                reason = retention.refusal(account, directory, self._host)
                if reason:
                    raise SftpJailError(f"retention: {directory}: {reason}")
            self._draft.storage.append(OnUserRetention(account, entry.retention))

    def _change_access(self) -> None:
        """Plan the expiry date, and whether the account is shut out or let in."""
        account, before, after = self._account, self._before, self._after
        draft, let_in = self._draft, f"{account.name} is let in again"
        if after.expires != before.expires:
            draft.events.append(OnUserExpire(account, after.expires or ""))
            past = is_shut(account, self._host) or own_expiry(account, self._host)
            still = is_out(after.expires or "", lambda: uses_pam(self._host))
            if past and not before.disabled and not still:
                draft.opened.append(let_in)
        was, is_now = ((one.disabled, one.reason, one.until) for one in (before, after))
        if after.disabled and was != is_now:
            draft.access.append(OnUserDisable(account, after.reason, after.until))
        elif before.disabled and not after.disabled:
            draft.access.append(OnUserEnable(account))
            draft.opened.append(let_in)


def is_locked(password: str) -> bool:
    """Return whether passwd -l has locked a password of shadow(5)."""
    return password.startswith("!") and bool(hash_of(password))

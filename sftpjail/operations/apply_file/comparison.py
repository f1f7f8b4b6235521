"""Compare FILE with the host: the changes of each account, and what to do for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...accounts_file.reading import AccountsFile
from ...actions import SetPasswords
from ...engine.engine import Engine
from ...engine.plan import OnUserDisable, Step
from ...errors import SftpJailError
from ...jails.closing import is_disabled, is_shut, why_spared
from ...jails.membership import jailed
from ...model import Account
from ...openssh import public_keys
from ..export import key_lines, known
from .change import Change
from .draft import Draft
from .existing import ExistingAccount, is_locked
from .keys import once
from .new_account import NewAccounts, making

MISSING = "the file of accounts does not list it"


def any_shut(file: AccountsFile, engine: Engine) -> bool:
    """Return whether a file could let in an account that is shut out.

    It could if it lists such an account, or has a password for one whose password is locked.
    """
    host, jails = engine.host, jailed(engine.config, engine.host)
    listed = [entry for entry in file.entries if entry.name in jails]
    return any(
        is_shut(jails[entry.name], host)
        or (entry.password and is_locked(host.shadow(entry.name).password))
        for entry in listed
    )


class Comparison:
    """The changes that a file of accounts requires on a host.

    Args:
        file: the file.
        engine: with the facts.
        missing: shut out the jailed accounts that FILE does not list.
        failed: the errors of accounts that are already known to fail.

    `changes` has the accounts in FILE and those that are shut out, and `draft` what is to be done
    for them. `errors` has by name why an account cannot be changed as FILE requires. `shut` has the
    accounts that `missing` shuts out.
    """

    def __init__(
        self,
        file: AccountsFile,
        engine: Engine,
        missing: bool = False,
        failed: Mapping[str, SftpJailError] | None = None,
    ) -> None:
        self.file, self.engine, self._host = file, engine, engine.host
        self.changes: list[Change] = []
        self.draft = Draft()
        self.errors = file.errors() | dict(failed or {})
        self.shut: list[str] = []
        jails = jailed(engine.config, engine.host)
        self._compare_each(jails)
        self.draft.add(making(self.draft.new, engine.host))
        if missing:
            listed = {entry.name for entry in file.entries}
            self._shut_out([account for name, account in jails.items() if name not in listed])
        if self.draft.passwords:
            action = SetPasswords(tuple(self.draft.passwords))
            self.draft.steps.append(Step(action, "accounts", ""))

    @property
    def opens_or_shuts(self) -> list[str]:
        """Sentences that name who is let in again, and who is shut out because FILE lacks them."""
        return [*self.draft.opened, *(f"{name} is shut out" for name in self.shut)]

    def fail(self, name: str, error: SftpJailError) -> None:
        """Record why an account cannot be as FILE requires, unless there is a reason already."""
        error.owner = name
        self.errors.setdefault(name, error)

    def _compare_each(self, jails: Mapping[str, Account]) -> None:
        """Compare each account of FILE with the host."""
        file, host = self.file, self._host
        damaged = dict[str, SftpJailError]()
        entries = [entry for entry in file.entries if entry.name not in self.errors]
        listed = (jails[entry.name] for entry in entries if entry.name in jails)
        there = {one.account.name: one for one in known(listed, host, damaged)}
        for name, error in damaged.items():
            self.fail(name, file.placed(name, error))
        entries = [entry for entry in entries if entry.name not in damaged]
        keys = public_keys.read_many(["\n".join(entry.keys or ()) for entry in entries], host)
        new = [entry.name for entry in entries if entry.name not in there]
        stale = dict(zip(new, key_lines(new, host), strict=True))
        reserved = {entry.uid for entry in entries if entry.uid is not None}
        makers = NewAccounts(self.engine, reserved)
        for entry, (found, wrong) in zip(entries, keys, strict=True):
            try:
                if wrong:
                    raise SftpJailError(f"keys: {wrong[0]}")
                wanted = once(found)
                if entry.name in there:
                    now = there[entry.name]
                    done = ExistingAccount(entry, wanted, now, self.engine).draft()
                else:
                    done = makers.draft(entry, wanted, stale[entry.name][0])
            except SftpJailError as error:
                self.fail(entry.name, file.placed(entry.name, error))
            else:
                change, draft = done
                self.changes.append(change)
                self.draft.add(draft)

    def _shut_out(self, accounts: Sequence[Account]) -> None:
        """Shut out the jailed accounts that FILE does not list."""
        damaged = dict[str, SftpJailError]()
        for now in known(accounts, self._host, damaged):
            account, reserved = now.account, why_spared(now.account, self._host)
            if reserved:
                self.draft.notices.append(f"{account.name} is not shut out: {reserved}")
            elif not is_disabled(account, self._host):
                self.draft.access.append(OnUserDisable(account, MISSING))
                self.shut.append(account.name)
                after = replace(now.entry, disabled=True, reason=MISSING, until="")
                line = f"~ {account.name}: disabled: {MISSING}"
                self.changes.append(Change(account.name, "disabled", now.entry, after, (line,)))
        for name, error in damaged.items():
            self.fail(name, error)

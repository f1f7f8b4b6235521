"""A file that greets every jailed user, and a rule about names: what a third party's plugin may look like."""

from __future__ import annotations

from sftpjail import Account, Action, Facts, Remove, SftpJailError, WriteFile, hookimpl


@hookimpl
def on_user_create(account: Account, host: Facts) -> list[Action]:
    if account.name.startswith("bad"):
        raise SftpJailError(f"{account.name} is a bad name", f"usermod -l good {account.name}")
    return [WriteFile(f"{account.jail}/WELCOME", f"Hello {account.name}\n")]


@hookimpl
def on_user_remove(account: Account) -> list[Action]:
    return [Remove(f"{account.jail}/WELCOME")]

"""After `usermod -l`: what `apply`, `adopt` and `check --fix` do before anything else."""

from __future__ import annotations

from shlex import quote

from ..engine.engine import Engine
from ..errors import RollbackIncomplete, SftpJailError
from ..errors.escapes import look_at
from ..jails.former_names import former_name
from ..operations.renames import Renaming, next_renaming, turn, waiting
from .context import Context


def rename_all(context: Context, engine: Engine) -> tuple[Engine, dict[str, SftpJailError | None]]:
    """Move jails, keys and records of renamed accounts to their new names.

    Each account has its own transactions.

    Returns:
        an engine with fresh facts, and the accounts to leave out of further plans: with the error
        if they failed, or None in a dry run.
    """
    if context.dry_run:
        return engine, {name: _show(context, engine, name) for name in _names(engine)}
    failed: dict[str, SftpJailError | None] = {}
    while (one := next_renaming(engine, failed=failed)) is not None:
        try:
            _take(context, engine, one)
        except RollbackIncomplete:
            raise
        except SftpJailError as error:
            failed[one.account.name] = error
        engine = engine.on(engine.host.anew())
    return engine, failed


def rename(context: Context, engine: Engine, name: str) -> Engine:
    """Rename one account that an administrator has confirmed to be the same person.

    Accounts that are in the way of its new name come first.

    Raises:
        SftpJailError: this is not possible.
    """
    while (account := engine.host.account(name)) and (old := former_name(account, engine.host)):
        one = next_renaming(engine, sure=(name,)) or turn(account, old, engine)
        _take(context, engine, one)
        if context.dry_run:
            break
        engine = engine.on(engine.host.anew())
    return engine


def _take(context: Context, engine: Engine, one: Renaming) -> None:
    """Carry out one transaction.

    Raises:
        SftpJailError: it failed, or it changed nothing and so would come next for ever.
    """
    if not context.carry_out(engine, one.events, one.done):
        name = one.account.name
        words = f"what is {name}'s own has its former name, and nothing changes that"
        raise SftpJailError(words, look_at(f"sftpjail check {quote(name)}"))


def _names(engine: Engine) -> list[str]:
    return [account.name for account, _ in waiting(engine)]


def _show(context: Context, engine: Engine, name: str) -> SftpJailError | None:
    """Show the first transaction for an account; return why it is not possible, if so."""
    one = next_renaming(engine, failed=[other for other in _names(engine) if other != name])
    if one is None:
        return None
    try:
        context.carry_out(engine, one.events, one.done)
    except SftpJailError as error:
        return error
    return None

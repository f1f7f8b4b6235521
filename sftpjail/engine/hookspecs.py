"""The contract with plugins: facts in, actions out.

A hook gets the facts of one event and returns the actions that it wants, or None. It changes
nothing itself. Raising SftpJailError vetoes the event before anything has changed. A hook may
take fewer arguments than stand here. Each hook is described in sftpjail-plugins(7), and a test
compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from ..actions import Action
    from ..config import Config
    from ..host import Facts
    from ..model import Account, Bind, Fact, Key, Problem
    from .plan import Plan

hookspec = pluggy.HookspecMarker("sftpjail")


@hookspec
def on_setup(host: Facts, config: Config) -> Sequence[Action] | None:
    """Prepare the host for jails: `sftpjail setup`.

    Args:
        host: the facts.
        config: the configuration.

    Returns:
        Actions; those that are done already are dropped by the engine.
    """


@hookspec
def on_teardown(host: Facts, config: Config) -> Sequence[Action] | None:
    """Take back what on_setup did: `sftpjail teardown`. No account is jailed by then.

    Args:
        host: the facts.
        config: the configuration.

    Returns:
        Actions; Remove takes only what the host's origin record calls ours.
    """


@hookspec
def on_detach(host: Facts, config: Config) -> Sequence[Action] | None:
    """Take away what calls sftpjail, and nothing that holds a jail closed.

    That is for `teardown --keep-jails`, and for the package's removal.

    Args:
        host: the facts.
        config: the configuration.

    Returns:
        Actions; a later on_setup takes them back.
    """


@hookspec
def on_user_create(
    account: Account, new: bool, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Make or repair a jail: useradd, adduser, `add`, `adopt`, `apply`.

    It comes early, twice and late.

    Args:
        account: the account with its profile; under useradd it may have no home yet.
        new: it has no jail yet; else its jail is repaired, or completed.
        host: the facts.
        config: the configuration.

    Returns:
        Actions.
    """


@hookspec
def on_user_remove(
    account: Account, deleted: bool, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Take a jail away: `remove`, userdel, `apply --prune`.

    Its binds leave by on_unmount in the same transaction.

    Args:
        account: the account with the profile that it was jailed by; it may not exist any more.
        deleted: the account itself goes too, so it is not given back what it was.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; users' data stays.
    """


@hookspec
def on_user_rename(
    account: Account, old: str, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Give what is an account's own its new name: `apply` after `usermod -l`.

    Its jail is repaired later, by on_user_create.

    Args:
        account: the account with its profile, under its new name.
        old: the name it had. The same as now where only its uid has changed.
        host: the facts.
        config: the configuration.

    Returns:
        Actions.
    """


@hookspec
def on_user_confine(account: Account, host: Facts, config: Config) -> Sequence[Action] | None:
    """End what the host does for an account outside of its jail: `adopt --close`.

    It comes after on_user_create.

    Args:
        account: the account with its profile; `kept` names what goes on, None as its record says.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; what they put aside is given back by on_user_remove.
    """


@hookspec
def on_user_close(
    account: Account, why: str, by: str, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Shut out an account that should be jailed and cannot be: `apply`, useradd, PAM.

    It is done where sshd would let the account in.

    Args:
        account: the account with its profile.
        why: in words; it goes into the account's record.
        by: the command that does it.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; the on_user_create that makes its jail takes them back.
    """


@hookspec
def on_user_disable(
    account: Account, why: str, until: str, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Shut out an account because an administrator wants it: `disable`.

    Its jail, keys and files stay.

    Args:
        account: the account with its profile.
        why: in words, "" where that is not said; it goes into the account's record.
        until: the date (YYYY-MM-DD, UTC) from which it is let in again; "" for no end.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_enable takes them back, or on_user_create from that date on.
    """


@hookspec
def on_user_enable(account: Account, host: Facts, config: Config) -> Sequence[Action] | None:
    """Let in again an account that on_user_disable has shut out: `enable`.

    It comes after on_user_create.

    Args:
        account: the account with its profile.
        host: the facts.
        config: the configuration.

    Returns:
        Actions.
    """


@hookspec
def on_user_expire(
    account: Account, date: str, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Give an account another expiry date: `set --expires`.

    Args:
        account: the account with its profile.
        date: the last day (YYYY-MM-DD) on which it is let in; "" for no end.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_remove does not take them back.
    """


@hookspec
def on_user_limit(
    account: Account, addresses: tuple[str, ...], host: Facts, config: Config
) -> Sequence[Action] | None:
    """Let an account in from some addresses only: `set --from`.

    Args:
        account: the account with its profile.
        addresses: addresses and networks, as 192.0.2.0/24; none for any.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_remove takes them back.
    """


@hookspec
def on_user_connections(
    account: Account, most: int, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Let an account have some sessions at once and no more: `set --connections`.

    Args:
        account: the account with its profile.
        most: how many; 0 for as many as its profile says.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_remove takes them back.
    """


@hookspec
def on_key_add(account: Account, key: Key, host: Facts, config: Config) -> Sequence[Action] | None:
    """Let an account in with a key: `key add`, `key migrate`.

    Args:
        account: the account, jailed or not.
        key: a key that ssh-keygen(1) has read.
        host: the facts.
        config: the configuration.

    Returns:
        Actions.
    """


@hookspec
def on_key_remove(
    account: Account, key: Key, host: Facts, config: Config
) -> Sequence[Action] | None:
    """No longer let an account in with a key: `key remove`.

    Args:
        account: the account.
        key: the key as it stands in the file.
        host: the facts.
        config: the configuration.

    Returns:
        Actions.
    """


@hookspec
def on_key_migrate(
    account: Account, path: str, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Retire a key file in a home: `key migrate`, `adopt`.

    Before that all its keys were added in the new place.

    Args:
        account: the jailed account.
        path: the old file.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; the old file is kept under another name.
    """


@hookspec
def on_jail_binds(account: Account, host: Facts, config: Config) -> Sequence[Bind] | None:
    """Name what a profile shows in every jail of its own accord: the home, the log socket.

    Each bind is then made by on_mount together with those that an administrator asked for.

    Args:
        account: the account with its profile.
        host: the facts.
        config: the configuration.

    Returns:
        Binds with another role than "mount".
    """


@hookspec
def on_mount(account: Account, bind: Bind, host: Facts, config: Config) -> Sequence[Action] | None:
    """Show a directory of the host inside a jail, now and after a reboot.

    That is for `mount`, and for every bind of a new jail.

    Args:
        account: the account with its profile.
        bind: source and target, host paths.
        host: the facts.
        config: the configuration.

    Returns:
        Actions.
    """


@hookspec
def on_unmount(
    account: Account, bind: Bind, live_only: bool, host: Facts, config: Config
) -> Sequence[Action] | None:
    """No longer show a directory inside a jail: `umount`, and every bind of a jail that goes.

    Args:
        account: the account.
        bind: as fstab has it.
        live_only: unmount, and forget nothing: userdel asks first, and may yet refuse to
            delete the account.
        host: the facts.
        config: the configuration.

    Returns:
        Actions.
    """


@hookspec
def on_check(account: Account | None, host: Facts, config: Config) -> Sequence[Problem] | None:
    """Judge a jail, or the host: `check`.

    Args:
        account: the account with its profile; None for the host.
        host: the facts.
        config: the configuration.

    Returns:
        Problems: what is wrong, why it matters and the command that fixes it.
    """


@hookspec
def on_explain(account: Account, host: Facts, config: Config) -> Sequence[Fact] | None:
    """Say what decides about an account's sessions: `explain`. What is wrong is told by on_check.

    Args:
        account: the account with its profile.
        host: the facts.
        config: the configuration.

    Returns:
        Facts, in the order in which they are to be read; a topic is a heading.
    """


@hookspec
def on_applied(event: str, account: Account | None, plan: Plan) -> None:
    """Hear of a committed change. A failure here is logged, never raised.

    Args:
        event: the hook that made the plan, as on_user_create.
        account: whom it was about; None for the host or for many accounts.
        plan: what was done.
    """


@hookspec
def on_failed(event: str, account: Account | None, plan: Plan, error: BaseException) -> None:
    """Hear of a change that was rolled back. A failure here is logged, never raised.

    Args:
        event: the hook that made the plan.
        account: whom it was about; None for the host or for many accounts.
        plan: what was planned.
        error: why it failed.
    """

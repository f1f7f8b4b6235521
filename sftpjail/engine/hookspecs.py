"""The contract with plugins: facts in, actions out.

A hook gets the facts of one event and returns the actions that it wants, or None. It changes
nothing itself. Raising SftpJailError vetoes the event before anything has changed. A hook may
take fewer arguments than listed here. Each hook is described in sftpjail-plugins(7), and a test
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
    from ..model import Account, Bind, Fact, Key, Problem, TransferEvent
    from .plan import Plan

hookspec = pluggy.HookspecMarker("sftpjail")


@hookspec
def on_setup(host: Facts, config: Config) -> Sequence[Action] | None:
    """Prepare the host for jails: `sftpjail setup`.

    Args:
        host: the facts.
        config: the configuration.

    Returns:
        Actions; the engine drops those that are already done.
    """


@hookspec
def on_teardown(host: Facts, config: Config) -> Sequence[Action] | None:
    """Undo what on_setup did: `sftpjail teardown`. No account is jailed any more.

    Args:
        host: the facts.
        config: the configuration.

    Returns:
        Actions; Remove removes only what is ours according to the host's origin record.
    """


@hookspec
def on_detach(host: Facts, config: Config) -> Sequence[Action] | None:
    """Remove everything that calls sftpjail, but nothing that keeps a jail closed.

    This is for `teardown --keep-jails` and the removal of the package.

    Args:
        host: the facts.
        config: the configuration.

    Returns:
        Actions; a later on_setup undoes them.
    """


@hookspec
def on_user_create(
    account: Account, new: bool, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Make or repair a jail: useradd, adduser, `add`, `adopt`, `apply`.

    It may be called early, late, and more than once.

    Args:
        account: the account with its profile; under useradd it may have no home yet.
        new: the account has no jail yet; otherwise its jail is repaired or completed.
        host: the facts.
        config: the configuration.

    Returns:
        Actions.
    """


@hookspec
def on_user_remove(
    account: Account, deleted: bool, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Remove a jail: `remove`, userdel, `apply --prune`.

    Its binds are removed by on_unmount in the same transaction.

    Args:
        account: the account with the profile that jailed it; it may no longer exist.
        deleted: the account itself is deleted too, so it need not be restored.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; users' data stays.
    """


@hookspec
def on_user_rename(
    account: Account, old: str, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Rename what belongs to an account: `apply` after `usermod -l`.

    on_user_create repairs its jail afterwards.

    Args:
        account: the account with its profile, under its new name.
        old: its former name; the present one if only its uid has changed.
        host: the facts.
        config: the configuration.

    Returns:
        Actions.
    """


@hookspec
def on_user_confine(account: Account, host: Facts, config: Config) -> Sequence[Action] | None:
    """End what the host does for an account outside its jail: `adopt --close`.

    It is called after on_user_create.

    Args:
        account: the account with its profile; `kept` names what may go on, None means what its
            record says.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_remove restores what they set aside.
    """


@hookspec
def on_user_close(
    account: Account, why: str, by: str, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Shut out an account that should be jailed and cannot be: `apply`, useradd, PAM.

    It is called if sshd would let the account in.

    Args:
        account: the account with its profile.
        why: the reason in words, for the account's record.
        by: the command that shuts it out.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; the on_user_create that makes its jail undoes them.
    """


@hookspec
def on_user_disable(
    account: Account, why: str, until: str, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Shut out an account at an administrator's request: `disable`.

    Its jail, keys and files stay.

    Args:
        account: the account with its profile.
        why: the reason in words for the account's record, or "".
        until: the date (YYYY-MM-DD, UTC) from which it is let in again; "" for no end.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_enable undoes them, or on_user_create from that date on.
    """


@hookspec
def on_user_enable(account: Account, host: Facts, config: Config) -> Sequence[Action] | None:
    """Let in an account again that on_user_disable has shut out: `enable`.

    It is called after on_user_create.

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
    """Change an account's expiry date: `set --expires`.

    Args:
        account: the account with its profile.
        date: the day (YYYY-MM-DD) from which it is shut out; "" for no end.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_remove does not undo them.
    """


@hookspec
def on_user_limit(
    account: Account, addresses: tuple[str, ...], host: Facts, config: Config
) -> Sequence[Action] | None:
    """Let an account in from some addresses only: `set --from`.

    Args:
        account: the account with its profile.
        addresses: addresses and networks, such as 192.0.2.0/24; none for any.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_remove undoes them.
    """


@hookspec
def on_user_connections(
    account: Account, most: int, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Limit an account's concurrent sessions: `set --connections`.

    Args:
        account: the account with its profile.
        most: the limit; 0 for that of its profile.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_remove undoes them.
    """


@hookspec
def on_user_keep(
    account: Account, keep: bool, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Have `review --disable` skip an account: `set --keep-active`.

    Args:
        account: the account with its profile.
        keep: whether it is skipped from now on.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_remove takes them back.
    """


@hookspec
def on_user_quota(
    account: Account, size: int | None, host: Facts, config: Config
) -> Sequence[Action] | None:
    """Limit what an account may store: `set --quota`.

    Args:
        account: the account with its profile.
        size: bytes; 0 for any number, None for what its profile says.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_remove undoes them.
    """


@hookspec
def on_user_retention(
    account: Account, ages: tuple[tuple[str, int], ...], host: Facts, config: Config
) -> Sequence[Action] | None:
    """Have old files in some directories of an account deleted: `set --retention`.

    Args:
        account: the account with its profile.
        ages: each directory, as a path inside the jail, and after how many days a file goes; it
            replaces what was set, and none ends it.
        host: the facts.
        config: the configuration.

    Returns:
        Actions; on_user_remove undoes them.
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
        key: the key as the file has it.
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

    Its keys have already been added in the new place.

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
    """Return what a profile shows in every jail by itself: the home, the log socket.

    on_mount then makes each bind, together with those that an administrator asked for.

    Args:
        account: the account with its profile.
        host: the facts.
        config: the configuration.

    Returns:
        Binds with a role other than "mount".
    """


@hookspec
def on_mount(account: Account, bind: Bind, host: Facts, config: Config) -> Sequence[Action] | None:
    """Show a directory of the host inside a jail, now and after a reboot.

    This is for `mount`, and for every bind of a new jail.

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
    """No longer show a directory inside a jail: `umount`, and every bind of a removed jail.

    Args:
        account: the account.
        bind: as fstab has it.
        live_only: unmount, but keep the configuration: this is called before userdel, which may
            still refuse to delete the account.
        host: the facts.
        config: the configuration.

    Returns:
        Actions.
    """


@hookspec
def on_check(account: Account | None, host: Facts, config: Config) -> Sequence[Problem] | None:
    """Check a jail, or the host: `check`.

    Args:
        account: the account with its profile; None for the host.
        host: the facts.
        config: the configuration.

    Returns:
        Problems: what is wrong, why it matters and the command that fixes it.
    """


@hookspec
def on_explain(account: Account, host: Facts, config: Config) -> Sequence[Fact] | None:
    """Explain what decides about an account's sessions: `explain`. Problems belong to on_check.

    Args:
        account: the account with its profile.
        host: the facts.
        config: the configuration.

    Returns:
        Facts in reading order; a topic is a heading.
    """


@hookspec
def on_applied(event: str, account: Account | None, plan: Plan) -> None:
    """Be notified of a committed change. A failure here is logged, never raised.

    Args:
        event: the hook that made the plan, such as on_user_create.
        account: the account concerned; None for the host or for several accounts.
        plan: what was done.
    """


@hookspec
def on_failed(event: str, account: Account | None, plan: Plan, error: BaseException) -> None:
    """Be notified of a change that was rolled back. A failure here is logged, never raised.

    Args:
        event: the hook that made the plan.
        account: the account concerned; None for the host or for several accounts.
        plan: what was planned.
        error: why it failed.
    """


# What happens in jails, by `sftpjail watch`. These hooks plan nothing and return nothing. They run
# in a process of the user whom the configuration names, and what they raise counts as a failure.


@hookspec
def on_upload(event: TransferEvent, host_path: str, file: int, config: Config) -> None:
    """Hear of a file that was uploaded and closed.

    Args:
        event: what happened; the same `id` if it is handed out again.
        host_path: where the file is on the host, "" if that is not known by now. It contains the
            client's words, and what lies there may be something else by now.
        file: a descriptor of the file, open for reading; -1 if it is not handed over.
        config: the configuration.
    """


@hookspec
def on_upload_failed(event: TransferEvent, host_path: str, config: Config) -> None:
    """Hear of an upload that failed or was cut off; its reason is in the event.

    Args:
        event, host_path, config: as in on_upload.
    """


@hookspec
def on_download(event: TransferEvent, host_path: str, config: Config) -> None:
    """Hear of a file that was read.

    Args:
        event, host_path, config: as in on_upload.
    """


@hookspec
def on_rename(event: TransferEvent, host_path: str, host_to: str, config: Config) -> None:
    """Hear of a file or directory that has got another name.

    Args:
        event, host_path, config: as in on_upload.
        host_to: where it is now, as `host_path`.
    """


@hookspec
def on_delete(event: TransferEvent, host_path: str, config: Config) -> None:
    """Hear of a file or directory that was deleted.

    Args:
        event, host_path, config: as in on_upload.
    """


@hookspec
def on_session_start(event: TransferEvent, config: Config) -> None:
    """Hear of a session that has begun.

    Args:
        event: who, and from which address.
        config: the configuration.
    """


@hookspec
def on_session_end(event: TransferEvent, config: Config) -> None:
    """Hear of a session that has ended.

    Args:
        event: with what it read and wrote in all.
        config: the configuration.
    """


@hookspec
def on_gap(event: TransferEvent, config: Config) -> None:
    """Hear that the log has lost something, so that events may be missing.

    Args:
        event: when, and the account if it is known; its reason says what was lost.
        config: the configuration.
    """

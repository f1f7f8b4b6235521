"""The events that make and remove jails."""

from __future__ import annotations

import copy
import posixpath
from dataclasses import replace
from functools import partial
from shlex import quote

from ..config import keyfile
from ..engine.engine import Engine
from ..engine.manager import Manager
from ..engine.plan import Event, OnMount, OnUnmount, OnUserClose, OnUserCreate, OnUserRemove
from ..errors import JailUnknown, NotJailed, SftpJailError
from ..formats.fstab import escape
from ..host import Host
from ..jails.closing import DISABLE, close, is_shut, lets_in, why_spared
from ..jails.directory import refuse_silent
from ..jails.leftovers import has_remains, in_question, left_names, leftover
from ..jails.membership import find, lost, name_now
from ..model import Account, Bind, inner_first, inside, outer_first
from ..openssh.chroot_path import new_home


def create_events(
    account: Account, host: Host, manager: Manager, arrived: bool = False
) -> list[Event]:
    """Return the events that make or repair one jail: the jail, and every bind it should have.

    If the account or its profile has changed, binds that the profile no longer has are removed, and
    those of an administrator move to the new place of the jail. If the jail's new path is a link to
    the old one, nothing is removed, and on_mount renames the bind's line.

    Args:
        account: with its profile.
        host: the facts.
        manager: the plugins.
        arrived: it has just been made, so its name is not that of an account still in use.

    Raises:
        SftpJailError: the jail cannot be this account's.
    """
    if in_question(account, host, thorough=not arrived):
        from ..jails.renames import refuse_other  # late: few hosts have one, and useradd waits

        refuse_other(account, host)
    profile, was = account.profile, host.origin(account.name).was
    if (
        profile
        and profile.home != "inside"
        and account.home == f"/{profile.files}"
        and "home" in was
    ):
        account = replace(account, home=was["home"])
    _refuse_home_inside(account, host)
    wanted = {bind.target: bind for bind in manager.binds(account, host)}
    gone = []
    for bind in host.binds(account.name):
        if bind.target in wanted:
            continue
        if bind.role == "mount" and inside(bind.target, account.jail):
            wanted[bind.target] = bind
            continue
        if bind.role == "mount":
            moved = account.jail + bind.target.removeprefix(_old_jail(account, bind, host))
            wanted[moved] = replace(bind, target=moved)
        if not any(host.mount_tables.same_place(bind.target, target) for target in wanted):
            gone.append(bind)  # otherwise it stays in place under another name
    return [
        *(OnUnmount(account, bind) for bind in gone),
        OnUserCreate(account, new=_is_new(account, host)),
        *(OnMount(account, bind) for bind in outer_first(wanted.values())),
    ]


def _is_new(account: Account, host: Host) -> bool:
    """Return whether an account has no jail yet: its record lists nothing made or changed.

    An account that was only shut out, because its jail could not be made, is new.
    """
    origin = host.origin(account.name)
    if origin.closed is not None and origin.closed.by == DISABLE:
        return False  # it has a jail, though everything in it may be from before us
    return not (origin.made or origin.was or origin.owners or origin.renamed)


def closing(
    account: Account, error: SftpJailError, by: str, host: Host, released: bool = False
) -> tuple[list[OnUserClose], SftpJailError]:
    """Return the event that shuts out an account whose jail cannot be made, unless it is already.

    Args:
        account: with its profile.
        error: why its jail cannot be made.
        by: the command that shuts it out; "" if it only checks.
        host: the facts.
        released: sshd lets it in without a jail, though it has one.

    Returns:
        the event, if any, and the error, which also says whether the account is shut out.
    """
    name = account.name
    open_to_it = released or isinstance(error, NotJailed) or _is_let_in(account, error, host)
    if open_to_it is None:  # ERROR says why, or it is reported separately
        return [], error
    if not open_to_it:
        closed = host.origin(name).closed is not None and is_shut(account, host)
        return [], _longer(error, f"{name} is shut out until this is fixed") if closed else error
    now, cause = name_now(account, host), lost(account, host)
    if account.profile and not now and cause and cause.message == error.message:
        now = account.profile.group
    try:
        wanted = close(account, error.message, by, host)
    except SftpJailError as worse:
        return [], _longer(error, f"{name} is NOT shut out: {worse.message}")
    if not wanted and not is_shut(account, host):
        return [], _longer(error, f"{name} is NOT shut out: {why_spared(account, host)}")
    needed = any(action.pending(host, name) for action in wanted)
    whom = f"whoever is in {now}" if now else name  # one cause, reported once
    words = f"{whom} is shut out until this is fixed"
    if needed and not by:
        words = f"sshd lets {whom} in, which `sftpjail apply` ends"
    events = []
    if needed:
        events = [OnUserClose(account, error.message, by)]
    return events, _longer(error, words)


def _is_let_in(account: Account, error: SftpJailError, host: Host) -> bool | None:
    """Return whether sshd lets an account in, or None for a damaged record or a broken sshd.

    Of those whose jail is not made because sshd does not answer, one is asked about, for speed.
    """
    if isinstance(error, JailUnknown):
        key = (_is_let_in, error.message)
        if host.files.once(key, partial(_asked, account, host)) is None:
            return None
    return _asked(account, host)


def _asked(account: Account, host: Host) -> bool | None:
    try:
        return lets_in(account, host)
    except SftpJailError:
        return None


def _longer(error: SftpJailError, words: str) -> SftpJailError:
    longer = copy.copy(error)
    longer.message = f"{words}: {error.message}"  # which may end in a command
    longer.args = (longer.message,)
    return longer


def _refuse_home_inside(account: Account, host: Host) -> None:
    """Refuse a home inside the account's jail if the profile now needs a home on the host.

    Raises:
        SftpJailError: on the host, that path would be shared by all accounts with such a home.
    """
    inner = [
        path
        for path in host.origin(account.name).made
        if path.endswith(account.home) and path != account.home
    ]
    # As `home = inside` makes it.
    top = account.home != "/" and posixpath.dirname(account.home) == "/"
    if (
        account.profile
        and account.profile.home != "inside"
        and top
        and inner
        and not host.is_dir(account.home)
    ):
        raise SftpJailError(
            f"the home of {account.name}, {account.home}, is {inner[0]}, "
            f"and profile {account.profile.name} wants one of the host's",
            new_home(account, host),
        )


def _old_jail(account: Account, bind: Bind, host: Host) -> str:
    """Return the jail in which a bind was made, before the profile's chroot changed."""
    made = host.origin(account.name)
    directories = [
        path
        for path in (*made.made, *made.owners)
        if inside(bind.target, path) and path != bind.target
    ]
    named = [path for path in directories if posixpath.basename(path) == account.name]
    if not named:
        raise SftpJailError(
            f"{bind.target} lies outside of {account.jail}, the jail of {account.name}",
            _line_home(account, bind, host),
        )
    return min(named, key=len)


def _line_home(account: Account, bind: Bind, host: Host) -> str:
    """Return the command that fixes an fstab line whose target is now outside the jail."""
    wrong = f"[[:space:]]{escape(bind.target)}[[:space:]]"
    edit = rf"\|{wrong}|d"
    for point in host.mounts:
        if inside(point, account.jail) and host.same_file(bind.source, point):
            edit = f"s|{wrong}| {escape(point)} |"
    return f"sed -i {quote(edit)} /etc/fstab"


def remove_events(
    account: Account, host: Host, deleted: bool, live_only: bool = False
) -> list[Event]:
    """Return the events that remove one jail: every bind, the innermost first, then the jail.

    Args:
        account: the jailed account.
        host: the facts.
        deleted: the account is deleted too.
        live_only: the account may still stay, so the binds keep their lines.
    """
    ordered = inner_first(host.binds(account.name))
    return [
        *(OnUnmount(account, bind, live_only) for bind in ordered),
        OnUserRemove(account, deleted),
    ]


def forget_events(name: str, engine: Engine) -> list[Event]:
    """Return the events that remove what a deleted account has left, above all its keys."""
    host = engine.host
    if not has_remains(name, host) and keyfile(name) not in host.origin("").made:
        return []
    return remove_events(replace(leftover(name, engine.config, host), uid=-1), host, deleted=True)


def leave_events(name: str, engine: Engine, deleted: bool) -> tuple[Account | None, list[Event]]:
    """Return the jailed account, if any, and the events that remove its jail or its remains.

    Args:
        name: the account.
        engine: with the facts.
        deleted: the same plan deletes the account.

    Raises:
        SftpJailError: by our records, its name was or is that of another account.
    """
    found = engine.host.account(name)
    refuse_silent(name, engine.host)
    if found is not None and in_question(found, engine.host):
        from ..jails.renames import refuse_renamed  # late: as above

        refuse_renamed(find(name, engine.config, engine.host), engine.host)
    if not (found and find(name, engine.config, engine.host).profile) and not has_remains(
        name, engine.host
    ):
        return None, []
    account = leftover(name, engine.config, engine.host)
    if not (deleted and account.exists):
        return account, remove_events(account, engine.host, deleted)
    # First the account as it is now, then what is left of it when it is deleted.
    gone = replace(account, uid=-1, gid=-1, local=False)
    return account, [
        *remove_events(account, engine.host, deleted, live_only=True),
        *remove_events(gone, engine.host, deleted),
    ]


def left_events(engine: Engine, jails: dict[str, Account]) -> list[Event]:
    """Return the events that remove the remains of all accounts that are no longer jailed.

    This includes those whose uid another account has now: no jail is to stay.

    Args:
        engine: with the facts.
        jails: the jailed accounts by name.
    """
    events: list[Event] = []
    for name in left_names(engine.config, engine.host, jails):
        account = leftover(name, engine.config, engine.host)
        events += remove_events(account, engine.host, deleted=False)
    return events

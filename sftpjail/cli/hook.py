"""hook: the command that the entry scripts call.

The scripts pass our errors on to standard error and syslog, and decide what may fail.
"""

from __future__ import annotations

import syslog
import time
from dataclasses import replace

from .. import config as configuration
from ..config import Config, keyfile
from ..engine.engine import Engine
from ..engine.plan import Event, Plan
from ..errors import RollbackIncomplete, SftpJailError
from ..errors.escapes import shown
from ..host import Host
from ..jails import activity
from ..jails.former_names import account_with_recorded_uid, former_name
from ..jails.guards import guard, is_namesake, why_not
from ..jails.leftovers import has_remains, leftover
from ..jails.membership import find, find_jailed, is_valid, refuse_name, untaken
from ..model import Account, valid_name
from ..openssh.match_blocks import profiles_in_force
from ..operations.events import closing, create_events, forget_events, remove_events
from ..paths import HOST_RECORD, LOCK, STATE
from ..system import arrivals
from ..system.syslog import tell
from .context import Command, Context

# adduser-local is what adduser.local of an earlier version calls.
EVENTS = (
    "useradd-post",
    "adduser-post",
    "adduser-local",
    "pam-session",
    "userdel-pre",
    "userdel-post",
)

# The names of the programs whose events add an account.
ADDED = {
    "useradd-post": "useradd",
    "adduser-post": "adduser",
    "adduser-local": "adduser",
    "pam-session": "a login",
}


def register(add_parser: Command) -> None:
    """Add the command of this module."""
    parser = add_parser(
        "hook", "called by the hooks of useradd and userdel and by PAM; not meant to be run by hand"
    )
    parser.add_argument("event", choices=EVENTS)
    parser.add_argument("user", metavar="USER")
    parser.set_defaults(run=hook)


def hook(context: Context) -> int:
    """Make a new account's jail, or remove that of a deleted one.

    Early, late and repeated calls do no harm.
    """
    name, event = context.arguments.user, context.arguments.event
    context.answers |= {"actions": [], "notices": []}
    try:
        if not is_valid(name):
            if arrivals.lock_holder(LOCK, STATE) is None:  # else see below
                _refuse_name(context, name, event)
            return context.close(0)
        broken = _load(context, event)
        if event == "useradd-post":
            holder = arrivals.lock_holder(LOCK, STATE)
            if holder is not None:  # it waits for useradd, and so for us
                arrivals.leave_waiter(name, holder, new=True)
                return context.close(0)
        made = event == "useradd-post" and broken is None
        with context.engine(timeout=300.0, arrived=name if made else "") as engine:
            if broken is not None:
                raise _without_profile(engine, name, event, broken)
            if made:
                engine = _forget_namesake(engine, name)
            if event in ADDED:
                _arrive(context, engine, name, event)
            else:
                context.carry_out(engine, _leave(engine, name, event), f"{event}: {name}")
    except SftpJailError as error:
        tell(syslog.LOG_ERR, f"{event} {shown(name)}: {error.message}")
        raise
    return context.close(0)


def _load(context: Context, event: str) -> SftpJailError | None:
    """Read the configuration; return why it cannot be read, where a new account is the matter.

    Whom sshd's Match blocks jail is then the configuration, so that a new account can be shut out.

    Raises:
        SftpJailError: it cannot be read.
    """
    try:
        context.loaded = configuration.load(context.arguments.config)
    except SftpJailError as error:
        if event not in ADDED or event == "pam-session":
            raise
        context.loaded = Config(profiles_in_force(Host()))
        return error
    return None


def _without_profile(engine: Engine, name: str, event: str, error: SftpJailError) -> SftpJailError:
    """Shut out a new account that sshd jails and the configuration does not, if necessary.

    sshd lets it in if a home of the system is its chroot.

    Returns:
        the error, which also says whether the account is shut out.
    """
    if engine.host.account(name) is None:
        return error
    config = replace(engine.config, profiles=profiles_in_force(engine.host))
    account = find(name, config, engine.host)
    if account.profile is None or why_not(account, engine.host):
        return error
    return _closed(engine, account, error, event)


def _refuse_name(context: Context, name: str, event: str) -> None:
    """Report that sftpjail does not accept the name of a new member, and shut it out if necessary.

    Raises:
        SftpJailError: the name is not accepted.
        UsageError: likewise, for an account that is not a new member.
    """
    with context.engine(timeout=300.0) as engine:
        account = untaken(engine.config, engine.host).get(name)
        if account is None or event not in ADDED:
            valid_name(name)
        elif not why_not(account, engine.host):
            raise _closed(engine, account, refuse_name(account), event)
        else:
            raise refuse_name(account)


def _arrive(context: Context, engine: Engine, name: str, event: str) -> None:
    """Make the jail of a new account, if it is a member of a jail group."""
    if event == "pam-session":
        engine = engine.on(
            engine.host.run_by_nobody()
        )  # pam_loginuid has made it the one who logs in
        # A failed look-up must not open an incomplete jail.
        find_jailed(name, engine.config, engine.host)
    if engine.host.account(name) is None:
        return
    account = find(name, engine.config, engine.host)
    if account.profile is None:
        maker = None
        if event == "useradd-post":
            maker = arrivals.adduser()
        if maker is not None:  # it adds groups later
            arrivals.leave_waiter(name, maker)
        _refuse_dropped(engine, account, event)
        return
    guard(account, engine.host)
    if event == "useradd-post" and _awaits_home(engine, account):
        return
    if _jail(context, engine, account, event):
        _report(context, account, engine.host, event == "useradd-post")


def _refuse_dropped(engine: Engine, account: Account, event: str) -> None:
    """Refuse a new account that only a Match block jails whose profile is no longer configured.

    Raises:
        SftpJailError: it is one; also says whether it is shut out.
    """
    in_force = find(
        account.name, replace(engine.config, profiles=profiles_in_force(engine.host)), engine.host
    ).profile
    if in_force is not None and engine.host.lstat(HOST_RECORD) is not None:
        whom = "Match User"
        if in_force.group:
            whom = "Match Group"
        error = SftpJailError(
            f"{account.name} gets no jail: sshd has `{whom} {in_force.name}`, "
            "and no profile of the configuration is about it any more",
            "sftpjail setup",
        )
        raise _without_profile(engine, account.name, event, error)


def _awaits_home(engine: Engine, account: Account) -> bool:
    """Return whether adduser has yet to make a new account's home; if so, leave a waiter.

    Nobody can log in until the waiter has made the jail: sshd refuses a chroot that is missing or
    not root's, and an account that it would let in nevertheless is shut out.
    """
    maker = arrivals.adduser()
    if maker is None or engine.host.is_dir(account.home):
        return False
    error = SftpJailError(f"adduser (pid {maker}) has not made its home yet")
    shut, _ = closing(account, error, "adduser", engine.host)
    if shut:
        engine.apply(engine.plan(shut))
    arrivals.leave_waiter(account.name, maker)
    return True


def _leave(engine: Engine, name: str, event: str) -> list[Event]:
    """Return the events for an account that is being deleted, or has been deleted."""
    from ..system import departures  # late: useradd's hook does not need it

    going = None
    if event == "userdel-pre":
        going = engine.host.account(name)
    if going is not None and has_remains(name, engine.host):
        # The account keeps its keys and its lines in fstab until it is really deleted, because
        # userdel may still refuse or die.
        departures.begin(name, going.uid)
        account = leftover(name, engine.config, engine.host)
        return remove_events(account, engine.host, deleted=True, live_only=True)
    if event != "userdel-post" or _is_there(name, engine.host):
        return []
    # The record is that of the deleted account, even if another account has its uid.
    own = departures.uid_of(name) == str(engine.host.records.uid_of(name))
    departures.end(name)
    if own:
        events = forget_events(name, engine)
    else:
        events = _clearing(name, engine)
    if not events and engine.host.lstat(keyfile(name)) is not None:
        tell(
            syslog.LOG_WARNING,
            f"{name} is gone; {keyfile(name)}, which sftpjail did not make, stays",
        )
    return events


def _report(context: Context, account: Account, host: Host, new: bool) -> None:
    """Warn about activity outside a new jail. It is too late to refuse."""
    lines = activity.reports([account], host, new)
    context.warn(lines)
    for line in lines:
        tell(syslog.LOG_WARNING, f"{line.message}; to end it: {line.fix}")


def _jail(context: Context, engine: Engine, account: Account, event: str) -> Plan:
    """Make the jail of a new account. If this fails and sshd would let it in, shut it out.

    Raises:
        SftpJailError: its jail cannot be made.
    """
    try:
        arrived = event != "pam-session"  # an account that logs in may have been here before
        events = create_events(account, engine.host, engine.manager, arrived)
        return context.carry_out(engine, events, f"{event}: {account.name}")
    except RollbackIncomplete:
        raise
    except SftpJailError as error:
        raise _closed(engine, account, error, event) from error


def _closed(engine: Engine, account: Account, error: SftpJailError, event: str) -> SftpJailError:
    """Shut out an account whose jail cannot be made, if sshd would let it in.

    Returns:
        the error, which also says whether the account is shut out.
    """
    shut, longer = closing(account, error, ADDED[event], engine.host)
    if shut:
        engine.apply(engine.plan(shut))
    return longer


def _is_there(name: str, host: Host) -> bool:
    """Return whether the account still exists after userdel.

    It may be a directory service's, or a local one if the hook was called by mistake.
    """
    return name in host.accounts or (
        bool(host.people.directory_services) and host.account(name) is not None
    )


def _forget_namesake(engine: Engine, name: str) -> Engine:
    """Remove what a former account of that name left, above all its keys.

    This is necessary if no hook ran when it was deleted.

    Returns:
        an engine with the facts then.
    """
    account = engine.host.account(name)
    if account is None or not _is_new(account, engine.host):
        return engine
    before = len(engine.commits)
    if has_remains(name, engine.host):
        engine.apply(engine.plan(_clearing(name, engine)))
    # Also for a former account with its uid, so that it does not count as that one, renamed.
    old = former_name(account, engine.host, thorough=False)
    if old:
        engine.apply(engine.plan(forget_events(old, engine)))
    if len(engine.commits) > before:
        return engine.on(engine.host.anew())
    return engine


def _clearing(name: str, engine: Engine) -> list[Event]:
    """Return the events that remove what the former account of a name left; see `make_way`."""
    if account_with_recorded_uid(name, engine.host) is None:
        return forget_events(name, engine)
    from ..operations.renames import make_way  # late: usermod -l is rare, and useradd waits for us

    return make_way(name, engine)


def _is_new(account: Account, host: Host) -> bool:
    """Return whether an account cannot be the one in our record.

    It has another uid, or was made just now. The hook claims that useradd has made it, but if that
    is wrong, no existing account may lose its keys. useradd writes the day into shadow(5) in UTC,
    and midnight may have passed since.
    """
    changed = host.shadow(account.name).changed
    just_now = (
        not changed.isdigit() or int(changed) == 0 or int(changed) >= time.time() // 86400 - 1
    )
    return just_now or is_namesake(account, host)

"""What the entry scripts call.

They pass our errors on, to standard error and to syslog, and decide what may fail.
"""

from __future__ import annotations

import syslog
import time

from ..config import keyfile
from ..engine.engine import LOCK, Engine
from ..engine.plan import Event, Plan
from ..errors import RollbackIncomplete, SftpJailError
from ..escapes import shown
from ..host import Host
from ..jails import activity
from ..jails.guards import guard, is_namesake, why_not
from ..jails.leftovers import former_name, has_remains, heir, leftover
from ..jails.membership import find, find_jailed, is_valid, refuse_name, untaken
from ..model import Account, valid_name
from ..operations.events import closing, create_events, forget_events, remove_events
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

# What each of those that bring an account is called.
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
    """Make a new account's jail, or take a leaving one's away.

    Early, late and repeated calls do no harm.
    """
    name, event = context.arguments.user, context.arguments.event
    context.answers |= {"actions": [], "notices": []}
    try:
        if not is_valid(name):
            if arrivals.lock_holder(LOCK) is None:  # else see below
                _refuse_name(context, name, event)
            return context.close(0)
        if event == "useradd-post":
            holder = arrivals.lock_holder(LOCK)
            if holder is not None:  # it waits for useradd, and so for us
                arrivals.leave_waiter(name, holder, new=True)
                return context.close(0)
            _forget_namesake(context, name)
        with context.engine(timeout=300.0) as engine:
            if event in ADDED:
                _arrive(context, engine, name, event)
            else:
                context.carry_out(engine, _leave(engine, name, event), f"{event}: {name}")
    except SftpJailError as error:
        tell(syslog.LOG_ERR, f"{event} {shown(name)}: {error.message}")
        raise
    return context.close(0)


def _refuse_name(context: Context, name: str, event: str) -> None:
    """Say of a new member that sftpjail does not take its name, and shut it out if sshd does not.

    Raises:
        SftpJailError: that; or UsageError: the name is nobody's, or no member's.
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
    """Make the jail of an account that came, if it is a member."""
    if event == "pam-session":
        engine = engine.on(
            engine.host.run_by_nobody()
        )  # pam_loginuid has made it the one who logs in
        # A look-up that failed must not open an emptier jail.
        find_jailed(name, engine.config, engine.host)
    if engine.host.account(name) is None:
        return
    account = find(name, engine.config, engine.host)
    if account.profile is not None:
        guard(account, engine.host)
        if event == "useradd-post" and _awaits_home(engine, account):
            return
        if _jail(context, engine, account, event):
            _report(context, account, engine.host, event == "useradd-post")


def _awaits_home(engine: Engine, account: Account) -> bool:
    """Return whether adduser is to make a new account's home, and leave a waiter for it then.

    Until that has made the jail nobody gets in: sshd refuses a chroot that is not there or not
    root's, and whom it would let in all the same is shut out.
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
    """Return the events that take along what is of an account that goes, or has gone."""
    from ..system import departures  # late: useradd's hook does not need it

    going = engine.host.account(name) if event == "userdel-pre" else None
    if going is not None and has_remains(name, engine.host):
        # Until the account is really gone it keeps its keys and its lines in fstab:
        # userdel may still refuse, or die.
        departures.begin(name, going.uid)
        account = leftover(name, engine.config, engine.host)
        return remove_events(account, engine.host, deleted=True, live_only=True)
    if event != "userdel-post" or _is_there(name, engine.host):
        return []
    # The record is that of the account which has just gone, whoever else has its uid.
    own = departures.uid_of(name) == str(engine.host.records.uid_of(name))
    departures.end(name)
    events = forget_events(name, engine) if own else _clearing(name, engine)
    if not events and engine.host.lstat(keyfile(name)) is not None:
        tell(
            syslog.LOG_WARNING,
            f"{name} is gone; {keyfile(name)}, which sftpjail did not make, stays",
        )
    return events


def _report(context: Context, account: Account, host: Host, new: bool) -> None:
    """Warn of what goes on outside of a new jail; whoever called us cannot be refused."""
    lines = activity.reports([account], host, new)
    context.warn(lines)
    for line in lines:
        tell(syslog.LOG_WARNING, f"{line.message}; to end it: {line.fix}")


def _jail(context: Context, engine: Engine, account: Account, event: str) -> Plan:
    """Make the jail of a new account; where that cannot be, and sshd would let it in, shut it out.

    Raises:
        SftpJailError: why its jail cannot be made.
    """
    try:
        arrived = event != "pam-session"  # whom a login brings may have been here before
        events = create_events(account, engine.host, engine.manager, arrived)
        return context.carry_out(engine, events, f"{event}: {account.name}")
    except RollbackIncomplete:
        raise
    except SftpJailError as error:
        raise _closed(engine, account, error, event) from error


def _closed(engine: Engine, account: Account, error: SftpJailError, event: str) -> SftpJailError:
    """Shut out an account whose jail cannot be made where sshd would let it in; return the error.

    It says who is shut out, or is not.
    """
    shut, longer = closing(account, error, ADDED[event], engine.host)
    if shut:
        engine.apply(engine.plan(shut))
    return longer


def _is_there(name: str, host: Host) -> bool:
    """Return whether userdel left such an account.

    It is a directory service's, or the host's own if the stub was called amiss.
    """
    return name in host.accounts or (
        bool(host.people.directory_services) and host.account(name) is not None
    )


def _forget_namesake(context: Context, name: str) -> None:
    """Take away what an earlier account of that name left when no hook heard of its end.

    Its keys above all.
    """
    with context.engine(timeout=300.0, arrived=name) as engine:
        account = engine.host.account(name)
        if account is None or not _is_new(account, engine.host):
            return
        if has_remains(name, engine.host):
            engine.apply(engine.plan(_clearing(name, engine)))
        # Of one whose uid it has got, too: nobody shall take it for that one, renamed.
        old = former_name(account, engine.host, thorough=False)
        if old:
            engine.apply(engine.plan(forget_events(old, engine)))


def _clearing(name: str, engine: Engine) -> list[Event]:
    """Return the events after which nothing is left of whoever had a name: see `make_way`."""
    if heir(name, engine.host) is None:
        return forget_events(name, engine)
    from ..operations.renames import make_way  # late: usermod -l is rare, and useradd waits for us

    return make_way(name, engine)


def _is_new(account: Account, host: Host) -> bool:
    """Return whether an account cannot be the one that our record is of.

    Such an account has another uid, or was made just now.

    The stub knows that useradd has made it; should that be wrong, nobody who lives here loses a
    key. useradd writes the day into shadow(5), by UTC, and it may have become midnight since.
    """
    changed = host.shadow(account.name).changed
    just_now = (
        not changed.isdigit() or int(changed) == 0 or int(changed) >= time.time() // 86400 - 1
    )
    return just_now or is_namesake(account, host)

"""add, adopt and remove: the jails of accounts."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from ..accounts_file.entry import MountWanted
from ..actions import AddAccount, DeleteAccount
from ..config import PATH, Config
from ..engine.engine import Engine
from ..engine.plan import (
    Event,
    OnMount,
    OnUserConfine,
    OnUserConnections,
    OnUserExpire,
    OnUserLimit,
    Plan,
    Step,
)
from ..errors import SftpJailError, UsageError
from ..host import Host
from ..jails import activity
from ..jails.closing import is_shut, reason
from ..jails.former_names import former_name
from ..jails.guards import guard, is_namesake
from ..jails.homes import refusal
from ..jails.membership import find, not_jailed, refuse_missing
from ..jails.renames import refuse_renamed
from ..model import (
    LONGEST_COMMENT,
    Account,
    Bind,
    Key,
    Problem,
    Profile,
    free_text,
    outer_first,
    valid_name,
)
from ..operations.events import create_events, forget_events, leave_events
from ..operations.keys import add_events, left_elsewhere, migrate_events, old_place, read_keys
from ..operations.limits import limited
from ..operations.mounts import ids_of, make_bind, unusable
from ..operations.new_accounts import maker, makes_subvolume, profile_for, with_way_in
from ..operations.renames import make_way, rename_event
from .access import coming_date
from .context import Command, Context
from .keys import read_source
from .limits import add_limit_options, wanted_addresses
from .passwords import (
    add_password_options,
    of_passwords,
    password_steps,
    wanted_password,
)
from .renames import rename

FORCE = "give --force if you are sure"


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    _register_add(add_parser)
    _register_adopt(add_parser)
    parser = add_parser("remove", "remove a jail and restore the account; its data stays")
    parser.add_argument("user", metavar="USER")
    parser.add_argument(
        "--delete-account", action="store_true", help="delete the account too; its files stay"
    )
    parser.set_defaults(run=remove)


def _register_add(add_parser: Command) -> None:
    parser = add_parser(
        "add", "create an account and its jail; options after -- are passed to useradd"
    )
    parser.add_argument("user", metavar="USER")
    parser.add_argument(
        "--key",
        metavar="FILE",
        action="append",
        default=[],
        help="a public key; - is standard input; may be repeated",
    )
    parser.add_argument(
        "--mount",
        metavar="SRC:DST[:ro][:as=OWNER[:GROUP]|:group=GROUP]",
        action="append",
        default=[],
        help="a directory to mount in the jail; may be repeated",
    )
    parser.add_argument("--profile", metavar="P", default="", help="default: the first one")
    parser.add_argument(
        "--expires", metavar="DATE", help="the day from which it is shut out (YYYY-MM-DD)"
    )
    add_password_options(parser)
    add_limit_options(parser)
    parser.add_argument(
        "--force", action="store_true", help="jail even an administrator or a system account"
    )
    parser.add_argument(
        "--with",
        dest="tool",
        choices=("useradd", "adduser"),
        default="useradd",
        help="the tool that creates the account; default: useradd",
    )
    parser.set_defaults(run=add)


def _register_adopt(add_parser: Command) -> None:
    parser = add_parser("adopt", "jail an existing account, and take its keys along")
    parser.add_argument("user", metavar="USER")
    parser.add_argument("--profile", metavar="P", default="", help="default: the first one")
    parser.add_argument(
        "--force", action="store_true", help="jail even an administrator or a system account"
    )
    parser.add_argument(
        "--close", action="store_true", help="end what runs for the account outside its jail"
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument(
        "--same-person",
        action="store_true",
        help="after usermod -l or -u: the records of the old name or uid belong to this account",
    )
    who.add_argument(
        "--another-person",
        action="store_true",
        help="they belong to somebody else: remove them, with keys and mounts",
    )
    parser.add_argument(
        "--keep",
        metavar="KINDS",
        default=None,
        help="let these go on: cron,at,incron,linger,processes,units",
    )
    parser.set_defaults(run=adopt)


def parse_mount(text: str) -> MountWanted:
    """Return what SRC:DST[:ro][:as=OWNER[:GROUP]|:group=GROUP] is.

    Raises:
        UsageError: it is not of that form.
    """
    found = re.fullmatch(r"(.*?)(?::as=([^/:]+(?::[^/:]+)?)|:group=([^/:]+))?", text, re.DOTALL)
    if found:
        front, owner, group = found.groups("")
    else:
        front, owner, group = (text, "", "")
    read_only = front.endswith(":ro")
    body = front.removesuffix(":ro" if read_only else ":rw")
    source, colon, target = body.rpartition(":")
    if not colon or not source:
        raise UsageError(f"--mount {text!r} is not SRC:DST[:ro][:as=OWNER[:GROUP]|:group=GROUP]")
    return MountWanted(source, target, read_only, owner, group)


def _foresee(account: Account, options: list[str], host: Host, config: Config) -> None:
    """Refuse a new account that could not be jailed, as far as useradd's or adduser's options show.

    Raises:
        SftpJailError: see `guard` and `homes.refusal`.
        UsageError: the comment is no line of text, which useradd(8) would take.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-u", "--uid", type=int, default=-1)
    parser.add_argument("-r", "--system", action="store_true")
    for flag in "DFlmMNoU":  # flags that may be combined in one word
        parser.add_argument(f"-{flag}", action="store_true")
    parser.add_argument("-d", "--home-dir", "--home")
    for letter in "befgGkKpPRsZ":  # options with a value
        parser.add_argument(f"-{letter}")
    parser.add_argument("-c", "--comment", "--gecos")
    try:
        wanted, _ = parser.parse_known_args(options)
    except argparse.ArgumentError:
        return  # useradd itself reports it
    if wanted.comment:
        free_text(wanted.comment, "--comment", LONGEST_COMMENT)
    wrong = refusal(replace(account, uid=wanted.uid, home=wanted.home_dir or ""), host, config)
    if wrong:
        raise SftpJailError(wrong, advice="give another home with the option -d")
    if wanted.uid >= 0:
        guard(replace(account, uid=wanted.uid), host, FORCE)
    elif wanted.system and not account.forced:
        what = f"will not jail {account.name}: it would be a system account"
        raise SftpJailError(what, advice=FORCE)


class Wanted(NamedTuple):
    """What `add` is to give an account. `hashed` is the hash of its password, or ""."""

    name: str
    keys: list[Key]
    mounts: list[MountWanted]
    expires: str
    hashed: str
    addresses: tuple[str, ...]
    connections: int


def _wanted(context: Context) -> Wanted:
    """Return what is wanted; called before the lock is taken. Raises UsageError, SftpJailError."""
    given = context.arguments
    name = valid_name(given.user)
    mounts = [parse_mount(text) for text in given.mount]
    keys = read_keys({file: read_source(file) for file in given.key}, Host())
    expires = ""
    if given.expires is not None:
        expires = coming_date(given.expires, "--expires")
    addresses = wanted_addresses(given.addresses) or ()
    hashed, most = wanted_password(name, context), given.connections or 0
    return Wanted(name, keys, mounts, expires, hashed, addresses, most)


def add(context: Context) -> int:
    """Make an account and its jail in one transaction."""
    given, config, wanted = context.arguments, context.config(), _wanted(context)
    profile = profile_for(wanted.name, given.profile, config)
    with context.engine() as engine:
        account = _expected(wanted.name, profile, context, engine)
        refuse_missing(account.profile or profile, engine.host)
        if account.exists:
            return _add_to_jail(account, wanted, context, engine)
        make = _making(account, wanted, context, engine)
        # Planned before the account is made, to refuse what could not be done afterwards.
        jail = _jailing(engine, account, wanted._replace(expires=""))
        if context.dry_run:
            make.steps += jail.steps
            context.finish(engine, make, "")
            return _report_useless(lambda: account, wanted._replace(hashed=""), context)
        _make_and_jail(account, make, wanted, context, engine)
    return _report_useless(lambda: find(wanted.name, config, Host()), wanted, context)


def _add_to_jail(account: Account, wanted: Wanted, context: Context, engine: Engine) -> int:
    """Give an account that is jailed already what it has not yet; return the exit code."""
    # useradd and adduser have no date but that of the account that they make.
    dated = wanted._replace(expires=_dated(account, wanted.expires, engine.host))
    done = f"{account.name} is jailed in {account.jail}"
    context.finish(engine, _jailing(engine, account, dated), done, done)
    return _report_useless(lambda: account, wanted, context)


def _making(account: Account, wanted: Wanted, context: Context, engine: Engine) -> Plan:
    """Return the plan that makes an account with useradd or adduser, without its jail."""
    given, profile = context.arguments, account.profile
    assert profile is not None
    subvolume = makes_subvolume(account.name, profile, profile.quota, engine.host)
    argv = maker(account.name, profile, given.tool, given.options, wanted.expires, subvolume)
    make = AddAccount(account.name, tuple(argv), f"/home/{account.name}")
    return Plan([], [Step(make, "accounts", account.name)])


def _make_and_jail(
    account: Account, make: Plan, wanted: Wanted, context: Context, engine: Engine
) -> None:
    """Make an account and jail it.

    Args:
        account: as it is expected to become, with its profile.
        make: from `_making`.
        wanted: see `Wanted`.
        context: prints the report.
        engine: with the facts.
    """
    name = account.name
    # Of an earlier account of that name, of whose end no hook heard.
    context.warn(engine.apply(engine.plan(make_way(name, engine))))
    jails: list[str] = []

    def jail_it(later: Engine) -> Plan:
        found = find(name, engine.config, later.host)
        made = replace(found, profile=account.profile, forced=account.forced)
        jails.append(made.jail)
        guard(made, later.host, FORCE)
        return _jailing(later, made, wanted, arrived=True)

    notices = engine.apply(make, partial(_forget, name), jail_it)
    context.report(make, notices, f"made the account {name}; it is jailed in {jails[-1]}")


def _forget(name: str, engine: Engine) -> Plan:
    """Return the plan that removes what is left of the former account with a new account's uid."""
    old = former_name(find(name, engine.config, engine.host), engine.host, thorough=False)
    return engine.plan(forget_events(old, engine) if old else [])


def _dated(account: Account, expires: str, host: Host) -> str:
    """Return the new expiry date of an existing account.

    Raises:
        SftpJailError: the account is shut out, and the date would let it in.
    """
    if expires and is_shut(account, host):
        raise SftpJailError(
            f"{account.name} is shut out: {reason(account, host)}",
            f"sftpjail set {shlex.quote(account.name)} --expires {expires}",
        )
    return expires


def _report_useless(seek: Callable[[], Account], wanted: Wanted, context: Context) -> int:
    """Report which of the requested things the account cannot use; return the exit code.

    Args:
        seek: returns the account.
        wanted: what was requested.
        context: prints the report.
    """

    def look() -> list[Problem]:
        account = seek()
        config, host = context.config(), Host()
        binds = _binds(account, wanted.mounts, host)
        useless = []
        if wanted.hashed:
            useless = of_passwords(account.name, config)
        return [*unusable(account, binds, host, config), *useless]

    context.look_after(look)
    return context.close(0)


def _expected(name: str, profile: Profile, context: Context, engine: Engine) -> Account:
    """Return the future account that `add` is to jail, or the present one if it is jailed already.

    Raises:
        SftpJailError: the account exists and is not jailed, or is jailed by another profile.
    """
    given, host = context.arguments, engine.host
    account = host.account(name)
    if account is None:
        if profile.home == "inside":
            home = f"/{profile.files}"
        else:
            home = f"/home/{name}"
        account = Account(name, -1, -1, home, profile.shell, forced=given.force)
        account = replace(account, profile=profile)
        _foresee(account, given.options, host, engine.config)
        return account
    known = find(name, engine.config, host).profile
    if known is None:
        raise not_jailed(account, host, f"there is an account {name} already, not jailed")
    if given.profile and known != profile:
        raise SftpJailError(f"{name} is jailed by profile {known.name} already")
    return replace(account, profile=known)


def _binds(account: Account, mounts: Sequence[MountWanted], host: Host) -> list[Bind]:
    found = []
    for one in mounts:
        owner, group = ids_of(one.owner, one.group, host)
        places = one.source, one.target, one.read_only
        bind = make_bind(account, *places, under_home=False, owner=owner, group=group)
        if bind.role == "home":
            raise UsageError(
                f"{one.target} is the home, which is made first: then give it to its owner by "
                f"chown(1), and use `sftpjail mount {account.name} SRC DST --as`"
            )
        found.append(bind)
    return found


def _jailing(engine: Engine, account: Account, wanted: Wanted, arrived: bool = False) -> Plan:
    """Return the plan of an account's jail, with everything else that is wanted for it.

    Args:
        engine: with the facts.
        account: with its profile.
        wanted: see `Wanted`.
        arrived: it has just been made.
    """
    binds = _binds(account, wanted.mounts, engine.host)
    events: list[Event] = [
        *create_events(account, engine.host, engine.manager, arrived),
        *([OnUserExpire(account, wanted.expires)] if wanted.expires else []),
        *add_events(account, wanted.keys, engine.host),
        *(OnMount(account, bind) for bind in outer_first(binds)),
    ]
    if wanted.connections:
        events.append(OnUserConnections(account, wanted.connections))
    if wanted.addresses:
        events.append(OnUserLimit(account, wanted.addresses))
    return limited(engine, events, password_steps(account, wanted.hashed, engine.host))


def adopt(context: Context) -> int:
    """Jail an existing account: keys first, then the group, so that it can always log in."""
    given = context.arguments
    with context.engine() as engine:
        engine = _decide_identity(context, engine)
        if context.dry_run and (given.same_person or given.another_person):
            return context.close(0)  # what follows would be planned from facts that are not yet so
        config, host = engine.config, engine.host
        found = find(given.user, config, host)
        profile = _adopting_profile(found, given.profile, config)
        account = replace(
            found, profile=profile, forced=given.force, kept=_kept(found, context, host)
        )
        guard(account, host)
        works = activity.unwanted(account, host, jailed=found.profile is not None)
        if works and not given.close:
            raise _refusal(account, works, context)
        refuse_missing(profile, host)
        events, words = migrate_events(account, engine)
        problems: list[Problem | str] = [*words]
        if found.profile is None:
            problems += left_elsewhere(account, engine)
        events = [*create_events(account, host, engine.manager), *events]
        if given.close:
            events.append(OnUserConfine(account))
        done = f"{account.name} is jailed in {account.jail}"
        if works:
            done += f"; ended: {activity.listed(works)}"
        context.carry_out(engine, events, done, done)
        # What somebody has begun since it was looked for.
        now = host.anew()
        context.look_after(
            lambda: (
                []
                if context.dry_run
                else activity.reports([account], now, newcomers={account.name})
            ),
            problems,
        )
    return context.close(0)


def _adopting_profile(found: Account, wanted: str, config: Config) -> Profile:
    """Return the profile that is to jail an account.

    Args:
        found: the account, with the profile that jails it, if any.
        wanted: a profile's name, or "".
        config: the configuration.

    Raises:
        UsageError: there is no such profile, or the account could not be in it.
        SftpJailError: another profile jails the account.
    """
    if wanted or found.profile is None:
        profile = config.profile(wanted)
    else:
        profile = found.profile
    if found.profile not in (None, profile):
        raise SftpJailError(
            f"{found.name} is jailed by profile {found.profile and found.profile.name} already"
        )
    return with_way_in(profile, found.name)


def _decide_identity(context: Context, engine: Engine) -> Engine:
    """Carry out --same-person or --another-person; return an engine with fresh facts.

    Raises:
        UsageError: it is certain whose records these are.
        SftpJailError: another account has the former name now and must be decided about first.
    """
    given, host = context.arguments, engine.host
    if not (given.same_person or given.another_person):
        return engine
    account = find(given.user, engine.config, host)
    old = former_name(account, host)
    if old and given.same_person:
        return rename(context, engine, account.name)
    if not (old or is_namesake(account, host)):
        raise UsageError(f"the records of {account.name} already have its name and uid")
    events: list[Event] = [rename_event(account, account.name, engine)]
    done = f"the records of {account.name} are for uid {account.uid} now"
    if given.another_person:
        name = old or account.name
        if old and host.account(old) is not None:
            refuse_renamed(account, host)
        events = forget_events(name, engine)  # it stays a member and shut out
        done = f"the records of {name} are removed"
    context.carry_out(engine, events, done)
    return engine.on(host.anew())


def _kept(account: Account, context: Context, host: Host) -> tuple[str, ...] | None:
    """Return the kinds of activity that may go on, or None for no change.

    With --close, these are only the kinds given to --keep; otherwise also those in the record.

    Raises:
        UsageError: there is no such kind.
    """
    given = context.arguments
    words = [word.strip() for word in (given.keep or "").split(",") if word.strip()]
    wrong = [word for word in words if word not in activity.KINDS]
    if wrong:
        raise UsageError(f"--keep {wrong[0]!r}: must be one of {', '.join(activity.KINDS)}")
    if given.keep is None and not given.close:
        return None
    before = () if given.close else host.origin(account.name).kept
    return tuple(kind for kind in activity.KINDS if kind in (*before, *words))


def _refusal(account: Account, works: list[activity.Work], context: Context) -> SftpJailError:
    """Return why an account is not adopted as it is, with both commands that adopt it."""
    adopt_it = _adopt_command(context)
    kept = account.kept or ()
    going_on = {*kept, *(work.kind for work in works)}
    kinds = ",".join(kind for kind in activity.KINDS if kind in going_on)
    also_kept = []
    if kept:
        also_kept = ["--keep", ",".join(kept)]
    close = shlex.join([*adopt_it, "--close", *also_kept, account.name])
    keep = shlex.join([*adopt_it, "--keep", kinds, account.name])
    return SftpJailError(
        f"{account.name} has {activity.listed(works)}, which a jail would not confine",
        choices=(("to end that", close), ("to let that go on", keep)),
    )


def _adopt_command(context: Context) -> list[str]:
    """Return the words of this `adopt`, without --close, --keep and the account."""
    given = context.arguments
    words = ["sftpjail", "--config", given.config, "adopt"]
    if given.config == PATH:
        words = ["sftpjail", "adopt"]
    if given.profile:
        words += ["--profile", given.profile]
    if given.force:
        words.append("--force")
    return words


def remove(context: Context) -> int:
    """Remove a jail, and restore the account as it was or delete it."""
    given = context.arguments
    name = valid_name(given.user)
    with context.engine() as engine:
        account, events = leave_events(name, engine, deleted=given.delete_account)
        exists = engine.host.account(name) is not None
        if not (given.delete_account and exists):
            done = f"the jail of {name} is gone"
            if exists:
                done = f"{name} is an ordinary account again"
            context.finish(engine, limited(engine, events), done, f"{name} is not jailed")
            _tell_of_old_keys(context, name, engine)
            return context.close(0)
        if account is None:
            raise SftpJailError(
                f"{name} is not jailed; sftpjail deletes no ordinary account",
                choices=(("to delete it all the same", f"userdel {shlex.quote(name)}"),),
            )
        delete = Step(DeleteAccount(name), "accounts", name)
        plan = limited(engine, events, [delete])
        context.finish(engine, plan, f"deleted the account {name}; its files stay")
    return context.close(0)


def _tell_of_old_keys(context: Context, name: str, engine: Engine) -> None:
    """Warn that sshd uses the keys in the home again, even those added from inside the jail."""
    found = engine.host.account(name)
    if found and engine.config.scope == "jails" and engine.host.lstat(old_place(found)) is not None:
        context.warn(
            [
                f"{name} logs in with the keys in {old_place(found)} from now on, "
                "whoever put them there"
            ]
        )

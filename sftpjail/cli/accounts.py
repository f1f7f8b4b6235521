"""add, adopt, remove, list and show: jails of accounts."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from typing import Any

from ..actions import AddAccount, DeleteAccount
from ..config import PATH, Config, keyfile
from ..engine.engine import Engine
from ..engine.plan import Event, OnMount, OnUserConfine, Plan, Step
from ..errors import SftpJailError, UsageError
from ..host import Host
from ..jails import activity
from ..jails.closing import reason
from ..jails.directory import refuse_silent
from ..jails.guards import guard
from ..jails.leftovers import has_remains, leftover
from ..jails.membership import find, find_jailed, jailed, not_jailed
from ..model import Account, Key, Profile, valid_name
from ..operations.events import create_events, forget_events, remove_events
from ..operations.keys import add_events, migrate_events, old_place, present, read_keys
from ..operations.mounts import make_bind
from .context import Command, Context
from .keys import read_source

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
    parser = add_parser("list", "list the jails")
    parser.set_defaults(run=list_jails)
    parser = add_parser("show", "show one jail with its mounts and keys")
    parser.add_argument("user", metavar="USER")
    parser.set_defaults(run=show)


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
        metavar="SRC:DST[:ro]",
        action="append",
        default=[],
        help="a directory to mount in the jail; may be repeated",
    )
    parser.add_argument("--profile", metavar="P", default="", help="default: the first one")
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
    parser.add_argument(
        "--keep",
        metavar="KINDS",
        default=None,
        help="let these go on: cron,at,incron,linger,processes,units",
    )
    parser.set_defaults(run=adopt)


def parse_mount(text: str) -> tuple[str, str, bool]:
    """Return source, target and read-only of SRC:DST[:ro].

    Raises:
        UsageError: it is not of that form.
    """
    body, read_only = (
        (text[:-3], True) if text.endswith(":ro") else (text.removesuffix(":rw"), False)
    )
    source, colon, target = body.rpartition(":")
    if not colon or not source:
        raise UsageError(f"--mount {text!r} is not SRC:DST[:ro]")
    return source, target, read_only


def maker(name: str, profile: Profile, tool: str, options: list[str]) -> list[str]:
    """Return the command that makes the account.

    SFTP needs no subordinate ids, and their range is soon full.
    """
    if tool == "adduser":
        return ["adduser", "--quiet", "--disabled-password", "--comment", "", *options, name]
    home = (
        ["--no-create-home", "--home-dir", f"/{profile.files}"]
        if profile.home == "inside"
        else ["--create-home"]
    )
    shell = ["--shell", profile.shell] if profile.shell else []
    # An impossible password, not a locked one:
    # without UsePAM sshd refuses key logins of locked accounts.
    plain = ["--password", "*", "-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"]
    group = ["--groups", profile.group] if profile.group else []
    return ["useradd", *home, *shell, *plain, *group, *options, name]


def _foresee(account: Account, options: list[str], host: Host) -> None:
    """Refuse a new account that could not be jailed once it is there.

    That is, as far as useradd's or adduser's options tell.

    Raises:
        SftpJailError: see `guard`.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-u", "--uid", type=int, default=-1)
    parser.add_argument("-r", "--system", action="store_true")
    for flag in "DFlmMNoU":  # may stand with these in one word
        parser.add_argument(f"-{flag}", action="store_true")
    for letter in "bdefgGkKpPRsZ":  # and is none of these ones' values
        parser.add_argument(f"-{letter}")
    parser.add_argument("-c", "--comment", "--gecos")
    try:
        wanted, _ = parser.parse_known_args(options)
    except argparse.ArgumentError:
        return  # useradd says it in its own words
    if wanted.uid >= 0:
        guard(replace(account, uid=wanted.uid), host, FORCE)
    elif wanted.system and not account.forced:
        what = f"will not jail {account.name}: it would be a system account"
        raise SftpJailError(what, advice=FORCE)


def add(context: Context) -> int:
    """Make an account and its jail, all in one transaction."""
    given, config = context.arguments, context.config()
    name = valid_name(given.user)
    profile = _profile_for(name, given.profile, config)
    mounts = [parse_mount(text) for text in given.mount]
    keys = read_keys({file: read_source(file) for file in given.key}, Host())
    with context.engine() as engine:
        account = _expected(name, profile, context, engine)
        profile = account.profile or profile
        if profile.group and engine.host.group(profile.group) is None:
            raise SftpJailError(f"there is no group {profile.group}", "sftpjail setup")
        jail = engine.plan(_add_events(engine, account, keys, mounts))
        done = f"{name} is jailed in {account.jail}"
        if account.exists:
            context.finish(engine, jail, done, done)
            return context.close(0)
        argv = maker(name, profile, given.tool, given.options)
        make = AddAccount(name, tuple(argv), f"/home/{name}")
        plan = Plan([], [Step(make, "accounts", name)])
        if context.dry_run:
            plan.steps += jail.steps
            context.finish(engine, plan, "")
            return context.close(0)
        # Of an earlier account of that name, of whose end no hook heard.
        context.warn(engine.apply(engine.plan(forget_events(name, engine))))

        def jail_it(later: Engine) -> Plan:
            made = replace(find(name, config, later.host), profile=profile, forced=given.force)
            guard(made, later.host, FORCE)
            return later.plan(_add_events(later, made, keys, mounts))

        notices = engine.apply(plan, jail_it)
        context.report(plan, notices, f"made the account {name}; it is jailed in {account.jail}")
    return context.close(0)


def _profile_for(name: str, wanted: str, config: Config) -> Profile:
    """Return the profile that is to jail a new account.

    Args:
        name: the account.
        wanted: a profile's name, or "" for the one that names the account, else the first.
        config: the configuration.

    Raises:
        UsageError: there is no such profile, or the account could not be in it.
    """
    named = next((p for p in config.profiles if name in p.match_user), None)
    profile = named if named and not wanted else config.profile(wanted)
    if not profile.group and name not in profile.match_user:
        raise UsageError(
            f"profile {profile.name} has no group",
            advice=f"add {name} to its match_user, then run sftpjail setup",
        )
    return profile


def _expected(name: str, profile: Profile, context: Context, engine: Engine) -> Account:
    """Return the account that `add` is to jail as it will be, or as it is where it is jailed.

    Raises:
        SftpJailError: there is one that is not jailed, or is jailed by another profile.
    """
    given, host = context.arguments, engine.host
    account = host.account(name)
    if account is None:
        home = f"/{profile.files}" if profile.home == "inside" else f"/home/{name}"
        account = Account(name, -1, -1, home, profile.shell, forced=given.force)
        _foresee(account, given.options, host)
        return replace(account, profile=profile)
    known = find(name, engine.config, host).profile
    if known is None:
        raise not_jailed(account, host, f"there is an account {name} already, not jailed")
    if given.profile and known != profile:
        raise SftpJailError(f"{name} is jailed by profile {known.name} already")
    return replace(account, profile=known)


def _add_events(
    engine: Engine, account: Account, keys: list[Key], mounts: list[tuple[str, str, bool]]
) -> list[Event]:
    binds = [
        make_bind(account, source, target, ro, under_home=False) for source, target, ro in mounts
    ]
    return [
        *create_events(account, engine.host, engine.manager),
        *add_events(account, keys, engine.host),
        *(OnMount(account, bind) for bind in sorted(binds, key=lambda b: b.target.count("/"))),
    ]


def adopt(context: Context) -> int:
    """Jail an existing account: keys first, then the group, so that it can always log in."""
    given = context.arguments
    with context.engine() as engine:
        config, host = engine.config, engine.host
        found = find(given.user, config, host)
        profile = (
            config.profile(given.profile)
            if given.profile or found.profile is None
            else found.profile
        )
        if found.profile not in (None, profile):
            raise SftpJailError(
                f"{found.name} is jailed by profile {found.profile and found.profile.name} already"
            )
        if not profile.group and found.name not in profile.match_user:
            raise UsageError(
                f"profile {profile.name} has no group",
                advice=f"add {found.name} to its match_user, then run sftpjail setup",
            )
        account = replace(
            found, profile=profile, forced=given.force, kept=_kept(found, context, host)
        )
        guard(account, host)
        works = activity.unwanted(account, host, jailed=found.profile is not None)
        if works and not given.close:
            raise _refusal(account, works, context)
        if profile.group and host.group(profile.group) is None:
            raise SftpJailError(f"there is no group {profile.group}", "sftpjail setup")
        events, problems = migrate_events(account, engine)
        events = [*create_events(account, host, engine.manager), *events]
        events += [OnUserConfine(account)] if given.close else []
        what = f"{account.name} is jailed in {account.jail}"
        what += f"; ended: {activity.listed(works)}" if works else ""
        context.carry_out(engine, events, what, what)
    context.answer_problems(problems)
    return context.close(0)


def _kept(account: Account, context: Context, host: Host) -> tuple[str, ...] | None:
    """Return what --keep lets go on; None: no change.

    With --close nothing else goes on, without it also what the record has.

    Raises:
        UsageError: there is no such kind.
    """
    given = context.arguments
    words = [word.strip() for word in (given.keep or "").split(",") if word.strip()]
    wrong = [word for word in words if word not in activity.KINDS]
    if wrong:
        raise UsageError(f"--keep knows no {wrong[0]!r}: {', '.join(activity.KINDS)}")
    if given.keep is None and not given.close:
        return None
    before = () if given.close else host.origin(account.name).kept
    return tuple(kind for kind in activity.KINDS if kind in (*before, *words))


def _refusal(account: Account, works: list[activity.Work], context: Context) -> SftpJailError:
    """Return why an account is not adopted as it is, and both commands that do it."""
    given = context.arguments
    words = ["sftpjail", *(["--config", given.config] if given.config != PATH else []), "adopt"]
    words += ["--profile", given.profile] if given.profile else []
    words += ["--force"] if given.force else []
    kinds = ",".join(
        kind for kind in activity.KINDS if kind in {*(account.kept or ()), *(w.kind for w in works)}
    )
    keep = shlex.join([*words, "--keep", kinds, account.name])
    close = [
        *words,
        "--close",
        *(["--keep", ",".join(account.kept)] if account.kept else []),
        account.name,
    ]
    return SftpJailError(
        f"{account.name} has {activity.listed(works)}, which no jail would hold",
        choices=(("to end that", shlex.join(close)), ("to let that go on", keep)),
    )


def remove(context: Context) -> int:
    """Take a jail away and give the account back what it was, or delete it."""
    given = context.arguments
    name = valid_name(given.user)
    with context.engine() as engine:
        account, events = _leaving(name, engine, deleted=given.delete_account)
        exists = engine.host.account(name) is not None
        if not (given.delete_account and exists):
            done = (
                f"{name} is an ordinary account again" if exists else f"the jail of {name} is gone"
            )
            context.carry_out(engine, events, done, f"{name} is not jailed")
            _tell_of_old_keys(context, name, engine)
            return context.close(0)
        if account is None:
            raise SftpJailError(
                f"{name} is not jailed; sftpjail deletes no ordinary account", f"userdel {name}"
            )
        delete = Step(DeleteAccount(name), "accounts", name)
        plan = engine.plan(events, also=[delete])
        context.finish(engine, plan, f"deleted the account {name}; its files stay")
    return context.close(0)


def _tell_of_old_keys(context: Context, name: str, engine: Engine) -> None:
    """Say that keys in the home count again.

    Also those that the account has put there out of its jail.
    """
    found = engine.host.account(name)
    if found and engine.config.scope == "jails" and engine.host.lstat(old_place(found)) is not None:
        context.warn(
            [
                f"{name} logs in with the keys in {old_place(found)} from now on, "
                "whoever put them there"
            ]
        )


def _leaving(name: str, engine: Engine, deleted: bool) -> tuple[Account | None, list[Event]]:
    """Return the jailed account, if any, and the events that take away its jail or its remains."""
    found = engine.host.account(name)
    refuse_silent(name, engine.host)
    if not (found and find(name, engine.config, engine.host).profile) and not has_remains(
        name, engine.host
    ):
        return None, []
    account = leftover(name, engine.config, engine.host)
    if not (deleted and account.exists):
        return account, remove_events(account, engine.host, deleted)
    # As it is now, and then what will be left of it when it is gone.
    gone = replace(account, uid=-1, gid=-1, local=False)
    return account, [
        *remove_events(account, engine.host, deleted, live_only=True),
        *remove_events(gone, engine.host, deleted),
    ]


def state(account: Account, host: Host) -> str:
    """Return in one word whether the jail is there: ok, incomplete, or closed.

    Closed: the account is shut out, or sshd would refuse the chroot.
    """
    if reason(account, host) or not host.is_dir(account.jail):
        return "closed"
    there = (
        host.lstat(b.source) if b.kept == "session" else host.mount_at(b.target)
        for b in host.binds(account.name)
    )
    return "ok" if all(there) else "incomplete"


def _facts(account: Account, host: Host) -> dict[str, Any]:
    assert account.profile is not None
    lines = host.text(keyfile(account.name)).split("\n")
    return {
        "user": account.name,
        "uid": account.uid,
        "profile": account.profile.name,
        "jail": account.jail,
        "home": account.home,
        "shell": account.shell,
        "state": state(account, host),
        "closed": reason(account, host) or None,
        "keys": sum(bool(line.strip()) and not line.startswith("#") for line in lines),
        "mounts": [
            {
                "source": bind.source,
                "target": bind.target.removeprefix(account.jail),
                "read_only": bind.read_only,
                "role": bind.role,
                "kept": bind.kept,
                "mounted": host.mount_at(bind.target) is not None,
            }
            for bind in host.binds(account.name)
        ],
    }


def list_jails(context: Context) -> int:
    """Print one line for each jail."""
    with context.engine(reading=True) as engine:
        accounts = sorted(
            jailed(engine.config, engine.host).values(), key=lambda account: account.name
        )
        facts = [_facts(account, engine.host) for account in accounts]
    context.answers["jails"] = facts
    if not facts:
        context.say(["no account is jailed"])
    rows = [
        (f["user"], f["profile"], f["jail"], str(f["keys"]), str(len(f["mounts"])), f["state"])
        for f in facts
    ]
    context.table(("USER", "PROFILE", "JAIL", "KEYS", "MOUNTS", "STATE"), rows)
    return context.close(0)


def show(context: Context) -> int:
    """Print one jail."""
    with context.engine(reading=True) as engine:
        account = find_jailed(context.arguments.user, engine.config, engine.host)
        facts = _facts(account, engine.host)
        keys = [f"{k.fingerprint} {k.comment}" for k in present(account, engine.host).values()]
    context.answers["jail"] = facts
    rows = [
        (name, str(facts[name]))
        for name in ("user", "uid", "profile", "jail", "home", "shell", "state")
    ]
    rows += [("closed", facts["closed"])] if facts["closed"] else []
    rows += [("key", key) for key in keys]
    for m in facts["mounts"]:
        flags = [m["role"], *(["read-only"] if m["read_only"] else [])]
        if not m["mounted"]:
            flags.append("for each session" if m["kept"] == "session" else "not mounted")
        rows.append(("mount", f"{m['target']} <- {m['source']} ({', '.join(flags)})"))
    context.table(("", ""), rows)
    return context.close(0)

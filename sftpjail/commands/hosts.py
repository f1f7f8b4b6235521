"""The host as a whole: setup, teardown, apply, check, plugins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from shlex import quote

from ..engine import Engine, Plan
from ..errors import SftpJailError, UsageError
from ..events import create_events, remove_events
from ..host import STATE
from ..jails import guard, jailed, leftovers, why_not
from ..manager import BUNDLED, Event, Manager, strangers
from ..model import Account, inside, valid_name
from .context import Command, Context


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("setup", "prepare the host: groups, folders, Match blocks, hooks, log socket")
    parser.add_argument("--force", action="store_true", help="even if an administrator is in a jail group")
    parser.set_defaults(run=setup)
    parser = add_parser("teardown", "take back what setup did, byte for byte")
    parser.add_argument(
        "--close-accounts", action="store_true", help="expire accounts that are still jailed, instead of refusing"
    )
    parser.set_defaults(run=teardown)
    parser = add_parser("apply", "bring every jail to what the configuration says")
    parser.add_argument("file", nargs="?", metavar="FILE", help="only the accounts that FILE lists, one a line")
    parser.add_argument("--prune", action="store_true", help="also clear away what departed accounts left")
    parser.set_defaults(run=apply)
    parser = add_parser("check", "say what is wrong, and the command that mends it")
    parser.add_argument("users", nargs="*", metavar="USER")
    parser.add_argument("--fix", action="store_true", help="apply what would mend it")
    parser.set_defaults(run=check)
    parser = add_parser("plugins", "what is loaded, from where, with which hooks")
    parser.set_defaults(run=plugins)


def setup(context: Context) -> int:
    """Fire on_setup, and make the jails of whoever is in the groups already: the Match blocks will hold them."""
    with context.engine() as engine:
        jails = jailed(engine.config, engine.host)
        for account in jails.values():
            guard(replace(account, forced=context.arguments.force), engine.host)
        plan = _plan(engine, [Event("on_setup")], jails.values(), [])
        context.finish(engine, plan, "this host is ready for jails", "this host is ready for jails")
    context.warn(_problems(plan.errors))
    return context.close(1 if plan.errors else 0)


def _plan(engine: Engine, first: list[Event], accounts: Iterable[Account], last: list[Event]) -> Plan:
    """Return one plan for many jails; an account that cannot be planned for is left out, with its error in the plan."""
    events, errors = list(first), {}
    for account in accounts:
        try:
            events += create_events(account, engine.host, engine.manager)
        except SftpJailError as error:
            errors[account.name] = error
    plan = engine.plan([*events, *last], tolerant=True)
    plan.errors |= errors
    return plan


def _problems(errors: dict[str, SftpJailError]) -> list[str]:
    return [
        f"{name}: {error.message}" + (f"\n  try: {error.hint}" if error.hint else "") for name, error in errors.items()
    ]


def teardown(context: Context) -> int:
    """Fire on_teardown. Jailed accounts would become ordinary ones, so they go first or are closed."""
    with context.engine() as engine:
        jails = jailed(engine.config, engine.host)
        if jails and not context.arguments.close_accounts:
            names = ", ".join(list(jails)[:8]) + (f" and {len(jails) - 8} more" if len(jails) > 8 else "")
            raise SftpJailError(
                f"still jailed: {names}; without their Match block these would be ordinary accounts",
                "sftpjail remove USER for each, or: sftpjail teardown --close-accounts",
            )
        events = [event for account in jails.values() for event in remove_events(account, engine.host, deleted=True)]
        for account in leftovers(engine.config, engine.host, jails).values():
            events += remove_events(account, engine.host, deleted=False)
        done = "this host is as it was before setup"
        if jails:
            done = f"the jails are gone, and their {len(jails)} accounts are expired: usermod -e '' USER opens one"
        context.carry_out(engine, [*events, Event("on_teardown")], done)
    return context.close(0)


def apply(context: Context) -> int:
    """Make and mend jails. One that cannot be made is told, and keeps no other from being made."""
    with context.engine() as engine:
        jails = jailed(engine.config, engine.host)
        chosen = dict(jails)
        if context.arguments.file:
            wanted = _names(context.arguments.file)
            missing = [name for name in wanted if name not in jails]
            if missing:
                raise SftpJailError(f"not jailed: {', '.join(missing[:8])}", f"sftpjail adopt {missing[0]}")
            chosen = {name: jails[name] for name in wanted}
        skipped = _guarded(engine, chosen)
        last: list[Event] = []
        if context.arguments.prune:
            for account in leftovers(engine.config, engine.host, jails).values():
                last += remove_events(account, engine.host, deleted=False)
        plan = _plan(engine, [], [account for name, account in chosen.items() if name not in skipped], last)
        changed = {step.owner for step in plan.steps if step.owner}
        names = ", ".join(sorted(changed)[:8]) + (f" and {len(changed) - 8} more" if len(changed) > 8 else "")
        good = len(chosen) - len(plan.errors) - len(skipped)
        context.finish(engine, plan, f"applied: {names or 'the host'}", f"{good} jails are as they should be")
    problems = _problems(plan.errors) + [f"{name} is left alone: {reason}" for name, reason in skipped.items()]
    context.answers["problems"] = problems
    context.warn(problems)
    return context.close(1 if plan.errors else 0)


def _guarded(engine: Engine, accounts: dict[str, Account]) -> dict[str, str]:
    """Return whom apply does not touch, and why: somebody put an administrator into a jail group."""
    reasons = {name: why_not(account, engine.host) for name, account in accounts.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _names(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return [valid_name(line.strip()) for line in lines if line.strip() and not line.startswith("#")]


def check(context: Context) -> int:
    """Show what `setup` and `apply` would change, and what the plugins find wrong besides."""
    with context.engine(reading=not context.arguments.fix) as engine:
        host, config = engine.host, engine.config
        jails = jailed(config, host)
        users = [valid_name(name) for name in context.arguments.users]
        for name in users:
            if name not in jails:
                raise SftpJailError(f"{name} is not jailed", f"sftpjail adopt {name}")
        chosen = {name: jails[name] for name in users} if users else jails
        faults: list[dict[str, str]] = []

        def fault(about: str, what: str, why: str, mend: str) -> None:
            faults.append({"about": about, "what": what, "why": why, "mend": mend})

        skipped = _guarded(engine, chosen)
        willing = [account for name, account in chosen.items() if name not in skipped]
        try:
            plan = engine.plan([] if users else [Event("on_setup")])
        except SftpJailError as veto:
            fault("host", veto.message, "setup cannot be done", veto.hint)
            plan = engine.plan([])
        if plan:
            fault("host", f"setup has {len(plan.steps)} changes to make", plan.diff(host)[0], "sftpjail setup")
        changes = _plan(engine, [], willing, [])
        for name in dict.fromkeys(step.owner for step in changes.steps if step.owner):
            lines = [line for step in changes.steps if step.owner == name for line in step.action.diff(host)]
            fault(name, f"{len(lines)} changes to make", lines[0], "sftpjail apply")
        for name, error in changes.errors.items():
            fault(name, error.message, "the jail cannot be made", error.hint)
        for name, reason in skipped.items():
            fault(name, f"is in a jail group, and {reason}", "sshd jails it all the same", f"gpasswd -d {name} GROUP")
        for account in chosen.values():
            for finding in engine.manager.findings(account, host):
                fault(account.name, finding.what, finding.why, finding.mend)
        if host.lstat(f"{STATE}/journal") is not None:
            fault("host", "an interrupted run is not taken back yet", "something may be half done", "sftpjail apply")
        if not users:
            for finding in engine.manager.findings(None, host):
                fault("host", finding.what, finding.why, finding.mend)
            for name, account in leftovers(config, host, jails).items():
                what, why, mend = "left something of a jail behind", "it is jailed no more", "sftpjail apply --prune"
                if not engine.plan(remove_events(account, host, deleted=False), tolerant=True):
                    left = [path for path in host.origin(name).made if host.lstat(path) is not None]
                    words = " ".join(quote(path) for path in left)
                    what, why = f"left files in {words}", "they are data, which sftpjail never deletes"
                    mend = f"rm -rI --one-file-system {words} && sftpjail apply --prune"
                    if any(inside(point, path) for path in left for point in host.mounts):
                        mend = f"findmnt | grep -F {quote(account.jail)}"
                fault(name, what, why, mend)
        context.answers["faults"] = faults
        for item in faults:
            context.say([f"{item['about']}: {item['what']} ({item['why']})", f"  mend: {item['mend']}"])
        if not faults:
            context.say([f"{len(chosen)} jails, no faults"])
        if context.arguments.fix:
            both = _plan(engine, [] if users else [Event("on_setup")], willing, [])
            context.finish(engine, both, "what could safely be mended is mended; run check again")
    return context.close(3 if faults else 0)


def plugins(context: Context) -> int:
    """List the plugins: bundled, allowed, and found but not allowed."""
    config = context.config()
    manager = Manager(config)
    rows = []
    for name, plugin in manager.plugins.list_name_plugin():
        hooks = [caller.name for caller in manager.plugins.get_hookcallers(plugin) or []]
        rows.append((name, "bundled" if name in BUNDLED else "allowed", ", ".join(sorted(hooks))))
    rows += [(name, "disabled", "") for name in config.plugins_disable]
    for name, entry in strangers().items():
        if name not in config.plugins_allow:
            rows.append((name, "not allowed", entry.value))
    context.answers["plugins"] = [dict(zip(("name", "state", "hooks"), row, strict=True)) for row in rows]
    context.table(("NAME", "STATE", "HOOKS"), rows)
    return context.close(0)

"""What is wrong with the host and its jails: `check` and `explain` show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from shlex import quote

from .. import fixes
from ..actions import Action, Check, Notify
from ..config import PATH
from ..engine.engine import Engine, interrupted
from ..engine.plan import OnSetup, Plan
from ..errors import SftpJailError
from ..escapes import Advice, one_line, shown
from ..host import Host
from ..jails.closing import is_shut, lets_in
from ..jails.directory import silent
from ..jails.guards import why_not
from ..jails.leftovers import left_names, leftover
from ..jails.membership import find_jailed, jailed
from ..model import Account, Problem, inside, valid_name
from .apply import guarded, plan_all, unanswered
from .events import create_events, remove_events

THOROUGH = 50  # up to so many accounts each one is worth a question to sshd and the like
SETUP = "sftpjail setup"


def _about(name: str, problems: Iterable[Problem]) -> list[Problem]:
    return [replace(problem, about=name) for problem in problems]


def chosen_jails(engine: Engine, users: list[str]) -> dict[str, Account]:
    """Return the jails to look at: those that are named, or all but what is being created.

    Raises:
        SftpJailError: for one that is none.
    """
    if not users:
        jails = jailed(engine.config, engine.host)
        return {name: jails[name] for name in jails if engine.host.people.maker(name) is None}
    return {name: find_jailed(valid_name(name), engine.config, engine.host) for name in users}


def judge(engine: Engine, users: list[str]) -> list[Problem]:
    """Return every problem of the host and the jails, or of some accounts alone; each once.

    Args:
        engine: with the facts as they are now.
        users: whom to judge; nobody means everybody and the host.

    Raises:
        SftpJailError: one of them is not jailed.
    """
    chosen = chosen_jails(engine, users)
    if len(chosen) > THOROUGH:
        engine = engine.on(engine.host.of_many())
    problems = _failures(engine)
    if not users:
        problems += _host_problems(engine)
    skipped = guarded(engine, chosen)
    changes = plan_all(
        engine, [], [account for name, account in chosen.items() if name not in skipped], [], by=""
    )
    for account in chosen.values():
        problems += _account_problems(engine, account, changes, skipped.get(account.name, ""))
    if not users:
        problems += _remains(engine, chosen)
    return _once(problems)


def _failures(engine: Engine) -> list[Problem]:
    return [Problem.of(error, "its hooks do not run", "host") for error in engine.manager.failures]


def _once(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems without those that say the same again.

    What was said of the host is not said of an account too.
    """
    seen: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        if ("host", problem.what) not in seen:
            seen.setdefault((problem.about, problem.what), problem)
    return list(seen.values())


def _host_problems(engine: Engine) -> Iterator[Problem]:
    host = engine.host
    if interrupted(host):
        what = "an interrupted run has not been rolled back yet"
        why = "a change may be only partly made"
        yield Problem(what, why, "sftpjail apply", about="host")
    found = _about("host", engine.manager.problems(None, host))
    yield from found
    why = "whether their jails are as they should be is not known, and nothing of them is changed"
    yield from (
        Problem(words, why, f"getent passwd {silent(host)[0]}", about="host")
        for words in unanswered(host)
    )
    try:
        plan = engine.plan([OnSetup()])
    except SftpJailError as veto:
        yield Problem.of(veto, "setup cannot be done", "host")
        return
    changed = _summary(plan, host, found)
    all_named = not changed and bool(_summary(plan, host))
    if plan and not all_named:
        what = f"not as configured: {changed}"
        yield Problem(what, "setup would change it", SETUP, about="host")


def _summary(plan: Plan, host: Host, known: Iterable[Problem] = ()) -> str:
    """Return what a plan changes, in a few words of its diff.

    Its checks and notices come along by themselves.

    Args:
        plan: not applied.
        host: the facts.
        known: problems that have named some of the paths already, to give them back
            or to set the host up.
    """
    heads: dict[str, None] = {}
    for step in plan.steps:
        if step.plugin == "sftpjail" or isinstance(step.action, Check | Notify):
            continue
        if any(_names(problem, step.action) for problem in known):
            continue
        lines = list(step.action.diff(host))
        if lines and lines[0].startswith("--- "):
            # A file: its name, and the first line that comes or goes.
            changed = (line for line in lines[2:] if line[:1] in ("+", "-"))
            lines = [f"~ {lines[0][4:]}: {next(changed, '')}"]
        heads |= dict.fromkeys(lines[:1])
    words = list(heads)
    return "; ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def _names(problem: Problem, action: Action) -> bool:
    """Return whether a problem has said already what an action would change."""
    kind, path = action.key[0], one_line(str(action.key[1]))
    if kind == "owner":
        return path in problem.what
    # Of a file that setup writes, and the directories that it makes for it.
    return (
        kind == "path"
        and problem.fix == SETUP
        and f"{problem.what} ".startswith((f"{path} ", f"{path}/"))
    )


def _account_problems(
    engine: Engine, account: Account, changes: Plan, reason: str
) -> Iterator[Problem]:
    """Yield what the plugins find, then what `apply` would change or cannot.

    The latter is left out where a problem has said so.
    """
    name, host = account.name, engine.host
    found = _about(name, engine.manager.problems(account, host))
    yield from found
    offered = {problem.fix for problem in found if problem.fix}
    if reason:
        yield Problem(
            f"is in a jail group, and {reason}",
            "sshd jails it all the same",
            _out_of_group(account, host),
            about=name,
        )
    error = changes.errors.get(name)
    if error and (error.fix not in offered or is_shut(account, host) or _is_open(account, host)):
        problem = Problem.of(error, "the jail cannot be made", name)
        yield replace(problem, severity="open") if _is_open(account, host) else problem
    elif (
        not error
        and any(step.owner == name for step in changes.steps)
        and "sftpjail apply" not in offered
    ):
        changed = _summary(engine.plan(create_events(account, host, engine.manager)), host, found)
        if changed:
            what = f"not as configured: {changed}"
            yield Problem(what, "apply would change it", "sftpjail apply", about=name)


def _is_open(account: Account, host: Host) -> bool:
    """Return whether sshd lets an account in whose jail cannot be made."""
    try:
        return lets_in(account, host) and not is_shut(account, host)
    except SftpJailError:
        return False


def _out_of_group(account: Account, host: Host) -> str:
    """Return the command by which an account is in no jail group any more, or words."""
    profile = account.profile
    assert profile is not None
    if account.name in profile.match_user:
        return Advice(f"take {account.name} out of match_user in {PATH}")
    group = host.group(profile.group)
    if group and group.gid == account.gid:
        if host.group(account.name):
            return f"usermod -g {account.name} {account.name}"
        return Advice(f"give it another primary group: usermod -g GROUP {account.name}")
    return f"gpasswd -d {account.name} {profile.group}"


def _remains(engine: Engine, jails: dict[str, Account]) -> Iterator[Problem]:
    """Yield what departed accounts have left."""
    host = engine.host
    for name in left_names(engine.config, host, jails):
        try:
            account = leftover(name, engine.config, host)
        except SftpJailError as error:
            yield Problem.of(error, "what it was before its jail is not known", name)
            continue
        gone = (
            "there is no such account any more"
            if host.account(name) is None
            else "it left its profile's group"
        )
        if host.account(name) and _groupless(account, host):
            fix = f"sftpjail setup && sftpjail adopt {quote(name)}"
            what = "is no longer jailed: the group of its profile is gone"
            yield Problem(what, "sshd jails by membership", fix, about=name)
            continue
        if engine.plan(remove_events(account, host, deleted=False), tolerant=True):
            what = "left something of a jail behind"
            yield Problem(what, gone, "sftpjail apply --prune", about=name)
            continue
        left = [path for path in host.origin(name).made if host.lstat(path) is not None]
        fix = fixes.remove_trees(left, host)
        fix = f"{fix} && sftpjail apply --prune" if fix else ""
        # rm --one-file-system does not stop at a bind mount of the same file system.
        if any(inside(point, host.realpath(path)) for path in left for point in host.mounts):
            fix = f"findmnt | grep -F {quote(account.jail)}"
        what = f"left files in {' '.join(map(shown, left))}"
        why = f"{gone}, and they are data, which sftpjail never deletes"
        yield Problem(what, why, fix, fixes.advice(left[0], host), about=name)


def _groupless(account: Account, host: Host) -> bool:
    """Return whether the group of an account's profile is not there at all."""
    return bool(
        account.profile and account.profile.group and host.group(account.profile.group) is None
    )


def problems_of(engine: Engine, account: Account) -> list[Problem]:
    """Return what is wrong for one account, jailed or not: the problems of the host, and its own.

    Raises:
        SftpJailError: its record is damaged.
    """
    host = engine.host
    problems = _failures(engine)
    problems += _about("host", engine.manager.problems(None, host))
    if account.profile is None:
        what = f"{account.name} is not jailed: it is in no profile's group"
        reason = why_not(account, host)
        why = reason or "sshd treats it like any other account"
        fix = f"sftpjail adopt {account.name}"
        if _groupless(leftover(account.name, engine.config, host), host):
            fix = f"sftpjail setup && {fix}"
        return [Problem(what, why, "" if reason else fix, about=account.name)]
    plan = plan_all(engine, [], [account], [], by="")
    reason = guarded(engine, {account.name: account}).get(account.name, "")
    return _once([*problems, *_account_problems(engine, account, plan, reason)])


def wrong(problems: Iterable[Problem]) -> bool:
    """Return whether there is more than advice."""
    return any(problem.severity != "advice" for problem in problems)

"""Find the problems of the host and its jails, for `check` and `explain`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from shlex import quote

from ..actions import Action, Check, MakeDir, Notify
from ..config import PATH
from ..engine.engine import Engine, interrupted
from ..engine.manager import unknown_disabled
from ..engine.plan import OnSetup, Plan
from ..errors import SftpJailError
from ..errors.escapes import Advice, Choice, look_at, one_line, shown, some
from ..formats import fixes
from ..host import Host
from ..jails import addresses
from ..jails.closing import is_disabled, is_shut, lets_in
from ..jails.directory import silent
from ..jails.former_names import account_with_recorded_uid, former_name, is_same_person
from ..jails.guards import is_namesake, why_not
from ..jails.leftovers import is_regrouped, left_names, leftover
from ..jails.membership import called_now, find_jailed, jailed, lost, untaken
from ..jails.renames import same
from ..model import Account, Problem, inside, valid_name
from .apply import PRUNE, departed, guarded, plan_all, refusals, unanswered
from .events import create_events, remove_events
from .renames import clash

THOROUGH = 50  # for up to this many accounts, sshd and other programs are run for each of them
SETUP = "sftpjail setup"
# In a sentence; " / " stands between the lines of what a program says.
_PATH = re.compile(r"(?<![^\s'\"(])/[^\s:;,'\")]+")


def _about(name: str, problems: Iterable[Problem]) -> list[Problem]:
    return [replace(problem, about=name) for problem in problems]


def chosen_jails(engine: Engine, users: list[str]) -> dict[str, Account]:
    """Return the jails to look at: the named ones, or all except those being created.

    Raises:
        SftpJailError: one of the accounts is not jailed.
    """
    if not users:
        jails = jailed(engine.config, engine.host)
        return {name: jails[name] for name in jails if engine.host.people.maker(name) is None}
    return {name: find_jailed(valid_name(name), engine.config, engine.host) for name in users}


def judge(engine: Engine, users: list[str]) -> list[Problem]:
    """Return the problems of the host and all jails, or of some accounts only, each once.

    Args:
        engine: with the present facts.
        users: the accounts; if empty, all accounts and the host.

    Raises:
        SftpJailError: one of them is not jailed.
    """
    chosen = chosen_jails(engine, users)
    if len(chosen) > THOROUGH:
        engine = engine.on(engine.host.for_many_accounts())
    skipped = guarded(engine, chosen)
    strange = {}
    if not users:
        strange = untaken(engine.config, engine.host)
    willing = [account for name, account in chosen.items() if name not in skipped]
    members = [*willing, *strange.values()]
    changes = plan_all(engine, [], members, [], by="", failed=refusals(strange))
    problems = [_untaken(account, changes, engine.host) for account in strange.values()]
    with engine.host.files.one_look():
        for name, account in chosen.items():
            problems += _account_problems(engine, account, changes, skipped.get(name, ""))
    if not users:
        of_host = list(_host_problems(engine, problems))
        problems = [*of_host, *problems, *_remains(engine, chosen)]
    return once(causes([*_failures(engine), *problems]))


def _untaken(account: Account, changes: Plan, host: Host) -> Problem:
    """Return the problem of a member whose name sftpjail does not take."""
    problem = Problem.of(changes.errors[account.name], about=account.name)
    return replace(problem, severity="open" if _is_open(account, host) else "broken")


def causes(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems without those that follow from others.

    Such a problem names a path, and another one of the same account, or of the host, names that
    path or one above: what is wrong there is the cause.
    """
    if not any(problem.follows for problem in problems):
        return list(problems)
    roots: dict[str, set[str]] = {}
    for problem in problems:
        if not problem.follows and problem.severity != "advice":
            roots.setdefault(problem.about, set()).update(_PATH.findall(problem.what))
    of_host = roots.get("host", set())
    return [
        problem
        for problem in problems
        if not (problem.follows and _lies_below(problem, roots.get(problem.about, set()) | of_host))
    ]


def _lies_below(problem: Problem, roots: Collection[str]) -> bool:
    """Return whether a problem names one of these paths, or a path below one."""
    paths = _PATH.findall(problem.what)
    return any(inside(path, root) for path in paths for root in roots)


def _failures(engine: Engine) -> list[Problem]:
    failed = [
        Problem.of(error, "its hooks do not run", "host") for error in engine.manager.failures
    ]
    advice = f"correct or remove it in disable of [plugins] of {PATH}"
    unknown = unknown_disabled(engine.config).values()
    why = "that disables nothing"
    return failed + [
        Problem(what, why, advice=advice, severity="advice", about="host") for what in unknown
    ]


def once(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems with duplicates merged into one that concerns all their accounts.

    One cause is one problem, however many jails it breaks. If the host has the same problem, its
    severity and fix are kept. A problem of several accounts is about the host.
    """
    said: dict[tuple[str, str], object] = {}  # (about, what): the key in `merged`
    merged: dict[object, Problem] = {}
    accounts: dict[object, dict[str, None]] = {}  # in the order in which they came
    for problem in problems:
        key: object = problem.what, problem.fix, problem.choices
        for whom in ("host", problem.about):
            key = said.get((whom, problem.what), key)
        said.setdefault((problem.about, problem.what), key)
        first = merged.setdefault(key, problem)
        concerned = accounts.setdefault(key, {})
        if problem.about != "host":
            concerned[problem.about] = None
        if problem.severity == "open" and first.severity != "open":
            merged[key] = replace(first, severity="open")
    return [_concerning(tuple(accounts[key]), problem) for key, problem in merged.items()]


def _concerning(accounts: tuple[str, ...], problem: Problem) -> Problem:
    """Return a problem as one that concerns these accounts."""
    about = "host"
    if len(accounts) < 2:
        about = problem.about
    return replace(problem, concerns=accounts, about=about)


def _host_problems(engine: Engine, of_accounts: Sequence[Problem]) -> Iterator[Problem]:
    """Yield the problems of the host.

    Args:
        engine: with the facts.
        of_accounts: the problems of the jails; a path named in one is not named again.
    """
    host = engine.host
    if interrupted(host):
        what = "an interrupted run has not been rolled back yet"
        why = "a change may be only partly made"
        yield Problem(what, why, "sftpjail apply", about="host")
    found = _about("host", engine.manager.problems(None, host))
    yield from found
    why = "their jails cannot be checked, and are not changed"
    yield from (
        Problem(words, why, look_at(f"getent passwd {silent(host)[0]}"), about="host")
        for words in unanswered(host)
    )
    yield from _denied(host)
    try:
        plan = engine.plan([OnSetup()])
    except SftpJailError as veto:
        yield Problem.of(veto, "setup cannot be done", "host")
        return
    changed = _summary(plan, host, [*found, *of_accounts])
    all_named = not changed and bool(_summary(plan, host))
    if plan and not all_named:
        what = f"not as configured: {changed}"
        yield Problem(what, "setup would change it", SETUP, about="host")


def _denied(host: Host) -> Iterator[Problem]:
    """Yield that a directory service has none of the accounts that it has jailed here."""
    names = host.people.denied
    if names:
        services = ", ".join(host.people.directory_services)
        yield Problem(
            f"the directory service ({services}) has none of its accounts that are jailed here: "
            f"{some(names, 8)}; they are gone, or it is down",
            "without its server and its cache it denies everybody",
            choices=(
                Choice("to see whether it has them", f"getent passwd {quote(names[0])}"),
                Choice(f"if {names[0]} is gone", f"sftpjail remove {quote(names[0])}"),
            ),
            about="host",
        )


def _summary(plan: Plan, host: Host, known: Iterable[Problem] = ()) -> str:
    """Return what a plan changes, in a few words from its diff.

    Its checks and notices do not count.

    Args:
        plan: not applied.
        host: the facts.
        known: problems that already name some of the paths.
    """
    heads: dict[str, None] = {}
    for step in plan.steps:
        if step.plugin == "sftpjail" or isinstance(step.action, Check | Notify):
            continue
        if any(_names(problem, step.action) for problem in known):
            continue
        lines = list(step.action.diff(host))
        if lines and lines[0].startswith("--- "):
            # For a file, its name and the first line that is added or removed.
            changed = (line for line in lines[2:] if line[:1] in ("+", "-"))
            lines = [f"~ {lines[0][4:]}: {next(changed, '')}"]
        heads |= dict.fromkeys(lines[:1])
    words = list(heads)
    return some(words, 3, "; ")


def _names(problem: Problem, action: Action) -> bool:
    """Return whether a problem already names what an action would change."""
    kind, path = action.key[0], one_line(str(action.key[1]))
    if kind == "owner":
        return path in problem.what
    if isinstance(action, MakeDir) and problem.what.startswith(f"{path} "):
        return True  # it exists with a wrong owner or mode
    # A file that setup writes, and the directories that it makes for it.
    return (
        kind == "path"
        and problem.fix == SETUP
        and f"{problem.what} ".startswith((f"{path} ", f"{path}/"))
    )


def _account_problems(
    engine: Engine, account: Account, changes: Plan, reason: str
) -> Iterator[Problem]:
    """Yield the problems that the plugins find, then what `apply` would change or cannot change.

    The latter is left out if one of the problems already says so.
    """
    name, host = account.name, engine.host
    error = changes.errors.get(name)
    if error and not reason and _is_in_question(account, host):
        yield _renamed(account, error, engine)
        return
    if cause := lost(account, host):  # one cause, whoever is in the group
        problem = Problem.of(cause, about=name)
        yield replace(problem, severity="open" if _is_open(account, host) else "broken")
        return
    found = _about(name, engine.manager.problems(account, host))
    if error:  # apply cannot fix anything here
        found = [problem for problem in found if problem.fix != "sftpjail apply"]
    if _is_disabled(account, host) or any(problem.hides for problem in found):
        yield from (problem for problem in found if problem.hides or problem.severity == "open")
        if error and _is_open(account, host):
            yield replace(Problem.of(error, "the jail cannot be made", name), severity="open")
        return
    yield from found
    offered = {problem.fix for problem in found if problem.fix}
    if reason:
        yield _protected(account, reason, host)
    if error:
        decisions = [one.choices for one in found if one.severity != "advice"]
        yield from _unmade(account, error, offered, decisions, host)
    elif name in _pending(changes, host) and "sftpjail apply" not in offered:
        changed = _summary(engine.plan(create_events(account, host, engine.manager)), host, found)
        if changed:
            what = f"not as configured: {changed}"
            yield Problem(what, "apply would change it", "sftpjail apply", about=name)


def _pending(changes: Plan, host: Host) -> Collection[str]:
    """Return whose jails a plan changes, and not in our records alone."""

    def find() -> Collection[str]:
        return changes.owners & {step.owner for step in changes.steps}

    return host.files.once((_pending, id(changes)), find)


def _is_in_question(account: Account, host: Host) -> bool:
    """Return whether an account was renamed, has the former name of one that was, or another uid.

    No command may give it anything before that is decided. A damaged record says nothing of it.
    """
    try:
        if is_namesake(account, host):
            return True
        other = account_with_recorded_uid(account.name, host)
        if other is not None and former_name(other, host) == account.name:
            return True
        return bool(former_name(account, host))
    except SftpJailError:
        return False


def _is_disabled(account: Account, host: Host) -> bool:
    """Return whether an administrator has disabled an account. A damaged record does not say so."""
    try:
        return is_disabled(account, host)
    except SftpJailError:
        return False


def _renamed(account: Account, error: SftpJailError, engine: Engine) -> Problem:
    """Return the problem of such an account. It is the cause of all its other problems.

    Args:
        account: with its profile.
        error: why its jail cannot be made.
        engine: with the facts.
    """
    host, old = engine.host, former_name(account, engine.host)
    if old and is_same_person(account, old, host):
        error = clash(account, engine) or error  # without a clash, apply moves it
    why = "it cannot log in"
    severity = "broken"
    if _is_open(account, host):
        severity = "open"
    own = addresses.listed(host)
    if old in own and account.name not in own and not is_shut(account, host):
        # With chroot = %h, for example, sshd lets it in under its new name.
        why, severity = f"it may come from anywhere: the addresses are {old}'s", "open"
    return replace(Problem.of(error, why, account.name), severity=severity)


def _unmade(
    account: Account,
    error: SftpJailError,
    offered: Collection[str],
    decisions: Collection[Sequence[Choice]],
    host: Host,
) -> Iterator[Problem]:
    """Yield why a jail cannot be made, unless a problem with the same remedy already says so.

    The fix is not printed twice, because a second `umount` would remove what the `apply` after the
    first one has mounted.
    """
    is_open = _is_open(account, host)
    same = False
    if error.fix:
        same = any(error.fix in fix.split(" && ") for fix in offered)
    if same and not (is_open or is_shut(account, host)):
        return
    problem = Problem.of(error, "the jail cannot be made", account.name)
    decided = bool(problem.choices) and problem.choices in decisions
    if decided and not (is_open or is_shut(account, host)):
        return
    if same:
        problem = replace(problem, fix="", advice="the command of another problem fixes this too")
    if is_open:
        yield replace(problem, severity="open")
    else:
        yield problem


def _protected(account: Account, reason: str, host: Host) -> Problem:
    """Return the problem of a protected member, which is neither jailed nor shut out.

    sshd still follows the Match block, and may let it into a directory that is not a jail.
    """
    is_open = _is_open(account, host)
    what = f"is in a jail group, and {reason}"
    why = "sshd jails it all the same"
    if is_open:
        why = f"sshd lets it into {shown(account.jail)}"
    if is_open is None:
        why = "whether sshd jails it is not known"
    fix = _out_of_group(account, host)
    severity = "broken"
    if is_open:
        severity = "open"
    return Problem(what, why, fix, severity=severity, about=account.name)


def _is_open(account: Account, host: Host) -> bool | None:
    """Return whether sshd lets an account in whose jail cannot be made, None if it does not say."""
    try:
        return lets_in(account, host) and not is_shut(account, host)
    except SftpJailError:
        return None


def _out_of_group(account: Account, host: Host) -> str:
    """Return the command that takes an account out of its jail group, or advice."""
    profile = account.profile
    assert profile is not None
    if account.name in profile.match_user:
        return Advice(f"take {account.name} out of match_user in {PATH}")
    group = host.group(profile.group)
    if group and group.gid == account.gid:
        own = host.group(account.name)
        if own:
            return f"usermod -g {own.gid} {quote(account.name)}"
        return Advice(f"give it another primary group: usermod -g GROUP {account.name}")
    return f"gpasswd -d {quote(account.name)} {quote(profile.group)}"


def _remains(engine: Engine, jails: dict[str, Account]) -> Iterator[Problem]:
    """Yield the problems of what former jails have left."""
    for name in left_names(engine.config, engine.host, jails):
        try:
            account = leftover(name, engine.config, engine.host)
        except SftpJailError as error:
            yield Problem.of(error, "what it was before its jail is not known", name)
            continue
        problem = _left_behind(account, engine, jails)
        if problem is not None:
            yield problem


def _left_behind(account: Account, engine: Engine, jails: Mapping[str, Account]) -> Problem | None:
    """Return the problem of what the former jail of an account has left.

    Args:
        account: as its record has it; the account itself may be gone.
        engine: with the facts.
        jails: the accounts that are jailed.

    Returns:
        None if a directory service denies the account, or another problem says it already.
    """
    host, name = engine.host, account.name
    exists = host.account(name) is not None
    if exists and _groupless(account, host):
        fix = f"sftpjail setup && sftpjail adopt {quote(name)}"
        what = "is no longer jailed: the group of its profile is gone"
        return Problem(what, "sshd jails by membership", fix, about=name)
    now = ""
    if exists and account.profile:
        now = called_now(name, account.profile, host)
    if now or (exists and is_regrouped(name, engine.config, host)):
        return _in_former_group(account, now, host)
    if name in host.people.denied:
        return None
    other = account_with_recorded_uid(name, host)
    if other is not None:
        # Otherwise this is already the reason why that one's jail cannot be made.
        is_news = other.name not in jails or former_name(other, host) != name
        if not is_news:
            return None
        return _inherited(name, other, host)
    gone = "there is no such account any more"
    if exists:
        gone = "it left its profile's group"
    if engine.plan(remove_events(account, host, deleted=False), tolerant=True):
        problem = departed(account, engine, jails)
        return problem or Problem("left something of a jail behind", gone, PRUNE, about=name)
    return _left_files(account, gone, host)


def _in_former_group(account: Account, now: str, host: Host) -> Problem:
    """Return the problem of an account whose group is NOW or gone, and another has its name."""
    name, group = account.name, account.profile.group if account.profile else ""
    what = "gone"
    if now:
        what = f"called {shown(now)} now"
    return Problem(
        f"is no longer jailed: the group that has jailed it is {what}, and {group} is another one",
        "sshd jails by membership",
        severity="broken" if is_shut(account, host) else "open",
        choices=(
            Choice("to jail it again", f"sftpjail adopt {quote(name)}"),
            Choice("to make it an ordinary account", f"sftpjail remove {quote(name)}"),
        ),
        about=name,
    )


def _inherited(name: str, other: Account, host: Host) -> Problem:
    """Return the problem of a record whose uid now belongs to an account of another name.

    Args:
        name: the name of our record.
        other: the account that has the uid now. It is in no jail group, or has a jail and a record
            of its own.
        host: the facts.
    """
    uid = host.origin(name).uid
    what = f"its uid {uid} is {shown(other.name)}'s now, and what it had is kept"
    if former_name(other, host) == name:
        if is_same_person(other, name, host):
            why = f"it was renamed, and {shown(other.name)} is not jailed"
            adopt = f"sftpjail apply && sftpjail adopt {quote(other.name)}"
            ordinary = f"sftpjail apply && sftpjail remove {quote(other.name)}"
            both = (
                Choice("to jail it again", adopt),
                Choice("to make it an ordinary account", ordinary),
            )
            return Problem(what, why, choices=both, about=name)
        label, command = same(other.name)
        again = [Choice(f"{label}, to jail it again", command)]
    else:
        again = []
    why = "it is not known whether it was renamed or is another person's"
    gone = host.account(name) is None
    remove = [Choice("to remove its keys, mounts and record", f"sftpjail remove {quote(name)}")]
    choices = (*again, *remove) if gone else tuple(again)
    advice = ""
    if not choices:
        advice = f"usermod -l gives {name} its old name back"
    return Problem(what, why, "", advice, "broken", choices, name)


def _left_files(account: Account, gone: str, host: Host) -> Problem:
    """Return the problem of users' files left in a former jail, about which a person must decide.

    Args:
        account: deleted, or no longer jailed.
        gone: a phrase that says so.
        host: the facts.
    """
    forget = PRUNE
    if host.account(account.name) is not None:
        forget = f"sftpjail remove {quote(account.name)}"
    made = [path for path in host.origin(account.name).made if host.lstat(path) is not None]
    # Leave out the paths that are below another one.
    left = [path for path in made if not any(inside(path, o) for o in made if o != path)]
    what = f"left files in {' '.join(map(shown, left))}"
    why = f"{gone}, and they are data, which sftpjail never deletes"
    # rm --one-file-system does not stop at a bind mount of the same file system.
    below = [p for p in host.mounts for path in left if inside(p, host.realpath(path))]
    keep = [fixes.hide(path, host) for path in left]
    delete = fixes.remove_trees(left, host)
    choices: tuple[Choice, ...] = ()
    if delete and all(keep) and not below:
        choices = (
            Choice("to keep them out of the way", " && ".join([*keep, forget])),
            Choice("to delete them", f"{delete} && {forget}"),
        )
    advice: str = "" if choices else fixes.advice(left[0], host)
    if below:
        advice = f"{shown(below[0])} is mounted there; " + look_at(f"findmnt -R {below[0]}")
    return Problem(what, why, "", advice, "advice", choices, account.name)


def _groupless(account: Account, host: Host) -> bool:
    """Return whether the group of an account's profile does not exist."""
    return bool(
        account.profile and account.profile.group and host.group(account.profile.group) is None
    )


def problems_of(engine: Engine, account: Account) -> list[Problem]:
    """Return the problems that matter to an account, jailed or not: the host's and its own.

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
    return once(causes([*problems, *_account_problems(engine, account, plan, reason)]))


def wrong(problems: Iterable[Problem]) -> bool:
    """Return whether there is more than advice."""
    return any(problem.severity != "advice" for problem in problems)

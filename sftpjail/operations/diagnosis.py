"""What is wrong with the host and its jails: `check` and `explain` show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
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
from ..model import Account, Finding, inside, valid_name
from .apply import guarded, plan_all, unanswered
from .events import create_events, remove_events

THOROUGH = 50  # up to so many accounts each one is worth a question to sshd and the like
SETUP = "sftpjail setup"


@dataclass(frozen=True)
class Fault:
    """A finding, and whom it is about: an account, or "host"."""

    about: str
    what: str
    why: str
    mend: str
    advice: str = ""
    severity: str = "broken"

    def __post_init__(self) -> None:
        found = Finding(self.what, self.why, self.mend, self.advice)  # which makes one line of each
        texts = {"about": one_line(self.about), "what": found.what, "why": found.why}
        for name, text in (texts | {"mend": found.mend, "advice": found.advice}).items():
            object.__setattr__(self, name, text)


def _fault(about: str, found: Finding) -> Fault:
    return Fault(about, found.what, found.why, found.mend, found.advice, found.severity)


def _veto(about: str, error: SftpJailError, why: str) -> Fault:
    if isinstance(error.hint, Advice):
        return Fault(about, error.message, why, "", error.hint, error.severity)
    return Fault(about, error.message, why, error.hint, severity=error.severity)


def chosen_jails(engine: Engine, users: list[str]) -> dict[str, Account]:
    """Return the jails to look at: all, or those that are named.

    Raises:
        SftpJailError: for one that is none.
    """
    if not users:
        return jailed(engine.config, engine.host)
    return {name: find_jailed(valid_name(name), engine.config, engine.host) for name in users}


def judge(engine: Engine, users: list[str]) -> list[Fault]:
    """Return every fault of the host and the jails, or of some accounts alone; each once.

    Args:
        engine: with the facts as they are now.
        users: whom to judge; nobody means everybody and the host.

    Raises:
        SftpJailError: one of them is not jailed.
    """
    chosen = chosen_jails(engine, users)
    engine.host.thorough = len(chosen) <= THOROUGH
    faults = _failures(engine)
    if not users:
        faults += _host_faults(engine)
    skipped = guarded(engine, chosen)
    changes = plan_all(
        engine, [], [account for name, account in chosen.items() if name not in skipped], [], by=""
    )
    for account in chosen.values():
        faults += _account_faults(engine, account, changes, skipped.get(account.name, ""))
    if not users:
        faults += _remains(engine, chosen)
    return _once(faults)


def _failures(engine: Engine) -> list[Fault]:
    return [_veto("host", error, "its hooks do not run") for error in engine.manager.failures]


def _once(faults: Iterable[Fault]) -> list[Fault]:
    """Return the faults without those that say the same again.

    What was said of the host is not said of an account too.
    """
    seen: dict[tuple[str, str], Fault] = {}
    for fault in faults:
        if ("host", fault.what) not in seen:
            seen.setdefault((fault.about, fault.what), fault)
    return list(seen.values())


def _host_faults(engine: Engine) -> Iterator[Fault]:
    host = engine.host
    if interrupted(host):
        what = "an interrupted run is not taken back yet"
        yield Fault("host", what, "something may be half done", "sftpjail apply")
    found = [_fault("host", finding) for finding in engine.manager.findings(None, host)]
    yield from found
    why = "whether their jails are as they should be is not known, and nothing of them is changed"
    yield from (
        Fault("host", words, why, f"getent passwd {silent(host)[0]}") for words in unanswered(host)
    )
    try:
        plan = engine.plan([OnSetup()])
    except SftpJailError as veto:
        yield _veto("host", veto, "setup cannot be done")
        return
    changed = _summary(plan, host, found)
    all_named = not changed and bool(_summary(plan, host))
    if plan and not all_named:
        yield Fault("host", f"not as configured: {changed}", "setup would change it", SETUP)


def _summary(plan: Plan, host: Host, known: Iterable[Fault] = ()) -> str:
    """Return what a plan changes, in a few words of its diff.

    Its checks and notices come along by themselves.

    Args:
        plan: not applied.
        host: the facts.
        known: faults that have named some of the paths already, to give them back
            or to set the host up.
    """
    heads: dict[str, None] = {}
    for step in plan.steps:
        if step.plugin == "sftpjail" or isinstance(step.action, Check | Notify):
            continue
        if any(_names(fault, step.action) for fault in known):
            continue
        lines = list(step.action.diff(host))
        if lines and lines[0].startswith("--- "):
            # A file: its name, and the first line that comes or goes.
            changed = (line for line in lines[2:] if line[:1] in ("+", "-"))
            lines = [f"~ {lines[0][4:]}: {next(changed, '')}"]
        heads |= dict.fromkeys(lines[:1])
    words = list(heads)
    return "; ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def _names(fault: Fault, action: Action) -> bool:
    """Return whether a fault has said already what an action would change."""
    kind, path = action.key[0], one_line(str(action.key[1]))
    if kind == "owner":
        return path in fault.what
    # Of a file that setup writes, and the directories that it makes for it.
    return (
        kind == "path"
        and fault.mend == SETUP
        and f"{fault.what} ".startswith((f"{path} ", f"{path}/"))
    )


def _account_faults(
    engine: Engine, account: Account, changes: Plan, reason: str
) -> Iterator[Fault]:
    """Yield what the plugins find, then what `apply` would change or cannot.

    The latter is left out where a finding has said so.
    """
    name, host = account.name, engine.host
    found = [_fault(name, found) for found in engine.manager.findings(account, host)]
    yield from found
    mends = {fault.mend for fault in found if fault.mend}
    if reason:
        yield Fault(
            name,
            f"is in a jail group, and {reason}",
            "sshd jails it all the same",
            _out_of_group(account, host),
        )
    error = changes.errors.get(name)
    if error and (error.hint not in mends or is_shut(account, host) or _is_open(account, host)):
        fault = _veto(name, error, "the jail cannot be made")
        yield replace(fault, severity="open") if _is_open(account, host) else fault
    elif (
        not error
        and any(step.owner == name for step in changes.steps)
        and "sftpjail apply" not in mends
    ):
        changed = _summary(engine.plan(create_events(account, host, engine.manager)), host, found)
        if changed:
            yield Fault(
                name, f"not as configured: {changed}", "apply would change it", "sftpjail apply"
            )


def _is_open(account: Account, host: Host) -> bool:
    """Return whether sshd lets an account in whose jail cannot be made."""
    try:
        return lets_in(account, host) and not is_shut(account, host)
    except SftpJailError:
        return False


def _out_of_group(account: Account, host: Host) -> str:
    """Return the command by which an account is in no jail group any more."""
    profile = account.profile
    assert profile is not None
    if account.name in profile.match_user:
        return f"sensible-editor {PATH}"
    group = host.group(profile.group)
    if group and group.gid == account.gid:
        return f"usermod -g {account.name if host.group(account.name) else 'GROUP'} {account.name}"
    return f"gpasswd -d {account.name} {profile.group}"


def _remains(engine: Engine, jails: dict[str, Account]) -> Iterator[Fault]:
    """Yield what departed accounts have left."""
    host = engine.host
    for name in left_names(engine.config, host, jails):
        try:
            account = leftover(name, engine.config, host)
        except SftpJailError as error:
            yield _veto(name, error, "what was there before its jail is not known")
            continue
        gone = (
            "there is no such account any more"
            if host.account(name) is None
            else "it left its profile's group"
        )
        if host.account(name) and _groupless(account, host):
            mend = f"sftpjail setup && sftpjail adopt {quote(name)}"
            yield Fault(
                name,
                "is jailed no more: the group of its profile is gone",
                "sshd jails by membership",
                mend,
            )
            continue
        if engine.plan(remove_events(account, host, deleted=False), tolerant=True):
            yield Fault(name, "left something of a jail behind", gone, "sftpjail apply --prune")
            continue
        left = [path for path in host.origin(name).made if host.lstat(path) is not None]
        mend = fixes.remove_trees(left, host)
        mend = f"{mend} && sftpjail apply --prune" if mend else ""
        # rm --one-file-system does not stop at a bind mount of the same file system.
        if any(inside(point, host.realpath(path)) for path in left for point in host.mounts):
            mend = f"findmnt | grep -F {quote(account.jail)}"
        what = f"left files in {' '.join(map(shown, left))}"
        why = f"{gone}, and they are data, which sftpjail never deletes"
        yield Fault(name, what, why, mend, fixes.advice(left[0], host))


def _groupless(account: Account, host: Host) -> bool:
    """Return whether the group of an account's profile is not there at all."""
    return bool(
        account.profile and account.profile.group and host.group(account.profile.group) is None
    )


def problems_of(engine: Engine, account: Account) -> list[Fault]:
    """Return what is wrong for one account, jailed or not: the faults of the host, and its own.

    Raises:
        SftpJailError: its record is damaged.
    """
    host = engine.host
    faults = _failures(engine)
    faults += [_fault("host", found) for found in engine.manager.findings(None, host)]
    if account.profile is None:
        what = f"{account.name} is not jailed: it is in no profile's group"
        reason = why_not(account, host)
        why = reason or "sshd treats it like any other account"
        mend = f"sftpjail adopt {account.name}"
        if _groupless(leftover(account.name, engine.config, host), host):
            mend = f"sftpjail setup && {mend}"
        return [Fault(account.name, what, why, "" if reason else mend)]
    plan = plan_all(engine, [], [account], [], by="")
    reason = guarded(engine, {account.name: account}).get(account.name, "")
    return _once([*faults, *_account_faults(engine, account, plan, reason)])


def wrong(faults: Iterable[Fault]) -> bool:
    """Return whether there is more than advice."""
    return any(fault.severity != "advice" for fault in faults)


def title(fault: Fault) -> str:
    """Return what is wrong, marked where it is mere advice."""
    return f"advice: {fault.what}" if fault.severity == "advice" else fault.what

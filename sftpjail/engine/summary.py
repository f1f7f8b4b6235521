"""The history's entry for a transaction: who made it, how, for which accounts, and what changed.

`what` and `actions` are for everybody who may read the history. `undo` and `left` are the data for
an undo (see memory.py), and are never shown.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..actions import (
    Action,
    AddAccount,
    AddAccounts,
    Check,
    DeleteAccount,
    DeleteAccounts,
    Mount,
    OpenAccount,
    Phase,
    RestoreAccount,
    SetComment,
    SetLines,
    SetPasswords,
    Unmount,
)
from ..errors import SftpJailError
from ..errors.escapes import one_line
from ..formats.tagged_lines import Style
from ..host import Host
from ..model import Key, stored
from ..paths import RETENTION
from .history import Entry
from .merge import Edit
from .plan import (
    OURS,
    Event,
    OnDetach,
    OnKeyAdd,
    OnKeyMigrate,
    OnKeyRemove,
    OnMount,
    OnSetup,
    OnTeardown,
    OnUnmount,
    OnUserClose,
    OnUserConfine,
    OnUserConnections,
    OnUserCreate,
    OnUserDisable,
    OnUserEnable,
    OnUserExpire,
    OnUserKeep,
    OnUserLimit,
    OnUserQuota,
    OnUserRemove,
    OnUserRename,
    OnUserRetention,
    Plan,
    Step,
)

# How the event of an entry script came about: the program that calls the script, and one that may
# have called that program.
_CALLERS = {
    "useradd-post": ("useradd", "adduser"),
    "adduser-post": ("adduser", "adduser"),
    "adduser-local": ("adduser", "adduser"),
    "userdel-pre": ("userdel", "deluser"),
    "userdel-post": ("userdel", "deluser"),
    "pam-session": ("PAM", "PAM"),
}


def describe(plan: Plan, host: Host, command: str, reverts: int = 0) -> Entry:
    """Return the history's entry for a plan.

    Args:
        plan: not committed yet.
        host: the facts from before.
        command: as in `Engine`.
        reverts: the transaction that it undoes, or 0.
    """
    steps = [step for step in plan.steps if step.plugin != OURS]
    events = effective(plan, steps)
    said = _without_repairs(events, plan.whole, steps)
    owners = dict.fromkeys(step.owner for step in plan.steps if step.owner)
    owners |= dict.fromkeys(event.about.name for event in events if event.about)
    entry: Entry = {
        "who": {**_login(host), "how": _how(host, command)},
        "command": command,
        "users": list(owners),
        "what": [
            {"account": name, "what": one_line(words)}
            # Without duplicates: two stages of a removal have the same event.
            for name, words in dict.fromkeys(
                [*_of_accounts(steps), *_of_openings(steps, events, host), *_of_events(said)]
            )
        ],
        "actions": [
            {
                "account": step.owner,
                "action": type(step.action).__name__,
                "about": list(step.action.key[1:]),
            }
            for step in steps
            if not isinstance(step.action, Check)
        ],
        "undo": plan.kept,
        "left": plan.left,
    }
    return entry | ({"reverts": reverts} if reverts else {})


def effective(plan: Plan, steps: list[Step]) -> list[Event]:
    """Return the events that change something.

    `apply` has an event for every mount of every jail, and most mounts are there already.
    """
    changed = {step.owner for step in steps if step.owner or not _is_of_mounts(step)}
    edits = [step.action for step in steps if isinstance(step.action, Edit)]
    changed |= {s.tag for edit in edits for s in edit.sets if _is_of_account(s)}
    targets = {where for step in steps for where in _targets(step)}
    found: list[Event] = []
    for event in plan.events:
        owner = ""
        if event.about:
            owner = event.about.name
        if isinstance(event, OnMount | OnUnmount):
            if (owner, event.bind.target) in targets:
                found.append(event)
        elif owner in changed and owner not in plan.errors:
            found.append(event)
    return found


def _is_of_account(lines: SetLines) -> bool:
    """Return whether the tag of lines in a file of all accounts is an account's name."""
    return lines.style is Style.USER or lines.path == RETENTION


def _is_of_mounts(step: Step) -> bool:
    """Return whether an action only edits accounts' lines in fstab."""
    action = step.action
    return isinstance(action, Edit) and all(s.style is Style.FSTAB for s in action.sets)


def _targets(step: Step) -> Iterator[tuple[str, str]]:
    """Yield the account and target of each mount that a step changes, live or in fstab."""
    action = step.action
    if isinstance(action, Mount | Unmount):
        yield step.owner, action.target
    elif isinstance(action, Edit):
        for lines in action.sets:
            if lines.style is Style.FSTAB:
                name, _, target = lines.tag.partition(" ")
                yield name, target


def _of_accounts(steps: list[Step]) -> Iterator[tuple[str, str]]:
    """Yield the accounts that steps make, delete or change without an event, and how, in words."""
    for step in steps:
        action = step.action
        if isinstance(action, AddAccount | DeleteAccount | RestoreAccount):
            yield action.name, _ACCOUNTS[type(action)]
        elif isinstance(action, DeleteAccounts):
            yield from ((name, _ACCOUNTS[DeleteAccount]) for name in action.names)
        elif isinstance(action, AddAccounts):
            yield from ((one.name, _ACCOUNTS[AddAccount]) for one in action.accounts)
        elif isinstance(action, SetPasswords):
            yield from (
                (name, _PASSWORD[password.startswith("$")]) for name, password in action.passwords
            )
        elif isinstance(action, SetComment):
            yield action.name, "has another comment"


_PASSWORD = {False: "has no password", True: "has a new password"}
_ACCOUNTS: Mapping[type[Action], str] = {
    AddAccount: "is a new account",
    DeleteAccount: "is deleted",
    RestoreAccount: "is an account again",
}


def _of_openings(
    steps: Sequence[Step], events: Sequence[Event], host: Host
) -> Iterator[tuple[str, str]]:
    """Yield whom a plan lets in again because the time has come, and why, in words.

    Args:
        steps: of the plan.
        events: those that say by themselves that they let somebody in are not repeated.
        host: the facts from before.
    """
    told = {
        event.about.name
        for event in events
        if event.about and isinstance(event, OnUserEnable | OnUserRemove | OnUserCreate)
        if not _is_repair(event)
    }
    edits = [step.action for step in steps if isinstance(step.action, Edit)]
    taken_off = {s.tag for edit in edits for s in edit.sets if s.when is Phase.OPENING}
    for step in steps:
        action = step.action
        if not isinstance(action, OpenAccount) or action.name in told:
            continue
        with contextlib.suppress(SftpJailError):  # a damaged record
            closed = host.origin(action.name).closed
            if closed is None:
                continue
            if action.expire is None and action.name not in taken_off:
                # Somebody else has let it in, or it had expired before.
                yield action.name, "is no longer noted as shut out by sftpjail"
            elif closed.until[:1].isdigit():
                yield action.name, f"is let in again: it was disabled until {closed.until}"
            else:
                yield action.name, "is let in again: its jail can be made"


def _without_repairs(events: list[Event], whole: set[str], steps: list[Step]) -> list[Event]:
    """Return the events without those of jails that needed no repair, where others say more.

    Args:
        events: the effective ones.
        whole: see `Plan.whole`.
        steps: of the plan.
    """
    others = {event.about.name for event in events if event.about and not _is_repair(event)}
    others |= {name for name, _ in _of_accounts(steps)}
    others |= {step.action.name for step in steps if isinstance(step.action, OpenAccount)}
    idle = whole & others
    return [
        event
        for event in events
        if not (_is_repair(event) and event.about and event.about.name in idle)
    ]


def _is_repair(event: Event) -> bool:
    return isinstance(event, OnUserCreate) and not event.new


def _key(event: OnKeyAdd | OnKeyRemove) -> tuple[str, str]:
    return event.account.name, event.key.fingerprint


def _of_events(events: Sequence[Event]) -> Iterator[tuple[str, str]]:
    """Yield whom events are about and what they mean; a key that gets other options stays."""
    come = {_key(event) for event in events if isinstance(event, OnKeyAdd)}
    stays = come & {_key(event) for event in events if isinstance(event, OnKeyRemove)}
    for event in events:
        name = ""
        if event.about:
            name = event.about.name
        if not isinstance(event, OnKeyAdd | OnKeyRemove) or _key(event) not in stays:
            yield name, _words(event)
        elif isinstance(event, OnKeyAdd):
            yield name, _words(event).replace("can log in", "can still log in", 1)


def _words(event: Event) -> str:
    """Return what an event means in words, without file contents."""
    if isinstance(event, OnMount | OnUnmount):
        return _words_of_mount(event)
    if isinstance(event, OnKeyAdd | OnKeyRemove):
        name = f"{event.key.fingerprint} {event.key.comment}".rstrip()
        if isinstance(event, OnKeyRemove):
            return f"can no longer log in with {name}"
        return f"can log in with {name}{_until(event.key)}"
    if isinstance(event, OnUserExpire):
        if not event.date:
            return "does not expire"
        return f"expires on {event.date}"
    if isinstance(event, OnUserConnections):
        return f"may have {event.most or 'any number of'} sessions at once"
    if isinstance(event, OnUserQuota):
        return f"may store {stored(event.size)}"
    if isinstance(event, OnUserRetention):
        ages = ", ".join(f"{directory} for {days}d" for directory, days in event.ages)
        if not ages:
            return "keeps all files"
        return f"keeps the files of {ages}"
    if isinstance(event, OnUserLimit):
        return f"is let in from {' '.join(event.addresses) or 'any address'}"
    if isinstance(event, OnUserKeep):
        return f"is {'' if event.keep else 'no longer '}skipped by review --disable"
    if isinstance(event, OnUserCreate):
        made = "has its jail repaired:"
        if event.new:
            made = "is jailed in"
        return f"{made} {event.account.jail}"
    if isinstance(event, OnUserRename):
        uid = f"the uid {event.account.uid} is the same person's"
        same = event.old == event.account.name
        if same:
            return uid
        return f"was {event.old}: what is its own has its new name"
    return _PLAIN.get(type(event), "") or str(event.hook)


def _words_of_mount(event: OnMount | OnUnmount) -> str:
    bind = event.bind
    inner = event.account.jail and bind.target.removeprefix(event.account.jail)
    place = f"{bind.source} at {inner or bind.target}"
    if isinstance(event, OnUnmount):
        return f"no longer sees {place}"
    how = ""
    if bind.read_only:
        how = ", read-only"
    if bind.owner:
        how += f", the files of {bind.owner.uid}:{bind.owner.gid} as its own"
    if bind.group is not None:
        how += f", where the group {bind.group} can write"
    return f"sees {place}{how}"


def _until(key: Key) -> str:
    """Return until when sshd accepts a key by its expiry-time=, as a phrase, or "".

    A day alone is the last one; see sshd(8), AUTHORIZED_KEYS FILE FORMAT.
    """
    from datetime import date, timedelta  # late: useradd waits

    for name, _, value in (option.partition("=") for option in key.options):
        digits = re.sub(r"(?i)(UTC|Z)$", "Z", value.strip('"'))  # parse_absolute_time in misc.c
        if name.lower() != "expiry-time" or not re.fullmatch(r"\d{8}(\d\d){0,3}Z?", digits):
            continue
        day, time = digits[:8], digits[8:].rstrip("Z")
        with contextlib.suppress(ValueError, OverflowError):
            end = date(int(day[:4]), int(day[4:6]), int(day[6:]))
            if not time.strip("0") and digits[-1] != "Z":
                return f" until {end - timedelta(days=1)}"
            return f" until {end} {time[:2] or '00'}:{time[2:4] or '00'}" + (
                " UTC" if digits[-1] == "Z" else ""
            )
    return ""


_PLAIN: Mapping[type[Event], str] = {
    OnSetup: "the host is set up",
    OnTeardown: "what setup did is taken back",
    OnDetach: "nothing calls sftpjail any more",
    OnUserRemove: "is no longer jailed",
    OnUserClose: "is shut out",
    OnUserDisable: "is disabled",
    OnUserEnable: "is enabled again",
    OnUserConfine: "has nothing more outside of its jail",
    OnKeyMigrate: "has the keys of its home in the new place",
}


def _login(host: Host) -> dict[str, Any]:
    """Return the user who logged in, from proc_pid_loginuid(5).

    Unlike an environment variable, the kernel's value cannot be forged. A systemd unit has none.
    """
    text = host.text("/proc/self/loginuid").strip()
    uid = None
    if text.isdecimal() and text != "4294967295":
        uid = int(text)
    names = []
    if uid is not None:
        names = host.people.names_of(uid)
    return {"uid": uid, "name": names[0] if names else ""}


def _how(host: Host, command: str) -> str:
    """Return how a transaction came about."""
    event = command.removeprefix("hook ")
    if event in _CALLERS:
        direct, above = _CALLERS[event]
        if above in _ancestors(host):
            return above
        return direct
    if is_unit(host):
        unit = os.environ.get("TRIGGER_UNIT", "")  # systemd.exec(5), since systemd 252
        return {"path": "path unit", "timer": "timer"}.get(unit.rpartition(".")[2], "unit")
    if "DPKG_MAINTSCRIPT_PACKAGE" in os.environ:
        return "package"
    return "command"


def is_unit(host: Host) -> bool:
    """Return whether systemd runs us, by the path unit or the timer."""
    return host.text("/proc/self/cgroup").rstrip().endswith("/sftpjail.service")


def _ancestors(host: Host) -> list[str]:
    """Return the names of this process's ancestors, the nearest first."""
    names: list[str] = []
    pid = str(os.getppid())
    while pid not in ("", "0", "1") and len(names) < 16:
        lines = host.text(f"/proc/{pid}/status").split("\n")
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        names.append(fields.get("Name", ""))
        pid = fields.get("PPid", "")
    return names

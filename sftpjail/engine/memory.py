"""The data that `sftpjail undo` needs of a transaction, collected before its first step.

It is stored in the history and never shown, because it contains keys. Password hashes are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from stat import S_IMODE
from typing import Any

from ..actions import (
    AddAccount,
    AddAccounts,
    Configure,
    DeleteAccount,
    DeleteAccounts,
    Remove,
    Rename,
    RestoreAccount,
    SetAccount,
    SetComment,
    SetOwner,
    SetPasswords,
    WriteFile,
)
from ..actions.files import text
from ..config import keyfile
from ..formats.digest import sha256
from ..formats.tagged_lines import Style
from ..host import Host
from ..model import number
from ..paths import ADDRESSES, CONNECTIONS, KEEP, QUOTAS, RETENTION
from ..system import account_lines
from .merge import Edit
from .plan import (
    OURS,
    Event,
    OnKeyAdd,
    OnKeyMigrate,
    OnKeyRemove,
    OnMount,
    OnSetup,
    OnUnmount,
    OnUserConnections,
    OnUserCreate,
    OnUserDisable,
    OnUserEnable,
    OnUserExpire,
    OnUserKeep,
    OnUserLimit,
    OnUserQuota,
    OnUserRemove,
    OnUserRetention,
    Plan,
    Step,
)
from .summary import effective

Kept = dict[str, Any]


def remember(plan: Plan, host: Host) -> None:
    """Add the data that an undo of a plan needs to `plan.kept` and `plan.left`.

    Args:
        plan: about to be carried out.
        host: the facts from before.
    """
    steps = [step for step in plan.steps if step.plugin != OURS]
    for step in steps:
        plan.kept.extend(_of_account(step, steps, host))
        plan.left.extend(left | {"host": _is_host(step)} for left in _left(step, host))
    leaving: set[str] = set()
    for event in effective(plan, steps):
        if isinstance(event, OnUserRemove):
            # A second OnUserRemove cleans up what userdel leaves; the account no longer exists.
            if event.account.name in leaving:
                continue
            leaving.add(event.account.name)
        plan.kept.append(_of_event(event, host))


def _of_account(step: Step, steps: list[Step], host: Host) -> list[Kept]:
    """Return what an undo needs of a step that concerns an account itself, or an import.

    For a deleted account this includes its lines, for an import the old configuration.
    """
    action = step.action
    if isinstance(action, Configure):
        before = {"before": text(host, action.path) if host.lstat(action.path) else None}
        brought = {"profiles": action.brings, "members": action.members, "blocks": action.blocks}
        return [{"event": "imported", "path": action.path, **before, **brought}]
    if isinstance(action, AddAccount | RestoreAccount):
        return [{"event": "added", "account": action.name}]
    if isinstance(action, SetPasswords):
        return [{"event": "password", "account": name} for name in action.names]
    if isinstance(action, SetComment):
        before = {"before": host.comment(action.name)}
        return [{"event": "comment", "account": action.name, "after": action.comment, **before}]
    if isinstance(action, AddAccounts):
        return [{"event": "added", "account": one.name} for one in action.accounts]
    if isinstance(action, Rename):
        return _of_key_file(action, step.owner, host)
    if isinstance(action, DeleteAccount):
        return [_of_deleted(action.name, account_lines.read_lines(action.name), steps, host)]
    if not isinstance(action, DeleteAccounts):
        return []
    owned: dict[str, list[Step]] = {}
    for one in steps:
        owned.setdefault(one.owner, []).append(one)
    every = account_lines.of_each(account_lines.read_all(action.names))
    return [_of_deleted(name, every[name], owned.get(name, ()), host) for name in every]


def _of_key_file(action: Rename, owner: str, host: Host) -> list[Kept]:
    """Return what retires a key file in a home again that an undo brings back to light.

    That of an account that loses its jail is in what is kept of the jail.
    """
    account = host.account(owner)
    if action.early or account is None or host.origin(owner).renamed.get(action.path) != action.to:
        return []
    uid = {"account": owner, "uid": account.uid, "profile": ""}
    return [{"event": "key file back", "path": action.to} | uid]


def _of_deleted(name: str, found: account_lines.Lines, steps: Sequence[Step], host: Host) -> Kept:
    """Return what restores an account: its lines, without a hash, and its files' owners."""
    owned = [s.action for s in steps if s.owner == name and isinstance(s.action, SetOwner)]
    # Root takes these over, so that no later account gets them. An undo gives them back.
    taken = {a.path: host.lstat(a.path) for a in owned if a.uid == 0}
    owners = {p: (f.st_uid, f.st_gid, S_IMODE(f.st_mode)) for p, f in taken.items() if f}
    lines = account_lines.without_hashes(found)
    # Use the shell and home from before the jail, so that a new record has them too.
    was = host.origin(name).was
    for own in lines["passwd"]["own"]:
        fields = own["line"].split(":")
        fields[5:7] = [was.get("home", fields[5]), was.get("shell", fields[6])]
        own["line"] = ":".join(fields)
    return {"event": "deleted", "account": name, "lines": lines, "owners": owners}


def _of_event(event: Event, host: Host) -> Kept:
    about: Kept = {"event": event.hook}
    if event.about:
        about |= {"account": event.about.name, "uid": event.about.uid}
        about["profile"] = event.about.profile.name if event.about.profile else ""
    if isinstance(event, OnMount):
        known = [bind.target for bind in host.binds(event.account.name)]
        about |= {"bind": vars(event.bind), "new": event.bind.target not in known}
    elif isinstance(event, OnUnmount):
        about |= {"bind": vars(event.bind), "live_only": event.live_only}
    elif isinstance(event, OnKeyAdd | OnKeyRemove):
        about["key"] = event.key.line
    elif isinstance(event, OnKeyMigrate):
        about["path"] = event.path
    elif isinstance(event, OnUserCreate):
        about["new"] = event.new
    elif isinstance(event, OnUserDisable | OnUserEnable):
        closed = host.origin(event.account.name).closed
        about["closed"] = closed and vars(closed)
    elif isinstance(event, OnUserExpire):
        closed, now = host.origin(event.account.name).closed, host.expiry(event.account.name)
        if closed is None or closed.expire is None:
            about["expiry"] = now
        else:
            about["expiry"] = closed.expire
    elif isinstance(event, OnUserConnections):
        about["most"] = _most(event.account.name, host)
    elif isinstance(event, OnUserKeep):
        about["keep"] = event.account.name in host.tagged(KEEP, Style.USER)
    elif isinstance(event, OnUserQuota):
        about["size"] = _size(event.account.name, host)
    elif isinstance(event, OnUserRetention):
        about["ages"] = _ages(event.account.name, host)
    elif isinstance(event, OnUserLimit):
        about["addresses"] = _addresses(event.account.name, host)
    elif isinstance(event, OnUserRemove):
        about |= _jail(event, host)
    elif isinstance(event, OnSetup):
        about["first"] = not host.records.is_set_up
    return about


def _jail(event: OnUserRemove, host: Host) -> Kept:
    """Return the description of a jail that is about to be removed."""
    account, profile = event.account, event.account.profile
    name, origin = account.name, host.origin(account.name)
    named = profile is not None and name in profile.match_user
    member = named or (profile is not None and host.in_group(name, profile.group))
    return {
        "deleted": event.deleted,
        "member": account.exists and member,
        "binds": [vars(bind) for bind in host.binds(name) if bind.role == "mount"],
        "keyfile": host.text(keyfile(name)),
        "renamed": list(origin.renamed.values()),
        "now": list(origin.renamed),
        "forced": origin.forced,
        "kept": list(origin.kept),
        "closed": origin.closed and vars(origin.closed),
        "addresses": _addresses(name, host),
        "most": _most(name, host),
        "keep": name in host.tagged(KEEP, Style.USER),
        "ages": _ages(name, host),
        "size": _size(name, host),
    }


def _most(name: str, host: Host) -> int:
    """Return how many sessions an account may have at once; 0 where that is not limited."""
    lines = host.tagged(CONNECTIONS, Style.USER).get(name, ("0",))
    return number(lines[0].split()[-1]) or 0


def _ages(name: str, host: Host) -> list[tuple[str, int]]:
    """Return the directories of an account that lose their old files, with the age in days."""
    from ..formats.retention import ages_of  # late: useradd waits

    return list(ages_of(host.tagged(RETENTION, Style.BLOCK).get(name, ())).items())


def _size(name: str, host: Host) -> int | None:
    """Return the quota that an account has of its own; see `OnUserQuota`."""
    from ..formats.quotas import own_size  # late: useradd waits

    return own_size(host.tagged(QUOTAS, Style.USER).get(name, ()))


def _addresses(name: str, host: Host) -> list[str]:
    """Return the source addresses that an account is limited to; none for any."""
    lines = host.tagged(ADDRESSES, Style.USER).get(name, ())
    if not lines:
        return []
    from ..formats.access_list import addresses_of  # late: few have any, and useradd waits

    return [address for line in lines for address in addresses_of(line)]


def _left(step: Step, host: Host) -> list[Kept]:
    """Return the state in which a step leaves a file or account, to detect changes by others."""
    action = step.action
    if isinstance(action, Edit):
        return [
            {"path": s.path, "tag": s.tag, "style": s.style.value, "lines": list(s.lines)}
            for s in action.sets
        ]
    if isinstance(action, WriteFile):
        content = action.result(host)
        return [{"path": action.path, "content": _digest(content)}]
    if isinstance(action, Remove) and not host.is_dir(action.path):
        return [{"path": action.path, "content": None}]
    if isinstance(action, SetAccount) and not isinstance(action, SetComment) and action.fields():
        return [{"account": action.name, "fields": action.fields()}]
    return []


def _is_host(step: Step) -> bool:
    """Return whether a step is about the host, not an account or the lines of accounts."""
    action = step.action
    lines = isinstance(action, Edit) and action.sets[0].style in (Style.FSTAB, Style.LINE)
    return not step.owner and not lines


def differs(left: Kept, host: Host) -> str:
    """Return the path or account that is no longer as a transaction left it, or "".

    Args:
        left: one of `plan.left`, from the history.
        host: the present facts.
    """
    if "account" in left:
        action = SetAccount(left["account"], **left["fields"])
        if action.before(host) == action.fields():
            return ""
        return f"the account {action.name}"
    path: str = left["path"]
    if "tag" in left:
        found: object = list(host.tagged(path, Style(left["style"])).get(left["tag"], ()))
        if found == left["lines"]:
            return ""
        return path
    if _digest(host.read(path)) == left["content"]:
        return ""
    return path


def _digest(content: bytes | None) -> str | None:
    if content is None:
        return None
    return sha256(content).hexdigest()

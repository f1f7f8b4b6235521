"""list and show: what there is.

They only read, and load no plugin; list does not even load the engine.
"""

from __future__ import annotations

import time
from typing import Any

from ..host import Host
from ..jails import keeping, quota, retention
from ..jails.addresses import listed
from ..jails.closing import known_expiry
from ..jails.connections import allowed
from ..jails.membership import find_jailed, members
from ..jails.owners import named
from ..jails.states import States
from ..model import Account, Bind, Key, in_units
from ..openssh.public_keys import has_lapsed
from .context import Command, Context


def register(add_parser: Command) -> None:
    """Add the commands of this module."""
    parser = add_parser("list", "list the jails")
    parser.set_defaults(run=list_jails)
    parser = add_parser("show", "show one jail with its mounts and keys")
    parser.add_argument("user", metavar="USER")
    parser.set_defaults(run=show)


def quota_facts(account: Account, host: Host) -> dict[str, object]:
    """Return what an account may store and what it does, for --json."""
    found = quota.use(account, host)
    return {
        "quota": found.size if found else None,
        "quota_used": found.used if found else None,
        "quota_enforced": not found.lack if found else None,
    }


def _facts(account: Account, host: Host, states: States) -> dict[str, Any]:
    assert account.profile is not None
    state = states.of(account)
    return {
        "user": account.name,
        "uid": account.uid,
        "profile": account.profile.name,
        "jail": account.jail,
        "home": account.home,
        "shell": account.shell,
        "state": state.word,
        "why": state.why or None,
        "expires": known_expiry(account, host) or None,
        "addresses": list(listed(host).get(account.name, ())),
        "connections": allowed(account, host) or None,
        "keep_active": account.name in keeping.listed(host),
        **quota_facts(account, host),
        "retention": _retention_facts(account, host),
        "profile_addresses": list(account.profile.addresses),
        "closed": state.why if state.word in ("disabled", "closed", "expired") else None,
        "keys": states.keys(account),
        "mounts_kept": account.profile.mounts,
        "mounts_because": account.profile.mounts_because or None,
        "mounts": [_mount_facts(account, bind, host) for bind in host.binds(account.name)],
    }


def _mount_facts(account: Account, bind: Bind, host: Host) -> dict[str, Any]:
    return {
        "source": bind.source,
        "target": bind.target.removeprefix(account.jail),
        "read_only": bind.read_only,
        "role": bind.role,
        "as": named(bind.owner, host) if bind.owner else None,
        "group": None if bind.group is None else host.people.group_label(bind.group),
        "kept": bind.kept,
        "mounted": host.mount_at(bind.target) is not None,
        "hidden": host.mount_tables.is_hidden(bind),
    }


def _retention_facts(account: Account, host: Host) -> list[dict[str, Any]]:
    return [
        {
            "directory": directory,
            "days": days,
            "path": retention.place(account, directory, host),
            "active": retention.is_active(account, directory, days, host),
        }
        for directory, days in retention.ages(account.name, host).items()
    ]


def list_jails(context: Context) -> int:
    """Print one line for each jail."""
    config, host = context.facts()
    states = States(config, host)
    found = sorted(members(config, host).items())
    with host.files.one_look():
        facts = [_facts(account, host, states) for _, account in found]
    context.answers["jails"] = facts
    if not facts and not context.json:
        context.warn(["no account is jailed"])
    with_quota = any(jail["quota"] for jail in facts)
    quota = ("QUOTA",) if with_quota else ()
    columns = ("USER", "PROFILE", "JAIL", "KEYS", "MOUNTS", *quota, "STATE")
    rows = [_row_of_list(jail, with_quota) for jail in facts]
    context.table(columns, rows, yielding=(2, 0, 1))
    return context.close(0)


def _row_of_list(jail: dict[str, Any], with_quota: bool) -> tuple[str, ...]:
    mounts = sum(mount["role"] == "mount" for mount in jail["mounts"])
    cells = [jail["user"], jail["profile"], jail["jail"], str(jail["keys"]), str(mounts)]
    if with_quota:
        cells.append(_quota_cell(jail))
    return (*cells, jail["state"])


def _quota_cell(jail: dict[str, Any]) -> str:
    """Return how much of its quota an account uses: 1.5M/10M."""
    if not jail["quota"]:
        return "-"
    if jail["quota_used"] is None:
        used = "?"
    else:
        used = in_units(jail["quota_used"])
    return f"{used}/{in_units(jail['quota'])}"


def show(context: Context) -> int:
    """Print one jail."""
    from ..operations.keys import present  # late: list does not need it

    config, host = context.facts()
    account = find_jailed(context.arguments.user, config, host)
    facts = _facts(account, host, States(config, host))
    keys = present(account, host).values()
    context.answers["jail"] = facts
    rows = [
        *_rows_of_account(facts),
        *_rows_of_limits(facts),
        *(("key", _of_key(key)) for key in keys),
        *_rows_of_mounts(facts),
    ]
    context.table(("", ""), rows)
    return context.close(0)


def _of_key(key: Key) -> str:
    if has_lapsed(key, time.time()):
        return f"{key.fingerprint} {key.comment} (expired)"
    return f"{key.fingerprint} {key.comment}"


_Rows = list[tuple[str, str]]


def _rows_of_account(facts: dict[str, Any]) -> _Rows:
    """Return what `show` prints of an account itself."""
    always = ("user", "uid", "profile", "jail", "home", "shell", "state")
    rows = [(name, str(facts[name])) for name in always]
    rows += [(name, facts[name]) for name in ("why", "expires") if facts[name]]
    return rows


def _rows_of_limits(facts: dict[str, Any]) -> _Rows:
    """Return what `show` prints of an account's connections, quota, retention and addresses."""
    rows: _Rows = []
    if facts["connections"]:
        rows.append(("connections", str(facts["connections"])))
    if facts["keep_active"]:
        rows.append(("keep", "review --disable skips it"))
    if facts["quota"]:
        if facts["quota_used"] is None:
            used = "?"
        else:
            used = in_units(facts["quota_used"])
        rows.append(("quota", f"{used} of {in_units(facts['quota'])} used"))
    for one in facts["retention"]:
        off = ""
        if not one["active"]:
            off = " (suspended; see sftpjail check)"
        rows.append(("retention", f"{one['directory']} for {one['days']} days{off}"))
    if facts["addresses"]:
        rows.append(("from", " ".join(facts["addresses"])))
    if facts["profile_addresses"]:
        words = " ".join(facts["profile_addresses"])
        rows.append(("from", f"{words} (profile {facts['profile']})"))
    return rows


def _rows_of_mounts(facts: dict[str, Any]) -> _Rows:
    """Return what `show` prints of the mounts of an account."""
    rows: _Rows = []
    if facts["mounts_because"]:
        rows.append(("mounts", f"{facts['mounts_kept']} (auto: {facts['mounts_because']})"))
    for mount in facts["mounts"]:
        flags = ", ".join(_flags_of_mount(mount))
        rows.append(("mount", f"{mount['target']} <- {mount['source']} ({flags})"))
    return rows


def _flags_of_mount(mount: dict[str, Any]) -> list[str]:
    flags = [mount["role"]]
    if mount["read_only"]:
        flags.append("read-only")
    if mount["as"]:
        flags.append(f"as {mount['as']}")
    if mount["group"]:
        flags.append(f"group {mount['group']}")
    if not mount["mounted"]:
        flags.append("for each session" if mount["kept"] == "session" else "not mounted")
    if mount["hidden"]:
        flags.append("hidden")
    return flags

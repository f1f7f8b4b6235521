"""Which accounts one edit may delete, because userdel(8) would do nothing else for them."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Collection

from ..host import Host
from ..paths import USERADD_HOOK

_OURS = posixpath.basename(USERADD_HOOK)


def by_one_edit(names: Collection[str], host: Host) -> tuple[str, ...]:
    """Return those accounts that may be deleted without userdel(8).

    It runs the hooks of others and what login.defs(5) says (USERDEL_CMD), and keeps a group that
    others are in.

    Args:
        names: local accounts.
        host: the facts.

    Returns:
        the names, in their order; none where that would not pay.
    """
    people = host.people
    hooks = (f"/etc/shadow-maint/userdel-{when}.d" for when in ("pre", "post"))
    theirs = {name for directory in hooks for name in host.listdir(directory)} - {_OURS}
    own_groups = people.login_defs.get("USERGROUPS_ENAB", "yes").lower() == "yes"
    if people.login_defs.get("USERDEL_CMD") or theirs or not own_groups:
        return ()
    primary = Counter(account.gid for account in host.accounts.values())
    found = []
    for name in names:
        account, group = host.account(name), people.groups.get(name)
        if account and group and (group.gid, primary[group.gid]) == (account.gid, 1):
            found += [name] * (not set(group.members) - {name})
    if len(found) > 1:
        return tuple(found)
    return ()

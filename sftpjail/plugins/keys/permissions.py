"""Whether sshd can read a key file, and whether others than root could change it."""

from __future__ import annotations

import stat

from ... import Account, Problem
from ...formats import fixes
from ...host import Host
from ...model import OTHERS_WRITE, components


def loose_mode(path: str, account: Account, host: Host) -> Problem | None:
    """Return why sshd would not trust a key file (misc.c, safe_path).

    Only root, or the user, may be able to change any component of its path.
    """
    for part in components(path):
        found = host.stat(part)
        if found is None:
            continue
        loose = bool(found.st_mode & OTHERS_WRITE)
        owners = (0, account.uid) if part != path else (0,)
        if not loose and found.st_uid in owners:
            continue
        why, commands = "the user could let others in", []
        if found.st_uid != 0:
            commands.append("chown root:root {}")
        if loose:
            why = "sshd ignores the keys"
            commands.append("chmod go-w {}")
        owner = f"owner {found.st_uid}, mode {_mode(part, host)}"
        what = f"{part} can be changed by others than root ({owner})"
        return Problem(what, why, fixes.on_or_why(part, host, *commands))
    return None


def _mode(path: str, host: Host) -> str:
    found = host.stat(path)
    if not found:
        return "?"
    return f"{stat.S_IMODE(found.st_mode):04o}"


def unreadable(path: str, account: Account, host: Host) -> Problem | None:
    """Return why sshd cannot read a key file, which it does as the user (temporarily_use_uid)."""
    why, begin = "key logins fail", f"sshd cannot read {path} as {account.name}: "
    for part in components(path)[:-1]:
        if host.stat(part) and not host.may(account, part, "x"):
            what = f"{begin}the mode of {part} forbids it ({_mode(part, host)})"
            return Problem(what, why, fixes.on_or_why(part, host, "chmod a+x {}"))
    if host.stat(path) and not host.may(account, path, "r"):
        what = f"{begin}its mode {_mode(path, host)} forbids it"
        return Problem(what, why, fixes.on_or_why(path, host, "chmod a+r {}"))
    return None

"""Whether sshd can read a key file, and whether others than root could change it."""

from __future__ import annotations

import stat

from ... import Account, Problem, fixes
from ...host import Host
from ...model import components


def loose_mode(path: str, account: Account, host: Host) -> Problem | None:
    """Return why sshd would not trust a key file (misc.c, safe_path).

    Only root, or the user, may be able to change any component of its path.
    """
    for part in components(path):
        found = host.stat(part)
        if found is None:
            continue
        if (
            found.st_uid not in (0, account.uid)
            or found.st_mode & 0o022
            or (part == path and found.st_uid != 0)
        ):
            owner = f"owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
            commands = ["chown root:root {}"] if found.st_uid != 0 else []
            commands += ["chmod go-w {}"] if found.st_mode & 0o022 else []
            why = (
                "sshd ignores the keys" if found.st_mode & 0o022 else "the user could let others in"
            )
            what = f"{part} can be changed by others than root ({owner})"
            return Problem(what, why, fixes.on(part, host, *commands), fixes.advice(part, host))
    return None


def _mode(path: str, host: Host) -> str:
    found = host.stat(path)
    return f"{stat.S_IMODE(found.st_mode):04o}" if found else "?"


def unreadable(path: str, account: Account, host: Host) -> Problem | None:
    """Return why sshd cannot read a key file, which it does as the user (temporarily_use_uid)."""
    for part in components(path):
        if host.stat(part) and not host.may(account, part, "r" if part == path else "x"):
            what = f"sshd cannot read {path} as {account.name}: " + (
                f"its mode {_mode(part, host)} forbids it"
                if part == path
                else f"the mode of {part} forbids it ({_mode(part, host)})"
            )
            fix = fixes.on(part, host, f"chmod {'a+r' if part == path else 'a+x'} {{}}")
            return Problem(what, "key logins fail", fix, fixes.advice(part, host))
    return None

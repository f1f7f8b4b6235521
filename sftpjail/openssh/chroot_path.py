"""Commands that make sshd accept the path of a chroot."""

from __future__ import annotations

import stat
from shlex import quote

from ..errors.escapes import Advice
from ..formats import fixes
from ..host import Host
from ..model import OTHERS_WRITE, Account


def make_home(account: Account, host: Host) -> str:
    """Return the command that makes an account's home as useradd(8) does: with HOME_MODE."""
    return f"mkhomedir_helper {quote(account.name)} 0022 /etc/skel {host.people.home_mode}"


def new_home(account: Account, host: Host) -> str:
    """Return the command that gives an account a new home at the usual place, or advice.

    There is a command where nothing has that name, or it is the account's own: else what lies there
    may be another's.
    """
    if not account.local:
        return Advice(f"give {account.name} a home of its own in the directory service")
    name, home = quote(account.name), f"/home/{account.name}"
    found = host.lstat(home)
    is_own = found is not None and stat.S_ISDIR(found.st_mode) and found.st_uid == account.uid
    if (found is not None and not is_own) or not host.trusted_path(home):
        return Advice(
            f"give {account.name} a home of its own by `usermod -d`, then run sftpjail apply"
        )
    make = ""
    if not is_own:
        make = f"{make_home(account, host)} && "
    return f"usermod -d {quote(home)} {name} && {make}sftpjail apply"


def path_fix(path: str, host: Host) -> str:
    """Return the command that fixes one component of a chroot path; see `Host.flaw`.

    While a component above is wrong too, it is advice.
    """
    found = host.stat(path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        return fixes.aside_or_why(path, host, "sftpjail apply")
    commands = []
    if found.st_uid != 0:
        commands.append("chown root {}")
    if found.st_mode & OTHERS_WRITE:
        commands.append("chmod go-w {}")
    return fixes.on_or_why(path, host, *commands)

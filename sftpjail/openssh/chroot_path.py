"""Commands that make sshd accept the path of a chroot."""

from __future__ import annotations

import stat
from shlex import quote

from .. import fixes
from ..host import Host
from ..model import Account


def new_home(account: Account) -> str:
    """Return the command that moves an account's home to the usual place.

    It overwrites nothing.
    """
    name = quote(account.name)
    return f"usermod -d /home/{name} {name} && mkhomedir_helper {name} && sftpjail apply"


def fix_flaw(path: str, host: Host) -> str:
    """Return the command that fixes one component of a chroot path.

    It is "" while a component above is wrong too; see `Host.flaw`.
    """
    found = host.stat(path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        move = fixes.aside(path, host)
        return move and f"{move} && sftpjail apply"
    commands = []
    if found.st_uid != 0:
        commands.append("chown root {}")
    if found.st_mode & 0o022:
        commands.append("chmod go-w {}")
    return fixes.on(path, host, *commands)

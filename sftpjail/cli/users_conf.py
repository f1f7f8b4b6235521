"""import --users-conf: the accounts of the container atmoz/sftp."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from ..accounts_file.atmoz import User, read_users
from ..accounts_file.entry import shown_values
from ..accounts_file.writing import write
from ..errors import UsageError, unreadable
from ..errors.escapes import some
from ..host import Host
from ..model import Problem
from ..openssh.public_keys import MAX_BYTES
from ..operations.users_conf import entries
from ..system.files import PLAIN
from .context import Context

_SHOWN = 8


def convert(context: Context) -> int:
    """Print the accounts of a users.conf as a file of accounts."""
    given = context.arguments
    if given.apply:
        raise UsageError(
            "--users-conf prints a file of accounts, which apply reads",
            advice="leave out --apply, and append | sftpjail apply -",
        )
    if sys.stdout.isatty() and not context.json:
        raise UsageError(
            "password hashes are not shown on a terminal",
            advice="append | sftpjail apply -, or >FILE that only root can read",
        )
    path: str = given.users_conf
    users, faults = read_users(_text(path))
    if faults:
        words = some((fault.words(path) for fault in faults), _SHOWN, "; ")
        raise UsageError(words, advice="a line is NAME:PASSWORD[:e][:UID[:GID[:DIRECTORY,...]]]")
    keys = {}
    if given.keys:
        keys = {user.name: _keys_of(user, given.keys) for user in users}
    found, notes = entries(users, keys, Host())
    if context.json:
        context.answers["blocks"] = []
        context.answers["accounts"] = [
            {"user": entry.name} | shown_values(entry, "") for entry in found
        ]
    else:
        sys.stdout.write(write(found, "configobj"))
    context.answer_problems(Problem(words, "", severity="advice") for words in notes)
    return context.close(0)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error


def _keys_of(user: User, directory: str) -> str:
    """Return the lines of the key files of one user, or none if there is no directory.

    Raises:
        SftpJailError: one cannot be read, or is not a regular file.
    """
    place = os.path.join(directory, user.name)
    if not os.path.isdir(place):
        return ""
    names = sorted(name for name in os.listdir(place) if name.endswith(".pub"))
    return "\n".join(_key_file(os.path.join(place, name)) for name in names)


def _key_file(path: str) -> str:
    try:
        fd = os.open(path, PLAIN)
        with open(fd, "rb") as handle:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise UsageError(f"{path} is not a file")
            return handle.read(MAX_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise unreadable(f"the key {path}", error) from error

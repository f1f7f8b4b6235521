"""Convert accounts of the container atmoz/sftp to a file of accounts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote

from ..accounts_file.atmoz import User
from ..accounts_file.entry import Entry
from ..errors import SftpJailError
from ..host import Host
from ..openssh import public_keys
from ..system.passwords import hashed, is_hash


def entries(
    users: Sequence[User], keys: Mapping[str, str], host: Host
) -> tuple[list[Entry], list[str]]:
    """Return the accounts, and notes about what a file of accounts cannot hold.

    Args:
        users: the users of users.conf; a plain password is hashed.
        keys: the texts of their key files, by name.
        host: runs ssh-keygen.

    Raises:
        SftpJailError: a key or a hash is not valid.
    """
    found, notes = [], []
    texts = [keys.get(user.name, "") for user in users]
    for user, (good, wrong) in zip(users, public_keys.read_many(texts, host), strict=True):
        if wrong:
            raise SftpJailError(f"a key of {user.name} is refused: {wrong[0]}")
        lines = tuple(key.line for key in good)
        entry = Entry(user.name, user.line, uid=user.uid, password=_password(user), keys=lines)
        found.append(entry)
        notes += _notes(user)
    return found, notes


def _password(user: User) -> str:
    if user.is_hash and user.password and not is_hash(user.password):
        raise SftpJailError(f"line {user.line}: the password of {user.name} is not a valid hash")
    if user.is_hash or not user.password:
        return user.password
    return hashed(user.password)


def _notes(user: User) -> list[str]:
    """Return notes about what a person has to do for a user."""
    notes = []
    if user.gid is not None and user.gid != user.uid:
        notes.append(f"{user.name} gets a group of its own, and not {user.gid}")
    if user.directories:
        name, listed = quote(user.name), ", ".join(user.directories)
        notes.append(f"when {name} is made, these directories in its home are to be made: {listed}")
    return notes

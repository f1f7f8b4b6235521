"""users.conf of the container atmoz/sftp: `NAME:PASSWORD[:e][:UID[:GID[:DIRECTORY,...]]]`.

With `e` the password is a hash. Each directory is one in the home, which the user owns.
"""

from __future__ import annotations

import re
from dataclasses import field

from ..errors import UsageError
from ..model import frozen, number, valid_name
from .entry import Fault


@frozen
class User:
    """One line. `uid` and `gid` are None where they are not said."""

    line: int
    name: str
    password: str = field(default="", repr=False)
    is_hash: bool = False
    uid: int | None = None
    gid: int | None = None
    directories: tuple[str, ...] = ()


def read_users(text: str) -> tuple[list[User], list[Fault]]:
    """Return what the lines say, and what is wrong in others."""
    users, faults = list[User](), list[Fault]()
    lines = re.split("\r\n|[\r\n]", text.removeprefix("\ufeff"))
    for place, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _user(place, line.strip())
        if isinstance(found, Fault):
            faults.append(found)
        else:
            users.append(found)
    return users, faults


def _user(place: int, line: str) -> User | Fault:
    name, *rest = line.split(":")
    try:
        valid_name(name)
    except UsageError as error:
        return Fault(place, "", "name", error.message)
    is_hash = rest[1:2] == ["e"]
    if is_hash:
        del rest[1]
    if len(rest) > 4:
        return Fault(
            place, name, "", "it has more fields than name, password, uid, gid, directories"
        )
    password, uid, gid, directories = (*rest, "", "", "", "")[:4]
    for what, text in (("uid", uid), ("gid", gid)):
        if text and number(text) is None:
            return Fault(place, name, what, "it is not a number")
    parts = tuple(part for part in directories.split(",") if part)
    if any(".." in part.split("/") or not part.strip("/") for part in parts):
        return Fault(place, name, "directories", "one of them does not lie in the home")
    return User(place, name, password, is_hash, number(uid), number(gid), parts)

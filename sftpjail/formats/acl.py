"""The access lists of directories (acl(5)), and what `mount --group` makes of them. Pure data."""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
# struct posix_acl_xattr_entry of linux/posix_acl_xattr.h: tag, permissions, id.
_HEAD, _ENTRY, _VERSION = struct.Struct("<I"), struct.Struct("<HHI"), 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_ALL = 0o7
_SETGID = 0o2000


class Access(NamedTuple):
    """Which group a directory has, its mode, and its two access lists as the kernel has them.

    A list is b"" where there is none.
    """

    gid: int
    mode: int
    access: bytes = b""
    default: bytes = b""


class _List(NamedTuple):
    """An access list without its mask: the entries with named users and groups are what they allow.

    `named` has the permissions by tag and id.
    """

    user: int
    group: int
    other: int
    named: dict[tuple[int, int], int]

    def packed(self) -> bytes:
        """Return it as the kernel has it. A list with names has a mask, which takes nothing."""
        entries = [(_USER_OBJ, self.user, _NO_ID), (_GROUP_OBJ, self.group, _NO_ID)]
        entries += [(tag, bits, name) for (tag, name), bits in self.named.items()]
        entries += [(_MASK, _ALL, _NO_ID)] * bool(self.named)
        entries.append((_OTHER, self.other, _NO_ID))
        packed = (_ENTRY.pack(*entry) for entry in sorted(entries, key=lambda e: (e[0], e[2])))
        return _HEAD.pack(_VERSION) + b"".join(packed)


def _parsed(data: bytes, mode: int) -> _List:
    """Return an access list, or what a mode says where there is none.

    What the mask of the list takes away is not in it.
    """
    bits = {_USER_OBJ: mode >> 6 & 7, _GROUP_OBJ: mode >> 3 & 7, _OTHER: mode & 7, _MASK: _ALL}
    named = {}
    for at in range(_HEAD.size, len(data) - _ENTRY.size + 1, _ENTRY.size):
        tag, allowed, name = _ENTRY.unpack_from(data, at)
        if tag in (_USER, _GROUP):
            named[tag, name] = allowed
        else:
            bits[tag] = allowed
    masked = {one: allowed & bits[_MASK] for one, allowed in named.items()}
    return _List(bits[_USER_OBJ], bits[_GROUP_OBJ] & bits[_MASK], bits[_OTHER], masked)


def shared(now: Access, gid: int) -> Access:
    """Return what a directory is to have for a group to write in it, and in what is made there.

    It is the directory's group, which new files get too (the set-group-ID bit), and a default
    access list takes the place of each program's umask. Whoever was let in by the former group or
    by a list, is let in further, in new files too. Others get nothing, and lose nothing.

    Args:
        now: what it has.
        gid: the group.
    """
    before = _parsed(now.access, now.mode)
    named = {one: bits for one, bits in before.named.items() if one != (_GROUP, gid)}
    if now.gid != gid and before.group != before.other:
        named[_GROUP, now.gid] = before.group | named.get((_GROUP, now.gid), 0)
    inherited = _List(_ALL, _ALL, before.other, named)
    if now.default:
        old = _parsed(now.default, 0)
        inherited = old._replace(user=old.user, group=_ALL)
    access = before._replace(group=_ALL, named=named)
    mode = now.mode | _SETGID | 0o070
    return Access(gid, mode, access.packed() if named else b"", inherited.packed())


def stages(before: Access, after: Access) -> Iterator[Access]:
    """Yield what a directory has after each call that takes it from one state to another.

    That is the order of `system.files.set_access`: the group, the list, the mode, the default list.
    """
    yield before
    now = before._replace(gid=after.gid)
    yield now
    # With a list the group bits are its mask; that one is taken away leaves them alone.
    if after.access != before.access:
        if after.access:
            group = after.mode & 0o070
        else:
            group = before.mode & 0o070
        now = now._replace(access=after.access, mode=now.mode & ~0o070 | group)
        yield now
    now = now._replace(mode=after.mode)
    yield now
    yield after


def written(access: Access) -> str:
    """Return in one word without commas what a directory has; `read` reads it."""
    lists = (base64.urlsafe_b64encode(data).decode("ascii").rstrip("=") for data in access[2:])
    return ":".join((str(access.gid), f"{access.mode:o}", *lists))


_WRITTEN = re.compile(r"([0-9]{1,10}):([0-7]{1,4}):([A-Za-z0-9_-]*):([A-Za-z0-9_-]*)")


def read(text: str) -> Access | None:
    """Return what `written` has written, or None where it is anything else."""
    found = _WRITTEN.fullmatch(text)
    if not found:
        return None
    try:
        lists = [base64.urlsafe_b64decode(found[n] + "=" * (-len(found[n]) % 4)) for n in (3, 4)]
    except binascii.Error:
        return None
    return Access(int(found[1]), int(found[2], 8), *lists)

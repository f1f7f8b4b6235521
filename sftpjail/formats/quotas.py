"""The lines of /etc/sftpjail/quotas, and those in which btrfs(8) lists quota groups.

Ours are `user NAME BYTES`, and `profile` behind it where that says so. They are what was set in the
file system, so that it can be taken back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

_SIZE = re.compile("[0-9]{1,19}")
_GROUP = re.compile(
    r"(?m)^([0-9]+/[0-9]+) +([0-9]{1,19}) +[0-9]+ +(none|[0-9]{1,19}) +(?:none|[0-9]+) +(\S.*?) *$"
)


class QuotaGroup(NamedTuple):
    """A quota group: its number, the bytes that are used, and how many may be, 0 for any number."""

    number: str
    used: int
    limit: int


@lru_cache(maxsize=8)  # the same text is read for each account of a file system
def quota_groups(text: str) -> Mapping[str, QuotaGroup]:
    """Return what `btrfs qgroup show --raw -re` prints, by path below the file system's root."""
    return {
        found[4]: QuotaGroup(found[1], int(found[2]), 0 if found[3] == "none" else int(found[3]))
        for found in _GROUP.finditer(text)
    }


def quota_line(name: str, size: int, *, by_profile: bool) -> str:
    """Return an account's line; a size of 0 is any number of bytes."""
    return f"user {name} {size}{' profile' if by_profile else ''}"


def own_size(lines: Iterable[str]) -> int | None:
    """Return the size that an account has of its own, or None if its profile decides."""
    for line in lines:
        words = line.split()
        if len(words) == 3 and _SIZE.fullmatch(words[2]):
            return int(words[2])
    return None

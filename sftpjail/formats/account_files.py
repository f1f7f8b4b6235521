"""passwd(5), group(5) and shadow(5): their entries by name, each read once it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping, ValuesView
from functools import cached_property, lru_cache
from typing import TypeVar

from ..model import Account, Group, Shadow, number

_Entry = TypeVar("_Entry")


class Entries(Mapping[str, _Entry]):
    """The entries of such a file, in their order.

    If two lines have the same name, the first that is an entry counts, as in getpwnam(3).

    Args:
        text: the file.
        parse: returns the entry of a line, by its fields, or None if it is none.
    """

    def __init__(self, text: str, parse: Callable[[list[str]], _Entry | None]) -> None:
        self._parse = parse
        self._lines: dict[str, str] = {}
        self._known: dict[str, _Entry | None] = {}
        # Like the C library, end a line at a NUL.
        for line in re.sub("\0[^\n]*", "", text).split("\n"):
            name = line.partition(":")[0]
            first = self._lines.setdefault(name, line)
            if first is not line:
                self._lines[name] = f"{first}\n{line}"

    def __getitem__(self, name: str) -> _Entry:
        found = self._find(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._every)

    def __len__(self) -> int:
        return len(self._every)

    def values(self) -> ValuesView[_Entry]:
        """Return the entries."""
        return self._every.values()

    def items(self) -> ItemsView[str, _Entry]:
        """Return the names with their entries."""
        return self._every.items()

    @cached_property
    def _every(self) -> dict[str, _Entry]:
        found = ((name, self._find(name)) for name in self._lines)
        return {name: entry for name, entry in found if entry is not None}

    @property
    def names(self) -> Collection[str]:
        """The first fields of all lines, entries or not."""
        return self._lines.keys()

    def holding(self, text: str) -> Iterator[_Entry]:
        """Yield the entries with TEXT in their line. The other lines are not read."""
        return (self[name] for name, line in self._lines.items() if text in line and name in self)

    def is_plain(self, name: str) -> bool:
        """Return whether the C library finds what we do. It understands more lines than we do."""
        line = self._lines.get(name, "")
        understood = not line or ("\n" not in line and name in self)
        return understood and name not in self._indented

    @cached_property
    def _indented(self) -> frozenset[str]:
        return frozenset(name.strip() for name in self._lines if name[:1].isspace())

    def _find(self, name: str) -> _Entry | None:
        if name not in self._known:
            fields = (line.split(":") for line in self._lines.get(name, "").split("\n"))
            self._known[name] = next(filter(None, map(self._parse, fields)), None)
        return self._known[name]


# A plan, its stages and the look at what they did read these files anew each, and mostly find the
# same in them.
@lru_cache(maxsize=1)
def accounts(text: str) -> Entries[Account]:
    """Return the accounts of passwd(5)."""
    return Entries(text, _account)


@lru_cache(maxsize=1)
def groups(text: str) -> Entries[Group]:
    """Return the groups of group(5). As in glibc, the last field is optional."""
    return Entries(text, _group)


@lru_cache(maxsize=1)
def shadows(text: str) -> Entries[Shadow]:
    """Return the entries of shadow(5)."""
    return Entries(text, _shadow)


def comments(text: str) -> Entries[str]:
    """Return the comments of passwd(5) that are not empty, the fifth field."""
    return Entries(text, lambda fields: fields[4] if len(fields) == 7 else None)


def _account(fields: list[str]) -> Account | None:
    if len(fields) != 7:
        return None
    uid, gid = number(fields[2]), number(fields[3])
    if uid is None or gid is None:
        return None
    return Account(fields[0], uid, gid, fields[5], fields[6])


def _group(fields: list[str]) -> Group | None:
    gid = None
    if len(fields) in (3, 4):
        gid = number(fields[2])
    if gid is None:
        return None
    # The C library skips blanks before a name (nss/nss_files/files-parse.c), and none after it.
    members = (member.lstrip(" \t\v\f\r") for member in "".join(fields[3:]).split(","))
    return Group(fields[0], gid, tuple(member for member in members if member))


def _shadow(fields: list[str]) -> Shadow | None:
    if len(fields) < 8:
        return None
    return Shadow(fields[1], fields[2], fields[4], fields[6], fields[7])

"""fstab(5) and /proc/self/mountinfo: one line to fields and back. Formats only, no files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from ..errors import UsageError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPE = str.maketrans({" ": "\\040", "\t": "\\011", "\n": "\\012", "\\": "\\134", "#": "\\043"})


def escape(path: str) -> str:
    """Return PATH as a field of fstab(5): white space, `#` and backslash as octal.

    Raises:
        UsageError: PATH has a control character; fstab could hold some, but no administrator
            could read them.
    """
    if _CONTROL.search(path):
        raise UsageError(
            f"{path!r} has a control character, which fstab(5) cannot hold readably;"
            " rename the directory"
        )
    return path.translate(_ESCAPE)


def unescape(text: str) -> str:
    """Return the path that a field of fstab or mountinfo stands for.

    For the octal escapes see getmntent(3).
    """
    if "\\" not in text:
        return text.partition("\0")[0]
    # Surrogates carry the bytes of names that are not UTF-8 through.
    data = re.sub(
        rb"\\([0-3][0-7]{2})",
        lambda m: bytes([int(m[1], 8)]),
        text.encode("utf-8", "surrogateescape"),
    )
    # A NUL is where mount(8) sees its end.
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


class FstabEntry(NamedTuple):
    """One mount of fstab(5), unescaped."""

    source: str
    target: str
    type: str
    options: tuple[str, ...]

    def option(self, name: str) -> str:
        """Return the value of `NAME=value`, or ""."""
        begin = f"{name}="
        for option in self.options:
            if option.startswith(begin):
                return option.removeprefix(begin)
        return ""

    def line(self) -> str:
        """Return the entry as a line of fstab(5), without dump and check (0 0)."""
        return (
            f"{escape(self.source)} {escape(self.target)} {self.type} {','.join(self.options)} 0 0"
        )


@lru_cache(maxsize=64)  # an edit looks at each line several times
def parse_line(line: str) -> FstabEntry | None:
    """Return the entry of one fstab line, or None for a comment, an empty or a broken line."""
    line = line.partition("\0")[0]
    # Not str.split(): U+00A0 is part of a name.
    fields = [field for field in line.replace("\t", " ").split(" ") if field]
    if len(fields) < 4 or fields[0].startswith("#"):
        return None
    return FstabEntry(
        unescape(fields[0]), unescape(fields[1]), fields[2], tuple(fields[3].split(","))
    )


class MountPoint(NamedTuple):
    """One line of /proc/self/mountinfo (proc_pid_mountinfo(5)).

    It says where, with which per-mount flags, and what it shows: the directory `root` of the file
    system `device`, which is one of type `kind`. It lies on `under` other mounts at the same path.
    Where another mount lies over a directory above it, that is `hidden_by`, and nobody gets here by
    its path.
    """

    target: str
    options: tuple[str, ...]
    device: str = ""
    root: str = "/"
    kind: str = ""
    under: int = 0
    hidden_by: str = ""

    @property
    def is_mapped(self) -> bool:
        """Whether it shows files with other owners than they have on disk (Linux 5.12)."""
        return "idmapped" in self.options


def parse_mountinfo(text: str) -> dict[str, MountPoint]:
    """Return the mount points by path; of several mounts on one path, the last and topmost.

    They are in their order, which is the one in which they were mounted.
    """
    points: dict[str, MountPoint] = {}
    ids: dict[str, tuple[str, str]] = {}  # of each mount: its parent, and where it is
    taken: dict[str, tuple[str, str]] = {}
    for line in text.split("\n"):
        fields = line.split(" ")
        if len(fields) < 6:
            continue
        target = unescape(fields[4])
        kind = ""
        if "-" in fields[6:-1]:
            kind = fields[fields.index("-") + 1]
        covered = points.pop(target, None)
        under = 0
        if covered:
            under = covered.under + 1
        points[target] = MountPoint(
            target, tuple(fields[5].split(",")), fields[2], unescape(fields[3]), kind, under
        )
        ids[fields[0]] = taken[target] = fields[1], target
    return _with_hidden(points, taken, ids)


def _with_hidden(
    points: dict[str, MountPoint],
    taken: Mapping[str, tuple[str, str]],
    ids: Mapping[str, tuple[str, str]],
) -> dict[str, MountPoint]:
    """Return the mount points, each with the mount that lies over a directory above it.

    The path to a mount leaves the one that it is in, its parent, at its own mount point. Where
    another mount of that parent lies further up, the path leads into that one instead.

    Args:
        points: by path.
        taken: the parent of each of them, and its path again.
        ids: the same of every mount, by its id.
    """
    within: dict[str, set[str]] = {}
    for parent, target in ids.values():
        within.setdefault(parent, set()).add(target)
    found = {}
    for path, point in points.items():
        hidden = _over(*taken[path], within, ids)
        if hidden:
            found[path] = point._replace(hidden_by=hidden)
        else:
            found[path] = point
    return found


def _over(
    parent: str, target: str, within: Mapping[str, set[str]], ids: Mapping[str, tuple[str, str]]
) -> str:
    """Return the mount that lies over a directory on the way to another one, or "".

    What lies over / is in nobody's way, who has come in before.
    """
    seen = set[str]()
    while parent not in seen:
        seen.add(parent)
        # It has none if the table changed while it was read.
        others, above = within.get(parent, ()), target
        while len(others) > 1 and (above := above.rpartition("/")[0]):
            if above in others:
                return above
        if parent not in ids:
            break
        parent, target = ids[parent]
    return ""

"""What is mounted, and what is to be: mountinfo, fstab(5), and the tables of session binds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property

from ..formats.fstab import FstabEntry, MountPoint, parse_line, parse_mountinfo
from ..model import Bind, inside
from ..paths import TABLES
from ..system import processes
from ..system.mounts import mounts_missing
from .files import Files


class MountTables:
    """The mounts of the host, and the binds of its jails; each table is read once."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._all_binds: dict[str, tuple[Bind, ...]] = {}

    @cached_property
    def fstab(self) -> tuple[FstabEntry, ...]:
        """The mounts of /etc/fstab."""
        return tuple(filter(None, map(parse_line, self.files.text("/etc/fstab").split("\n"))))

    @cached_property
    def _binds(self) -> Mapping[str, tuple[Bind, ...]]:
        found: dict[str, list[Bind]] = {}
        for entry in self.fstab:
            user = entry.option("x-sftpjail.user")
            if user:
                found.setdefault(user, []).append(_bind(entry, "fstab"))
        return {user: tuple(binds) for user, binds in found.items()}

    def binds(self, name: str) -> tuple[Bind, ...]:
        """Return the binds of an account's jail in their order.

        These are those in fstab, and those made for each session.
        """
        if name not in self._all_binds:
            lines = self.files.text(f"{TABLES}/{name}").split("\n") if name in self._tables else []
            found = {bind.target: bind for bind in self._binds.get(name, ())}
            found |= {
                entry.target: _bind(entry, "session")
                for entry in filter(None, map(parse_line, lines))
            }
            self._all_binds[name] = tuple(found.values())
        return self._all_binds[name]

    @cached_property
    def _tables(self) -> frozenset[str]:
        return frozenset(name for name in self.files.listdir(TABLES) if not name.startswith("."))

    @cached_property
    def bind_users(self) -> tuple[str, ...]:
        """Everybody who has a bind, whether there is such an account or not."""
        return tuple(dict.fromkeys((*self._binds, *sorted(self._tables))))

    def behind(self, name: str, path: str) -> str:
        """Return the host's path of what a session of the account finds at PATH inside its jail.

        Where that is mounted for the session alone, it is one in the source of the innermost bind.
        """
        outer = [
            bind
            for bind in self.binds(name)
            if bind.kept == "session" and inside(path, bind.target)
        ]
        if not outer:
            return path
        bind = max(outer, key=lambda bind: len(bind.target))
        return bind.source + path.removeprefix(bind.target)

    def is_busy(self, directory: str) -> bool:
        """Return whether a process of our mount namespace uses DIRECTORY: proc(5).

        It is in it, or has something in it open.
        """
        real = self.files.realpath(directory)
        return any(inside(path, real) for path in self._held)

    @cached_property
    def _held(self) -> frozenset[str]:
        return frozenset() if self.files.root else processes.held()

    @cached_property
    def mounts(self) -> Mapping[str, MountPoint]:
        """The mount table of our namespace by mount point."""
        return parse_mountinfo(self.files.text("/proc/self/mountinfo"))

    def mount_at(self, target: str) -> MountPoint | None:
        """Return the topmost mount on exactly that path.

        Links on the way (a /srv that is one) are resolved.
        """
        return self.mounts.get(target) or self.mounts.get(
            os.path.join(self.files.realpath(os.path.dirname(target)), os.path.basename(target))
        )

    @cached_property
    def mounts_missing(self) -> str:
        """What this kernel lacks for mounts that are made through descriptors, or "".

        Linux 5.12 has all.
        """
        return "" if self.files.root else mounts_missing()

    def mount_place_below(self, path: str) -> str:
        """Return what a jail has mounted below PATH, or is to have mounted there, or "".

        Whoever could write in PATH could put something else in that one's place: at the next login
        root would mount it.
        """
        top = self.files.realpath(path).rstrip("/") + "/"
        return next((place for place in self._mount_places if place.startswith(top)), "")

    @cached_property
    def _mount_places(self) -> frozenset[str]:
        """Every mount point of a jail, as it is in the jail.

        Below another bind, also as it is in that one's source.
        """
        places: set[str] = set(self.mounts)
        for user in self.bind_users:
            binds = self.binds(user)
            places |= {bind.target for bind in binds}
            nested = ((outer, bind) for outer in binds for bind in binds if outer is not bind)
            places |= {
                self.files.realpath(outer.source).rstrip("/")
                + bind.target.removeprefix(outer.target)
                for outer, bind in nested
                if inside(bind.target, outer.target)
            }
        return frozenset(places)


def _bind(entry: FstabEntry, kept: str) -> Bind:
    own = tuple(o for o in entry.options if not o.startswith("x-sftpjail."))
    return Bind(
        entry.source,
        entry.target,
        "ro" in own,
        entry.option("x-sftpjail.role") or "mount",
        own,
        kept,
    )

"""Actual and configured mounts: mountinfo, fstab(5), and the tables of session binds."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Mapping
from functools import cached_property
from itertools import permutations, takewhile

from ..formats.fstab import FstabEntry, MountPoint, parse_line, parse_mountinfo
from ..model import GROUP, SETID, Bind, components, innermost, inside, is_valid_name, normal
from ..paths import DISKS, TABLES
from ..system import processes
from ..system.mounts import mounts_missing, unmappable
from .files import Files


class MountTables:
    """The mounts of the host and the binds of its jails. Each table is read once."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._all_binds: dict[str, tuple[Bind, ...]] = {}
        self._unmappable: dict[int, str] = {}

    @cached_property
    def fstab(self) -> tuple[FstabEntry, ...]:
        """The mounts of /etc/fstab."""
        return self._entries("/etc/fstab")

    def _entries(self, path: str) -> tuple[FstabEntry, ...]:
        return tuple(filter(None, map(parse_line, self.files.text(path).split("\n"))))

    @cached_property
    def _binds(self) -> Mapping[str, tuple[Bind, ...]]:
        found: dict[str, list[Bind]] = {}
        for entry in self.fstab:
            user = entry.option("x-sftpjail.user")
            if user:
                found.setdefault(user, []).append(_bind(entry, "fstab"))
        return {user: tuple(binds) for user, binds in found.items()}

    def binds(self, name: str) -> tuple[Bind, ...]:
        """Return the binds of an account's jail in their order: those of fstab and of sessions."""
        if name not in self._all_binds:
            binds = [*self._binds.get(name, ())]
            if self._has_tables and is_valid_name(name):  # no other name has a table
                entries = self._entries(f"{TABLES}/{name}")
                binds += [_bind(entry, "session") for entry in entries]
            found = {bind.target: bind for bind in binds}
            self._all_binds[name] = tuple(found.values())
        return self._all_binds[name]

    @cached_property
    def _has_tables(self) -> bool:
        """Whether any jail has mounts for each session: else no table is looked for."""
        return self.files.holds_any(TABLES)

    @cached_property
    def bind_users(self) -> tuple[str, ...]:
        """The names that have binds, whether or not such an account exists."""
        tables = (name for name in self.files.listdir(TABLES) if not name.startswith("."))
        return tuple(dict.fromkeys((*self._binds, *tables)))

    def shown_to(self, path: str) -> set[str]:
        """Return the names whose jails show PATH, something in it, or something around it."""
        real = self.files.realpath(path)
        top = real.rstrip("/") + "/"
        found = {name for part in components(real) for name in self._sources.get(part, ())}
        for source in self._sorted_sources[bisect_left(self._sorted_sources, top) :]:
            if not source.startswith(top):
                break
            found |= self._sources[source]
        return found

    @cached_property
    def _sources(self) -> Mapping[str, set[str]]:
        """The real paths that jails show, log sockets aside, and the names of the jails."""
        found: dict[str, set[str]] = {}
        for name in self.bind_users:
            for bind in self.binds(name):
                if bind.role != "log":
                    found.setdefault(self.files.realpath(bind.source), set()).add(name)
        return found

    @cached_property
    def _sorted_sources(self) -> list[str]:
        return sorted(self._sources)

    def behind(self, name: str, path: str) -> str:
        """Return the host's path for PATH, which is inside the account's jail.

        If a session mount covers PATH, this is a path in the source of the innermost such bind.
        """
        bind = innermost((bind for bind in self.binds(name) if bind.kept == "session"), path)
        if bind:
            return bind.source + path.removeprefix(bind.target)
        return path

    def is_busy(self, directory: str) -> bool:
        """Return whether a process of our mount namespace uses DIRECTORY (proc(5)).

        It does if it runs there or has a file there open.
        """
        real = self.files.realpath(directory)
        return any(inside(path, real) for path in self._held)

    @cached_property
    def _held(self) -> frozenset[str]:
        if self.files.root:
            return frozenset()
        return processes.held()

    @cached_property
    def mounts(self) -> Mapping[str, MountPoint]:
        """The mount table of our mount namespace, by mount point."""
        return parse_mountinfo(self.files.text("/proc/self/mountinfo"))

    def mount_at(self, target: str) -> MountPoint | None:
        """Return the topmost mount at exactly this path, or None.

        Links on the way, such as a symbolic link /srv, are resolved.
        """
        if target in self.mounts:
            return self.mounts[target]
        name = os.path.basename(target.rstrip("/"))
        if name not in self._mount_names and name not in ("", ".", ".."):
            return None
        return self.mounts.get(self.place(target))

    def is_hidden(self, bind: Bind) -> bool:
        """Return whether a bind is mounted, and another mount over it or above keeps it from sight.

        A second mount of the same directory hides nothing.
        """
        point = None
        if bind.kept == "fstab":
            point = self.mount_at(bind.target)
        if point is None or point.hidden_by:
            return point is not None
        return point.under > 0 and not self.files.same_file(bind.source, bind.target)

    def mount_changed(self, target: str) -> bool:
        """Return whether somebody has mounted or unmounted TARGET since the table was read."""
        # Not by the look at the host that may have read the table.
        now = parse_mountinfo(self.files.anew().text("/proc/self/mountinfo"))
        return now.get(self.place(target)) != self.mount_at(target)

    @cached_property
    def _mount_names(self) -> frozenset[str]:
        """The base names of all mount points. Links on the way do not change them."""
        return frozenset(map(os.path.basename, self.mounts))

    def place(self, path: str) -> str:
        """Return PATH normalized, with all links resolved except at the last component."""
        directory, name = os.path.split(path.rstrip("/"))
        if name in ("", ".", ".."):
            return self.files.realpath(path)
        return os.path.join(self.files.realpath(directory), name)

    def same_place(self, one: str, other: str) -> bool:
        """Return whether two paths name the same place, also through links on the way."""
        if one == other or os.path.basename(one) != os.path.basename(other):
            return one == other
        return self.place(one) == self.place(other)

    @cached_property
    def _absent(self) -> Mapping[str, FstabEntry]:
        """The mounts in fstab that are not ours and are not mounted, by real path.

        Targets are resolved as mount(8) does: fstab may have extra slashes and links in them.
        """
        absent = {}
        for entry in sorted(self.fstab, key=lambda entry: "noauto" not in entry.options):
            ours = entry.option("x-sftpjail.user") or not entry.target.startswith("/")
            if not ours and self.mount_at(entry.target) is None:
                absent[self.files.realpath(entry.target)] = entry
        return {place: entry for place, entry in absent.items() if place not in self.mounts}

    def unmounted_ancestor(self, path: str) -> str:
        """Return the outermost mount point at or above PATH that is not mounted, or "".

        The files seen below it are not the right ones, unless PATH lies on a mount further down. A
        `noauto` mount may be unmounted on purpose; it counts only if PATH does not exist.
        """
        if not self._absent:
            return ""
        parts = reversed(components(self.files.realpath(path)))
        bare = takewhile(lambda part: part not in self.mounts, parts)
        above = [self._absent[part] for part in bare if part in self._absent]
        wanted = [entry for entry in above if "noauto" not in entry.options]
        if not wanted and above and self.files.stat(path) is None:
            wanted = above
        if not wanted:
            return ""
        return normal(wanted[-1].target)

    @cached_property
    def disks(self) -> Mapping[str, str]:
        """The mount points that directories of jails were on at the last `setup`, by directory.

        Those of fstab are not among them. A damaged record is empty, and `setup` writes it anew.
        """
        try:
            found = json.loads(self.files.text(DISKS) or "{}")
            return {normal(base): normal(point) for base, point in found.items()}
        except (ValueError, AttributeError, TypeError):
            return {}

    def disk_of(self, path: str) -> str:
        """Return the mount point that PATH lies on, unless it is / or fstab has it; else ""."""
        point = self.mount_of(path)
        if point is None or point.target == "/" or point.kind == "autofs":
            return ""
        listed = any(self.place(entry.target) == point.target for entry in self.fstab)
        if listed:
            return ""
        return point.target

    def mount_of(self, path: str) -> MountPoint | None:
        """Return the mount that PATH lies on: the one with the longest path in the mount table."""
        around = (self.mounts.get(part) for part in reversed(components(self.files.realpath(path))))
        return next(filter(None, around), None)

    def mounts_below(self, path: str) -> list[str]:
        """Return the mount points below PATH, but not at it, the outer ones first."""
        top = self.files.realpath(path).rstrip("/") + "/"
        found = []
        for point in self._sorted_mounts[bisect_left(self._sorted_mounts, top) :]:
            if not point.startswith(top):
                break
            found.append(point)
        return found

    @cached_property
    def _sorted_mounts(self) -> list[str]:
        return sorted(self.mounts)

    def is_stale_mount(self, source: str, target: str) -> bool:
        """Return whether TARGET shows a former SOURCE, and unmounting it loses nothing.

        This is so if SOURCE was deleted and recreated, or if it was at the same path on a file
        system that was mounted where the file system of SOURCE is mounted now, or above.

        It is not so in these cases:
        - SOURCE lies on a mount further up: it may be in the bare mount point of the other file
          system (`left_mount`).
        - The other file system is in memory only and mounted nowhere else.
        - Something is mounted below TARGET.
        - An administrator mounted it: over another mount, or after the file system of SOURCE.
        """
        point, now = self.mount_at(target), self.mount_of(source)
        if point is None or now is None or self._is_last_of_memory(point):
            return False
        if point.under or self.mounts_below(point.target):
            return False
        if point.root.endswith("//deleted"):
            return self.files.is_dir(source)
        if point.device == now.device:
            return False
        if self._ages[point.target] > self._ages[now.target] and not self._has_our_flags(point):
            return False
        real = self.files.realpath(source)
        below = real.removeprefix(now.target.rstrip("/"))
        if normal(point.root) == normal(now.root + below):
            return True
        former = point.root.rstrip("/")
        return real.endswith(former) and inside(now.target, real.removesuffix(former) or "/")

    @cached_property
    def _ages(self) -> Mapping[str, int]:
        return {point: number for number, point in enumerate(self.mounts)}

    def _has_our_flags(self, point: MountPoint) -> bool:
        """Return whether a mount has our own flags, not flags that it took over from its source.

        It is then ours, although it shows a former disk and is newer than the mount of SOURCE: an
        `apply` failed.
        """
        ours = {"nosuid", "nodev"}
        same = (other for other in self.mounts.values() if other.device == point.device)
        return ours <= set(point.options) and any(ours.isdisjoint(o.options) for o in same)

    def former_mount_point(self, source: str, target: str) -> str:
        """Return the former mount point of the file system that TARGET shows of SOURCE, or "".

        It is no longer mounted there, so SOURCE may be a bare directory below that mount point.
        """
        point, now = self.mount_at(target), self.mount_of(source)
        if point is None or now is None or point.device == now.device or point.under:
            return ""
        former, real = point.root.rstrip("/"), self.files.realpath(source)
        if not real.endswith(former) or self._is_last_of_memory(point):
            return ""
        place = real.removesuffix(former) or "/"
        if inside(place, now.target) and place != now.target:
            return place
        return ""

    def is_lost_by_umount(self, target: str) -> bool:
        """Return whether unmounting TARGET loses files, because they are in memory only."""
        point = self.mount_at(target)
        in_memory = point is not None and self._is_last_of_memory(point)
        return in_memory and bool(self.files.listdir(target))

    def _is_last_of_memory(self, point: MountPoint) -> bool:
        if point.kind not in ("tmpfs", "ramfs"):
            return False
        same = [other for other in self.mounts.values() if other.device == point.device]
        return len(same) < 2

    @cached_property
    def mounts_missing(self) -> str:
        """What this kernel lacks for mounting through file descriptors, or "".

        Linux 5.12 has everything.
        """
        if self.files.root:
            return ""
        return mounts_missing()

    def mount_place_below(self, path: str) -> str:
        """Return a mount point below PATH, in use or configured for a jail, or "".

        A user who can write in PATH could replace it, and root would mount on the replacement at
        the next login.
        """
        top = self.files.realpath(path).rstrip("/") + "/"
        return next((place for place in self._mount_places if place.startswith(top)), "")

    @cached_property
    def _mount_places(self) -> frozenset[str]:
        """All mount points in use, and those configured for jails.

        One below another bind is also listed by its place in the source of that bind.
        """
        places: set[str] = set(self.mounts)
        for user in self.bind_users:
            binds = self.binds(user)
            places |= {bind.target for bind in binds}
            for outer, bind in permutations(binds, 2):
                if inside(bind.target, outer.target):
                    source = self.files.realpath(outer.source).rstrip("/")
                    places.add(source + bind.target.removeprefix(outer.target))
        return frozenset(places)

    def unmappable(self, source: str) -> str:
        """Return why the files of a directory cannot be shown with other owners, or "".

        The kernel is asked once for each file system.
        """
        found = self.files.stat(source)
        if found is None or self.files.root:
            return ""
        if found.st_dev not in self._unmappable:
            self._unmappable[found.st_dev] = unmappable(source)
        return self._unmappable[found.st_dev]

    def runs_setid(self, path: str) -> str:
        """Return where PATH is mounted so that set-user-ID programs in it work, or "".

        It may be mounted at other places than where PATH leads. Our own mounts are none of them.
        """
        now = self.mount_of(path)
        if now is None:
            return ""
        below = self.files.realpath(path).removeprefix(now.target.rstrip("/"))
        place = normal(f"{now.root}/{below}")
        for point in (now, *self.mounts.values()):
            shows = point.device == now.device and inside(place, point.root)
            if shows and "nosuid" not in point.options:
                there = normal(f"{point.target}/{os.path.relpath(place, point.root)}")
                if self.mount_of(there) is point:  # else another mount lies over it
                    return point.target
        return ""


def _bind(entry: FstabEntry, kept: str) -> Bind:
    ours = (SETID, GROUP)
    own = tuple(o for o in entry.options if o.startswith(ours) or not o.startswith("x-sftpjail."))
    return Bind(
        entry.source,
        entry.target,
        "ro" in own,
        entry.option("x-sftpjail.role") or "mount",
        own,
        kept,
    )

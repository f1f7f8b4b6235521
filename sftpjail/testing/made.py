"""A host that is made up, below a directory of its own: no root needed, and nothing is at stake."""

from __future__ import annotations

import os
import posixpath
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import SftpJailError
from ..host import Host
from ..host.daemons import Daemons
from ..host.files import Files
from ..host.programs import Programs
from ..system.confinement import Confinement
from ..system.listeners import Listener
from ..system.programs import Answer

# Whoever runs the tests plays root; what belongs to an account of theirs is declared by path.
ME = os.getuid(), os.getgid()
# Written anew from what the tree knows.
GENERATED = ("/etc/passwd", "/etc/group", "/proc/self/mountinfo")


class MadeFiles(Files):
    """Files below a directory, which are root's unless `owners` says otherwise.

    Args:
        root: the directory; "" makes real paths count.
        owners: path to (uid, gid).

    What a test cannot make for real it declares: paths that are `unwritable` (a read-only mount) or
    `filled`, `acls`, and what is `shown` by bind mounts (target to source).
    """

    def __init__(self, root: str = "", owners: Mapping[str, tuple[int, int]] | None = None) -> None:
        super().__init__(root)
        self.owners = dict(owners or {})
        self.reads: list[str] = []
        self.unwritable: set[str] = set()
        self.filled: set[str] = set()
        self.acls: dict[str, str] = {}
        self.shown: dict[str, str] = {}
        self._paths: dict[str, str] = {}

    def anew(self) -> MadeFiles:
        fresh = MadeFiles(self.root, self.owners)
        fresh.unwritable, fresh.filled = self.unwritable, self.filled
        fresh.acls, fresh.shown = self.acls, self.shown
        return fresh

    def behind(self, path: str) -> str:
        """Return the path that a mount shows."""
        if self.shown and path not in self._paths:
            directory, name = posixpath.split(path)
            there = self._look_behind(path)
            if there == path:
                there = self._look_behind(posixpath.join(self.realpath(directory), name))
            self._paths[path] = there
        return self._paths.get(path, path)

    def _look_behind(self, path: str) -> str:
        directory, below = path, ""
        while len(directory) > 1:
            if directory in self.shown:
                return self._look_behind(self.shown[directory]) + below
            directory, _, name = directory.rpartition("/")
            below = f"/{name}{below}"
        return path

    @cached_property
    def _owned(self) -> Mapping[tuple[int, int], tuple[int, int]]:
        """Owners by inode, since many paths may lead to one directory."""
        found = ((Files.lstat(self, path), owner) for path, owner in self.owners.items())
        return {(there.st_dev, there.st_ino): owner for there, owner in found if there}

    def _seen(self, found: os.stat_result) -> os.stat_result:
        uid = 0
        if found.st_uid != ME[0]:
            uid = found.st_uid
        gid = 0
        if found.st_gid != ME[1]:
            gid = found.st_gid
        owner = self._owned.get((found.st_dev, found.st_ino), (uid, gid))
        # A test can set no ctime: it is the mtime.
        return os.stat_result((*found[:4], *owner, *found[6:9], found[8]))

    def lstat(self, path: str) -> os.stat_result | None:
        found = super().lstat(self.behind(path))
        return found and self._seen(found)

    def stat(self, path: str) -> os.stat_result | None:
        found = super().stat(self.behind(path))
        return found and self._seen(found)

    def fstat(self, descriptor: int) -> os.stat_result:
        return self._seen(super().fstat(descriptor))

    def realpath(self, path: str) -> str:
        return super().realpath(path) or "/"

    def real(self, path: str) -> str:
        """Return the path by which what lies at PATH is declared."""
        return self.behind(self.realpath(path))

    def read(self, path: str) -> bytes | None:
        self.reads.append(path)
        return super().read(path)

    def read_only(self, path: str) -> bool:
        return self.real(path) in self.unwritable

    def full(self, path: str) -> bool:
        return self.real(path) in self.filled

    def acl(self, path: str) -> str:
        return self.acls.get(self.real(path), "")


class MadeDaemons(Daemons):
    """Daemons with `pids`, `sockets` that they read, and `deleted` files that they still write.

    `listening` are the processes of sshd; None for one with the pid of "sshd", on port 22.
    """

    def __init__(self, files: MadeFiles) -> None:
        super().__init__(files)
        self.sockets: set[str] = set()
        self.pids: dict[str, int] = {}
        self.deleted: dict[str, int] = {}
        self.listening: list[Listener] | None = None
        self.confined: dict[int, Confinement] = {}
        self._real = files.real

    def confinement(self, pid: int) -> Confinement:
        return self.confined.get(pid, Confinement())

    def anew(self, files: Files) -> MadeDaemons:
        assert isinstance(files, MadeFiles)
        fresh = MadeDaemons(files)
        fresh.sockets, fresh.pids, fresh.deleted = self.sockets, self.pids, self.deleted
        fresh.listening, fresh.confined = self.listening, self.confined
        return fresh

    def listens(self, path: str) -> bool:
        return self._real(path) in self.sockets

    def running(self, service: str) -> int | None:
        return self.pids.get(service)

    def sshds(self) -> list[Listener]:
        if self.listening is None and "sshd" in self.pids:
            return [Listener(self.pids["sshd"], "/usr/sbin/sshd", (), (("0.0.0.0", 22),))]
        return self.listening or []

    def writes_deleted(self, path: str) -> int | None:
        return self.deleted.get(path)


class MadePrograms(Programs):
    """Programs with `answers` by their command line. Where that is None, programs run."""

    answers: Mapping[str, Answer] | None = None

    def anew(self, files: Files) -> MadePrograms:
        fresh = MadePrograms(files)
        fresh.answers = self.answers
        return fresh

    def ask(self, argv: Sequence[str], stdin: str = "") -> Answer:
        if self.answers is None:
            return super().ask(argv, stdin)
        command = " ".join([posixpath.basename(argv[0]), *argv[1:]])
        if command not in self.answers:
            raise SftpJailError(f"this host has no answer of: {command}")
        return self.answers[command]

    def preview(
        self, argv: Sequence[str], files: Mapping[str, bytes | None] | None = None
    ) -> Answer:
        if self.answers is None:
            return super().preview(argv, files)
        return self.ask(argv)


class MadeHost(Host):
    """A host of made parts.

    Args:
        root, owners: see `MadeFiles`.
        files: instead of these.
    """

    files: MadeFiles
    daemons: MadeDaemons
    programs: MadePrograms

    def __init__(
        self,
        root: str = "",
        owners: Mapping[str, tuple[int, int]] | None = None,
        files: MadeFiles | None = None,
    ) -> None:
        files = files or MadeFiles(root, owners)
        super().__init__(files, MadePrograms(files), MadeDaemons(files))


class Tree:
    """A host made of files below a directory. Paths are those of the host.

    Args:
        root: an empty directory; None makes one, which goes with the tree.
    """

    def __init__(self, root: Path | None = None) -> None:
        # Kept, since it is deleted with this object.
        self._own = tempfile.TemporaryDirectory(prefix="sftpjail-testing-") if not root else None
        self.root = root or Path(self._own.name if self._own else "")
        self.root.chmod(0o755)
        self.answers: dict[str, Answer] | None = None
        self.points: list[tuple[str, str]] = []
        self.owners: dict[str, tuple[int, int]] = {}
        self.sockets: set[str] = set()
        self.pids: dict[str, int] = {"sshd": 7}
        self.listening: list[Listener] | None = None
        self.shown: dict[str, str] = {}
        self.people: list[str] = [
            "root:x:0:0:root:/root:/bin/bash",
            "www-data:x:33:33::/var/www:/usr/sbin/nologin",
        ]
        self.group_lines: list[str] = ["root:x:0:", "sudo:x:27:admin", "www-data:x:33:"]
        self.directory("/etc/ssh")
        self.directory("/srv")
        self.directory("/home")
        self.write("/etc/login.defs", "# comment\nUID_MIN 1000\nUID_MAX 60000\n")
        self.write(
            "/etc/fstab",
            "# static file system information\nUUID=1234 / ext4 errors=remount-ro 0 1\n",
        )
        self.mounted()

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Tree:
        """Return a host as a dict describes it; see sftpjail-plugins(7), TESTING.

        Args:
            about: "files", "accounts", "groups", "mounts" and "programs".
        """
        tree = cls()
        tree.answers = {}
        for name, gid in about.get("groups", {}).items():
            tree.group(name, gid)
        for name, given in about.get("accounts", {}).items():
            more: dict[str, Any] = {"uid": given} if isinstance(given, int) else dict(given)
            groups = more.pop("groups", ())
            tree.account(name, **more)
            for group in groups:
                tree.join(group, name)
        for path, given in about.get("files", {}).items():
            tree._file(path, given)
        for command, said in about.get("programs", {}).items():
            tree.program(command.split()[0])
            tree.answers[command] = Answer(*((0, said, "") if isinstance(said, str) else said))
        for target, source in about.get("mounts", {}).items():
            tree.bind(source, target, "nosuid,nodev,relatime")
        return tree

    def _file(self, path: str, given: str | bytes | Mapping[str, Any]) -> None:
        more: Mapping[str, Any] = given if isinstance(given, Mapping) else {"content": given}
        if path.endswith("/"):
            self.directory(path.rstrip("/"), more.get("mode", 0o755), more.get("owner"))
            return
        self.write(path, more.get("content", ""), more.get("mode", 0o644))
        if "owner" in more:
            self.owners[path] = more["owner"]

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """Make a file and the directories above it."""
        self.directory(os.path.dirname(path))
        file = self.root / path.lstrip("/")
        file.write_bytes(
            text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        )
        file.chmod(mode)

    def directory(self, path: str, mode: int = 0o755, owner: tuple[int, int] | None = None) -> None:
        """Make a directory and those above it; MODE and OWNER are the last one's."""
        place = self.root
        for part in [part for part in path.split("/") if part]:
            place /= part
            if not place.exists():
                place.mkdir()
                place.chmod(0o755)
        if path != "/":
            place.chmod(mode)
        if owner:
            self.owners[path] = owner

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link; an absolute TARGET stays below the root."""
        self.directory(os.path.dirname(path))
        (self.root / path.lstrip("/")).symlink_to(
            f"{self.root}{target}" if target.startswith("/") else target
        )

    def program(self, name: str) -> None:
        """Install a program in /usr/sbin, which no test runs."""
        self.write(f"/usr/sbin/{name}", "#!/bin/false\n", 0o755)

    def account(
        self, name: str, uid: int, gid: int | None = None, home: str | None = None, **more: Any
    ) -> None:
        """Add an account, with a home that it owns unless `make_home` is false."""
        if gid is None:
            gid = uid
        if home is None:
            home = f"/home/{name}"
        self.people.append(f"{name}:x:{uid}:{gid}::{home}:{more.get('shell', '/bin/bash')}")
        if gid == uid:
            self.group_lines.append(f"{name}:x:{uid}:")
        if more.get("make_home", True) and home.strip("/"):
            self.directory(home, 0o755, (uid, gid))

    def group(self, name: str, gid: int, *members: str) -> None:
        """Add a group."""
        self.group_lines.append(f"{name}:x:{gid}:{','.join(members)}")

    def mounted(self, *points: str | tuple[str, str]) -> None:
        """Say what is mounted: targets, or (target, options)."""
        pairs = [(p, "rw,nosuid,nodev,relatime") if isinstance(p, str) else p for p in points]
        lines = ["21 1 0:1 / / rw,relatime - ext4 /dev/sda1 rw"]
        lines += [
            f"{30 + n} 21 0:1 /x {t} {o} - ext4 /dev/sda1 rw" for n, (t, o) in enumerate(pairs)
        ]
        self.write("/proc/self/mountinfo", "\n".join(lines) + "\n")

    def fstab(self, *lines: str) -> None:
        """Append lines to /etc/fstab."""
        old = (self.root / "etc/fstab").read_text()
        self.write("/etc/fstab", old + "".join(line + "\n" for line in lines))

    def host(self) -> MadeHost:
        """Return the facts as they are now."""
        self.write("/etc/passwd", "\n".join(self.people) + "\n")
        self.write("/etc/group", "\n".join(self.group_lines) + "\n")
        host = MadeHost(str(self.root), self.owners)
        host.files.shown, host.programs.answers = dict(self.shown), self.answers
        host.daemons.sockets, host.daemons.pids = set(self.sockets), dict(self.pids)
        host.daemons.listening = self.listening
        return host

    def join(self, group: str, name: str) -> None:
        """Add an account to a group."""
        self._regroup(group, lambda members: [*members, name])

    def leave(self, group: str, name: str) -> None:
        """Take an account out of a group."""
        self._regroup(group, lambda members: [member for member in members if member != name])

    def _regroup(self, group: str, change: Callable[[list[str]], list[str]]) -> None:
        for number, line in enumerate(self.group_lines):
            head, _, members = line.rpartition(":")
            if line.startswith(f"{group}:"):
                known = [member for member in members.split(",") if member]
                self.group_lines[number] = f"{head}:{','.join(change(known))}"

    def bind(self, source: str, target: str, options: str) -> None:
        """Mount SOURCE on TARGET."""
        self.shown[target] = source
        self.points = [point for point in self.points if point[0] != target]
        self.points.append((target, f"rw,{options}"))
        self.mounted(*self.points)

    def unbind(self, target: str) -> None:
        """Unmount what is on TARGET."""
        self.shown.pop(target, None)
        self.points = [point for point in self.points if point[0] != target]
        self.mounted(*self.points)

    def snapshot(self) -> dict[str, object]:
        """Return all that can be seen of the host: files, accounts, groups, mounts."""
        found: dict[str, object] = {f"mount {target}": how for target, how in self.points}
        found |= {f"account {line.partition(':')[0]}": line for line in self.people}
        found |= {f"group {line.partition(':')[0]}": line for line in self.group_lines}
        for place, directories, files in os.walk(self.root):
            for name in (*directories, *files):
                path = f"{place}/{name}".removeprefix(str(self.root))
                if path not in GENERATED:
                    found[path] = self._about(path)
        return found

    def _about(self, path: str) -> tuple[object, ...]:
        """Return what can be seen of one file."""
        # Not through mounts, and not as somebody's: as it lies there.
        place = Path(f"{self.root}{path}")
        found, owner = place.lstat(), self.owners.get(path, (0, 0))
        if stat.S_ISLNK(found.st_mode):
            return "link", os.readlink(place)
        content = None
        if not stat.S_ISDIR(found.st_mode):
            content = place.read_bytes()
        return stat.S_IMODE(found.st_mode), owner, content

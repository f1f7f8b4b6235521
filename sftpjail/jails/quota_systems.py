"""The file systems that can limit what is stored in a directory.

btrfs limits the quota group of a subvolume (btrfs-qgroup(8)). ext4 and xfs limit a project, whose
number is the account's uid (setquota(8), xfs_quota(8)). Other file systems are refused. No quota is
only counted afterwards, when the kernel has accepted the data already.
"""

from __future__ import annotations

import posixpath
from abc import abstractmethod
from collections.abc import Sequence
from shlex import join
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SftpJailError
from ..errors.escapes import Choice
from ..formats.quotas import QuotaGroup, quota_groups
from ..host import Host
from ..model import Account, normal
from ..paths import ACCOUNTS
from ..system.subvolumes import ROOT_INODE
from .closing import is_shut

if TYPE_CHECKING:
    from ..actions import Run

_BLOCK = 1024  # of setquota(8) and repquota(8), in bytes


class State(NamedTuple):
    """The limit that the kernel enforces, 0 for none, and the use, both in bytes."""

    limit: int
    used: int


class Lack(SftpJailError):
    """A directory cannot have a quota; says why, and what to do."""


class System:
    """A directory in a file system that knows quotas.

    Args:
        account: whose it is.
        path: on the host; it need not exist yet.
        mount: where its file system is mounted.
        host: the facts.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, account: Account, path: str, mount: str, host: Host) -> None:
        self.account, self.path, self.mount, self.host = account, path, mount, host

    @property
    def exists(self) -> bool:
        """Whether the directory is there already."""
        return self.host.lstat(self.path) is not None

    def tool(self, name: str) -> str:
        """Return the path of a program. Raises Lack."""
        found = self.host.which(name)
        if not found:
            raise Lack(f"{name}(8) is not installed")
        return found

    def judge(self) -> None:
        """Refuse a directory that cannot have a quota. Raises Lack."""
        for name in self.needs:
            self.tool(name)
        self._judge()

    @abstractmethod
    def _judge(self) -> None:
        """See `judge`."""

    @abstractmethod
    def state(self) -> State:
        """Return the present limit and use. Raises Lack."""

    @abstractmethod
    def enforce(self, limit: int, before: int) -> list[Run]:
        """Return the actions that change the limit from BEFORE, both in bytes; 0 for none."""

    def moved(self, *make: Sequence[str]) -> tuple[Choice, ...]:
        """Return the commands that move the files to a new directory, which MAKE creates."""
        old = f"{self.path}.without-quota"
        safe = self.host.trusted_path(self.path, follow=False) == self.path
        if not safe or self.host.lstat(old) is not None:
            return ()
        mounted = [
            bind.target
            for bind in self.host.binds(self.account.name)
            if bind.kept == "fstab" and bind.source == self.path and self.host.mount_at(bind.target)
        ]
        name = self.account.name
        # Nobody may change the files while root copies them. An account that is shut out stays so.
        jailed = self.host.lstat(f"{ACCOUNTS}/{name}") is not None
        before, after = [["sftpjail", "disable", "--now", name]], ["sftpjail", "enable", name]
        if not jailed or is_shut(self.account, self.host):
            before, after = [], ["sftpjail", "apply"]
        commands = [*before, *(["umount", target] for target in mounted)]
        commands += [["mv", "-nT", self.path, old], *map(list, make)]
        commands += [["cp", "-aT", "--reflink=auto", old, self.path], after]
        label = f"to copy the files into one, nobody logged in meanwhile; they stay in {old} too"
        return (Choice(label, " && ".join(map(join, commands))),)


class Btrfs(System):
    """The quota group of a subvolume, by what is referenced there: btrfs-qgroup(8)."""

    needs = ("btrfs",)

    def _judge(self) -> None:
        self.state()
        found = self.host.lstat(self.path)
        if found is not None and found.st_ino != ROOT_INODE:
            what = f"{self.path} is no subvolume of btrfs, and nothing else there has a quota"
            raise Lack(what, choices=self.moved(["btrfs", "subvolume", "create", self.path]))

    def _group(self) -> QuotaGroup:
        """Return its quota group, or that of the file system's root if it has none.

        All groups are read at once, since a file system may have thousands.
        """
        answer = self.host.ask([self.tool("btrfs"), "qgroup", "show", "--raw", "-re", self.mount])
        groups = quota_groups(answer.out)
        if answer.failed or not groups:
            command = join(["btrfs", "quota", "enable", self.mount])
            what = f"quotas are not enabled in {self.mount}, a file system of type btrfs"
            choices = (Choice(f"to enable them for all of {self.mount}", command),)
            raise Lack(what, choices=choices)
        point = self.host.mount_at(self.mount)
        root = "/"
        if point:
            root = point.root
        below = normal(f"{root}/{self.path.removeprefix(self.mount)}").lstrip("/")
        return groups.get(below) or QuotaGroup("", 0, 0)

    def state(self) -> State:
        found = self._group()
        if self.exists:
            return State(found.limit, found.used)
        return State(0, 0)

    def enforce(self, limit: int, before: int) -> list[Run]:
        # Through its own path, the limit of a full subvolume cannot be changed: the kernel's
        # transaction would exceed the quota (EDQUOT).
        number = self._group().number
        if self.exists and number:
            where = [number, self.mount]
        else:
            where = [self.path]

        def command(size: int) -> tuple[str, ...]:
            return (self.tool("btrfs"), "qgroup", "limit", str(size or "none"), *where)

        return [_run(command(limit), command(before))]


class _Project(System):
    """A project whose number is the account's uid. New files in its directory belong to it."""

    def _judge(self) -> None:
        options = self.host.ask(["findmnt", "-nro", "OPTIONS", self.mount]).out.strip().split(",")
        if not {"prjquota", "pquota"} & set(options):
            raise Lack(
                f"{self.mount} is mounted without the option prjquota",
                advice="see the option in ext4(5) or xfs(5), and its own feature of ext4",
            )
        self.state()
        project = self._project()
        if project == self.account.uid or (not project and not self._has_files()):
            return
        if project:
            raise Lack(f"{self.path} is of the project {project}, which is not ours")
        choices = self.moved(["mkdir", "-m", "700", self.path], self._tag())
        what = f"{self.path} has files that are of no project, and nothing would count them"
        raise Lack(what, choices=choices)

    def _project(self) -> int:
        """Return the number of the directory's project: lsattr(1), -p."""
        if not self.exists:
            return 0
        words = self.host.ask([self.tool("lsattr"), "-dp", self.path]).out.split()
        if len(words) > 2 and "P" in words[1] and words[0].isdecimal():
            return int(words[0])
        return 0

    def _has_files(self) -> bool:
        """Return whether it has more than a new home has."""
        return not set(self.host.listdir(self.path)) <= set(self.host.listdir("/etc/skel"))

    def _tag(self, number: int | None = None) -> tuple[str, ...]:
        wanted = str(self.account.uid if number is None else number)
        return (self.tool("chattr"), "+P" if wanted != "0" else "-P", "-p", wanted, self.path)

    def enforce(self, limit: int, before: int) -> list[Run]:
        tagged = self._project() == self.account.uid
        if tagged or not limit:
            runs = []
        else:
            runs = [_run(self._tag(), self._tag(0))]
        return [*runs, _run(self._command(limit), self._command(before))]

    @abstractmethod
    def _command(self, size: int) -> tuple[str, ...]:
        """Return what limits the project to so many bytes; 0 for no limit."""


class Ext4(_Project):
    """Project quotas of ext4: setquota(8), repquota(8)."""

    needs = ("setquota", "repquota", "chattr", "lsattr")

    def state(self) -> State:
        answer = self.host.ask([self.tool("repquota"), "-P", "-n", "-O", "csv", self.mount])
        if answer.failed:
            raise Lack(f"quotas are not enabled in {self.mount}: {answer.words}")
        for line in answer.out.splitlines():
            cells = line.split(",")
            if cells[0] == f"#{self.account.uid}" and all(map(str.isdecimal, cells[3:6])):
                return State(int(cells[5]) * _BLOCK, int(cells[3]) * _BLOCK)
        return State(0, 0)

    def _command(self, size: int) -> tuple[str, ...]:
        blocks = str(size // _BLOCK)
        project = str(self.account.uid)
        return (self.tool("setquota"), "-P", project, "0", blocks, "0", "0", self.mount)


class Xfs(_Project):
    """Project quotas of xfs: xfs_quota(8)."""

    needs = ("xfs_quota", "chattr", "lsattr")

    def state(self) -> State:
        answer = self.host.ask([*self._expert("report -p -n -N -b"), self.mount])
        if answer.failed:
            raise Lack(f"quotas are not enabled in {self.mount}: {answer.words}")
        for line in answer.out.splitlines():
            words = line.split()
            if words[:1] == [f"#{self.account.uid}"] and all(map(str.isdecimal, words[1:4])):
                return State(int(words[3]) * _BLOCK, int(words[1]) * _BLOCK)
        return State(0, 0)

    def _expert(self, command: str) -> tuple[str, ...]:
        return (self.tool("xfs_quota"), "-x", "-c", command)

    def _command(self, size: int) -> tuple[str, ...]:
        return (*self._expert(f"limit -p bhard={size} {self.account.uid}"), self.mount)


_KINDS: dict[str, type[System]] = {"btrfs": Btrfs, "ext4": Ext4, "xfs": Xfs}


def _run(argv: tuple[str, ...], undo: tuple[str, ...]) -> Run:
    from ..actions import Run  # late: list needs no actions

    return Run(argv, "sets what may be stored", undo, always=True)


def _existing(path: str, host: Host) -> str:
    """Return PATH, or the nearest directory above it that exists."""
    while path != "/" and host.lstat(path) is None:
        path = posixpath.dirname(path)
    return path


def system_of(account: Account, path: str, host: Host) -> System:
    """Return the file system of a directory, which need not exist yet.

    Raises:
        Lack: it has no quotas for directories.
    """
    point = host.mount_tables.mount_of(_existing(path, host))
    kind = ""
    if point:
        kind = point.kind
    if point is None or kind not in _KINDS:
        what = f"{path} is on a file system of type {kind or 'unknown'}, which limits no directory"
        raise Lack(what, advice="btrfs, ext4 and xfs can; keep such accounts on one of them")
    return _KINDS[kind](account, path, point.target, host)


def is_btrfs(path: str, host: Host) -> bool:
    """Return whether a directory, which need not exist yet, is on a file system of that type."""
    point = host.mount_tables.mount_of(_existing(path, host))
    return point is not None and point.kind == "btrfs"

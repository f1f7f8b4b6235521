"""A small world for transactions: real files in a directory, a mount table and accounts played by files, and a death.

Every call by which system/files.py changes something is counted. At a chosen one the process "dies"
(from then on no call reaches the disk), or the call fails, or it writes only a part of what it
should.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

import pytest
from fakes import ME, FakeHost, Programs, listing

from sftpjail import hookimpl
from sftpjail.actions import Action
from sftpjail.config import Config
from sftpjail.engine import engine, journal, origins
from sftpjail.engine.engine import Engine
from sftpjail.engine.history import Entry, History
from sftpjail.engine.journal import Journal
from sftpjail.engine.manager import BUNDLED, Manager
from sftpjail.engine.plan import OnUserCreate, Plan
from sftpjail.host import records
from sftpjail.model import Account, inside
from sftpjail.system import account_lines, accounts, mounts, safe_path
from sftpjail.system import files as system
from sftpjail.system.programs import Answer
from sftpjail.testing.made import MadeFiles

PLAYED = ("/etc/passwd", "/etc/group", "/etc/shadow", "/proc/self/mountinfo")
CHANGING = (
    "open",
    "write",
    "fsync",
    "mkdir",
    "rmdir",
    "rename",
    "link",
    "unlink",
    "symlink",
    "fchown",
    "fchmod",
    "ftruncate",
    "setxattr",
    "removexattr",
)


class Death(BaseException):
    """The process is killed here."""


class Syscalls:
    """The module `os` as system/files.py sees it. `calls` has (name, path) of each call that changes something."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.die_at = self.fail_at = self.short_at = 0
        self.sticky = False  # whether every later call of the name that failed fails too
        self.failing = ""
        self.torn: int | None = None
        self.dead = False
        self.watch: Callable[[str, str], None] = lambda name, path: None

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name == "fstat":
            return _group_of_root
        if name not in CHANGING:
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                return real(*arguments, **options)
            self.tick(name, _path(arguments[0], options))
            if name == "fsync":
                return None  # that it was asked for counts; no test pulls the plug
            if name == "rename" or name == "link":
                self.watch(name, _path(arguments[1], {"dir_fd": options["dst_dir_fd"]}))
            if name == "fchown":
                # The user who runs the tests plays root.
                fd, uid, gid = arguments
                return real(fd, uid or ME[0], gid or ME[1])
            if name == "write" and self.torn is not None and len(self.calls) == self.die_at:
                real(arguments[0], arguments[1][: self.torn])
                raise Death(name)
            if name == "write" and len(self.calls) == self.short_at:
                return real(arguments[0], arguments[1][: len(arguments[1]) // 2])
            return real(*arguments, **options)

        return call

    def tick(self, name: str, path: str) -> None:
        """Count a call that is about to be made."""
        if self.dead:
            raise Death(name)
        self.calls.append((name, path))
        self.watch(name, path)
        if len(self.calls) == self.die_at:
            self.dead = True
            if not (name == "write" and self.torn is not None):
                raise Death(name)
        if len(self.calls) == self.fail_at and self.sticky:
            self.failing = name
        if len(self.calls) == self.fail_at or name == self.failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def next_death(self) -> int:
        """Return the next call at which a death differs from the last one, at `die_at`.

        fsync(2) is only counted here: who dies right after it leaves what who dies at it leaves.
        """
        return self.die_at + (2 if self.calls[self.die_at - 1][0] == "fsync" else 1)

    def revive(self) -> None:
        """The next process starts."""
        self.calls = []
        self.die_at = self.fail_at = self.short_at = 0
        self.torn, self.dead = None, False
        self.sticky, self.failing = False, ""


def _group_of_root(fd: int) -> os.stat_result:
    """Be fstat(2): the group of who runs the tests plays root's, as in `WorldFiles`."""
    found = os.fstat(fd)
    gid = 0 if found.st_gid == ME[1] else found.st_gid
    nanoseconds = {name: getattr(found, name) for name in ("st_atime_ns", "st_mtime_ns")}
    return os.stat_result((*found[:5], gid, *found[6:]), nanoseconds)


def _path(where: Any, options: dict[str, Any]) -> str:
    if isinstance(where, int):
        return os.readlink(f"/proc/self/fd/{where}")
    directory = options.get("dir_fd", options.get("src_dir_fd"))
    return os.path.join(
        os.readlink(f"/proc/self/fd/{directory}") if directory is not None else "/", where
    )


class WorldFiles(MadeFiles):
    """Real paths, but accounts and mounts from the world's files."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def anew(self) -> WorldFiles:
        return WorldFiles(self.world)

    def read(self, path: str) -> bytes | None:
        return (
            (self.world.played / path.lstrip("/")).read_bytes()
            if path in PLAYED
            else super().read(path)
        )

    def loose_parent(self, path: str, trusted: Collection[str] = ()) -> str:
        """Everything is root's alone, but the directories that are a user's."""
        return next((top for top in self.world.of_users if inside(path, top)), "")

    def same_file(self, one: str, other: str) -> bool:
        played = self.world.mounts.get(other)
        return played[0] in (one, other) if played else super().same_file(one, other)


class World:
    """See the module.

    Args:
        directory: an empty directory.
        programs: for the commands that change accounts and mounts.
        patch: pytest's.
    """

    def __init__(self, directory: Path, programs: Programs, patch: pytest.MonkeyPatch) -> None:
        self.root, self.played, state = (
            directory / "root",
            directory / "played",
            directory / "state",
        )
        for place in (self.root, self.played / "etc", self.played / "proc/self", state):
            place.mkdir(parents=True)
        self.state = state / "sftpjail"
        self.mounts: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.people = {
            "worldling": {
                "--shell": "/bin/bash",
                "--home": "/home/w",
                "--gid": "4001",
                "--expiredate": "",
            }
        }
        self.groups: dict[str, tuple[int, list[str]]] = {
            "worldling": (4001, []),
            "oldgroup": (4002, ["worldling"]),
        }
        self.of_users: tuple[str, ...] = ()
        self.registered = False
        self.refuse: tuple[str, ...] = ()
        self._written: dict[str, list[str]] = {}
        self.syscalls = Syscalls()
        self._play()
        patch.setattr(system, "os", self.syscalls)
        patch.setattr(mounts, "identity", self._identity)
        patch.setattr(safe_path, "mount", self._mount)
        patch.setattr(safe_path, "remount", self._remount)
        patch.setattr(safe_path, "unmount", self._umount)
        for program in ("usermod", "gpasswd", "groupadd", "groupdel", "register", "ask"):
            programs.answer_by(program, self._command)
        patch.setattr(accounts, "with_variable", lambda _: set())  # no process here is the world's
        patch.setattr(account_lines, "ETC", str(self.played / "etc"))
        patch.setattr(account_lines, "passwd_locked", lambda: contextlib.nullcontext(True))
        for module in (accounts, mounts, journal):
            patch.setattr(module, "open", self._open, raising=False)
        patch.setattr(engine, "STATE", str(self.state))
        for module in (records, origins):
            patch.setattr(module, "ACCOUNTS", f"{self.state}/accounts")
            patch.setattr(module, "HOST_RECORD", f"{self.state}/host")
        patch.setattr("sftpjail.system.services.notify", self._notify)
        self.heads: list[str] = []
        patch.setattr(
            "sftpjail.system.syslog.tell",
            lambda words, fields: self.heads.append(fields["SFTPJAIL_HEAD"]),
        )

    def path(self, name: str) -> str:
        """Return the real path of a name in the world."""
        return f"{self.root}/{name}"

    def _open(self, path: Any, *arguments: Any, **options: Any) -> IO[Any]:
        if path in PLAYED:
            path = self.played / str(path).lstrip("/")
        return builtins.open(path, *arguments, **options)  # type: ignore[no-any-return]

    def _play(self) -> None:
        """Write accounts and mounts as the files in which the code looks for them."""
        people = [
            f"{n}:x:4001:{p['--gid']}::{p['--home']}:{p['--shell']}" for n, p in self.people.items()
        ]
        groups = [f"{n}:x:{gid}:{','.join(members)}" for n, (gid, members) in self.groups.items()]
        shadow = [f"{n}:*:1:0:9:7::{p['--expiredate']}:" for n, p in self.people.items()]
        mounts = [
            f"{n} 1 0:1 / {t} {','.join('idmapped' if 'idmap=' in f else f for f in o)} - x x x"
            for n, (t, (_, o)) in enumerate(self.mounts.items())
        ]
        for name, lines in zip(PLAYED, (people, groups, shadow, mounts), strict=True):
            if self._written.get(name) != lines:
                self._written[name] = lines
                (self.played / name.lstrip("/")).write_text("".join(line + "\n" for line in lines))

    def _notify(self, service: str, how: str) -> str:
        self.syscalls.tick("notify", service)
        return ""

    def _command(self, argv: Sequence[str], _: Any) -> Answer:
        """Be usermod(8) and the rest, as far as it matters here."""
        self.syscalls.tick("run", " ".join(argv))
        name = os.path.basename(argv[0])
        if name in self.refuse:
            return Answer(1, "", "no space left, say")
        code = getattr(self, f"_{name}")(*argv[1:])
        self._play()
        # The kernel has done it, and nobody is left to hear so.
        self.syscalls.tick("ran", " ".join(argv))
        return Answer(code or 0, "", "")

    def _kernel(self, name: str, *words: str) -> None:
        """Be a system call for mounts, as far as it matters here."""
        self.syscalls.tick("run", " ".join((name, *words)))
        if name.removeprefix("re") in self.refuse:
            raise OSError(errno.ENOSPC, "no space left, say")

    def _mount(self, source: str, target: str, options: Sequence[str]) -> None:
        self._kernel("mount", source, target)
        os.close(safe_path.open_path(target))
        assert os.path.exists(source) and os.path.isdir(target)
        assert target not in self.mounts
        self.mounts[target] = (source, tuple(o for o in options if o not in ("bind", "private")))
        self._play()
        self.syscalls.tick("ran", f"mount {target}")

    def _identity(self, path: str) -> list[int] | None:
        """Be stat(2) of a path, or of what is mounted there."""
        shown = self.mounts.get(path, (path,))[0]
        return [1, os.stat(shown).st_ino] if os.path.exists(shown) else None

    def _remount(self, target: str, options: Sequence[str]) -> None:
        self._kernel("remount", target)
        source, _ = self.mounts[target]
        self.mounts[target] = (
            source,
            tuple(o for o in options if o not in ("bind", "private", "rw")),
        )
        self._play()
        self.syscalls.tick("ran", f"remount {target}")

    def _umount(self, target: str, lazy: bool = False) -> bool:
        self._kernel("umount", target)
        assert not any(other.startswith(target + "/") for other in self.mounts), (
            f"{target} has mounts below it"
        )
        there = self.mounts.pop(target, None) is not None
        self._play()
        self.syscalls.tick("ran", f"umount {target}")
        return there

    def _usermod(self, *words: str) -> None:
        self.people[words[-1]] |= dict(zip(words[:-1:2], words[1:-1:2], strict=True))

    def _gpasswd(self, what: str, name: str, group: str) -> None:
        members = self.groups[group][1]
        if what == "--add":
            members.append(name)
        else:
            members.remove(name)

    def _groupadd(self, *words: str) -> int:
        if words[-1] in self.groups:
            return 9
        self.groups[words[-1]] = (int(words[1]) if len(words) > 1 else 4100, [])
        return 0

    def _groupdel(self, name: str) -> int:
        return 0 if self.groups.pop(name, None) else 6

    def _register(self, *words: str) -> None:
        self.registered = words == ("on",)

    def _ask(self, *words: str) -> int:
        return 0

    def history(self) -> list[Entry]:
        """Return the finished transactions."""
        return list(History(f"{self.state}/history").entries())

    def snapshot(self) -> dict[str, Any]:
        """Return all that a transaction may change, but for the history; see `history`."""
        kernel = {
            "mounts": dict(self.mounts),
            "people": {name: dict(fields) for name, fields in self.people.items()},
            "groups": {name: (gid, tuple(members)) for name, (gid, members) in self.groups.items()},
            "registered": self.registered,
        }
        files = listing(self.root) | {
            f"state/{name}": about
            for name, about in listing(self.state.parent).items()
            if not name.startswith("sftpjail/history")
        }
        return kernel | {"files": files}

    def engine(self, wanted: Callable[[World], list[Action]]) -> Engine:
        """Return an engine whose one plugin wants these actions at on_setup and on_user_create."""
        manager = _manager()
        for name, _ in manager.plugins.list_name_plugin():
            manager.plugins.unregister(name=name)
        manager.plugins.register(_Plugin(self, wanted), "tester")
        return Engine(Config(), FakeHost(files=WorldFiles(self)), manager)

    def plan(self, wanted: Callable[[World], list[Action]]) -> tuple[Engine, Plan]:
        """Return the engine and its plan for the world's one account."""
        made = self.engine(wanted)
        return made, made.plan(
            [OnUserCreate(Account("worldling", 4001, 4001, "/home/w"), new=True)]
        )

    def recover(self) -> bool:
        """Be the next run: find what the last one left."""
        self.syscalls.revive()
        return Journal(str(self.state)).recover()

    def interrupted(self) -> bool:
        """Return whether there is a journal, which the next run goes on from."""
        return (self.state / "journal").exists()


@cache
def _manager() -> Manager:
    """One for all worlds, of which there are thousands."""
    return Manager(Config(plugins_disable=BUNDLED))


class _Plugin:
    def __init__(self, world: World, wanted: Callable[[World], list[Action]]) -> None:
        self.world, self.wanted = world, wanted

    @hookimpl
    def on_user_create(self, account: Account) -> list[Action]:
        return self.wanted(self.world)

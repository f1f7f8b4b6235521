"""What unit and plugin tests share: a fence around real programs, planned answers, and a host made of files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from sftpjail.host import Host
from sftpjail.model import Account
from sftpjail.system.programs import Answer

# Whoever runs the tests plays root; what belongs to an account of theirs is declared by path.
ME = os.getuid(), os.getgid()


class Unplanned(BaseException):
    """A test came near a real program. Not an Exception, so that no `except Exception` can swallow it."""


_FORBIDDEN = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
}
_FORBIDDEN |= {"os.kill", "os.killpg", "pty.spawn"}
_CALLS = {"mount", "umount", "umount2", "unshare", "setns", "execve", "system", "chroot"}
_fence = {"up": False}


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _fence["up"] and (
        event in _FORBIDDEN or (event == "ctypes.dlsym" and arguments[1] in _CALLS)
    ):
        raise Unplanned(f"{event} {arguments[:2]}: plan an answer with the fixture `programs`")


# An audit hook sees every way to a program, also one that was imported by name before the test.
sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def no_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test starts a program, but for those marked `lint` or `real_program`, which are about one."""
    _fence["up"] = not any(
        request.node.get_closest_marker(name) for name in ("lint", "real_program")
    )
    yield
    _fence["up"] = False


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "lint: runs ruff or mypy, where /opt/lint has them")
    config.addinivalue_line("markers", "real_program: asks a real program that only reads")


class Programs:
    """Planned answers of `programs.run` and `programs.preview`; the first plan that fits is used.

    `asked` has every argv in order, `shown` the files of each preview.
    """

    def __init__(self) -> None:
        self.plans: list[tuple[Callable[[Sequence[str], str], bool], Any]] = []
        self.asked: list[tuple[str, ...]] = []
        self.shown: list[Mapping[str, bytes | None]] = []

    def answer(
        self, *words: str, out: str = "", err: str = "", code: int = 0, stdin: str = ""
    ) -> None:
        """Plan an answer for commands in which WORDS follow each other, and whose standard input holds STDIN."""

        def fits(argv: Sequence[str], given: str) -> bool:
            inside = any(tuple(argv[i : i + len(words)]) == words for i in range(len(argv)))
            return inside and stdin in given

        self.plans.append((fits, Answer(code, out, err)))

    def answer_by(self, program: str, function: Callable[[Sequence[str], Any], Answer]) -> None:
        """Plan that FUNCTION answers for PROGRAM; it gets argv and standard input, or the preview's files."""
        self.plans.append((lambda argv, _: os.path.basename(argv[0]) == program, function))

    def _answer(self, argv: Sequence[str], stdin: str, more: Any) -> Answer:
        self.asked.append(tuple(argv))
        for fits, answer in self.plans:
            if fits(argv, stdin):
                return answer if isinstance(answer, Answer) else answer(argv, more)
        raise Unplanned(f"no answer is planned for {' '.join(argv)}")

    def run(self, argv: Sequence[str], stdin: str = "", *_: Any, **__: Any) -> Answer:
        return self._answer(argv, stdin, stdin)

    def preview(
        self, argv: Sequence[str], files: Mapping[str, bytes | None], *_: Any, **__: Any
    ) -> Answer:
        self.shown.append(dict(files))
        return self._answer(argv, "", files)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Answers instead of programs."""
    planned = Programs()
    monkeypatch.setattr("sftpjail.system.programs.run", planned.run)
    monkeypatch.setattr("sftpjail.system.previews.preview", planned.preview)
    return planned


class FakeHost(Host):
    """A Host whose files are real, beneath a folder, and belong to root unless `owners` says otherwise.

    Args:
        root: the folder; "" makes real paths count.
        owners: path to (uid, gid).

    What a test cannot make for real it declares: `sockets` that somebody reads from, `pids` of daemons, paths that are
    `unwritable` (a read-only mount) or `filled`, `acls`, what is `shown` by bind mounts (target to source), and by whom
    `deleted` files are still written.
    """

    def __init__(self, root: str = "", owners: Mapping[str, tuple[int, int]] | None = None) -> None:
        super().__init__(root)
        self.owners = dict(owners or {})
        self.reads: list[str] = []
        self.sockets: set[str] = set()
        self.pids: dict[str, int] = {}
        self.unwritable: set[str] = set()
        self.filled: set[str] = set()
        self.acls: dict[str, str] = {}
        self.shown: dict[str, str] = {}
        self.deleted: dict[str, int] = {}
        self._paths: dict[str, str] = {}

    def _behind(self, path: str) -> str:
        """Return the path that a mount shows."""
        if self.shown and path not in self._paths:
            self._paths[path] = self._look_behind(path)
        return self._paths.get(path, path)

    def _look_behind(self, path: str) -> str:
        folder, below = path, ""
        while len(folder) > 1:
            if folder in self.shown:
                return self._look_behind(self.shown[folder]) + below
            folder, _, name = folder.rpartition("/")
            below = f"/{name}{below}"
        return path

    @cached_property
    def _owned(self) -> Mapping[tuple[int, int], tuple[int, int]]:
        """Owners by inode, since many paths may lead to one folder."""
        found = ((Host.lstat(self, path), owner) for path, owner in self.owners.items())
        return {(there.st_dev, there.st_ino): owner for there, owner in found if there}

    def _seen(self, found: os.stat_result | None) -> os.stat_result | None:
        if found is None:
            return None
        uid = 0 if found.st_uid == ME[0] else found.st_uid
        gid = 0 if found.st_gid == ME[1] else found.st_gid
        owner = self._owned.get((found.st_dev, found.st_ino), (uid, gid))
        return os.stat_result((*found[:4], *owner, *found[6:10]))

    def lstat(self, path: str) -> os.stat_result | None:
        return self._seen(super().lstat(self._behind(path)))

    def stat(self, path: str) -> os.stat_result | None:
        return self._seen(super().stat(self._behind(path)))

    def realpath(self, path: str) -> str:
        return super().realpath(path) or "/"

    def read(self, path: str) -> bytes | None:
        self.reads.append(path)
        return super().read(path)

    def read_owned(
        self, path: str, uid: int, home: str = "/", limit: int = 1 << 20
    ) -> bytes | None:
        # It asks the open file itself, which belongs to whoever runs the tests.
        declared = self.owners.get(path, (-1, -1))[0]
        return super().read_owned(path, ME[0] if declared == uid else uid, home, limit)

    def listens(self, path: str) -> bool:
        return self._behind(self.realpath(path)) in self.sockets

    def running(self, service: str) -> int | None:
        return self.pids.get(service)

    def writes_deleted(self, path: str) -> int | None:
        return self.deleted.get(path)

    def read_only(self, path: str) -> bool:
        return self._behind(self.realpath(path)) in self.unwritable

    def full(self, path: str) -> bool:
        return self._behind(self.realpath(path)) in self.filled

    def acl(self, path: str) -> str:
        return self.acls.get(self._behind(self.realpath(path)), "")


class Tree:
    """A host made of files below a folder. Paths are those of the host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.chmod(0o755)
        self.owners: dict[str, tuple[int, int]] = {}
        self.sockets: set[str] = set()
        self.pids: dict[str, int] = {"sshd": 7}
        self.shown: dict[str, str] = {}
        self.people: list[str] = [
            "root:x:0:0:root:/root:/bin/bash",
            "www-data:x:33:33::/var/www:/usr/sbin/nologin",
        ]
        self.group_lines: list[str] = ["root:x:0:", "sudo:x:27:admin", "www-data:x:33:"]
        self.folder("/etc/ssh")
        self.folder("/srv")
        self.folder("/home")
        self.write("/etc/login.defs", "# comment\nUID_MIN 1000\nUID_MAX 60000\n")
        self.write(
            "/etc/fstab",
            "# static file system information\nUUID=1234 / ext4 errors=remount-ro 0 1\n",
        )
        self.mounted()

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """Make a file and the folders above it."""
        self.folder(os.path.dirname(path))
        file = self.root / path.lstrip("/")
        file.write_bytes(
            text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        )
        file.chmod(mode)

    def folder(self, path: str, mode: int = 0o755, owner: tuple[int, int] | None = None) -> None:
        """Make a folder and those above it; MODE and OWNER are the last one's."""
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
        self.folder(os.path.dirname(path))
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
        gid = uid if gid is None else gid
        home = f"/home/{name}" if home is None else home
        self.people.append(f"{name}:x:{uid}:{gid}::{home}:{more.get('shell', '/bin/bash')}")
        if gid == uid:
            self.group_lines.append(f"{name}:x:{uid}:")
        if more.get("make_home", True) and home.strip("/"):
            self.folder(home, 0o755, (uid, gid))

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

    def host(self) -> FakeHost:
        """Return the facts as they are now."""
        self.write("/etc/passwd", "\n".join(self.people) + "\n")
        self.write("/etc/group", "\n".join(self.group_lines) + "\n")
        host = FakeHost(str(self.root), self.owners)
        host.sockets, host.pids, host.shown = set(self.sockets), dict(self.pids), dict(self.shown)
        return host


def listing(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return every name below FOLDER with type, owner, mode, links, content, time and extended attributes."""
    found: dict[str, tuple[Any, ...]] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            seen = path.lstat()
            about: tuple[Any, ...] = (oct(seen.st_mode), seen.st_uid, seen.st_gid)
            if path.is_symlink():
                about += (os.readlink(path),)
            elif path.is_file():
                attributes = {a: os.getxattr(path, a) for a in os.listxattr(path)}
                about += (seen.st_nlink, seen.st_mtime_ns, path.read_bytes(), attributes)
            found[str(path.relative_to(folder))] = about
    return found


def names(accounts: Iterable[Account]) -> list[str]:
    """Return the names of accounts."""
    return [account.name for account in accounts]

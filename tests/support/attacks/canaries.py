"""Canaries: what nobody in a jail may see or change. Runs in a machine, as root.

Each zone is a directory outside the jail in which *everybody* may read and write, so that nothing
but the jail keeps a user away from it. What it holds is random: contents, names, and times, which
an answer with attributes would carry.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

NAME = "canary.d"
MARKS = "/srv/marks"  # where what was uploaded would leave a mark if somebody obeyed it


@dataclass
class Zone:
    """One directory with canaries, at the host's path `path`."""

    path: str
    word: str = field(default_factory=lambda: secrets.token_hex(8))
    mtime: int = field(default_factory=lambda: 0x20000000 + secrets.randbelow(0x10000000))
    planted: dict[str, tuple[object, ...]] = field(default_factory=dict)

    def plant(self) -> None:
        """Make everything anew."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.makedirs(f"{self.path}/sub/{self.word}.entry")
        os.mkdir(f"{self.path}/empty")
        with open(f"{self.path}/secret", "w", encoding="utf-8") as file:
            file.write(f"{self.word}\n" * 4)
        with open(f"{self.path}/{self.word}.name", "w", encoding="utf-8"):
            pass
        os.symlink(f"{self.word}.target", f"{self.path}/link")
        for directory, _, files in os.walk(self.path, topdown=False):
            for name in files:
                if not os.path.islink(f"{directory}/{name}"):
                    os.chmod(f"{directory}/{name}", 0o666)
                os.utime(f"{directory}/{name}", (self.mtime, self.mtime), follow_symlinks=False)
            os.chmod(directory, 0o777)
            os.utime(directory, (self.mtime, self.mtime))
        self.planted = self.now()

    def now(self) -> dict[str, tuple[object, ...]]:
        """What is there: name, owner, mode, size, and when its content and its inode changed."""
        found = {}
        stack = [self.path]
        while stack:
            path = stack.pop()
            try:
                info = os.lstat(path)
                if stat.S_ISDIR(info.st_mode):
                    stack += [entry.path for entry in os.scandir(path)]
            except OSError as error:
                found[path] = (error.errno,)
                continue
            links = 0 if stat.S_ISDIR(info.st_mode) else info.st_nlink
            owner = info.st_uid, info.st_gid, info.st_mode
            found[path] = (*owner, info.st_size, links, info.st_mtime_ns, info.st_ctime_ns)
        return found

    def changed(self) -> list[str]:
        """The paths that are not as they were planted."""
        now = self.now()
        return sorted(
            path
            for path in now.keys() | self.planted.keys()
            if now.get(path) != self.planted.get(path)
        )

    def in_an_answer(self) -> dict[bytes, str]:
        """What no answer may hold, and what it is."""
        return {
            self.word.encode(): f"content or a name of {self.path}",
            self.mtime.to_bytes(4, "big"): f"times of {self.path}",
        }


@dataclass
class Flock:
    """All canaries: zones, and words that are not in files (in an environment, behind a socket, of a program)."""

    zones: list[Zone]
    words: dict[bytes, str] = field(default_factory=dict)
    guarded: list[Zone] = field(default_factory=list)  # may be seen, and not changed

    def word(self, what: str) -> str:
        """A new random word; an answer that has it is an escape."""
        word = secrets.token_hex(8)
        self.words[word.encode()] = what
        return word

    def plant(self) -> None:
        for zone in (*self.zones, *self.guarded):
            zone.plant()

    def seen(self, data: bytes) -> list[str]:
        """What these bytes tell that they must not."""
        known = dict(self.words)
        for zone in self.zones:
            known |= zone.in_an_answer()
        return [what for word, what in known.items() if word in data]

    def changed(self) -> list[str]:
        """What was changed since the last planting; it is planted anew."""
        found = []
        for zone in (*self.zones, *self.guarded):
            if changes := zone.changed():
                found += changes
                zone.plant()
        return found


class Watch:
    """Looks at the processes of a user all the time: each must have the jail as its root, and run no program of its
    own. Also finds, in any process outside, a variable that only an uploaded file can have set.
    """

    def __init__(self, uid: int, jail: str, known: set[int], bait: bytes) -> None:
        self.uid, self.jail, self.known, self.bait = uid, jail, known, bait
        self.found: dict[str, str] = {}
        self._judged: set[tuple[int, str]] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.03):
            self.look()

    def look(self) -> None:
        for entry in os.scandir("/proc"):
            if entry.name.isdigit() and int(entry.name) not in self.known:
                try:
                    self._judge(int(entry.name))
                except OSError:
                    continue  # it has ended

    def _judge(self, pid: int) -> None:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        if not words or (pid, words) in self._judged:
            return
        with open(f"/proc/{pid}/environ", "rb") as file:
            if self.bait in file.read():
                self.found[f"environment of {words}"] = f"{words} has the uploaded environment"
        # By all its uids: sshd takes on the effective one to read keys, and pam_keyinit(8) the real
        # one.
        if _uids(pid) != {self.uid}:
            return
        self._judged.add((pid, words))
        root = os.readlink(f"/proc/{pid}/root")
        if not _same(f"/proc/{pid}/root", self.jail):
            self.found[words] = f"a process outside of the jail: {words} (root {root})"
        elif not words.startswith(
            ("sshd", "/usr/sbin/sshd", "internal-sftp", "/usr/lib/openssh/sshd")
        ):
            self.found[words] = f"a process of no sshd: {words}"


def _uids(pid: int) -> set[int]:
    """The real, effective, saved and file system's uid of a process."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("Uid:"))
    return {int(word) for word in line.split()[1:]}


def _same(one: str, other: str) -> bool:
    first, second = os.stat(one), os.stat(other)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def soon(true: Callable[[], object], seconds: float) -> bool:
    """Whether something comes to be so in that time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True

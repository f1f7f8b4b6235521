"""A process of a user's that exchanges their directories and files for symbolic links, and back, as fast as it can.

usage: attacker.py UID GID ROOT blind|watch|sneak SEED PATH=TARGET...

It becomes that user, inside ROOT (by chroot(2)), and reads commands from standard input: "go"
begins, "pause" stops and puts everything back, and says how often something was exchanged; at the
end of the input it does the same and ends.

`blind` exchanges in bursts: in some of them as fast as possible, in others what is real stays for
up to 100 ms, so that whoever judges first and acts later meets both. `watch` waits by inotify(7)
until somebody touches what it watches, puts the link there, and soon takes it away again. `sneak`
has the directory around the paths appear only when sftpjail has begun to write in its state
directory, or where that cannot be seen after a moment, and is then `blind` in it.
"""

from __future__ import annotations

import ctypes
import os
import random
import select
import shutil
import stat
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
# inotify(7): access, attributes, close, open, create, delete; renames are what this program itself
# does.
TOUCHED = 0x1 | 0x4 | 0x8 | 0x10 | 0x20 | 0x100 | 0x200
CREATED = 0x100  # the journal of changes, which is written right before them
MOVED_TO = 0x80
IN_NONBLOCK = os.O_NONBLOCK
BURST = 0.05  # seconds


class Prey:
    """One path and the link that takes its place."""

    def __init__(self, path: str, target: str) -> None:
        self.path, self.target = os.fsencode(path), os.fsencode(target)
        directory, name = os.path.split(path)
        self.link = os.fsencode(f"{directory}/.{name}.other")
        self.flips = 0

    def flip(self) -> None:
        """Exchange what is there for what is beside it; make what is missing."""
        if LIBC.renameat2(AT_FDCWD, self.path, AT_FDCWD, self.link, RENAME_EXCHANGE) == 0:
            self.flips += 1
            if random.random() < 0.01 and is_link(self.path) and is_link(self.link):
                self._renew()
            return
        for make in random.sample((self._link_there, self._make_there, self._link_beside), 3):
            try:
                make()
                self.flips += 1
            except OSError:
                continue

    def _renew(self) -> None:
        """Both are links: what was real is gone, and something new is to come."""
        try:
            os.unlink(self.link)
            os.mkdir(self.link)
        except OSError:
            pass

    def _link_there(self) -> None:
        os.symlink(self.target, self.path)

    def _make_there(self) -> None:
        os.mkdir(self.path)

    def _link_beside(self) -> None:
        os.symlink(self.target, self.link)

    def is_real(self) -> bool:
        return not is_link(self.path)

    def put_back(self) -> None:
        """What is real is at the path, and no link of ours is left."""
        try:
            if is_link(self.path):
                LIBC.renameat2(AT_FDCWD, self.path, AT_FDCWD, self.link, RENAME_EXCHANGE)
            for path in (self.path, self.link):
                if is_link(path):
                    os.unlink(path)
        except OSError:
            pass


def is_link(path: bytes) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except OSError:
        return False


def wait(seconds: float) -> None:
    """Sleep, or where that would be too coarse, spin."""
    if seconds > 0.0003:
        time.sleep(seconds)
        return
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def burst(prey: list[Prey]) -> None:
    """Exchange for a while, at a speed that differs from burst to burst."""
    scale = 10 ** random.uniform(-6.5, -1)
    chosen = random.sample(prey, random.randint(1, len(prey)))
    end = time.monotonic() + BURST
    while time.monotonic() < end:
        for one in chosen:
            one.flip()
        if scale > 1e-6:
            wait(scale * random.random() * (1 if chosen[0].is_real() else 0.2))


class Watch:
    """inotify(7) on what is attacked and on the directories around it."""

    def __init__(self, prey: list[Prey]) -> None:
        self.prey = prey
        self.fd = LIBC.inotify_init1(IN_NONBLOCK)
        self.add()

    def add(self) -> None:
        """Watch what came since, too."""
        for one in self.prey:
            for path in (one.path, os.path.dirname(one.path)):
                LIBC.inotify_add_watch(self.fd, path, TOUCHED)

    def turn(self) -> None:
        """When something was touched: links everywhere, and after a moment none."""
        if not select.select([self.fd], [], [], BURST)[0]:
            self.add()
            return
        wait(random.random() * random.choice((0, 1e-4, 1e-3, 1e-2)))
        for one in self.prey:
            if one.is_real():
                one.flip()
        wait(random.random() * random.choice((1e-4, 1e-3, 1e-2, 5e-2)))
        for one in self.prey:
            if not one.is_real():
                one.flip()
        drain(self.fd)


class Sneak:
    """A directory that is not there when a command plans, and is the attacker's when the command acts.

    What root puts into it is exchanged for the link as soon as it is there.
    """

    def __init__(self, prey: list[Prey]) -> None:
        self.prey, self.directory = prey, os.path.dirname(prey[0].path)
        self.state = LIBC.inotify_init1(IN_NONBLOCK)
        self.seen = LIBC.inotify_add_watch(self.state, b"/var/lib/sftpjail", CREATED) >= 0
        self.come = -1
        self.start = 0.0

    def begin(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.start = time.monotonic() + (5 if self.seen else random.uniform(0, 1.5))
        drain(self.state)
        if self.come >= 0:
            os.close(self.come)
        self.come = -1

    def turn(self) -> None:
        if self.come < 0:
            if select.select([self.state], [], [], 0.001)[0] or time.monotonic() > self.start:
                self._appear()
        elif select.select([self.come], [], [], BURST)[0]:
            drain(self.come)
            wait(random.random() * random.choice((1e-3, 5e-3, 2e-2)))
            self.prey[0].flip()
            wait(random.random() * random.choice((1e-2, 1e-1)))
            self.prey[0].flip()

    def _appear(self) -> None:
        try:
            os.mkdir(self.directory)
            self.prey[0].flips += 1
            os.symlink(self.prey[0].target, self.prey[0].link)
        except OSError:
            return
        self.come = LIBC.inotify_init1(IN_NONBLOCK)
        for directory in (
            self.directory,
            b"/etc",
        ):  # in which the account changes right before it is mounted
            LIBC.inotify_add_watch(self.come, directory, MOVED_TO)


def drain(watch: int) -> None:
    """Read what inotify(7) has to say, and forget it."""
    try:
        while os.read(watch, 65536):
            pass
    except OSError:
        pass


def main() -> None:
    uid, gid, root, kind, seed, *pairs = sys.argv[1:]
    random.seed(int(seed))
    LIBC.renameat2, LIBC.symlink  # resolved before the chroot  # noqa: B018
    os.chroot(root)
    os.chdir("/")
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
    prey = [Prey(*pair.split("=", 1)) for pair in pairs]
    kinds = {"watch": Watch, "sneak": Sneak}
    watch = kinds[kind](prey) if kind in kinds else None
    going, waiting = False, b""
    print("ready", flush=True)
    while True:
        if select.select([0], [], [], 0 if going else None)[0]:
            came = os.read(0, 4096)
            waiting += came
            while b"\n" in waiting or not came:
                line, _, waiting = waiting.partition(b"\n")
                going = line == b"go"
                if going and isinstance(watch, Sneak):
                    watch.begin()
                if not going:
                    for one in prey:
                        one.put_back()
                    print("paused", sum(one.flips for one in prey), flush=True)
                if not came:
                    return
        if going and watch:
            watch.turn()
        elif going:
            burst(prey)


main()

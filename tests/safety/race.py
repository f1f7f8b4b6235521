"""A race: attackers exchange what is the user's while root's commands run, and canaries are compared after each round."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Self

from canaries import Mounted, MountWatch, harm, mounts, picture, plant
from machine import CommandFailed, Machine, Result
from steps import running

ATTACKER = "/src/tests/safety/attacker.py"
LIMIT = 60  # seconds for any command: what is not done by then hangs
# Where whoever follows a link of the user's would do harm.
LURES = ("/etc", "/root", "/etc/cron.daily", "/home/bob", "/etc/shadow", "/var/spool/cron/crontabs", "/srv/others")
# What a jail may show besides what is the user's; pam_namespace's tmpfs.
SHOWN = ("/var/lib/sftpjail/log", "/run/systemd/journal/dev-log", "/systemd/journal/dev-log", "/srv/web")
OWN = ("/srv/sftp", "/home/alice", "/srv/team", "/var/lib/sftpjail/session")


class Race:
    """Attackers as a user of the machine, and the counts of one target.

    Args:
        name: of the target, for the report.
        prey: the paths that are attacked, in the attacker's view.
        rounds: how many.
        uid, gid: of the attackers.
        root: where they are; "/" is a process beside the jail.
        pid: a process in whose mount namespace they are, as seen from here; 0 is the host's.
    """

    def __init__(
        self,
        machine: Machine,
        name: str,
        prey: Sequence[str],
        rounds: int,
        *,
        user: str = "alice",
        group: str = "alice",
        root: str = "/",
        lures: Sequence[str] = LURES,
        seed: int = 1,
    ) -> None:
        self.machine, self.name, self.rounds = machine, name, rounds
        self._uid = machine.run("id", "-u", user).out.strip()
        self._gid = machine.run("sh", "-c", f"getent group {group} | cut -d: -f3").out.strip()
        self._prey, self._lures, self._root, self._seed = prey, lures, root, seed
        self._attackers: list[subprocess.Popen[str]] = []
        self._stack = ExitStack()
        self.flips = self.done = self.refused = self.played = 0
        self.harm: list[str] = []
        self.hangs: list[str] = []
        self.strange: list[str] = []

    def __enter__(self) -> Self:
        plant(self.machine)
        self._before = picture(self.machine)
        self._watch = self._stack.enter_context(MountWatch(self.machine))
        for kind in ("blind", "watch"):
            self._attackers.append(self._start(kind))
        return self

    def _start(self, kind: str) -> subprocess.Popen[str]:
        number = len(self._attackers) + self._seed
        pairs = [f"{path}={self._lures[(n + number) % len(self._lures)]}" for n, path in enumerate(self._prey)]
        argv = ["python3", ATTACKER, self._uid, self._gid, self._root, kind, str(number), *pairs]
        process = self._stack.enter_context(running(self.machine, *argv))
        assert process.stdout
        said = process.stdout.readline()
        assert said == "ready\n", said + process.stdout.read()
        return process

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.report()
        finally:
            self._stack.close()

    def go(self) -> None:
        for attacker in self._attackers:
            assert attacker.stdin
            attacker.stdin.write("go\n")
            attacker.stdin.flush()

    def pause(self) -> None:
        """Attackers stop, and what is theirs is in its place again."""
        flips = 0
        for attacker in self._attackers:
            assert attacker.stdin and attacker.stdout
            attacker.stdin.write("pause\n")
            attacker.stdin.flush()
            line = attacker.stdout.readline().split()
            assert line[:1] == ["paused"], line
            flips += int(line[1])
        self.flips = flips

    def each(self) -> Iterator[int]:
        """Rounds, until all are played or something was won: the caller makes things ready, then `attack`s."""
        for number in range(self.rounds):
            yield number
            self.played += 1
            self.judge()
            if self.harm or self.hangs:
                break

    def attack(self, *argv: str, refusal: str = "sftpjail:", codes: tuple[int, ...] = (0, 1)) -> Result | None:
        """Run a command of root's under attack. It does what it is for, or fails with a reason."""
        self.go()
        try:
            done = self.machine.run(*argv, check=False, timeout=LIMIT)
        except CommandFailed as error:
            self.hangs.append(str(error))
            return None
        finally:
            self.pause()
        self.hold(done, refusal, codes)
        return done

    def hold(self, done: Result, refusal: str, codes: tuple[int, ...]) -> None:
        """Count a command's end; anything but what it is for or one clear refusal is strange."""
        self.done += done.code == 0
        self.refused += done.code != 0
        clear = done.code == 0 or refusal in done.err
        if done.code not in codes or not clear or "Traceback" in done.err or "a bug" in done.err:
            self.strange.append(str(done))

    def calm(self, *argv: str) -> None:
        """Run a command without an attack: it must work."""
        self.machine.run(*argv, timeout=LIMIT)

    def see(self, found: set[Mounted], where: str) -> None:
        """Hold the mounts of a namespace against what may be there."""
        for shown, point in sorted(found - self._watch.first):
            if not point.startswith(OWN) or not (shown == "/" and "session" in point or shown.startswith((*SHOWN, *OWN))):
                self.harm.append(f"{where}: {shown} is mounted on {point}")

    def see_text(self, text: str, where: str) -> None:
        self.see(mounts(text), where)

    def judge(self) -> None:
        """Compare all canaries and the mount table with what they were."""
        time.sleep(0.01)
        self.see(self._watch.seen | self._watch.read(), "the host")
        self.harm += harm(self._before, picture(self.machine))

    def report(self) -> None:
        print(
            f"\nrace {self.name}: {self.played} rounds, {self.flips} flips, {self.done} done, {self.refused} refused, "
            f"{len(self.harm)} canaries, {len(self.hangs)} hangs",
            flush=True,
        )
        assert not self.harm, "\n".join(self.harm[:20])
        assert not self.hangs, self.hangs[0]
        assert not self.strange, self.strange[0]
        assert self.flips > self.played, "the attackers did nothing"

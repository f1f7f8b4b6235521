"""A race: attackers exchange what is the user's while root's commands run; canaries are compared after each round."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Self

from figures import FIGURES
from host_canaries import Mounted, MountWatch, harm, mounts, picture, plant
from machine import CommandFailed, Machine, Result
from steps import running

ATTACKER = "/src/tests/support/attacks/attacker.py"
LIMIT = 60  # seconds for any command: what is not done by then hangs
# Where whoever follows a link of the user's would do harm.
LURES = (
    "/etc",
    "/root",
    "/etc/cron.daily",
    "/home/bob",
    "/",
    "/var/spool/cron/crontabs",
    "/srv/others",
)
FILES = (
    "/etc/shadow",
    "/home/bob/.ssh/authorized_keys",
    "/root/.ssh/authorized_keys",
    "/etc/cron.daily/canary",
)
KEYS = ("/home/bob/.ssh", "/root/.ssh")
# What a jail may show: what is the user's, the log's socket, and what the tests mount.
OWN = ("/srv/sftp/alice", "/srv/sftp/carl", "/home/alice", "/home/carl", "/srv/team")
SHOWN = (
    *OWN,
    "/var/lib/sftpjail/log",
    "/run/systemd/journal/dev-log",
    "/systemd/journal/dev-log",
    "/srv/web",
)
PRIVATE = "/var/lib/sftpjail/session"  # where pam_namespace mounts a tmpfs
# The mounts of every process that sees the whole host, in whatever namespace.
ALL_TABLES = (
    'for process in /proc/[0-9]*; do [ "$(readlink $process/root)" != / ] || cat $process/mountinfo || :; done '
    "2>/dev/null"
)


class Race:
    """Attackers as a user of the machine, and the counts of one target.

    Args:
        name: of the target, for the report.
        prey: the paths that are exchanged for links, as the attackers see them; `PATH=TARGET` says
            what a link leads to, otherwise one of LURES.
        rounds: how many.
        user, group: who the attackers are.
        root: where they are: "/" is a process beside the jail, a jail's directory one inside it.
        kinds: of attackers, see attacker.py.
        passing: judge also mounts that were gone at the end of a round.
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
        kinds: Sequence[str] = ("blind", "watch"),
        passing: bool = True,
    ) -> None:
        self.machine, self.name, self.rounds = machine, name, rounds
        self._uid = machine.run("id", "-u", user).out.strip()
        self._gid = machine.run("sh", "-c", f"getent group {group} | cut -d: -f3").out.strip()
        self._prey, self._root, self._kinds, self._passing = prey, root, kinds, passing
        self._attackers: list[subprocess.Popen[str]] = []
        self._stack = ExitStack()
        self.flips = self.done = self.refused = self.played = self.won = 0
        self._found: list[str] = []  # in this round
        self.reasons: Counter[str] = Counter()
        self.harm: list[str] = []
        self.hangs: list[str] = []
        self.strange: list[str] = []

    def __enter__(self) -> Self:
        plant(self.machine)
        self._before = picture(self.machine)
        self._watch = self._stack.enter_context(MountWatch(self.machine))
        for number, kind in enumerate(self._kinds):
            self._attackers.append(self._start(kind, number))
        return self

    def _start(self, kind: str, number: int) -> subprocess.Popen[str]:
        pairs = []
        for place, path in enumerate(self._prey):
            lure = LURES[(place + number) % len(LURES)]
            pairs.append(path if "=" in path else f"{path}={lure}")
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
        """Rounds: the caller makes things ready, and attacks. After each one all canaries are compared."""
        for number in range(self.rounds):
            yield number
            self.played += 1
            self.judge()
            if self.hangs:
                break

    def attack(
        self, *argv: str, codes: tuple[int, ...] = (0, 1), says: str = "sftpjail:"
    ) -> Result:
        """Run a command of root's under attack. It does what it is for, or fails with one clear reason.

        Args:
            codes: what it may end with.
            says: what stands in the error of one that failed.
        """
        self.go()
        try:
            done = self.machine.run(*argv, check=False, timeout=LIMIT)
        except CommandFailed as error:
            self.hangs.append(str(error))
            return Result(tuple(argv), -1, "", "")
        finally:
            self.pause()
        self.done += done.code == 0
        self.refused += done.code != 0
        if done.code not in (0, 3):
            reason = next((line for line in reversed(done.err.splitlines()) if says in line), "")
            self.reasons[f"{' '.join(argv[:3])}: {reason}"[:180]] += 1
        clear = done.code in (0, 3) or says in done.err
        if done.code not in codes or not clear or "Traceback" in done.err or "a bug" in done.err:
            self.strange.append(str(done))
        return done

    def calm(self, *argv: str, check: bool = True) -> Result:
        """Run a command without an attack."""
        return self.machine.run(*argv, timeout=LIMIT, check=check and not self.won)

    def see(self, found: set[Mounted], where: str) -> None:
        """Hold the mounts of a namespace against what may be there."""
        for shown, point in sorted(found - self._watch.first):
            if point != PRIVATE and not (_in(point, OWN) and _in(shown, SHOWN)):
                self._found.append(f"{where}: {shown} is mounted on {point}")

    def see_all(self) -> None:
        """Hold the mounts of all processes that are there now against what may be there."""
        self.see(mounts(self.machine.sh(ALL_TABLES).out), "a session")

    def see_table(self, text: str, where: str) -> None:
        """Hold a mountinfo that a command has shown against what may be there."""
        self.see(mounts(text), where)

    def see_text(self, text: str, where: str) -> None:
        """What another's file holds is nowhere to be read."""
        if "CANARY" in text:
            self._found.append(f"{where}: {text}")

    def judge(self) -> None:
        """Compare all canaries and the mount table with what they were."""
        time.sleep(0.01)
        found = self._watch.read() | (self._watch.seen if self._passing else set())
        self.see(found, "the host")
        after = picture(self.machine)
        self._found += harm(self._before, after)
        if self._found:
            self.won += 1
            self.harm += self._found
            self._heal(found)
        self._found, self._watch.seen = [], set()

    def _heal(self, found: set[Mounted]) -> None:
        """Go on after a round that was won: unmount what is foreign, and compare with what is there now."""
        for _, point in found - self._watch.first:
            if not _in(point, OWN):
                self.machine.run("umount", "-l", point, check=False)
        self._before = picture(self.machine)

    def report(self) -> None:
        FIGURES.append(
            f"race {self.name}: {self.played} rounds, {self.flips} flips, {self.done} done, {self.refused} refused, "
            f"{self.won} canaries, {len(self.hangs)} hangs"
        )
        for reason, count in self.reasons.most_common(3):
            print(f"    {count} times: {reason}", flush=True)
        assert not self.harm, "\n".join(self.harm[:20])
        assert not self.hangs, self.hangs[0]
        assert not self.strange, self.strange[0]
        # Who waits for a moment that never comes has done nothing.
        assert self.flips > self.played or "sneak" in self._kinds, "the attackers did nothing"


def _in(path: str, tops: Sequence[str]) -> bool:
    """Whether a path is one of these or lies below one of them."""
    return any(path == top or path.startswith(f"{top}/") for top in tops)

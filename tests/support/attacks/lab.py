"""What attempts work with: one long connection, SFTP sessions in it, and names of their own; runs in a machine."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from canaries import Flock
from wire import CREATE, WRITE, Channel, Gone, Link, Reply, Sftp, Wide


class Out(Exception):
    """An attempt succeeded in what no jailed user may do; says how it is known."""


Run = Callable[["Lab"], str]


@dataclass(frozen=True)
class Attempt:
    """One attempt: its group, its name, and what it does, which returns what came of it in a few words.

    Whether it got out is judged by the canaries, and by `Out` where they cannot know.
    """

    group: str
    name: str
    run: Run


@dataclass
class Lab:
    """A jailed user at work.

    Args:
        form: what the test tells about the machine: port, key, user, uid, jail, home (as the
            session sees it), mounts.
    """

    form: dict[str, Any]
    flock: Flock

    def __post_init__(self) -> None:
        self.heard = bytearray()
        self.home = str(self.form["home"])
        self._link: Link | None = None
        self._sftp: Sftp | None = None
        self._numbers = itertools.count(1)
        self.logins = 0
        self.watched: dict[str, str] = {}  # what the watch on processes finds

    def new_link(self) -> Link:
        """A connection of its own, for what may end it."""
        self.logins += 1
        return Link(self.form["port"], self.form["user"], self.form["key"], self.heard)

    @property
    def link(self) -> Link:
        """The long connection."""
        if self._link is None or not self._link.alive:
            self._link = self.new_link()
        return self._link

    @property
    def sftp(self) -> Sftp:
        """The long SFTP session."""
        if self._sftp is None or not self._sftp.alive:
            self._sftp = Sftp.begin(self.link)
        return self._sftp

    def drop(self) -> None:
        """Give the SFTP session up."""
        if self._sftp is not None:
            self._sftp.close()
        self._sftp = None

    def give_up(self, why: Gone) -> None:
        """Give up what no longer answers: the SFTP session where that hung up, else the connection."""
        self.drop() if "hung up" in str(why) else self.close()

    def session(self) -> Channel:
        """A session in the long connection, or in a new one where that has no more to give."""
        try:
            return self.link.session()
        except Gone:
            self.close()
            return self.link.session()

    def other_sftp(self, version: int | None = 3) -> Sftp:
        """Another SFTP session in the long connection."""
        try:
            return Sftp.begin(self.link, version)
        except Gone:
            self.close()
            return Sftp.begin(self.link, version)

    def close(self) -> None:
        self.drop()
        if self._link is not None:
            self._link.close()
        self._link = None

    def name(self, end: str = "") -> str:
        """A path in the home that nobody has used."""
        return f"{self.home.rstrip('/')}/esc-{next(self._numbers)}{end}"

    def ask(self, kind: int | bytes, *fields: bytes | int) -> Reply:
        return self.sftp.ask(kind, *fields)

    def file(self, content: bytes = b"mine\n", end: str = "") -> str:
        """A new file in the home, where the session may write."""
        path = self.name(end)
        reply = self.ask(3, path.encode(), WRITE | CREATE, 0)
        if reply.ok:
            handle = reply.string()
            self.ask(6, handle, Wide(0), content)
            self.ask(4, handle)
        return path

    def link_to(self, target: str) -> str:
        """A new symbolic link in the home."""
        path = self.name()
        self.ask(20, target.encode(), path.encode())
        return path

    def run(self, *argv: str, seconds: float = 8.0) -> bytes:
        """A stock client; what it says, and its exit code, which it does not tell by itself."""
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            self.heard += (error.stdout or b"") + (error.stderr or b"")
            return b"no end"
        self.heard += done.stdout + done.stderr
        return done.stdout + done.stderr + f"\nexit {done.returncode}".encode()


def tell(*replies: Reply) -> str:
    """What came of requests, in words."""
    return ", ".join(dict.fromkeys(reply.words for reply in replies)) or "nothing to ask"


def tried(do: Callable[[], bool]) -> str:
    """What came of a request of SSH's."""
    try:
        return "granted" if do() else "refused"
    except Gone as error:
        return f"the connection ends ({error})"


def connected(channel: Channel | int, given: bytes = b"", seconds: float = 1.0) -> str:
    """What comes of a channel that would be a connection to somewhere."""
    if isinstance(channel, int):
        return f"refused, reason {channel}"
    channel.said(given, seconds)
    channel.close()
    raise Out("sshd connects")


def counted(attempts: Iterator[Attempt]) -> list[Attempt]:
    """The attempts as a list; no two have one name."""
    found = list(attempts)
    names = [(attempt.group, attempt.name) for attempt in found]
    twice = (
        {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    )
    assert not twice, twice
    return found

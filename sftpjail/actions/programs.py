"""What runs programs, asks them, tells daemons, and ends processes."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import join

from ..model import frozen
from .base import Action, Phase
from .view import View

__all__ = ["Check", "EndProcesses", "EndProcessesFirst", "Notify", "Run"]


@frozen
class Run(Action):
    """A program runs inside the transaction; non-zero rolls everything back.

    Args:
        argv: the program (absolute path) and its arguments.
        why: what it does, for the dry run and for errors.
        undo: the argv that takes it back, or ().
        env, stdin: the environment beside PATH and LC_ALL, as pairs, and what it reads.
        timeout: seconds until it is killed.
        always: it is needed even if nothing else of the event changes.
    """

    phase = Phase.SCRIPTS
    argv: tuple[str, ...]
    why: str
    undo: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    stdin: str = ""
    timeout: float = 60.0
    always: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        # One script may run for many binds of one account: what it reads tells them apart.
        return (
            "run",
            *self.argv,
            *(f"{name}={value}" for name, value in self.env),
            *filter(None, (self.stdin,)),
        )

    def pending(self, view: View, owner: str) -> bool:
        return self.always

    def diff(self, view: View) -> Iterator[str]:
        yield f"! run {join(self.argv)} ({self.why})"


@frozen
class EndProcesses(Action):
    """Nothing runs any more as an account outside of its jail.

    Nothing can undo that, so it is the last step of all.

    Args:
        name, uid: the account; nobody else has the uid.
        known: the processes that were found, for the dry run: new ones are ended as well.
        empty: files that a process could have made again meanwhile; one that is there fails
            the transaction.
    """

    phase = Phase.ENDINGS
    name: str
    uid: int
    known: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return ("processes", self.name)

    def pending(self, view: View, owner: str) -> bool:
        return True

    def diff(self, view: View) -> Iterator[str]:
        listed = ", ".join(self.known) or "those that come until then"
        yield f"! end processes of {self.name} (uid {self.uid}): {listed}"


@frozen
class EndProcessesFirst(EndProcesses):
    """The same before the account changes.

    usermod(8) gives nobody another home who has a process.
    """

    phase = Phase.FILES

    @property
    def key(self) -> tuple[str, ...]:
        return ("processes first", self.name)


@frozen
class Check(Action):
    """A program must agree, else all is rolled back.

    It must exit with 0, print exactly `prints` (if given; without the lines that begin with a word
    of `ignoring`), and each line of `lines`. It goes with changes of the same plugin. The first
    word of each line is a keyword, compared in small letters.

    With `candidate`, paths of files in the same plan, it also runs beforehand, in a private mount
    namespace where those files are already as planned: what it refuses never goes live.
    """

    phase = Phase.CHECKS
    argv: tuple[str, ...]
    why: str
    fix: str = ""
    prints: str | None = None
    ignoring: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    candidate: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return ("check", *self.argv)

    def pending(self, view: View, owner: str) -> bool:
        return False

    def diff(self, view: View) -> Iterator[str]:
        yield f"? check {join(self.argv)} ({self.why})"


@frozen
class Notify(Action):
    """A daemon hears of changes of the same plugin, once.

    `required`: before the commit, and its failure rolls back. `always`: it is needed even if
    nothing else of the event changes.
    """

    phase = Phase.NOTICES
    service: str
    how: str = "reload"
    required: bool = False
    always: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return ("notify", self.service, self.how)

    def pending(self, view: View, owner: str) -> bool:
        return self.always

    def diff(self, view: View) -> Iterator[str]:
        yield f"! {self.how} {self.service}"

"""What every action is, and when it is done."""

from __future__ import annotations

import enum
from abc import abstractmethod
from collections.abc import Iterator

from ..model import Origin, frozen
from .view import View

__all__ = ["Action", "Phase"]


class Phase(enum.IntEnum):
    """The order of a transaction.

    What sessions see goes first when it leaves and last when it comes.

    A directory is taken from a user before anything is done in it, and given to one when all else
    is done: what a user owns may change at any moment, also while a rollback is under way.
    """

    CLOSING = -1
    UNMOUNT = 0
    DIRECTORIES = 1
    FILES = 2
    ACCOUNTS = 3
    MOUNTS = 4
    REMOVALS = 5
    SCRIPTS = 6
    CHECKS = 7
    GIVING = 8
    OPENING = 9
    NOTICES = 10
    ENDINGS = 11


@frozen
class Action:
    """One change. `owner` is the account whose origin record it belongs to, "" for the host's.

    It is no ABC, since `isinstance` asks each of those for its registered classes: of ten thousand
    accounts that takes seconds.
    """

    @property
    @abstractmethod
    def phase(self) -> Phase:
        """When it is done."""

    @property
    @abstractmethod
    def key(self) -> tuple[str, ...]:
        """What this is about.

        Two different actions with one key are a conflict between their plugins.
        """

    @abstractmethod
    def pending(self, view: View, owner: str) -> bool:
        """Whether the host is not yet so.

        Raises:
            SftpJailError: something is in the way that may not be changed.
        """

    @abstractmethod
    def diff(self, view: View) -> Iterator[str]:
        """Yield the lines by which a dry run shows the change."""

    def origin(self, view: View) -> Origin:
        """Return what must be remembered about the host before this."""
        return Origin()

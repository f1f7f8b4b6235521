"""What lets a group write in a directory that is mounted in jails: `mount --group`."""

from __future__ import annotations

from collections.abc import Iterator

from ..formats.acl import Access, shared
from ..model import frozen
from .base import Action, Phase
from .view import View

__all__ = ["Share", "Unshare"]


@frozen
class Share(Action):
    """A directory belongs to a group, which can write in it, and in what is made there.

    See `acl.shared`. Nothing that is in the directory changes.
    """

    phase = Phase.GIVING
    path: str
    gid: int

    @property
    def key(self) -> tuple[str, ...]:
        return ("share", self.path)

    def pending(self, view: View, owner: str) -> bool:
        now = view.access(self.path)
        return now is not None and self.wanted(now) != now

    def wanted(self, now: Access) -> Access:
        """Return what the directory is to have."""
        return shared(now, self.gid)

    def diff(self, view: View) -> Iterator[str]:
        yield (
            f"~ directory {self.path} (group {self.gid} can write, and owns what is made there: "
            "mode g+rwxs and a default access list)"
        )


@frozen
class Unshare(Action):
    """A directory has the group, the mode and the access lists again that it had before `Share`.

    What somebody has changed since stays. `lines` are those that share it, each by its table and
    tag: while a plan leaves one of them there, the directory stays shared; see merge.py.
    """

    phase = Phase.DIRECTORIES
    path: str
    gid: int
    former: Access
    lines: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return ("unshare", self.path)

    def pending(self, view: View, owner: str) -> bool:
        now = view.access(self.path)
        return now is not None and self.wanted(now) != now

    def wanted(self, now: Access) -> Access:
        """Return what the directory is to have."""
        if now == shared(self.former, self.gid):
            return self.former
        return now

    def diff(self, view: View) -> Iterator[str]:
        yield (
            f"~ directory {self.path} (group {self.former.gid}, mode {self.former.mode:04o} "
            "and access lists as before)"
        )

"""What to do for accounts, before it becomes plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...accounts_file.entry import Entry
from ...actions import NewAccount
from ...engine.plan import Event, OnMount, OnUnmount, Step
from ...jails.closing import today
from ...model import Account, Key, Profile, frozen
from ..export import KeyLine

OVERRIDE = "a file of accounts never overrides this; see sftpjail adopt --force"


@frozen
class NewJail:
    """A new account and its jail.

    `stale` are the keys that its key file already has. `depth` is how deep its mounts are nested.
    With `subvolume`, its home must be a subvolume of btrfs.
    """

    made: NewAccount
    profile: Profile
    entry: Entry
    keys: Sequence[Key]
    stale: Sequence[KeyLine]
    depth: int
    subvolume: bool

    @property
    def expected(self) -> Account:
        """The account, in the form that the plan of its jail needs before it exists."""
        return Account(self.made.name, -1, -1, self.made.home, self.made.shell, self.profile)


@dataclass
class Draft:
    """What to do for one account, or for all of them.

    `opened` has sentences about accounts that are let in again, `notices` what else to report.
    """

    room: list[OnUnmount] = field(default_factory=list)  # what is unmounted first
    steps: list[Step] = field(default_factory=list)  # those that come of no event
    passwords: list[tuple[str, str]] = field(default_factory=list)
    new: list[NewJail] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    inner: list[tuple[int, OnMount]] = field(default_factory=list)  # how many lie above, of those
    storage: list[Event] = field(default_factory=list)
    access: list[Event] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def add(self, other: Draft) -> None:
        """Add what to do for another account."""
        for name, more in vars(other).items():
            getattr(self, name).extend(more)


def to_be_disabled(entry: Entry) -> bool:
    """Return whether FILE wants an account disabled, until a date that has not come yet, if any."""
    return bool(entry.disabled) and not (entry.until and entry.until <= today())

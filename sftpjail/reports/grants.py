"""When and by whom accounts were let in, according to the history."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..engine.history import Entry
from ..model import frozen

# The history's words for events that let an account in; see engine/summary.py.
_JAILED, _KEY = "is jailed in ", re.compile(r"can log in with (SHA256:\S+)").match
_WAS = re.compile(r"was (\S+): what is its own has its new name").fullmatch
_ENABLED, _NEW = "is enabled again", "is a new account"
_LEFT = ("is no longer jailed", "is deleted")
# An administrator who sets an expiry date lets the account in until then.
_OPENS = (_ENABLED, "is an account again", "does not expire")


@frozen
class Grant:
    """When something was granted, and by whom.

    Args:
        at: in epoch seconds.
        by: the user who had logged in, or if there was none, the cause: useradd, a timer and so on.
    """

    at: int
    by: str


@dataclass
class Grants:
    """The grants of an account.

    Args:
        made: when it was made or first jailed.
        opened: when it was last let in: jailed, enabled or renamed.
        keys: when each key was last added, by its fingerprint.
        after: earlier uses, before this time in epoch seconds, are of another account with the
            same name.
    """

    made: Grant | None = None
    opened: Grant | None = None
    keys: dict[str, Grant] = field(default_factory=dict)
    after: int = 0


def grants(entries: Iterable[Entry]) -> dict[str, Grants]:
    """Return the grants of each account, by its present name.

    Args:
        entries: as `History.entries` yields them.
    """
    found: dict[str, Grants] = {}
    for entry in entries:
        grant = Grant(entry["time"], _by(entry["who"]))
        for item in entry["what"]:
            _take(found, item["account"], item["what"], grant)
        for action in entry.get("actions", ()):
            # Also whom apply lets in again, on the date of `disable --until`.
            if action["action"] == "OpenAccount" and action["account"] in found:
                found[action["account"]].opened = grant
    return found


def _take(found: dict[str, Grants], name: str, what: str, grant: Grant) -> None:
    renamed, key = _WAS(what), _KEY(what)
    if renamed and renamed[1] in found:
        found[name] = found.pop(renamed[1])
    if what == _NEW or what in _LEFT:
        found[name] = Grants(after=grant.at)
    mine = found.setdefault(name, Grants())
    if key:
        mine.keys[key[1]] = grant
    if what.startswith(_JAILED) or what == _NEW:
        mine.made = mine.made or grant
    if renamed or what in _OPENS or what.startswith((_JAILED, "expires on ")):
        mine.opened = grant


def _by(who: Entry) -> str:
    """Return who made a transaction."""
    if who["name"]:
        return str(who["name"])
    if who["uid"] is not None:
        return f"uid {who['uid']}"
    return str(who["how"])

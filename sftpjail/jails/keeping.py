"""Which accounts `review --disable` skips, however long nobody has used them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..formats.tagged_lines import Style
from ..host import Host
from ..paths import KEEP

if TYPE_CHECKING:
    from ..actions import Action


def listed(host: Host) -> Collection[str]:
    """Return the names of those that are kept."""
    return host.tagged(KEEP, Style.USER)


def mark(name: str, wanted: bool, host: Host) -> list[Action]:
    """Return the action that marks an account as kept, or no longer."""
    from ..actions import SetLines  # late: list needs no actions

    if not wanted and name not in listed(host):
        return []
    return [SetLines(KEEP, name, (f"user {name} keep",) if wanted else (), Style.USER)]


def rename(old: str, new: str, host: Host) -> list[Action]:
    """Return the actions by which an account's mark goes along to its new name."""
    if old == new or old not in listed(host):
        return []
    gone = []
    if not host.account(old):
        gone = mark(old, False, host)
    return [*mark(new, True, host), *gone]

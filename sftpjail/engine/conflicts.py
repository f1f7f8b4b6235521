"""What two steps of one plan would make of each other, where each was judged by the facts alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..actions import SetLines, Share
from ..errors import SftpJailError, Unsafe
from ..formats.fstab import parse_line
from ..formats.tagged_lines import Style
from ..host import Host
from ..model import components
from .plan import Step


def around_shared(steps: Iterable[Step], host: Host) -> dict[str, SftpJailError]:
    """Return by account why its mount cannot come together with the shared directories of a plan.

    A group that may write in a directory could put links into it, so no jail shows what lies below,
    as `plugins/mounts` judges it for what is there already. And a directory has one group.

    Args:
        steps: those that are pending, of all accounts.
        host: the facts from before.
    """
    wanted = list(steps)
    groups: dict[str, int] = {}
    errors: dict[str, SftpJailError] = {}
    for step in wanted:
        action = step.action
        if isinstance(action, Share) and groups.setdefault(action.path, action.gid) != action.gid:
            both = host.people.group_label(groups[action.path]), host.people.group_label(action.gid)
            words = f"{action.path} cannot belong to the groups {both[0]} and {both[1]} at once"
            advice = "a directory has one group: give the same --group for all of its mounts"
            errors.setdefault(step.owner, SftpJailError(words, advice=advice))
    for step in wanted if groups else ():
        for source in _shown_by(step.action):
            real = host.realpath(source)
            above = next((path for path in components(real)[:-1] if path in groups), "")
            if above:
                error = _below(source, above, host.people.group_label(groups[above]))
                errors.setdefault(step.owner, error)
    return errors


def _below(source: str, above: str, group: str) -> SftpJailError:
    return Unsafe(
        f"will not show {source} in a jail: the group {group} is to write in {above}, "
        "so somebody could put a link to any directory in its place",
        advice="choose directories that do not lie in each other",
    )


def _shown_by(action: object) -> Sequence[str]:
    """Return the sources of the mounts that a step writes down."""
    if not isinstance(action, SetLines) or action.style != Style.FSTAB:
        return ()
    return [entry.source for entry in map(parse_line, action.lines) if entry]

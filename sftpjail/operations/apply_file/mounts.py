"""Which mounts of an account are added and removed, and which must wait for others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ...accounts_file.entry import MountWanted
from ...engine.plan import Event, OnMount, OnUnmount
from ...errors.escapes import shown
from ...host import Host
from ...model import SETID, Account, Bind, components, inner_first, inside
from ..mounts import ids_of, make_bind, target_in
from .draft import Draft


def by_level(binds: Sequence[Bind]) -> list[list[Bind]]:
    """Return binds grouped by how many others are above them, outermost first.

    A mount must wait for those above it: its mount point is in the source of the innermost one,
    which can be examined only when that one is mounted.
    """
    targets, found = {bind.target for bind in binds}, dict[int, list[Bind]]()
    for bind in binds:
        above = sum(part in targets for part in components(bind.target)[:-1])
        found.setdefault(above, []).append(bind)
    return [found[number] for number in sorted(found)]


def wanted_binds(
    account: Account,
    mounts: Sequence[MountWanted] | None,
    host: Host,
    there: Mapping[str, Bind] | None = None,
) -> list[Bind]:
    """Return the mounts of FILE as binds.

    Args:
        account: with its profile; it need not exist yet.
        mounts: those of FILE, or None.
        host: the facts.
        there: binds by target that may stay below a home, and on a source without nosuid.
    """
    binds = []
    for mount in mounts or ():
        old = (there or {}).get(target_in(account, mount.target))
        owner, group = ids_of(mount.owner, mount.group, host)
        bind = make_bind(
            account,
            mount.source,
            mount.target,
            mount.read_only,
            under_home=old is not None,
            owner=owner,
            allow_setid=old is not None and SETID in old.options,
            group=group,
        )
        binds.append(bind)
    return binds


class MountChanges:
    """Changes the mounts of a jail to those of FILE.

    Mounts below one that is added, removed or replaced are mounted again, since their mount point
    is then in another directory.

    Args:
        account: with its profile.
        mounts: those of FILE.
        host: the facts.
    """

    def __init__(self, account: Account, mounts: Sequence[MountWanted], host: Host) -> None:
        self._account = account
        there = {bind.target: bind for bind in host.binds(account.name) if bind.is_asked_for}
        # The jail mounts a home without a map of owners anyway.
        listed = wanted_binds(account, mounts, host, there)
        wanted = {one.target: one for one in listed if one.is_asked_for or one.target in there}
        both = [target for target in wanted if target in there]
        same = {target for target in both if _is_same(wanted[target], there[target])}
        gone = [bind for target, bind in there.items() if target not in wanted]
        other = [there[at] for at in both if wanted[at].source != there[at].source]

        come_or_go = {*wanted, *there} - {*both}
        outer = {*come_or_go, *(bind.target for bind in other)}
        moved = [there[target] for target in same if _is_below(target, outer)]
        homes = [bind for bind in gone if bind.role == "home"]  # they only lose their map
        gone = [bind for bind in gone if bind.role != "home"]
        early = [*other, *moved]
        if early or any(_is_below(target, outer) for target in come_or_go):
            early += gone
        stay = same - {bind.target for bind in early}

        self._early, self._late = early, [bind for bind in gone if bind not in early]
        self._changed = {*there, *wanted} - stay
        self._coming = [bind for target, bind in wanted.items() if target not in stay]
        self._coming += [Bind(bind.source, bind.target, role="home") for bind in homes]
        self.lines = [f"- mount {self._in_words(bind)}" for bind in (*gone, *homes, *other)]
        self.lines += [
            f"+ mount {self._in_words(wanted[target])}" for target in sorted(wanted.keys() - same)
        ]

    def draft(self, repairs: Sequence[Event]) -> Draft:
        """Return what to do.

        Args:
            repairs: the events that repair the jail with the mounts that it has now.
        """
        draft = Draft(room=self._unmounted(self._early))
        draft.events += self._unmounted(self._late)
        draft.events += [
            event
            for event in repairs
            if not (isinstance(event, OnMount) and event.bind.target in self._changed)
        ]
        for above, level in enumerate(by_level(self._coming)):
            mounts = [OnMount(self._account, bind) for bind in level]
            if above:
                draft.inner += [(above, mount) for mount in mounts]
            else:
                draft.events += mounts
        return draft

    def _unmounted(self, binds: Sequence[Bind]) -> list[OnUnmount]:
        """Return the events that remove binds, innermost first."""
        return [OnUnmount(self._account, bind) for bind in inner_first(binds)]

    def _in_words(self, bind: Bind) -> str:
        target = bind.target.removeprefix(self._account.jail)
        words = f"{shown(bind.source)} at {shown(target)}"
        if bind.read_only:
            words += ", read-only"
        if bind.group is not None:
            return f"{words}, for the group {bind.group} to write in"
        if bind.owner:
            words += f", the files of {bind.owner.uid}:{bind.owner.gid} as its own"
        return words


def is_beside(mount: OnMount, targets: Sequence[str]) -> bool:
    """Return whether a mount is neither at, nor above, nor below any of these targets."""
    target = mount.bind.target
    return not any(inside(target, other) or inside(other, target) for other in targets)


def _is_below(target: str, others: Collection[str]) -> bool:
    return any(part in others for part in components(target)[:-1])


def _is_same(one: Bind, other: Bind) -> bool:
    both = one, other
    return len({(bind.source, bind.read_only, bind.owner, bind.group) for bind in both}) == 1

"""What the engine does with each kind of action: record, perform, revert, remember."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ...actions import Action, Phase, View
from ...errors import LinkRefused
from ...model import Closed, Origin
from ...system import files
from ..plan import Step

Undo = dict[str, Any]
A = TypeVar("A", bound=Action)


class Kind(ABC, Generic[A]):
    """One kind of action. `kind` registers a subclass; see CONTRIBUTING.md.

    `foreseen` is an earlier phase whose files make the next boot take this step, too. The undo
    record is written before that phase, so that a recovery after a reboot undoes the step.

    `about` are the required text fields of its undo records, besides "op".
    """

    foreseen: Phase | None = None
    about: tuple[str, ...] = ("path",)

    @abstractmethod
    def record(self, action: A, view: View) -> Undo:
        """Return the undo record, which is written to the disk before `perform` is called.

        It has one of the "op" values passed to `kind`, and the fields in `about`, of which the
        first is "path" or "name".
        """

    @abstractmethod
    def perform(self, action: A, view: View) -> str | None:
        """Take the step; return a notice for the administrator, if any.

        Raises:
            SftpJailError: it failed; its undo record undoes what it did.
        """

    def perform_again(self, action: A, view: View) -> str | None:
        """Take a step on a path whose old version an earlier step of the transaction has kept.

        It is otherwise like `perform`; see `Journal.once`.
        """
        return self.perform(action, view)

    def stage(self, action: A, view: View, undo: Undo) -> str:
        """Prepare a step beside many others, where nobody sees it yet and `revert` takes it away.

        Args:
            action, view: as for `perform`.
            undo: its record, which is on the disk.

        Returns:
            a path on the file system that is to be written out before `perform_staged` completes
            the step; "" where nothing was prepared, and `perform` takes it.
        """
        return ""

    def perform_staged(self, action: A, undo: Undo) -> None:
        """Complete a step that `stage` has prepared. Raises SftpJailError, as `perform`."""

    def perform_together(self, actions: Sequence[A], view: View) -> Collection[int]:
        """Take steps of one phase at once, whose undo records are on the disk.

        Args:
            actions: all of this kind in that phase, in their order.
            view: as for `perform`.

        Returns:
            the indices of those that are done; `perform` takes the others.

        Raises:
            SftpJailError: as `perform`.
        """
        return ()

    def is_joint(self, undo: Undo) -> bool:
        """Return whether `revert_together` can carry out an undo record, which has a name."""
        return False

    def revert_together(self, undos: Sequence[Undo]) -> list[str]:
        """Undo steps that follow one another, in this order, and return notices.

        Everything else is as for `revert`.
        """
        return []

    def revert(self, undo: Undo) -> str | None:
        """Undo the step; return a notice for the administrator, if any.

        The step may be done, half done or never begun, and this may be called twice.

        Raises:
            LinkRefused: a user has put a link in its way, or removed it; what we made is gone.
            SftpJailError, OSError: it failed; the next run tries again.
        """
        return None

    def remember(self, action: A, view: View, draft: OriginDraft) -> None:
        """Update the owner's origin record: add what the action takes from the host."""
        draft.take(action.origin(view))

    def touched(self, action: A) -> Iterable[str]:
        """Return the paths whose directory entries this changes, for fsync(2)."""
        return ()

    def verify(self, steps: Sequence[Step]) -> None:
        """Verify all steps of this kind after their phase.

        Raises:
            SftpJailError: a step did not have the intended result.
        """

    def verify_again(self, steps: Sequence[Step], view: View) -> None:
        """Verify all steps of this kind again before the commit, after other people's programs ran.

        Raises:
            SftpJailError: the result of a step has been changed.
        """


class OriginDraft:
    """An origin record that is being updated: what we made, and what was there before us."""

    def __init__(self, old: Origin) -> None:
        self.made = dict.fromkeys(old.made)
        self.was = dict(old.was)
        self.owners = dict(old.owners)
        self.renamed = dict(old.renamed)
        self.closed: Closed | None = old.closed

    def take(self, origin: Origin) -> None:
        """Add what an action takes from the host. Known values stay: they are from before us."""
        self.made |= dict.fromkeys(origin.made)
        for name, value in origin.was.items():
            self.was.setdefault(name, value)
        for path, owner in origin.owners.items():
            self.owners.setdefault(path, owner)

    def record(self) -> Origin:
        """Return the record."""
        made = tuple(sorted(self.made))
        return Origin(made, self.was, self.owners, self.renamed, closed=self.closed)


_BY_ACTION: dict[type[Action], Kind[Any]] = {}
_BY_OP: dict[str, Kind[Any]] = {}


def kind(action: type[A], *ops: str) -> Callable[[type[Kind[A]]], type[Kind[A]]]:
    """Register a Kind for an action and its subclasses.

    Args:
        action: the action's class.
        ops: the "op" values of the undo records that it makes and reverts.
    """

    def register(handler: type[Kind[A]]) -> type[Kind[A]]:
        made = handler()
        _BY_ACTION[action] = made
        _BY_OP.update(dict.fromkeys(ops, made))
        return handler

    return register


def kind_of(action: Action) -> Kind[Any]:
    """Return the Kind of an action."""
    return next(_BY_ACTION[known] for known in type(action).__mro__ if known in _BY_ACTION)


def ops_of(module: str) -> frozenset[str]:
    """Return the "op" of each undo record that a module's kinds make."""
    return frozenset(op for op, known in _BY_OP.items() if type(known).__module__ == module)


def is_undo(undo: Mapping[str, Any]) -> bool:
    """Return whether `revert` can carry out a line of the journal that has an "op"."""
    if not isinstance(undo["op"], str) or undo["op"] not in _BY_OP:
        return False
    told = [undo.get(field) for field in _BY_OP[undo["op"]].about]
    return all(isinstance(text, str) and "\0" not in text for text in told)


def revert(undo: Undo) -> str | None:
    """Carry out an undo record, as `Kind.revert` does."""
    return _BY_OP[undo["op"]].revert(undo)


def joint_op(undo: Undo) -> str:
    """Return the "op" of an undo record that `revert_together` takes with others, or ""."""
    op: str = undo["op"]
    if _BY_OP[op].is_joint(undo):
        return op
    return ""


def revert_together(undos: Sequence[Undo]) -> list[str]:
    """Carry out undo records of one kind, as `Kind.revert_together` does."""
    return _BY_OP[undos[0]["op"]].revert_together(undos)


def with_earlier(undos: Sequence[Undo]) -> list[Undo]:
    """Return undo records, each of which knows what the steps before it have found there.

    Of a record that says what was there, "earlier" is what was there before each earlier step
    on the same thing: so it is when an undo that was cut short runs once more.

    Args:
        undos: in their order.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    prepared = []
    for undo in undos:
        if "was" not in undo:
            prepared.append(undo)
            continue
        before = found.setdefault(f"{undo['op']} {undo.get('path', undo.get('name'))}", [])
        prepared.append(undo | {"earlier": [*before]})
        before.append(undo["was"])
    return prepared


def state_of(undo: Undo, field: str, now: object) -> str:
    """Return where a present value comes from when a step is undone.

    Args:
        undo: its record, with the former values in "was" and those that the step set in "given".
        field: the key of the value in both.
        now: the present value.

    Returns:
        "ours": the step set it. "before": it is the former value. "another": somebody else has set
        it since.
    """
    if now == undo["given"][field]:
        return "ours"
    earlier = [was.get(field) for was in undo.get("earlier", ())]
    if now in (undo["was"][field], *earlier):
        return "before"
    return "another"


def drop(path: str) -> None:
    """Remove an old version or a staged file, if there is one."""
    # Look first: on a read-only file system, unlink(2) fails even if nothing is there. Nothing
    # behind a user's link is ours.
    if files.is_there(path):
        with contextlib.suppress(LinkRefused):
            files.unlink(path)

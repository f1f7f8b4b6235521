"""The vocabulary of change. A hook returns these; the engine merges, shows, applies and undoes them.

Each action is a frozen value that knows what it is about (`key`), whether that already holds (`pending`), how a dry
run shows it (`diff`) and what it takes from the host that must be remembered (`origin`). It changes nothing itself:
`system.py` does, and records the undo first. Plugins compose actions and never invent new ones.
"""

from __future__ import annotations

import difflib
import enum
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from shlex import join

from .. import fixes
from ..errors import SftpJailError
from ..formats.fstab import MountPoint
from ..formats.tagged_lines import Style, edit
from ..model import Closed, Origin
from .view import View


def _owner(uid: int, gid: int, mode: int) -> str:
    return f"owner {uid}:{gid}, mode {mode:04o}"


class Phase(enum.IntEnum):
    """The order of a transaction. What sessions see goes first when it leaves and last when it comes.

    A directory is taken from a user before anything is done in it, and given to one when all else is done: what a
    user owns may change at any moment, also while a rollback is under way.
    """

    CLOSING = -1
    UNMOUNT = 0
    FOLDERS = 1
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


@dataclass(frozen=True)
class Action:
    """One change. `owner` is the account whose origin record it belongs to, "" for the host's."""

    @property
    def phase(self) -> Phase:
        """When it is done."""
        raise NotImplementedError

    @property
    def key(self) -> tuple[str, ...]:
        """What this is about. Two different actions with one key are a conflict between their plugins."""
        raise NotImplementedError

    def pending(self, view: View, owner: str) -> bool:
        """Whether the host is not yet so.

        Raises:
            SftpJailError: something is in the way that may not be changed.
        """
        raise NotImplementedError

    def diff(self, view: View) -> Iterator[str]:
        """Yield the lines by which a dry run shows the change."""
        raise NotImplementedError

    def origin(self, view: View) -> Origin:
        """Return what must be remembered about the host before this."""
        return Origin()


@dataclass(frozen=True)
class MakeDir(Action):
    """A folder exists. One that is there already stays as it is, whoever owns it."""

    phase = Phase.FOLDERS
    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        return ("path", self.path)

    def pending(self, view: View, owner: str) -> bool:
        found = view.lstat(self.path)
        if found is None:
            return True
        if not stat.S_ISDIR(found.st_mode) and not stat.S_ISLNK(found.st_mode):
            hint = fixes.aside(self.path, view) or fixes.advice(self.path, view)
            raise SftpJailError(f"{self.path} is in the way: it is not a folder", hint)
        return False

    def diff(self, view: View) -> Iterator[str]:
        yield f"+ folder {self.path} ({_owner(self.uid, self.gid, self.mode)})"

    def origin(self, view: View) -> Origin:
        return Origin(made=(self.path,))


@dataclass(frozen=True)
class SetOwner(Action):
    """An existing folder has this owner and mode. The first owner it had is remembered when `remember` is set."""

    path: str
    uid: int
    gid: int
    mode: int
    remember: bool = True

    @property
    def phase(self) -> Phase:
        return Phase.FOLDERS if self.uid == 0 else Phase.GIVING

    @property
    def key(self) -> tuple[str, ...]:
        return ("owner", self.path)

    def _found(self, view: View) -> tuple[int, int, int] | None:
        found = view.lstat(self.path)
        return found and (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))

    def pending(self, view: View, owner: str) -> bool:
        link = view.lstat(self.path)
        if link is not None and stat.S_ISLNK(link.st_mode):
            raise SftpJailError(f"will not change the owner of {self.path}: it is a symbolic link")
        found = self._found(view)
        return found is not None and found != (self.uid, self.gid, self.mode)

    def diff(self, view: View) -> Iterator[str]:
        before = _owner(*(self._found(view) or (0, 0, 0)))
        yield f"~ folder {self.path} ({before} -> {_owner(self.uid, self.gid, self.mode)})"

    def origin(self, view: View) -> Origin:
        found = self._found(view)
        return Origin(owners={self.path: found}) if found and self.remember else Origin()


@dataclass(frozen=True)
class GiveDir(SetOwner):
    """A folder that MakeDir makes for root in the same plan has this owner once root has filled it, and not before."""

    phase = Phase.GIVING

    def pending(self, view: View, owner: str) -> bool:
        return view.lstat(self.path) is None

    def diff(self, view: View) -> Iterator[str]:
        yield f"~ folder {self.path} (then {_owner(self.uid, self.gid, self.mode)})"


@dataclass(frozen=True)
class WriteFile(Action):
    """A file has exactly this content, owner and mode; `keep` leaves owner and mode of an existing one alone."""

    phase = Phase.FILES
    path: str
    content: str
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    keep: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return ("path", self.path)

    def result(self, view: View) -> bytes | None:
        """Return the content to be; None when the file goes."""
        return self.content.encode("utf-8", "surrogateescape")

    def pending(self, view: View, owner: str) -> bool:
        found = view.stat(self.path)
        if found is None or view.read(self.path) != self.result(view):
            return True
        wanted = self.uid, self.gid, self.mode
        return not self.keep and (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != wanted

    def diff(self, view: View) -> Iterator[str]:
        before = (view.read(self.path) or b"").decode("utf-8", "replace").splitlines()
        after = (self.result(view) or b"").decode("utf-8", "replace").splitlines()
        if before == after:
            yield f"{'~' if view.lstat(self.path) else '+'} file {self.path} ({_owner(self.uid, self.gid, self.mode)})"
        yield from difflib.unified_diff(before, after, self.path, self.path, lineterm="", n=1)

    def origin(self, view: View) -> Origin:
        return Origin() if view.lstat(self.path) else Origin(made=(self.path,))


@dataclass(frozen=True)
class SetLines(Action):
    """The lines that carry `tag` in a file that we share with others are these; every other line stays as it is.

    Args:
        path: the file.
        tag: whose lines: what a tag is depends on `style`, see `lines.Style`.
        lines: the lines without newline; none takes the tag's lines out.
        style: how lines carry their tag.
        mode: the mode of the file where it does not exist yet (root-owned).
        own: the file belongs to the account of the event, and goes with its last line. A shared file goes only
            when it was us who made it.
        when: a list of who is shut out is written before all else, or after it.
    """

    path: str
    tag: str
    lines: tuple[str, ...]
    style: Style = Style.BLOCK
    mode: int = 0o644
    own: bool = False
    when: Phase = Phase.FILES

    @property
    def phase(self) -> Phase:
        return self.when

    @property
    def key(self) -> tuple[str, ...]:
        return ("lines", self.path, self.tag)

    def pending(self, view: View, owner: str) -> bool:
        return view.tagged(self.path, self.style).get(self.tag, ()) != self.lines

    def diff(self, view: View) -> Iterator[str]:
        old = text(view, self.path)
        new = edit(old, {self.tag: self.lines}, self.style)
        yield from difflib.unified_diff(old.split("\n"), new.split("\n"), self.path, self.path, lineterm="", n=1)


def text(view: View, path: str) -> str:
    """Return a file's text, "" where there is none; bytes that are not UTF-8 as surrogates."""
    return (view.read(path) or b"").decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Remove(Action):
    """A file, or an empty folder, is gone. What the origin record does not call ours stays, unless `ours` says so.

    A folder that would not be empty after the other removals of the plan stays too. With `folder`, a file that somebody
    put in the folder's place stays.
    """

    phase = Phase.REMOVALS
    path: str
    ours: bool = False
    folder: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return ("path", self.path)

    def pending(self, view: View, owner: str) -> bool:
        found = view.lstat(self.path)
        if found is None or (self.folder and not stat.S_ISDIR(found.st_mode)):
            return False
        return self.ours or self.path in view.origin(owner).made

    def diff(self, view: View) -> Iterator[str]:
        found = view.lstat(self.path)
        folder = found is not None and stat.S_ISDIR(found.st_mode)
        yield f"- {'folder' if folder else 'file'} {self.path}"


@dataclass(frozen=True)
class Rename(Action):
    """A user's file has another name, with the owner, mode and times that it has. Both are full paths.

    Nothing is ever overwritten.
    """

    phase = Phase.REMOVALS
    path: str
    to: str

    @property
    def key(self) -> tuple[str, ...]:
        return ("path", self.path)

    def pending(self, view: View, owner: str) -> bool:
        return view.lstat(self.path) is not None

    def diff(self, view: View) -> Iterator[str]:
        same = os.path.dirname(self.path) == os.path.dirname(self.to)
        yield f"~ file {self.path} -> {os.path.basename(self.to) if same else self.to}"

    def origin(self, view: View) -> Origin:
        return Origin(renamed={self.to: self.path})


MOUNT_OPTIONS = ("bind", "nosuid", "nodev", "private")


@dataclass(frozen=True)
class Mount(Action):
    """`source` shows at `target` in the host's mount table, with the flags that `options` name."""

    phase = Phase.MOUNTS
    source: str
    target: str
    options: tuple[str, ...] = MOUNT_OPTIONS

    @property
    def key(self) -> tuple[str, ...]:
        return ("mount", self.target)

    def pending(self, view: View, owner: str) -> bool:
        point = view.mount_at(self.target)
        if point is None:
            return True
        if not view.same_file(self.source, self.target):
            hint = fixes.on(self.target, view, "umount {}") or fixes.advice(self.target, view)
            raise SftpJailError(f"something other than {self.source} is mounted on {self.target}", hint)
        return not self.flags_hold(point)

    def flags_hold(self, point: MountPoint) -> bool:
        """Return whether a mount has the flags that were asked for, no more and no less of read-only."""
        wanted = {"nosuid", "nodev", "ro", "noexec"} & set(self.options)
        return wanted <= set(point.options) and ("ro" in wanted) == ("ro" in point.options)

    def diff(self, view: View) -> Iterator[str]:
        mark = "~" if view.mount_at(self.target) else "+"
        yield f"{mark} mount {self.source} on {self.target} ({','.join(self.options)})"


@dataclass(frozen=True)
class Unmount(Action):
    """Nothing is mounted at `target`; `source` and `options` are what an undo mounts there again."""

    phase = Phase.UNMOUNT
    source: str
    target: str
    options: tuple[str, ...] = MOUNT_OPTIONS

    @property
    def key(self) -> tuple[str, ...]:
        return ("mount", self.target)

    def pending(self, view: View, owner: str) -> bool:
        return view.mount_at(self.target) is not None

    def diff(self, view: View) -> Iterator[str]:
        yield f"- mount {self.source} on {self.target}"


@dataclass(frozen=True)
class SetAccount(Action):
    """Fields of a local account, as usermod(8) sets them; None leaves a field alone. `expire` is YYYY-MM-DD or ""."""

    phase = Phase.ACCOUNTS
    name: str
    shell: str | None = None
    home: str | None = None
    group: str | None = None
    add_groups: tuple[str, ...] = ()
    remove_groups: tuple[str, ...] = ()
    expire: str | None = None

    @property
    def key(self) -> tuple[str, ...]:
        return ("account", self.name, *self.fields())

    def fields(self) -> dict[str, str]:
        """Return the fields of passwd(5) and shadow(5) that this sets."""
        pairs = {"shell": self.shell, "home": self.home, "group": self.group, "expire": self.expire}
        return {name: value for name, value in pairs.items() if value is not None}

    def before(self, view: View) -> Mapping[str, str]:
        """Return what those fields are now."""
        account = view.account(self.name)
        if account is None:
            return {}
        now = {
            "shell": account.shell,
            "home": account.home,
            "group": str(account.gid),
            "expire": view.expiry(self.name) if self.expire is not None else "",
        }
        return {name: now[name] for name in self.fields()}

    def group_changes(self, view: View) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the supplementary groups still to join and to leave."""
        return (
            tuple(g for g in self.add_groups if not view.in_group(self.name, g)),
            tuple(g for g in self.remove_groups if view.in_group(self.name, g)),
        )

    def pending(self, view: View, owner: str) -> bool:
        return self.before(view) != self.fields() or any(self.group_changes(view))

    def diff(self, view: View) -> Iterator[str]:
        before = self.before(view)
        for name, value in self.fields().items():
            if before.get(name) != value:
                yield f"~ account {self.name}: {name} {before.get(name) or 'none'} -> {value or 'none'}"
        join, leave = self.group_changes(view)
        yield from (f"~ account {self.name}: joins group {group}" for group in join)
        yield from (f"~ account {self.name}: leaves group {group}" for group in leave)

    def origin(self, view: View) -> Origin:
        return Origin(was=self.before(view))


@dataclass(frozen=True)
class CloseAccount(SetAccount):
    """An account is shut out before anything else is done, and its record says why; see closing.py, which makes these.

    `expire` is set for one that shadow(5) knows; any other's name is put on a list by SetLines.
    """

    phase = Phase.CLOSING
    closed: Closed | None = None

    @property
    def key(self) -> tuple[str, ...]:
        return ("closing", self.name)

    def pending(self, view: View, owner: str) -> bool:
        return super().pending(view, owner) or view.origin(self.name).closed != self.closed

    def diff(self, view: View) -> Iterator[str]:
        yield f"~ account {self.name}: closed: {self.closed.why if self.closed else ''}"
        yield from super().diff(view)

    def origin(self, view: View) -> Origin:
        return Origin(closed=self.closed)


@dataclass(frozen=True)
class OpenAccount(SetAccount):
    """An account that is shut out is let in again when all else is done; `expire` is the expiry it had before."""

    phase = Phase.OPENING

    @property
    def key(self) -> tuple[str, ...]:
        return ("closing", self.name)

    def pending(self, view: View, owner: str) -> bool:
        return super().pending(view, owner) or view.origin(self.name).closed is not None

    def diff(self, view: View) -> Iterator[str]:
        yield f"~ account {self.name}: no longer closed"
        yield from super().diff(view)

    def origin(self, view: View) -> Origin:
        return Origin()


@dataclass(frozen=True)
class SetGroup(Action):
    """A group exists (groupadd(8)), or one that we made and that has no members is gone (groupdel(8))."""

    phase = Phase.ACCOUNTS
    name: str
    present: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        return ("group", self.name)

    def pending(self, view: View, owner: str) -> bool:
        members = view.group_members(self.name)
        if self.present:
            return members is None
        return members == () and f"group:{self.name}" in view.origin(owner).made

    def diff(self, view: View) -> Iterator[str]:
        yield f"{'+' if self.present else '-'} group {self.name}"

    def origin(self, view: View) -> Origin:
        return Origin(made=(f"group:{self.name}",)) if self.present else Origin()


@dataclass(frozen=True)
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
        return ("run", *self.argv, *(f"{name}={value}" for name, value in self.env), *filter(None, (self.stdin,)))

    def pending(self, view: View, owner: str) -> bool:
        return self.always

    def diff(self, view: View) -> Iterator[str]:
        yield f"! run {join(self.argv)} ({self.why})"


@dataclass(frozen=True)
class EndProcesses(Action):
    """Nothing runs any more as an account outside of its jail; nothing can undo that, so it is the last step of all.

    Args:
        name, uid: the account; nobody else has the uid.
        known: the processes that were found, for the dry run: new ones are ended as well.
        empty: files that a process could have made again meanwhile; one that is there fails the transaction.
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


@dataclass(frozen=True)
class EndProcessesFirst(EndProcesses):
    """The same before the account changes: usermod(8) gives nobody another home who has a process."""

    phase = Phase.FILES

    @property
    def key(self) -> tuple[str, ...]:
        return ("processes first", self.name)


@dataclass(frozen=True)
class Check(Action):
    """A program must agree: exit 0, print exactly `prints` (if given; without the lines that begin with a word of
    `ignoring`), and each line of `lines`, else all is rolled back. It goes with changes of the same plugin. The first
    word of each line is a keyword, compared in small letters.

    With `candidate`, paths of files in the same plan, it also runs beforehand, in a private mount namespace where
    those files are already as planned: what it refuses never goes live.
    """

    phase = Phase.CHECKS
    argv: tuple[str, ...]
    why: str
    hint: str = ""
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


@dataclass(frozen=True)
class Notify(Action):
    """A daemon hears of changes of the same plugin, once. `required`: before the commit, and its failure rolls back.
    `always`: it is needed even if nothing else of the event changes.
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

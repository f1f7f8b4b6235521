"""What changes files and directories."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from ..errors import SftpJailError
from ..formats import fixes
from ..formats.tagged_lines import Style, edit
from ..model import Origin, frozen
from .base import Action, Phase
from .view import View

__all__ = [
    "Configure",
    "GiveDir",
    "MakeDir",
    "MakeSubvolume",
    "Move",
    "Remove",
    "Rename",
    "SetLines",
    "SetOwner",
    "WriteFile",
    "text",
]


def _owner(uid: int, gid: int, mode: int) -> str:
    return f"owner {uid}:{gid}, mode {mode:04o}"


@frozen
class MakeDir(Action):
    """A directory exists. One that is there already stays as it is, whoever owns it."""

    phase = Phase.DIRECTORIES
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
            fix = fixes.aside_or_why(self.path, view)
            raise SftpJailError(f"{self.path} is in the way: it is not a directory", fix)
        return False

    def diff(self, view: View) -> Iterator[str]:
        yield f"+ directory {self.path} ({_owner(self.uid, self.gid, self.mode)})"

    def origin(self, view: View) -> Origin:
        return Origin(made=(self.path,))


@frozen
class MakeSubvolume(MakeDir):
    """A directory of btrfs that does not exist is made as a subvolume, which can have a quota.

    rmdir(2) removes an empty one like any other directory (Linux 4.18).
    """

    def diff(self, view: View) -> Iterator[str]:
        yield f"+ subvolume {self.path} ({_owner(self.uid, self.gid, self.mode)})"


@frozen
class SetOwner(Action):
    """An existing directory has this owner and mode.

    The first owner it had is remembered when `remember` is set.
    """

    path: str
    uid: int
    gid: int
    mode: int
    remember: bool = True

    @property
    def phase(self) -> Phase:
        if self.uid == 0:
            return Phase.DIRECTORIES
        return Phase.GIVING

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
        yield f"~ directory {self.path} ({before} -> {_owner(self.uid, self.gid, self.mode)})"

    def origin(self, view: View) -> Origin:
        found = self._found(view)
        if found and self.remember:
            return Origin(owners={self.path: found})
        return Origin()


@frozen
class GiveDir(SetOwner):
    """A directory that MakeDir makes in the same plan has this owner once root has filled it.

    MakeDir makes it for root, and it is given to nobody before.
    """

    phase = Phase.GIVING

    def pending(self, view: View, owner: str) -> bool:
        return view.lstat(self.path) is None

    def diff(self, view: View) -> Iterator[str]:
        yield f"~ directory {self.path} (then {_owner(self.uid, self.gid, self.mode)})"


@frozen
class WriteFile(Action):
    """A file has exactly this content, owner and mode.

    `keep` leaves owner and mode of an existing one alone.
    """

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
        import difflib  # late: only a dry run shows it

        before = (view.read(self.path) or b"").decode("utf-8", "replace").splitlines()
        after = (self.result(view) or b"").decode("utf-8", "replace").splitlines()
        if before == after:
            yield (
                f"{'~' if view.lstat(self.path) else '+'} file {self.path}"
                f" ({_owner(self.uid, self.gid, self.mode)})"
            )
        yield from difflib.unified_diff(before, after, self.path, self.path, lineterm="", n=1)

    def origin(self, view: View) -> Origin:
        if view.lstat(self.path):
            return Origin()
        return Origin(made=(self.path,))


@frozen
class Configure(WriteFile):
    """sftpjail.conf has this content. It is the administrator's, and no teardown takes it away.

    `brings` names the profiles that come with it, `members` the accounts that these jail, each
    with the ChrootDirectory that sshd has for it before, and `blocks` what they replace: see
    `config.Taken`.
    """

    brings: tuple[str, ...] = ()
    members: tuple[tuple[str, str], ...] = ()
    blocks: tuple[tuple[str, tuple[str, ...], str], ...] = ()

    def origin(self, view: View) -> Origin:
        return Origin()


@frozen
class SetLines(Action):
    """The lines that carry `tag` in a file that we share with others are these.

    Every other line stays as it is.

    Args:
        path: the file.
        tag: whose lines: what a tag is depends on `style`, see `lines.Style`.
        lines: the lines without newline; none takes the tag's lines out.
        style: how lines carry their tag.
        mode: the mode of the file where it does not exist yet (root-owned).
        own: the file belongs to the account of the event, and goes with its last line. A shared
            file goes only when it was us who made it.
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
        import difflib  # late: only a dry run shows it

        old = text(view, self.path)
        new = edit(old, {self.tag: self.lines}, self.style)
        yield from difflib.unified_diff(
            old.split("\n"), new.split("\n"), self.path, self.path, lineterm="", n=1
        )


def text(view: View, path: str) -> str:
    """Return a file's text, "" where there is none; bytes that are not UTF-8 as surrogates."""
    return (view.read(path) or b"").decode("utf-8", "surrogateescape")


@frozen
class Remove(Action):
    """A file, or an empty directory, is gone.

    What the origin record does not call ours stays, unless `ours` says so. A directory that would
    not be empty after the other removals of the plan stays too. With `directory`, a file that
    somebody put in the directory's place stays.
    """

    phase = Phase.REMOVALS
    path: str
    ours: bool = False
    directory: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return ("path", self.path)

    def pending(self, view: View, owner: str) -> bool:
        found = view.lstat(self.path)
        if found is None or (self.directory and not stat.S_ISDIR(found.st_mode)):
            return False
        return self.ours or self.path in view.origin(owner).made

    def diff(self, view: View) -> Iterator[str]:
        found = view.lstat(self.path)
        directory = found is not None and stat.S_ISDIR(found.st_mode)
        yield f"- {'directory' if directory else 'file'} {self.path}"


@frozen
class Rename(Action):
    """A user's file has another name, with the owner, mode and times that it has.

    Both are full paths. Nothing is ever overwritten. With `early` it is done before accounts
    change, as a key file must be back before its account leaves the jail's group.
    """

    path: str
    to: str
    early: bool = False

    @property
    def phase(self) -> Phase:
        if self.early:
            return Phase.FILES
        return Phase.REMOVALS

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


@frozen
class Move(Rename):
    """A file or directory of ours has another name, because its account has.

    Nothing of that is remembered: the account's record has the new name.
    """

    early: bool = True

    def origin(self, view: View) -> Origin:
        return Origin()

"""Edit the lines that are ours in a text that others edit too. Pure text in, text out."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from .fstab import parse_line


class Style(enum.Enum):
    """How a line carries the tag that says whose it is."""

    # Between `# BEGIN sftpjail TAG` and `# END sftpjail TAG`, at the end of the file.
    BLOCK = "block"
    TOP = "top"  # the same, below the first line (a script's #!)
    # An fstab line with x-sftpjail.user=USER, whose tag is "USER TARGET"; `fstab_head` has "USER".
    FSTAB = "fstab"
    LINE = "line"  # the tag is the line itself
    # A line of access.conf(5) for one user, `-:USER:ALL EXCEPT ...`, or `user USER ...` of ours.
    USER = "user"


def small_keywords(text: str) -> str:
    """Return TEXT with the first word of each line in small letters.

    `sshd -T` prints keywords so before 10.4, and as the manual writes them since.
    """
    return re.sub(r"(?m)^\S+", lambda word: word[0].lower(), text)


def edit(text: str, changes: Mapping[str, tuple[str, ...]], style: Style) -> str:
    """Return TEXT with the lines of each tag in CHANGES replaced; every other byte stays.

    Args:
        text: the file as it is.
        changes: tag to its lines, without newlines; () takes them out.
        style: how lines carry their tag.
    """
    if style in (Style.BLOCK, Style.TOP):
        for tag, lines in changes.items():
            text = _edit_block(text, tag, lines, at_end=style is Style.BLOCK)
        return text
    if style is Style.LINE:
        return _edit_tagged(text, changes, lambda line: line)
    if style is Style.USER:
        return _edit_tagged(text, changes, user_tag)
    there = {fstab_tag(line) for line in split(text)}
    lost = {place: tag for place, tag in _places(changes).items() if tag not in there}
    return _order_fstab(
        _edit_tagged(text, changes, lambda line: fstab_tag(line) or lost.get(_place(line)))
    )


def tagged(text: str, style: Style) -> dict[str, tuple[str, ...]]:
    """Return the lines that carry a tag, by tag.

    Args:
        text: the file as it is.
        style: how lines carry their tag.
    """
    lines: dict[str, tuple[str, ...]] = {}
    if style in (Style.BLOCK, Style.TOP):
        for block in _blocks(text):
            lines[block.tag] = (*lines.get(block.tag, ()), *block.lines)
        return lines
    tag_of = {Style.FSTAB: fstab_tag, Style.USER: user_tag}.get(style)
    for line in text.split("\n"):
        tag = tag_of(line) if tag_of else line
        if tag:
            lines[tag] = (*lines.get(tag, ()), line)
    return lines


_Value = TypeVar("_Value")
_HEAD = "# x-sftpjail.user="


def fstab_head(user: str) -> str:
    """Return the comment that a user's table has even if nothing is to be mounted."""
    return f"{_HEAD}{user}"


def fstab_tag(line: str) -> str | None:
    """Return the tag of an fstab line of ours, or None."""
    if "x-sftpjail.user=" not in line:
        return None
    if line.startswith(_HEAD):
        head = line.removeprefix(_HEAD)
        if head and not re.search(r"\s", head):
            return head
        return None
    entry = parse_line(line)
    user = entry and entry.option("x-sftpjail.user")
    if entry and user:
        return f"{user} {entry.target}"
    return None


_USER = re.compile(r"(?:-:([^\s:]+):|user (\S+) )")


def user_tag(line: str) -> str | None:
    """Return the user of a line that is about one; see `Style.USER`."""
    found = _USER.match(line)
    if not found:
        return None
    return found[1] or found[2]


_Place = tuple[str, str, frozenset[str]]


def _place(line: str) -> _Place | None:
    entry = parse_line(line)
    if entry is None:
        return None
    options = (
        option
        for option in entry.options
        if option != "nofail" and not option.startswith("x-sftpjail.")
    )
    return entry.source, entry.target, frozenset(options)


def _places(changes: Mapping[str, tuple[str, ...]]) -> dict[_Place | None, str]:
    """Return the tag of each line to come by what it mounts where and how.

    One that does the same has lost its tag.
    """
    return {_place(line): tag for tag, lines in changes.items() for line in lines if _place(line)}


def split(text: str) -> list[str]:
    """Return the lines of TEXT with their newlines.

    Only \\n ends a line, unlike str.splitlines().
    """
    return re.findall(r"[^\n]*\n|[^\n]+", text)


class _Block(NamedTuple):
    """Lines of ours between their marks, and where in the text they stand, the marks included."""

    tag: str
    lines: tuple[str, ...]
    begin: int
    end: int
    added: bool  # the newline before it is ours


_BEGIN, _END, _ADDED = "# BEGIN sftpjail ", "# END sftpjail ", " (newline added)"


def _blocks(text: str) -> Iterator[_Block]:
    """Yield the blocks of ours in the order of their ends.

    Somebody may have edited the file by hand. A mark whose other half is gone begins and ends
    nothing, whatever stands behind it: that would make others' lines ours.
    """
    open_ones: dict[str, tuple[int, int, bool]] = {}
    lines = split(text)
    at = 0
    for number, line in enumerate(lines):
        if line.startswith(_BEGIN) and line.endswith("\n"):
            tag = line.removeprefix(_BEGIN)[:-1]
            open_ones[tag.removesuffix(_ADDED)] = number, at, tag.endswith(_ADDED)
        at += len(line)
        tag = line.removeprefix(_END).removesuffix("\n")
        if line.startswith(_END) and tag in open_ones:
            first, begin, added = open_ones.pop(tag)
            within = tuple(line[:-1] for line in lines[first + 1 : number])
            yield _Block(tag, within, begin, at, added)


def _edit_block(text: str, tag: str, lines: tuple[str, ...], at_end: bool) -> str:
    blocks = [block for block in _blocks(text) if block.tag == tag]
    if len(blocks) > 1:  # somebody has copied ours
        text = _without_halves(text, blocks)
        blocks = [block for block in _blocks(text) if block.tag == tag]
    for block in reversed(blocks):
        text = _replace(text, block, lines if block is blocks[0] else ())
    if blocks or not lines:
        return text
    if at_end:
        end = len(text)
    else:
        end = text.find("\n") + 1 or len(text)
    head, rest = text[:end], text[end:]
    # The mark says where we had to complete a line, so that taking the block out
    # restores every byte.
    added = bool(head) and not head.endswith("\n")
    return f"{head}{chr(10) if added else ''}{_written(tag, lines, added)}{rest}"


def _without_halves(text: str, blocks: list[_Block]) -> str:
    """Return TEXT without the marks of one tag whose other half is gone.

    With a block between two of them gone, they would be the marks of what lies between.
    """
    marks = (f"{_BEGIN}{blocks[0].tag}", f"{_END}{blocks[0].tag}")
    kept, at = [], 0
    for line in split(text):
        ours = any(block.begin <= at < block.end for block in blocks)
        if ours or line.rstrip("\n").removesuffix(_ADDED) not in marks:
            kept.append(line)
        at += len(line)
    return "".join(kept)


def _replace(text: str, block: _Block, lines: tuple[str, ...]) -> str:
    """Return TEXT with a block's lines replaced; () takes it out."""
    if lines:
        return text[: block.begin] + _written(block.tag, lines, block.added) + text[block.end :]
    ours = block.added and block.begin > 0 and block.end == len(text)
    return text[: block.begin - ours] + text[block.end :]


def _written(tag: str, lines: tuple[str, ...], added: bool) -> str:
    body = "".join(line + "\n" for line in lines)
    return f"{_BEGIN}{tag}{_ADDED if added else ''}\n{body}{_END}{tag}\n"


def _edit_tagged(
    text: str, changes: Mapping[str, tuple[str, ...]], tag_of: Callable[[str], str | None]
) -> str:
    todo = dict(changes)
    kept: list[str] = []
    for line in split(text):
        tag = tag_of(line.rstrip("\n"))
        if tag is None or tag not in changes:
            kept.append(line.rstrip("\n"))
        elif tag in todo:
            kept += todo.pop(tag)
    kept += [new for lines in todo.values() for new in lines]
    return _joined(kept, text)


def _joined(lines: list[str], like: str) -> str:
    # A file that ends without a newline goes on to do so, and has every byte back when
    # our lines are gone.
    end = ""
    if lines and (not like or like.endswith("\n")):
        end = "\n"
    return "\n".join(lines) + end


def _order_fstab(text: str) -> str:
    """Put each user's lines in order of depth, in the places that they have.

    mount(8) -a works from the top.
    """
    lines = [line.rstrip("\n") for line in split(text)]
    places: dict[str, list[int]] = {}
    for index, line in enumerate(lines):
        tag = fstab_tag(line)
        if tag:
            places.setdefault(tag.partition(" ")[0], []).append(index)
    for indexes in places.values():
        ordered = sorted(
            (lines[i] for i in indexes), key=lambda line: (fstab_tag(line) or "").count("/")
        )
        for index, line in zip(indexes, ordered, strict=True):
            lines[index] = line
    return _joined(lines, text)


class Read(Mapping[str, _Value]):
    """What the lines of a shared file say, by tag. Only the lines that are asked for are read.

    Args:
        lines: see `tagged`.
        meaning: returns what the lines of one tag say.
    """

    def __init__(
        self,
        lines: Mapping[str, tuple[str, ...]],
        meaning: Callable[[tuple[str, ...]], _Value],
    ) -> None:
        self._lines, self._meaning = lines, meaning

    def __getitem__(self, tag: str) -> _Value:
        return self._meaning(self._lines[tag])

    def __contains__(self, tag: object) -> bool:
        return tag in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

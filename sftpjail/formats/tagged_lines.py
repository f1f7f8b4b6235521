"""Edit the lines that are ours in a text that others edit too. Pure text in, text out."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping

from .fstab import parse_line


class Style(enum.Enum):
    """How a line carries the tag that says whose it is."""

    # Between `# BEGIN sftpjail TAG` and `# END sftpjail TAG`, at the end of the file.
    BLOCK = "block"
    TOP = "top"  # the same, below the first line (a script's #!)
    FSTAB = "fstab"  # an fstab line with x-sftpjail.user=USER; the tag is "USER TARGET"
    LINE = "line"  # the tag is the line itself


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
    if style in (Style.BLOCK, Style.TOP):
        found = re.finditer(
            r"^# BEGIN sftpjail (.+?)(?: \(newline added\))?\n(.*?)^# END sftpjail \1(?:\n|\Z)",
            text,
            re.M | re.S,
        )
        return {block[1]: tuple(block[2].removesuffix("\n").split("\n")) for block in found}
    lines: dict[str, tuple[str, ...]] = {}
    for line in text.split("\n"):
        tag = fstab_tag(line) if style is Style.FSTAB else line
        if tag:
            lines[tag] = (*lines.get(tag, ()), line)
    return lines


def fstab_tag(line: str) -> str | None:
    """Return the tag of an fstab line of ours, or None."""
    if "x-sftpjail.user=" not in line:
        return None
    entry = parse_line(line)
    user = entry and entry.option("x-sftpjail.user")
    return f"{user} {entry.target}" if entry and user else None


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


def _edit_block(text: str, tag: str, lines: tuple[str, ...], at_end: bool) -> str:
    # The marker says where we had to complete a line, so that taking the block out
    # restores every byte.
    found = re.search(
        rf"(\n?)^# BEGIN sftpjail {re.escape(tag)}( \(newline added\))?\n.*?"
        rf"^# END sftpjail {re.escape(tag)}(?:\n|\Z)",
        text,
        re.MULTILINE | re.DOTALL,
    )
    body = "".join(line + "\n" for line in lines)
    if found:
        before, mark = found[1], found[2] or ""
        if not lines:
            last = found.end() == len(text)
            return text[: found.start()] + ("" if mark and last else before) + text[found.end() :]
        block = f"{before}# BEGIN sftpjail {tag}{mark}\n{body}# END sftpjail {tag}\n"
        return text[: found.start()] + block + text[found.end() :]
    if not lines:
        return text
    end = len(text) if at_end else text.find("\n") + 1 or len(text)
    head, rest = text[:end], text[end:]
    added, mark = ("\n", " (newline added)") if head and not head.endswith("\n") else ("", "")
    return f"{head}{added}# BEGIN sftpjail {tag}{mark}\n{body}# END sftpjail {tag}\n{rest}"


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
    end = "\n" if lines and (not like or like.endswith("\n")) else ""
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

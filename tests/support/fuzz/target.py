"""What the fuzzers of tests/safety/test_input.py share: a target, and the hosts of memory that it reads."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sftpjail.errors import SftpJailError
from sftpjail.system.programs import Answer
from sftpjail.testing.made import MadeFiles, MadeHost, MadePrograms

BETWEEN = "\n====\n"  # between the parts of an input
T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """A parser, or a few that belong together, and what holds for each of their inputs.

    Args:
        modules: the files below sftpjail/ whose branches count.
        run: takes an input, and raises whatever is wrong.
        seeds: inputs from which others are made.
        words: what the format is made of.
        functions: of modules that do more than read, those that count; () for all.
    """

    name: str
    modules: tuple[str, ...]
    run: Callable[[bytes], None]
    seeds: tuple[str, ...]
    words: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()


def parts(data: bytes, count: int) -> list[str]:
    """Return the parts of an input as text, "" where there are fewer."""
    text = data.decode("utf-8", "surrogateescape")
    found = text.split(BETWEEN, count - 1)
    return found + [""] * (count - len(found))


def refusing(function: Callable[..., T], *arguments: Any) -> T | None:
    """Return what a function does, or None where it refuses, which it does in one line."""
    try:
        return function(*arguments)
    except SftpJailError as error:
        for words in (str(error), error.fix, error.advice, error.why):
            one_line(words)
        return None


def one_line(text: str, most: int = 1 << 18) -> str:
    """Return TEXT, which is simply to be seen, and no longer than a screen or a few."""
    assert text.isprintable(), text
    assert len(text) < most, len(text)
    return text


class _Files(MadeFiles):
    """Files of which only a dict knows, so that no path of an input reaches a real one."""

    def __init__(self, contents: Mapping[str, str], owners: Mapping[str, tuple[int, int]]) -> None:
        super().__init__("/nonexistent")
        self.contents, self.about = contents, owners  # path to mode and uid

    def read(self, path: str) -> bytes | None:
        text = self.contents.get(path)
        return None if text is None else text.encode("utf-8", "surrogateescape")

    def lstat(self, path: str) -> os.stat_result | None:
        if path in self.about or path in self.contents:
            mode, uid = self.about.get(path, (stat.S_IFREG | 0o644, 0))
        elif any(name.startswith(path.rstrip("/") + "/") for name in self.contents):
            mode, uid = stat.S_IFDIR | 0o755, 0
        else:
            return None
        return os.stat_result((mode, 1, 1, 1, uid, 0, 0, 0, 0, 0))

    stat = lstat

    def listdir(self, path: str) -> list[str]:
        directory = path.rstrip("/") + "/"
        below = [
            name.removeprefix(directory)
            for name in self.contents
            if directory in name[: len(directory)]
        ]
        return sorted({name.partition("/")[0] for name in below})

    def realpath(self, path: str) -> str:
        return os.path.normpath(path)


class _Programs(MadePrograms):
    """Programs of which a function says what they do."""

    def __init__(self, files: MadeFiles, answer: Callable[[Sequence[str], str], Answer]) -> None:
        super().__init__(files)
        self.answer = answer

    def ask(self, argv: Sequence[str], stdin: str = "") -> Answer:
        return self.answer(argv, stdin)

    def preview(
        self, argv: Sequence[str], files: Mapping[str, bytes | None] | None = None
    ) -> Answer:
        return self.answer(argv, "")

    def which(self, program: str) -> str:
        return f"/usr/sbin/{program}"


def host_of(
    contents: Mapping[str, str],
    answer: Callable[[Sequence[str], str], Answer] = lambda argv, stdin: Answer(
        0, "", "OpenSSH_10.0"
    ),
    about: Mapping[str, tuple[int, int]] | None = None,
) -> MadeHost:
    """Return a host of which nothing is real.

    Args:
        contents: its files by path.
        answer: what programs say.
        about: mode, with the kind of file, and uid of what lies at a path.
    """
    files = _Files(contents, about or {})
    host = MadeHost(files=files)
    programs = _Programs(files, answer)
    host.programs = programs
    host.which, host.ask, host.as_user = programs.which, programs.ask, programs.as_user
    return host

"""What unit and plugin tests share: a fence around real programs, planned answers, and a host made of files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sftpjail.model import Account
from sftpjail.system.programs import Answer
from sftpjail.testing.made import ME, Tree
from sftpjail.testing.made import MadeHost as FakeHost

__all__ = ["ME", "FakeHost", "Programs", "Tree", "Unplanned", "listing", "names"]


class Unplanned(BaseException):
    """A test came near a real program. Not an Exception, so that no `except Exception` can swallow it."""


_FORBIDDEN = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
}
_FORBIDDEN |= {"os.kill", "os.killpg", "pty.spawn"}
_CALLS = {"mount", "umount", "umount2", "unshare", "setns", "execve", "system", "chroot"}
_fence = {"up": False}


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _fence["up"] and (
        event in _FORBIDDEN or (event == "ctypes.dlsym" and arguments[1] in _CALLS)
    ):
        raise Unplanned(f"{event} {arguments[:2]}: plan an answer with the fixture `programs`")


# An audit hook sees every way to a program, also one that was imported by name before the test.
sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def no_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test starts a program, but for those marked `lint` or `real_program`, which are about one."""
    _fence["up"] = not any(
        request.node.get_closest_marker(name) for name in ("lint", "real_program")
    )
    yield
    _fence["up"] = False


class Programs:
    """Planned answers of `programs.run` and `programs.preview`; the first plan that fits is used.

    `asked` has every argv in order, `shown` the files of each preview.
    """

    def __init__(self) -> None:
        self.plans: list[tuple[Callable[[Sequence[str], str], bool], Any]] = []
        self.asked: list[tuple[str, ...]] = []
        self.shown: list[Mapping[str, bytes | None]] = []

    def answer(
        self, *words: str, out: str = "", err: str = "", code: int = 0, stdin: str = ""
    ) -> None:
        """Plan an answer for commands in which WORDS follow each other, and whose standard input holds STDIN."""

        def fits(argv: Sequence[str], given: str) -> bool:
            inside = any(tuple(argv[i : i + len(words)]) == words for i in range(len(argv)))
            return inside and stdin in given

        self.plans.append((fits, Answer(code, out, err)))

    def answer_by(self, program: str, function: Callable[[Sequence[str], Any], Answer]) -> None:
        """Plan that FUNCTION answers for PROGRAM; it gets argv and standard input, or the preview's files."""
        self.plans.append((lambda argv, _: os.path.basename(argv[0]) == program, function))

    def _answer(self, argv: Sequence[str], stdin: str, more: Any) -> Answer:
        self.asked.append(tuple(argv))
        for fits, answer in self.plans:
            if fits(argv, stdin):
                return answer if isinstance(answer, Answer) else answer(argv, more)
        raise Unplanned(f"no answer is planned for {' '.join(argv)}")

    def run(self, argv: Sequence[str], stdin: str = "", *_: Any, **__: Any) -> Answer:
        return self._answer(argv, stdin, stdin)

    def preview(
        self, argv: Sequence[str], files: Mapping[str, bytes | None], *_: Any, **__: Any
    ) -> Answer:
        self.shown.append(dict(files))
        return self._answer(argv, "", files)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Answers instead of programs."""
    planned = Programs()
    monkeypatch.setattr("sftpjail.system.programs.run", planned.run)
    monkeypatch.setattr("sftpjail.system.previews.preview", planned.preview)
    return planned


def listing(directory: Path) -> dict[str, tuple[Any, ...]]:
    """Return every name below DIRECTORY with type, owner, mode, links, content, time and extended attributes."""
    found: dict[str, tuple[Any, ...]] = {}
    _list(str(directory), "", found)
    return found


def _list(directory: str, before: str, found: dict[str, tuple[Any, ...]]) -> None:
    """Add what is in DIRECTORY, whose name is BEFORE. Some tests list thousands, so no Path is made for each."""
    with os.scandir(directory) as entries:
        for entry in entries:
            seen = entry.stat(follow_symlinks=False)
            about: tuple[Any, ...] = (oct(seen.st_mode), seen.st_uid, seen.st_gid)
            if entry.is_symlink():
                about += (os.readlink(entry.path),)
            elif entry.is_file():
                with open(entry.path, "rb") as file:
                    content = file.read()
                about += (seen.st_nlink, seen.st_mtime_ns, content, _attributes(entry.path))
            else:
                about += (_attributes(entry.path),)
            found[before + entry.name] = about
            if entry.is_dir(follow_symlinks=False):
                _list(entry.path, f"{before}{entry.name}/", found)


def _attributes(path: str) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def names(accounts: Iterable[Account]) -> list[str]:
    """Return the names of accounts."""
    return [account.name for account in accounts]

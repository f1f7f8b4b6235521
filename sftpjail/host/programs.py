"""Questions to programs that only read. A question asked twice runs its program once."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property

from ..errors import SftpJailError
from ..model import Account
from ..system import programs
from .files import Files
from .look import look_at


class Programs:
    """The installed programs and their answers."""

    def __init__(self, files: Files) -> None:
        self.root = files.root
        self._programs: dict[str, str] = {}
        self._answers: dict[tuple[tuple[str, ...], str], programs.Answer] = {}
        self._versions: dict[Hashable, programs.Answer] = {}

    def anew(self, files: Files) -> Programs:
        """Return a copy that has asked no program anything yet, but its version."""
        fresh = type(self)(files)
        fresh._versions = self._versions
        return fresh

    def which(self, program: str) -> str:
        """Return the absolute path of an installed program, or ""."""
        if program not in self._programs:
            import shutil  # late: it loads all decompressors

            path = ":".join(
                f"{self.root}{directory}"
                for directory in ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
            )
            self._programs[program] = (shutil.which(program, path=path) or "").removeprefix(
                self.root
            )
        return self._programs[program]

    def ask(self, argv: Sequence[str], stdin: str = "") -> programs.Answer:
        """Return the answer of a program that only reads. Asked twice, it runs once.

        Raises:
            SftpJailError: it is not installed or does not end.
        """
        key = (tuple(argv), stdin)
        if key not in self._answers:
            self._answers[key] = programs.run(argv, stdin=stdin)
        return self._answers[key]

    def as_user(self, account: Account, argv: Sequence[str], within: str = "") -> programs.Answer:
        """Return the answer of a program that only reads, run as an account with its groups.

        Its working directory is WITHIN, which the account need not be able to reach. See
        setpriv(1), env(1).
        """
        return self.ask(
            [
                *(["env", f"--chdir={within}"] if within else []),
                "setpriv",
                f"--reuid={account.uid}",
                f"--regid={account.gid}",
                "--init-groups",
                "--",
                *argv,
            ]
        )

    def preview(
        self, argv: Sequence[str], files: Mapping[str, bytes | None] | None = None
    ) -> programs.Answer:
        """Return the answer of a program that starts sshd, as if FILES had the given content.

        If no sshd has run yet, the program gets its own /run/sshd.

        Raises:
            SftpJailError: as `previews.preview`.
        """
        from ..system import previews  # late: useradd waits

        key = (tuple(argv), repr(files or {}))
        if key not in self._answers:
            self._answers[key] = previews.preview(argv, files or {})
        return self._answers[key]

    def _version(self, program: str, option: str) -> programs.Answer:
        """Return what a program says of its version. It is asked again if its file is another.

        Raises:
            SftpJailError: as `ask`.
        """
        path = self.which(program) or program
        file = look_at(f"{self.root}{path}", follow=True)
        key = file and (path, file.st_dev, file.st_ino, file.st_size, file.st_ctime_ns)
        if key is None or key not in self._versions:
            self._versions[key] = self.ask([path, option])
        return self._versions[key]

    @cached_property
    def util_linux(self) -> tuple[int, int]:
        """The version of mount(8), as (2, 41); (0, 0) where that is not util-linux's."""
        answer = self._version("mount", "--version")
        match = re.search(r"util-linux (\d+)\.(\d+)", answer.out)
        if match:
            return (int(match[1]), int(match[2]))
        return (0, 0)

    @cached_property
    def systemd_tmpfiles(self) -> int:
        """The version of systemd-tmpfiles(8), such as 252; 0 where it does not say."""
        answer = self._version("systemd-tmpfiles", "--version")
        match = re.match(r"systemd (\d+)", answer.out)
        if not match:
            return 0
        return int(match[1])

    @cached_property
    def openssh(self) -> tuple[int, int]:
        """The version of the installed OpenSSH server, such as (9, 2)."""
        answer = self._version("sshd", "-V")
        match = re.search(r"OpenSSH_(\d+)\.(\d+)", answer.out + answer.err)
        if not match:
            raise SftpJailError(f"sshd -V does not report OpenSSH's version: {answer.words}")
        return int(match[1]), int(match[2])

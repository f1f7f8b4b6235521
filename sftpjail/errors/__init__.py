"""Errors that reach a user: what, where and why in one sentence, and what is to be done about it.

An error is a `model.Problem` that ended a command: it has the same parts, in text and in JSON.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import Self

from .escapes import one_line, remedy

# Of which the host, or what the caller allows, has too little, or what it does not let us do.
_DENIED = (
    *(errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM),
    *(errno.EAGAIN, errno.EROFS, errno.EIO, errno.EPERM, errno.EACCES, errno.EINTR),
)


def denied(error: BaseException) -> str:
    """Return what the host did not let us do, in an error that is no mistake of anybody's; or "".

    Args:
        error: any.
    """
    if isinstance(error, MemoryError):
        return "out of memory"
    if not isinstance(error, OSError) or error.errno not in _DENIED:
        return ""
    if error.filename:
        return f"{error.filename}: {error.strerror}"
    return f"{error.strerror}"


class SftpJailError(Exception):
    """Something cannot be done; raised by a hook it vetoes the event.

    Args:
        message: what, where and why, in one sentence.
        fix: the command that fixes it, or "".
        choices: labels with commands, where a person must decide.
        advice: a sentence, where no command that is complete fixes it.
        why: why it matters, where the message does not say so.

    All are one line each, whatever a value in them is. A command with a character that a terminal
    does not show gives way to words: see `escapes.remedy`.

    Where an action of a plan failed, `action` is that one, and `owner` the account that it was for.
    """

    exit_code = 1
    severity = "broken"  # as of a `Problem`
    action: object = None
    owner = ""

    def __init__(
        self,
        message: str,
        fix: str = "",
        *,
        choices: Sequence[tuple[str, str]] = (),
        advice: str = "",
        why: str = "",
    ) -> None:
        super().__init__(one_line(message))
        self.message = message
        self.why = one_line(why)
        self.fix, self.choices, self.advice = remedy(fix, choices, advice)

    def saying(self, message: str) -> Self:
        """Return the same error in other words."""
        return type(self)(message, self.fix, choices=self.choices, advice=self.advice, why=self.why)

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """What, where and why."""
        return self._message

    @message.setter
    def message(self, text: str) -> None:
        self._message = one_line(text)


class LinkRefused(SftpJailError):
    """A path leads through a symbolic link that others than root made or can change.

    Nobody follows it. Or what was there is gone, where others than root can take it away.
    """


class Unsafe(SftpJailError):
    """Somebody else than root could lead root astray, or open a jail."""

    severity = "open"


class NotJailed(SftpJailError):
    """sshd lets a member in outside of its jail: another Match block wins, or none applies."""

    severity = "open"


class JailUnknown(SftpJailError):
    """Whether sshd jails a member cannot be found out, so that nobody may be let in for it."""


class UsageError(SftpJailError):
    """The command line or the configuration is wrong; nothing was looked at."""

    exit_code = 2


class Absent(SftpJailError):
    """What is to be taken away is not there, as when its name was mistyped; nothing was done."""


class ProblemsFound(SftpJailError):
    """Something is wrong that a person must look at first; userdel stops for it."""

    exit_code = 3


class RollbackIncomplete(SftpJailError):
    """A rollback could not put everything back; the message lists what is left."""

    exit_code = 4


def unreadable(what: str, error: OSError | UnicodeDecodeError) -> SftpJailError:
    """Return the error for what the caller has named and nobody can read.

    What the host does not let us read may be as it should be; all else is the caller's mistake.

    Args:
        what: that is to be read, with its path.
        error: why not.
    """
    message = f"cannot read {what}: {getattr(error, 'strerror', '') or error}"
    if denied(error):
        return SftpJailError(message)
    return UsageError(message)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean OTHER?" where one of the known words is much like WORD, or ""."""
    from difflib import get_close_matches  # late: only an error asks this

    meant = get_close_matches(word, list(known), 1, 0.7)
    if not meant:
        return ""
    return f"; did you mean {meant[0]}?"

"""Errors that reach a user: what, where and why in one sentence, and what is to be done about it.

An error is a `model.Problem` that ended a command: it has the same parts, in text and in JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from .escapes import one_line, remedy


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

    Nobody follows it.
    """


class Unsafe(SftpJailError):
    """Somebody else than root could lead root astray, or open a jail."""

    severity = "open"


class UsageError(SftpJailError):
    """The command line or the configuration is wrong; nothing was looked at."""

    exit_code = 2


class ProblemsFound(SftpJailError):
    """Something is wrong that a person must look at first; userdel stops for it."""

    exit_code = 3


class RollbackIncomplete(SftpJailError):
    """A rollback could not put everything back; the message lists what is left."""

    exit_code = 4

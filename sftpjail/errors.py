"""Errors that reach a user: one sentence of what, where and why, and the command that fixes it."""

from __future__ import annotations

from .escapes import NO_COMMAND, command, one_line


class SftpJailError(Exception):
    """Something cannot be done; raised by a hook it vetoes the event.

    Args:
        message: what, where and why, in one sentence.
        fix: the command that fixes it, or "".

    Both are one line each, whatever a value in them is: see `escapes`. A fix with a character that
    a terminal does not show gives way to words.

    Where an action of a plan failed, `action` is that one, and `owner` the account that it was for.
    """

    exit_code = 1
    severity = "broken"  # as of a `Problem`, where a check reports it
    action: object = None
    owner = ""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(one_line(message))
        self.message = message
        self.fix = fix

    @property
    def message(self) -> str:
        """What, where and why."""
        return self._message

    @message.setter
    def message(self, text: str) -> None:
        self._message = one_line(text)

    @property
    def fix(self) -> str:
        """The command that fixes it, or words, or ""."""
        return self._fix

    @fix.setter
    def fix(self, text: str) -> None:
        self._fix = command(text) if command(text) or not text else NO_COMMAND


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

"""Errors that reach a user: one sentence of what, where and why, and the command that mends it."""

from __future__ import annotations

from .escapes import NO_COMMAND, command, one_line


class SftpJailError(Exception):
    """Something cannot be done; raised by a hook it vetoes the event.

    Args:
        message: what, where and why, in one sentence.
        hint: the command that mends it, or "".

    Both are one line each, whatever a value in them is: see `escapes`. A hint with a character that
    a terminal does not show gives way to words.

    Where an action of a plan failed, `action` is that one, and `owner` the account that it was for.
    """

    exit_code = 1
    severity = "broken"  # as of a `Finding`, where a check reports it
    action: object = None
    owner = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(one_line(message))
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """What, where and why."""
        return self._message

    @message.setter
    def message(self, text: str) -> None:
        self._message = one_line(text)

    @property
    def hint(self) -> str:
        """The command that mends it, or words, or ""."""
        return self._hint

    @hint.setter
    def hint(self, text: str) -> None:
        self._hint = command(text) if command(text) or not text else NO_COMMAND


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


class FaultsFound(SftpJailError):
    """Something is wrong that a person must look at first; userdel stops for it."""

    exit_code = 3


class RollbackIncomplete(SftpJailError):
    """A rollback could not put everything back; the message lists what is left."""

    exit_code = 4

"""The errors that reach a user: one sentence of what, where and why, and the command that mends it."""

from __future__ import annotations


class SftpJailError(Exception):
    """Something cannot be done; raised by a hook it vetoes the event.

    Args:
        message: what, where and why, in one sentence.
        hint: the command that mends it, or "".

    Where an action of a plan failed, `action` is that one, and `owner` the account that it was for.
    """

    exit_code = 1
    action: object = None
    owner = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class LinkRefused(SftpJailError):
    """A path leads through a symbolic link that others than root made or can change; nobody follows it."""


class UsageError(SftpJailError):
    """The command line or the configuration is wrong; nothing was looked at."""

    exit_code = 2


class FaultsFound(SftpJailError):
    """Something is wrong that a person must look at first; userdel stops for it."""

    exit_code = 3


class RollbackIncomplete(SftpJailError):
    """A rollback could not put everything back; the message lists what is left."""

    exit_code = 4

"""What the log tells: sessions, and what was done in them."""

from __future__ import annotations

from typing import NamedTuple


class Session(NamedTuple):
    """A session that has ended, or was still open or lost at the end of the log.

    `how` is closed, open (its process still runs) or lost (sshd was killed, or the end was not
    logged). `verified`, here and below: the log daemon says that a process of the user wrote this.
    """

    at: int
    began: int
    user: str | None
    address: str | None
    pid: int
    opened: str | None
    closed: str | None
    how: str
    transfers: int
    read: int
    written: int
    verified: bool = False


class Transfer(NamedTuple):
    """A file that was closed.

    `up` says that it was opened for writing, which tells an empty upload apart.
    """

    at: int
    time: str
    user: str | None
    address: str | None
    pid: int
    path: str
    read: int
    written: int
    forced: bool
    up: bool
    verified: bool = False


class Operation(NamedTuple):
    """Anything else that a session asked for.

    `ambiguous`: two names that cannot be told apart stand in `path`.
    """

    at: int
    time: str
    user: str | None
    address: str | None
    pid: int
    operation: str
    path: str | None
    to: str | None = None
    failed: str | None = None
    ambiguous: bool = False
    verified: bool = False


class Unknown(NamedTuple):
    """What is not understood, and why.

    `at` is that of the line before, where it has no time of its own.
    """

    at: int
    time: str | None
    user: str | None
    line: str
    why: str
    verified: bool = False


Record = Session | Transfer | Operation | Unknown

"""What the log tells: sessions, and what was done in them."""

from __future__ import annotations

from typing import NamedTuple


class Session(NamedTuple):
    """A session that has ended, or was still open or lost at the end of the log.

    `how` is closed, open (its process still runs), lost (sshd was killed, or the end was not
    logged) or test (`sftpjail test`, of which nothing else is told); for `watch` also opened: it
    has just begun. `verified`, here and below:
    the log daemon says that a process of the user wrote this. The
    last four are of the login that opened it, as far as that is known.
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
    port: int | None = None
    method: str | None = None
    key: str | None = None
    key_name: str | None = None


class Transfer(NamedTuple):
    """A file that was closed.

    `up` says that it was opened for writing, which tells an empty upload apart. `failed` says why
    it is not whole: an error of the server's, or, as `forced`, that the session ended first. A
    client that gives up closes a file as if it were whole.
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
    failed: str | None = None


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


class Login(NamedTuple):
    """A login, or one that failed, and why: what sshd itself says.

    `pid` is that of root's part of sshd, `key` a fingerprint. `method` is publickey, password,
    certificate and so on, None where nothing was accepted.
    """

    at: int
    time: str
    user: str
    address: str | None
    port: int | None
    pid: int
    method: str | None
    key: str | None
    failed: str | None
    verified: bool = False


Record = Session | Transfer | Operation | Login | Unknown

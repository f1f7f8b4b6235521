"""The records of the log: sessions, and what was done in them."""

from __future__ import annotations

from typing import NamedTuple


class Session(NamedTuple):
    """A session that has ended, or was still open or lost at the end of the log.

    `how` is closed, open (its process still runs), lost (sshd was killed, or the end was not
    logged) or test (`sftpjail test`, which has no other records). For `watch`, it may also be
    opened: the session has just begun. `verified`, here and below: the log daemon vouches that a
    process of the user wrote this. The last four fields are of the login that opened the session,
    if it is known.
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

    `up` says that it was opened for writing, so that an empty upload is recognized. `failed` says
    why it is incomplete: an error of the server, or, with `forced`, that the session ended first. A
    client that gives up closes the file as if it were complete.
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

    `ambiguous`: `path` has two names, and it is unclear where the first one ends.
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
    """A line that is not understood, and why.

    `at` is the time of the line before if it has none.
    """

    at: int
    time: str | None
    user: str | None
    line: str
    why: str
    verified: bool = False


class Login(NamedTuple):
    """A login, or a failed one and why, as sshd itself logs it.

    `pid` is that of sshd's privileged process, `key` a fingerprint. `method` is publickey,
    password, certificate and so on, or None if nothing was accepted.
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

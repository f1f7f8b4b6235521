"""A small client of SFTP version 3 that can send any request.

See draft-ietf-secsh-filexfer-02, and PROTOCOL of OpenSSH.

sftp(1) and the libraries choose their requests themselves; a proof that each request of a deny
list is refused has to send that one request and no other, with arguments that harm nothing
where it is not refused.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Iterable

from ..model import REQUESTS, frozen

OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED = range(4)
OP_UNSUPPORTED = 8
_WORDS = ["ok", "end of file", "no such file", "permission denied", "failure", "bad message"]
_WORDS += ["no connection", "connection lost", "not supported"]
READ, WRITE, CREATE, EXCLUSIVE = 1, 2, 8, 32
_VERSION, _STATUS, _DATA, _EXTENDED = 2, 101, 103, 200
Value = str | bytes | int  # of a field; see model.REQUESTS
_LIMIT = 256 * 1024  # of one message: SFTP_MAX_MSG_LENGTH of sftp-common.h


class SftpError(Exception):
    """The server answered no, in `code` (SSH_FX_…), or answers no more, which is code -1."""

    def __init__(self, message: str, code: int = -1) -> None:
        super().__init__(message)
        self.code = code


@frozen
class Reply:
    """One answer: its type (SSH_FXP_…) and what follows the request's number."""

    kind: int
    body: bytes

    @property
    def code(self) -> int:
        """The status code; OK for an answer that carries what was asked for."""
        if self.kind == _STATUS:
            return int.from_bytes(self.body[:4], "big")
        return OK

    @property
    def words(self) -> str:
        """The status in words."""
        if self.code < len(_WORDS):
            return _WORDS[self.code]
        return f"status {self.code}"

    def string(self, at: int = 0) -> bytes:
        """Return the string that begins at that byte of the body."""
        length = int.from_bytes(self.body[at : at + 4], "big")
        return self.body[at + 4 : at + 4 + length]


def encode(number: int, name: str, values: Iterable[Value]) -> bytes:
    """Return a request as a whole packet.

    Args:
        number: its id, which the answer repeats.
        name: see model.REQUESTS.
        values: one for each field; none for attributes.
    """
    kind, fields, _ = REQUESTS[name]
    if isinstance(kind, str):
        body = struct.pack(">BI", _EXTENDED, number) + _string(kind.encode())
    else:
        body = struct.pack(">BI", kind, number)
    for letter, value in zip(fields, values, strict=False):
        if isinstance(value, int):
            body += struct.pack(">Q" if letter == "q" else ">I", value)
        else:
            body += _string(os.fsencode(value))
    if fields.endswith("a"):
        body += bytes(4)
    return _string(body)


def harmless(name: str, nowhere: str) -> tuple[Value, ...]:
    """Return values for a request that does nothing if it is not refused.

    Args:
        name: see model.REQUESTS.
        nowhere: a path in a directory that does not exist.
    """
    values: dict[str, Value] = {"s": nowhere, "h": b"none", "q": 0, "u": READ}
    return tuple(values.get(letter, b"") for letter in REQUESTS[name].fields if letter != "a")


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


class Sftp:
    """A session with an SFTP server.

    Args:
        channel: what the server reads from and writes to.
        timeout: seconds that it may take for an answer.
    """

    def __init__(self, channel: socket.socket, timeout: float) -> None:
        self.channel = channel
        self.timeout = timeout
        self._number = 0

    def begin(self, timeout: float) -> None:
        """Say hello, and hear the server's version.

        Args:
            timeout: seconds; the login may be still under way.

        Raises:
            SftpError: the server hung up, or is none of SFTP.
        """
        self._send(_string(bytes([1]) + struct.pack(">I", 3)))
        kind, _ = self._packet(timeout)
        if kind != _VERSION:
            raise SftpError(
                f"the server does not speak SFTP: it begins with a message of type {kind}"
            )

    def ask(self, name: str, *values: Value) -> Reply:
        """Send one request and return the answer, whatever it is; see `encode`.

        Raises:
            SftpError: there is no answer.
        """
        self._number += 1
        self._send(encode(self._number, name, values))
        kind, body = self._packet(self.timeout)
        if int.from_bytes(body[:4], "big") != self._number:
            raise SftpError(f"the server does not answer {name} but something else")
        return Reply(kind, body[4:])

    def must(self, name: str, *values: Value) -> Reply:
        """Send one request and return the answer.

        Raises:
            SftpError: it is no, or there is none.
        """
        reply = self.ask(name, *values)
        if reply.code != OK:
            raise SftpError(f"{name}: {reply.words}", reply.code)
        return reply

    def realpath(self, path: str) -> str:
        """Return a path as the server sees it. Raises SftpError."""
        return os.fsdecode(self.must("realpath", path).string(4))

    def write(self, path: str, content: bytes, keep_open: bool = False) -> None:
        """Make a file that is not there yet. Raises SftpError.

        Args:
            path: the file.
            content: less than 32 KiB.
            keep_open: do not send close.
        """
        handle = self.must("open", path, WRITE | CREATE | EXCLUSIVE).string()
        self.must("write", handle, 0, content)
        if not keep_open:
            self.must("close", handle)

    def read(self, path: str, keep_open: bool = False) -> bytes:
        """Return a file's content. Raises SftpError."""
        handle = self.must("open", path, READ).string()
        content = b""
        while len(content) < _LIMIT:
            reply = self.ask("read", handle, len(content), 32768)
            if reply.code == EOF:
                break
            if reply.kind != _DATA:
                raise SftpError(f"read: {reply.words}", reply.code)
            part = reply.string()
            if not part:  # or it would be asked for ever
                raise SftpError("read: the server sends no data and no end")
            content += part
        if not keep_open:
            self.must("close", handle)
        return content

    def _send(self, data: bytes) -> None:
        try:
            self.channel.settimeout(self.timeout)
            self.channel.sendall(data)
        except OSError as error:
            raise SftpError(f"the server hung up ({error.strerror or error})") from error

    def _packet(self, timeout: float) -> tuple[int, bytes]:
        deadline = time.monotonic() + timeout
        length = int.from_bytes(self._receive(4, deadline, timeout), "big")
        if not 1 <= length <= _LIMIT:
            raise SftpError("the server does not speak SFTP")
        data = self._receive(length, deadline, timeout)
        return data[0], data[1:]

    def _receive(self, length: int, deadline: float, timeout: float) -> bytes:
        data = b""
        while len(data) < length:
            if not select.select([self.channel], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise SftpError(f"no answer in {timeout:.0f} seconds")
            try:
                part = self.channel.recv(length - len(data))
            except OSError:
                part = b""
            if not part:
                raise SftpError("the server hung up")
            data += part
        return data

"""A client of SSH and SFTP that sends whatever it is given, and keeps every byte of the answers; runs in a machine.

paramiko carries the packets (RFC 4253) and authenticates. Channel requests (RFC 4254, section 5.4),
global requests (section 4) and SFTP packets (draft-ietf-secsh-filexfer-02) are made by hand, since
the stock clients only send sensible ones.
"""

from __future__ import annotations

import logging
import select
import socket
import struct
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of ciphers that nobody asked for
    import paramiko

LOGIN, ANSWER = 20.0, 4.0  # seconds
PACKET = 256 * 1024  # SFTP_MAX_MSG_LENGTH of sftp-common.h
STATUS, HANDLE, DATA, NAME, ATTRS, EXTENDED = 101, 102, 103, 104, 105, 200
OK, EOF = 0, 1
READ, WRITE, APPEND, CREATE, TRUNCATE, EXCLUSIVE = 1, 2, 4, 8, 16, 32
WORDS = {
    1: "end of file",
    2: "no such file",
    3: "permission denied",
    4: "failure",
    5: "bad message",
    8: "unsupported",
}
GLOBAL_REQUEST, CHANNEL_OPEN, CHANNEL_REQUEST = 80, 90, 98
SESSION = b"session"


class Gone(Exception):
    """The other side hung up, or does not answer."""


class Raw(bytes):
    """Bytes that go into a packet as they are; plain bytes go in as a string with its length."""


class Wide(int):
    """A number of 64 bits; others have 32."""


def pack(*fields: bytes | int | bool) -> bytes:
    """Return fields as SSH and SFTP have them."""
    data = b""
    for field in fields:
        if isinstance(field, Raw):
            data += field
        elif isinstance(field, bytes):
            data += struct.pack(">I", len(field)) + field
        elif isinstance(field, bool):
            data += bytes([field])
        else:
            data += struct.pack(">Q" if isinstance(field, Wide) else ">I", field)
    return data


# Attributes of SFTP version 3: flags, and the fields that they announce.
NO_ATTRS = Raw(pack(0))


def attrs(
    size: int | None = None,
    owner: tuple[int, int] | None = None,
    mode: int | None = None,
    times: tuple[int, int] | None = None,
) -> Raw:
    """Return attributes; None leaves one out."""
    flags, data = 0, b""
    if size is not None:
        flags, data = flags | 1, data + pack(Wide(size))
    if owner is not None:
        flags, data = flags | 2, data + pack(*owner)
    if mode is not None:
        flags, data = flags | 4, data + pack(mode)
    if times is not None:
        flags, data = flags | 8, data + pack(*times)
    return Raw(pack(flags) + data)


@dataclass(frozen=True)
class Reply:
    """An answer of the SFTP server: its type, and what follows the request's number."""

    kind: int
    body: bytes

    @property
    def code(self) -> int:
        return int.from_bytes(self.body[:4], "big") if self.kind == STATUS else OK

    @property
    def ok(self) -> bool:
        return self.code == OK

    @property
    def words(self) -> str:
        return "granted" if self.ok else WORDS.get(self.code, f"status {self.code}")

    def string(self, at: int = 0) -> bytes:
        length = int.from_bytes(self.body[at : at + 4], "big")
        return self.body[at + 4 : at + 4 + length]


class Link:
    """One SSH connection, logged in. `heard` has all that came in through it and was no part of the handshake."""

    def __init__(self, port: int, user: str, key: str, heard: bytearray) -> None:
        for name in ("paramiko", "paramiko.transport"):
            log = logging.getLogger(name)
            log.propagate, log.disabled = False, True
        self.heard = heard
        sock = socket.create_connection(("127.0.0.1", port), LOGIN)
        self.transport = paramiko.Transport(sock)
        self.transport._parse_debug = self._debug  # type: ignore[attr-defined,method-assign]
        try:
            self.transport.start_client(timeout=LOGIN)
            self.transport.auth_publickey(user, paramiko.Ed25519Key.from_private_key_file(key))
        except (paramiko.SSHException, EOFError, OSError) as error:
            self.transport.close()
            raise Gone(f"no login: {type(error).__name__} {error}") from error

    def _debug(self, message: Any) -> None:
        message.get_boolean()
        self.heard += message.get_binary()

    @property
    def alive(self) -> bool:
        return bool(self.transport.is_active())

    def close(self) -> None:
        self.transport.close()

    def send(self, data: bytes) -> None:
        """Send a whole SSH message, its type first."""
        self.transport._send_user_message(paramiko.Message(data))  # type: ignore[attr-defined]

    def globally(self, kind: bytes, *fields: bytes | int | bool, wants: bool = True) -> bool:
        """Make a global request; return whether it was granted."""
        self.transport.completion_event = event = threading.Event()  # type: ignore[attr-defined]
        self.transport.global_response = None  # type: ignore[attr-defined]
        self.send(bytes([GLOBAL_REQUEST]) + pack(kind, wants, *fields))
        if not wants:
            return False
        deadline = time.monotonic() + ANSWER
        while not event.wait(0.02):
            if not self.alive or time.monotonic() > deadline:
                raise Gone("no answer")
        answer = self.transport.global_response  # type: ignore[attr-defined]
        if answer is not None:
            self.heard += answer.asbytes()
        return answer is not None

    def open(self, kind: bytes, *fields: bytes | int | bool, raw: bool = False) -> Channel | int:
        """Open a channel; return it, or the reason why not (RFC 4254, section 5.1).

        Args:
            kind: its type.
            fields: what follows the window and packet sizes.
            raw: the sizes are among the fields.
        """
        send = self.transport._send_user_message  # type: ignore[attr-defined]

        def changed(message: Any) -> None:
            data = message.asbytes()
            if data[0] == CHANNEL_OPEN:
                data = (data[:-8] if raw else data) + pack(*fields)
            send(paramiko.Message(data))

        self.transport._send_user_message = changed  # type: ignore[attr-defined,method-assign]
        try:
            return Channel(self, self.transport.open_channel(kind, timeout=ANSWER))  # type: ignore[arg-type]
        except paramiko.ChannelException as error:
            self.heard += error.text.encode()
            return int(error.code)
        except (paramiko.SSHException, EOFError, OSError, KeyError) as error:
            # KeyError: paramiko does not survive a message of a type that it does not know.
            raise Gone(f"{type(error).__name__} {error}") from error
        finally:
            self.transport._send_user_message = send  # type: ignore[attr-defined,method-assign]

    def session(self) -> Channel:
        """Open a channel for a session; where there are too many, sshd may be about to end one."""
        deadline = time.monotonic() + 1
        while not isinstance(channel := self.open(SESSION), Channel):
            if time.monotonic() > deadline:
                raise Gone(f"no session: reason {channel}")
            time.sleep(0.02)
        return channel


class Channel:
    """One channel of a connection."""

    def __init__(self, link: Link, channel: paramiko.Channel) -> None:
        self.link, self.channel = link, channel

    def request(self, kind: bytes, *fields: bytes | int | bool, wants: bool = True) -> bool:
        """Make a request in this channel; return whether it was granted."""
        return self.request_to(self.channel.remote_chanid, kind, *fields, wants=wants)  # type: ignore[attr-defined]

    def request_to(
        self, number: int, kind: bytes, *fields: bytes | int | bool, wants: bool = True
    ) -> bool:
        """The same, in the name of the channel that the server knows by that number."""
        self.channel._event_pending()  # type: ignore[attr-defined]
        self.channel.event_ready = False
        self.link.send(bytes([CHANNEL_REQUEST]) + pack(number, kind, wants, *fields))
        if not wants:
            return False
        deadline = time.monotonic() + ANSWER
        while not self.channel.event.wait(0.02):
            if not self.link.alive or time.monotonic() > deadline:
                raise Gone("no answer")
        return bool(self.channel.event_ready)

    def said(self, given: bytes = b"", seconds: float = ANSWER, close: bool = True) -> bytes:
        """Send something, and return what is said until the other side has no more, or the time is over."""
        self.channel.set_combine_stderr(True)
        self.channel.settimeout(seconds)
        data, deadline = b"", time.monotonic() + seconds
        try:
            if given:
                self.channel.sendall(given)
            if close:
                self.channel.shutdown_write()
            while time.monotonic() < deadline and (part := self.channel.recv(65536)):
                data += part
        except (OSError, EOFError, TimeoutError):
            pass
        self.link.heard += data
        return data

    def close(self) -> None:
        self.channel.close()


class Sftp:
    """An SFTP session in a channel. Any packet can be sent; `ask` sends one and waits for its answer."""

    def __init__(self, channel: Channel, version: int | None = 3) -> None:
        """`version` None leaves the first packet to the caller."""
        self.channel = channel
        self.extensions: dict[bytes, bytes] = {}
        self._number = 0
        if version is not None:
            kind, body = self.exchange(pack(pack(Raw(b"\x01"), version)))
            if kind != 2:
                raise Gone(f"no SFTP but a packet of type {kind}")
            rest = Reply(kind, body[4:])
            at = 0
            while at < len(rest.body):
                name = rest.string(at)
                at += 4 + len(name)
                self.extensions[name] = rest.string(at)
                at += 4 + len(self.extensions[name])

    @classmethod
    def begin(cls, link: Link, version: int | None = 3) -> Sftp:
        """Open a session with the subsystem sftp."""
        channel = link.session()
        if not channel.request(b"subsystem", b"sftp"):
            raise Gone("no subsystem sftp")
        return cls(channel, version)

    @property
    def alive(self) -> bool:
        inner = self.channel.channel
        return self.channel.link.alive and not inner.closed and not inner.eof_received

    def send(self, data: bytes) -> None:
        try:
            self.channel.channel.settimeout(ANSWER)
            self.channel.channel.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from error

    def exchange(self, data: bytes, seconds: float = ANSWER) -> tuple[int, bytes]:
        """Send bytes as they are, and return the next packet's type and the rest of it."""
        self.send(data)
        return self.packet(seconds)

    def packet(self, seconds: float = ANSWER) -> tuple[int, bytes]:
        """Return the next packet's type and the rest of it."""
        deadline = time.monotonic() + seconds
        length = int.from_bytes(self._receive(4, deadline), "big")
        if not 1 <= length <= 2 * PACKET:
            raise Gone(f"a packet of {length} bytes")
        data = self._receive(length, deadline)
        self.channel.link.heard += data
        return data[0], data[1:]

    def ask(self, kind: int | bytes, *fields: bytes | int) -> Reply:
        """Send a request, by its type or its extended name, and return the answer."""
        self._number += 1
        head = Raw(bytes([EXTENDED if isinstance(kind, bytes) else kind]) + pack(self._number))
        name = (kind,) if isinstance(kind, bytes) else ()
        answer, body = self.exchange(pack(pack(head, *name, *fields)))
        return Reply(answer, body[4:])

    def close(self) -> None:
        self.channel.close()

    def _receive(self, length: int, deadline: float) -> bytes:
        data, channel = b"", self.channel.channel
        while len(data) < length:
            if not select.select([channel], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Gone("no answer")
            try:
                part = channel.recv(length - len(data))
            except OSError:
                part = b""
            if not part:
                raise Gone("the server hung up")
            data += part
        return data

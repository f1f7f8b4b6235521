"""An SSH login that asks sshd for what a jail refuses, each request by itself, and hears yes or no.

paramiko and not ssh(1), because the stock client cannot ask for a tunnel without making a device on
the host, keeps sshd's answer to environment and agent requests to itself, and opens ports of its
own for -L and -D. It is an optional dependency, imported late: only `sftpjail test` needs it.

sshd answers some requests with the same no whether they are forbidden or could not be
carried out; it tells which in a debug message to the client or on its standard error,
and `heard` has the former.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from ..errors import SftpJailError
from ..system.signals import STOP

PROHIBITED = 1  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED, RFC 4254, 5.1
_OPEN, _REQUEST = 90, 98  # SSH_MSG_CHANNEL_OPEN and SSH_MSG_CHANNEL_REQUEST


def library() -> Any:
    """Return the module paramiko.

    Raises:
        SftpJailError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of ciphers that nobody asked for
            return import_module("paramiko")
    except ImportError as error:
        raise SftpJailError(
            f"a test needs the SSH library paramiko, without which most doors go untried: {error}",
            "apt install python3-paramiko",
        ) from error


class DoorError(Exception):
    """sshd does not answer, or hung up."""


class Refused(DoorError):
    """sshd takes neither the key, nor any other."""


def key_from_file(path: str) -> Any:
    """Return the ed25519 key in a file."""
    return library().Ed25519Key.from_private_key_file(path)


def new_key(accepted: str) -> Any:
    """Return a key that is in memory alone.

    Args:
        accepted: PubkeyAcceptedAlgorithms, as sshd has it.

    Raises:
        SftpJailError: sshd would take none of a kind that we can make.
    """
    paramiko, algorithms = library(), accepted.split(",")
    if "ssh-ed25519" in algorithms:
        ed25519 = import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
        formats = import_module("cryptography.hazmat.primitives.serialization")
        text = ed25519.Ed25519PrivateKey.generate().private_bytes(
            formats.Encoding.PEM, formats.PrivateFormat.OpenSSH, formats.NoEncryption()
        )
        return paramiko.Ed25519Key.from_private_key(io.StringIO(text.decode("ascii")))
    if "ecdsa-sha2-nistp256" in algorithms:
        return paramiko.ECDSAKey.generate(bits=256)
    raise SftpJailError(f"sshd takes neither ed25519 keys nor those of nistp256, but {accepted}")


def _without_a_word(run: Callable[[], None]) -> None:
    """Run the library's thread.

    A signal that stops us may leave it a channel half made, over which it falls. Its callers learn
    of the end by the connection's, so that nothing is kept from them.
    """
    with contextlib.suppress(AttributeError):
        run()


class Doors:
    """A login. Every call takes a few seconds at most.

    Args:
        channel: an sshd's standard input and output.
        timeout: seconds for an answer.
    """

    def __init__(self, channel: socket.socket, timeout: float) -> None:
        self._library = library()
        log = logging.getLogger("paramiko")
        log.propagate, log.disabled = False, True
        logging.getLogger("paramiko.transport").disabled = True
        self.timeout = timeout
        self.heard: list[str] = []
        self._transport = self._library.Transport(channel)
        self._transport._parse_debug = self._hear
        self._transport.run = functools.partial(_without_a_word, self._transport.run)

    def _hear(self, message: Any) -> None:
        message.get_boolean()
        self.heard.append(message.get_text())

    def login(self, user: str, key: Any, timeout: float) -> None:
        """Authenticate.

        Args:
            user: the account.
            key: from `key_from_file` or `new_key`.
            timeout: seconds.

        Raises:
            Refused: sshd does not take the key.
            DoorError: there is no connection, or sshd says more is needed.
        """
        negotiated = threading.Event()
        with self._limited(timeout):
            with _signals_blocked():
                self._transport.start_client(negotiated)
            if not negotiated.wait(timeout) or not self._transport.is_active():
                raise self._transport.get_exception() or EOFError("sshd hung up")
            try:
                left = self._transport.auth_publickey(user, key)
            except self._library.AuthenticationException as error:
                raise Refused(f"sshd refuses the key: {error}") from error
            if left:
                raise Refused(f"sshd also wants {', '.join(left)}")

    def subsystem(self, name: str) -> Any:
        """Return a session's channel, on which a subsystem speaks.

        Raises:
            DoorError: sshd refuses it, or does not answer.
        """
        granted, channel = self._request("subsystem", name)
        if not granted:
            raise DoorError(f"sshd refuses the subsystem {name}")
        return channel

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    @property
    def banner(self) -> str:
        """What sshd or PAM had to tell before the login succeeded."""
        return (self._transport.get_banner() or b"").decode("utf-8", "replace")

    @contextlib.contextmanager
    def _limited(self, timeout: float) -> Iterator[None]:
        # Not every call of paramiko's has a time limit of its own;
        # all end when the connection does.
        timer = threading.Timer(timeout, self._transport.close)
        timer.daemon = True
        with _signals_blocked():
            timer.start()
        try:
            yield
        except (self._library.SSHException, EOFError, OSError) as error:
            raise DoorError(f"{type(error).__name__}: {error}") from error
        except RuntimeError as error:
            # A signal in the middle of threading's own code:
            # "release unlocked lock" is what comes of it.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise
        finally:
            timer.cancel()

    def _message(self, *fields: str | bytes | int | bool) -> Any:
        message = self._library.Message()
        for value in fields:
            if isinstance(value, bool):
                message.add_boolean(value)
            elif isinstance(value, int):
                message.add_int(value)
            else:
                message.add_string(value)
        return message

    def opens(self, kind: str, *fields: str | int) -> int:
        """Ask for a channel that is no session; return 0 where sshd opens it, or else its reason.

        One that is opened is then closed.

        Args:
            kind: as direct-tcpip.
            fields: what follows in SSH_MSG_CHANNEL_OPEN.

        Raises:
            DoorError: no answer.
        """
        transport, tail = self._transport, self._message(*fields).asbytes()
        send = transport._send_user_message

        def with_fields(message: Any) -> None:
            # paramiko knows the fields of few kinds, and adds none to others.
            data = message.asbytes()
            send(self._library.Message(data + tail) if data[0] == _OPEN else message)

        transport._send_user_message = with_fields
        try:
            with self._limited(self.timeout):
                # The name as bytes: paramiko would add fields of its own to those that it knows.
                transport.open_channel(kind.encode()).close()
        except DoorError as error:
            if isinstance(error.__cause__, self._library.ChannelException):
                return int(error.__cause__.code)
            raise
        finally:
            transport._send_user_message = send
        return 0

    def globally(self, kind: str, *fields: str | int) -> bool:
        """Make a global request, and return whether sshd granted it.

        Raises:
            DoorError: no answer.
        """
        with self._limited(self.timeout):
            granted = self._transport.global_request(kind, fields) is not None
        if not self._transport.is_active():
            raise DoorError("sshd hung up")
        return granted

    def requests(self, kind: str, *fields: str | int | bool) -> bool:
        """Make one request in a new session, and return whether sshd granted it.

        Raises:
            DoorError: no answer, or no session.
        """
        return self._request(kind, *fields)[0]

    def runs(self, kind: str, *fields: str, given: bytes = b"") -> bytes | None:
        """Start a program in a new session; return what it says within the time limit.

        Return None where sshd refuses it.

        Args:
            kind: exec, shell or subsystem.
            fields: the command, or the subsystem's name.
            given: its standard input.

        Raises:
            DoorError: no answer, or no session.
        """
        granted, channel = self._request(kind, *fields)
        if not granted:
            return None
        said = b""
        with self._limited(self.timeout + 1):
            channel.set_combine_stderr(True)
            channel.settimeout(self.timeout)
            with contextlib.suppress(OSError):
                # It may have ended already, and have said something before.
                channel.sendall(given)
                channel.shutdown_write()
            with contextlib.suppress(TimeoutError):
                while part := channel.recv(65536):
                    said += part
            channel.close()
        return said

    def _session(self) -> Any:
        """Open a session; where MaxSessions is 1, sshd may still be about to end the one before."""
        deadline = time.monotonic() + self.timeout / 2
        while True:
            try:
                return self._transport.open_session()
            except self._library.ChannelException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _request(self, kind: str, *fields: str | int | bool) -> tuple[bool, Any]:
        with self._limited(self.timeout):
            channel = self._session()
            message = self._message(channel.remote_chanid, kind, True, *fields)
            channel._event_pending()
            self._transport._send_user_message(
                self._library.Message(bytes([_REQUEST]) + message.asbytes())
            )
            answered = channel.event.wait(self.timeout)
        if not answered or not self._transport.is_active():
            raise DoorError(f"no answer to {kind}")
        return bool(channel.event_ready), channel


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Let the threads that start here hear no signal.

    So that the main thread can hold them all back.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

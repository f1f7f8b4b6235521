"""The small SFTP client: every request as sftp-server.c reads it, and answers that are late, odd or hostile."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpjail.model import REQUESTS
from sftpjail.selftest import sftp_client
from sftpjail.selftest.sftp_client import (
    OK,
    PERMISSION_DENIED,
    Sftp,
    SftpError,
    encode,
    harmless,
)

SERVER = Path("/usr/lib/openssh/sftp-server")


@contextmanager
def served(answer: Callable[[bytes], bytes]) -> Iterator[Sftp]:
    """A client whose server answers each packet by a function; b"" hangs up."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, suppress(ConnectionError):
            while packet := theirs.recv(1 << 20):
                reply = answer(packet)
                if not reply:
                    break
                theirs.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    with ours:
        yield Sftp(ours, 0.2)
    thread.join()


def packet(kind: int, number: int, body: bytes) -> bytes:
    data = bytes([kind]) + struct.pack(">I", number) + body
    return struct.pack(">I", len(data)) + data


@contextmanager
def real(directory: Path, *options: str) -> Iterator[Sftp]:
    """A client of the real sftp-server."""
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        subprocess.Popen([SERVER, *options], stdin=theirs, stdout=theirs, cwd=directory) as process,
    ):
        theirs.close()
        client = Sftp(ours, 5)
        try:
            client.begin(5)
            yield client
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            process.wait(5)


WRITES = {name for name, request in REQUESTS.items() if request.writes}


def test_the_requests_that_write() -> None:
    writing = "write setstat fsetstat remove mkdir rmdir rename symlink posix-rename hardlink fsync lsetstat copy-data"
    assert set(writing.split()) == WRITES


def test_a_request_on_the_wire() -> None:
    assert encode(7, "open", (b"/x", 1)) == bytes.fromhex(
        "00000013 03 00000007 00000002"
    ) + b"/x" + bytes([0, 0, 0, 1, 0, 0, 0, 0])
    name = b"posix-rename@openssh.com"
    assert (
        encode(1, "posix-rename", (b"a", b"b"))[9:] == b"\0\0\0\x18" + name + b"\0\0\0\1a\0\0\0\1b"
    )


@pytest.mark.real_program
@pytest.mark.skipif(not SERVER.exists(), reason="no sftp-server here")
def test_the_real_server_knows_every_request_and_none_does_harm(tmp_path: Path) -> None:
    """It neither hangs up nor says permission denied by itself, and with -P it does for exactly that one."""
    known = subprocess.run(
        [SERVER, "-Q", "requests"], capture_output=True, text=True, check=True
    ).stdout.split()
    with real(tmp_path) as client:
        answers = {
            name: client.ask(name, *harmless(name, "/nowhere-at-all/none")).code
            for name in REQUESTS
        }
    assert PERMISSION_DENIED not in answers.values()
    assert {
        name for name, code in answers.items() if code == sftp_client.OP_UNSUPPORTED
    } == REQUESTS.keys() - set(known)
    for denied in known:
        with real(tmp_path, "-P", denied) as client:
            answers = {
                name: client.ask(name, *harmless(name, "/nowhere-at-all/none")).code
                for name in REQUESTS
            }
        assert {name for name, code in answers.items() if code == PERMISSION_DENIED} == {denied}
    with real(tmp_path, "-R") as client:
        answers = {
            name: client.ask(name, *harmless(name, "/nowhere-at-all/none")).code
            for name in REQUESTS
        }
    assert {name for name, code in answers.items() if code == PERMISSION_DENIED} == WRITES & set(
        known
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real_program
@pytest.mark.skipif(not SERVER.exists(), reason="no sftp-server here")
def test_files_with_the_real_server(tmp_path: Path) -> None:
    with real(tmp_path) as client:
        client.write("one", b"content" * 1000)
        assert client.read("one") == b"content" * 1000
        assert client.realpath(".") == str(tmp_path)
        with pytest.raises(SftpError, match="open: failure"):
            client.write("one", b"again")
        with pytest.raises(SftpError, match="remove: no such file") as caught:
            client.must("remove", b"two")
        assert caught.value.code == sftp_client.NO_SUCH_FILE
    assert (tmp_path / "one").read_bytes() == b"content" * 1000


def test_a_server_that_is_silent_or_gone_or_none() -> None:
    with served(lambda _: b"") as client, pytest.raises(SftpError, match="hung up"):
        client.begin(1)
    with served(lambda _: b"\0") as client, pytest.raises(SftpError, match="no answer"):
        client.ask("stat", b"/")
    with (
        served(lambda _: b"This service allows sftp connections only.\n") as client,
        pytest.raises(SftpError, match="not speak SFTP"),
    ):
        client.begin(1)
    with (
        served(lambda _: packet(101, 9, bytes(4))) as client,
        pytest.raises(SftpError, match="something else"),
    ):
        client.ask("stat", b"/")
    with (
        served(lambda _: packet(3, 0, b"")) as client,
        pytest.raises(SftpError, match="begins with a message"),
    ):
        client.begin(1)


def test_a_server_that_never_ends_a_file() -> None:
    """Reading stops at a limit."""

    def answer(sent: bytes) -> bytes:
        number = int.from_bytes(sent[5:9], "big")
        body = b"\0\0\0\1h" if sent[4] == 3 else struct.pack(">I", 32768) + bytes(32768)
        return (
            packet(102 if sent[4] == 3 else 103, number, body)
            if sent[4] != 4
            else packet(101, number, bytes(4))
        )

    with served(answer) as client:
        assert len(client.read("/dev/zero")) == 256 * 1024


@given(st.binary(max_size=64))
def test_no_answer_makes_it_fall_over(answer: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        try:
            reply = Sftp(ours, 0.2).ask("realpath", b".")
        except SftpError as error:
            assert re.search("hung up|does not", str(error))
        else:
            assert (
                isinstance(reply.string(4), bytes)
                and isinstance(reply.words, str)
                and reply.code >= OK
            )


def test_a_server_that_sends_nothing_for_ever_is_given_up() -> None:
    def answer(request: bytes) -> bytes:
        number = int.from_bytes(request[5:9], "big")
        return packet(102 if request[4] == 3 else 103, number, bytes(4))

    with served(answer) as client, pytest.raises(SftpError, match="no data and no end"):
        client.read("/x")

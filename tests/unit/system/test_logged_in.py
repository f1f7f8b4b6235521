"""Which processes of sshd are sessions, and which is the other end of a connection."""

from __future__ import annotations

import sys

import pytest

from sftpjail.system.listeners import address_of
from sftpjail.system.logged_in import _of_connections


def test_each_channel_of_a_connection_is_a_session() -> None:
    # Monitor 10, the connection 11, and two of internal-sftp below it; 20 and 21 have none yet.
    parents = {11: 10, 12: 11, 13: 11, 21: 20}
    assert sorted(_of_connections(parents)) == [(12, 10), (13, 10), (21, 20)]


@pytest.mark.skipif(sys.byteorder != "little", reason="the kernel's words are in its byte order")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000000000000000000001000000", "::1"),
        ("0000000000000000FFFF00000100007F", "127.0.0.1"),
        ("000080FE000000000000000001000000", "fe80::1"),
    ],
)
def test_an_address_as_it_is_written(text: str, address: str) -> None:
    assert address_of(text) == address

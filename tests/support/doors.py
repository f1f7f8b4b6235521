"""Runs inside a machine: tries every way out of a jail that ssh(1) has, and prints those that are open.

usage: doors.py PORT KEY USER. An ordinary account has them all open, which proves the probes.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time

port, key, user = int(sys.argv[1]), sys.argv[2], sys.argv[3]
OPTIONS = [
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
]
OPTIONS += ["LogLevel=ERROR", "ExitOnForwardFailure=yes"]
SSH = [
    "ssh",
    "-F",
    "none",
    "-i",
    key,
    "-p",
    str(port),
    *(f"-o{option}" for option in OPTIONS),
    f"{user}@127.0.0.1",
]
BANNER = b"SSH-2.0"  # what sshd says to whoever reaches it


def says(*arguments: str) -> bytes:
    done = subprocess.run(
        [*SSH, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
    )
    return done.stdout


def reads(process: subprocess.Popen[bytes], local: int, *hello: bytes) -> bytes:
    """What comes from a port that ssh opens, or does not live to open."""
    while process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", local), 5) as connection:
                for words in hello:
                    connection.sendall(words)
                    connection.recv(10)
                return connection.recv(7)
        except ConnectionRefusedError:
            time.sleep(0.02)
        except OSError:
            break
    return b""


def forwards(local: int, *arguments: str, hello: tuple[bytes, ...] = ()) -> bool:
    process = subprocess.Popen(
        [*SSH, "-N", *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return reads(process, local, *hello) == BANNER
    finally:
        process.kill()
        process.wait()


socks = (b"\x05\x01\x00", b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big"))
there = f"127.0.0.1:{port}"
found = {
    "shell": b"uid=" in says("id"),
    "terminal": b"uid=" in says("-tt", "id"),
    "-W": BANNER in says("-W", there),
    "-L": forwards(9001, "-L", f"9001:{there}"),
    "-D": forwards(9002, "-D", "9002", hello=socks),
    "-R": forwards(9003, "-R", f"9003:{there}"),
}
print(*(name for name, is_open in found.items() if is_open))

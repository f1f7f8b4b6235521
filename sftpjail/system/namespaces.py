"""What runs in a mount namespace of its own: an sshd, and a command in a jail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from ..errors import SftpJailError


def attend(directory: str, step: Sequence[str], argv: Sequence[str]) -> int:
    """Run ARGV in DIRECTORY on our own terminal, in its own mount namespace; return its exit code.

    Args:
        directory: where it runs.
        step: the program that makes the mounts there and becomes the command, with its arguments.
        argv: the command; it is looked for in our own PATH.

    Raises:
        SftpJailError: unshare(1) cannot be run.
    """
    command = ["unshare", "--mount", "--propagation", "slave", *step, directory, *argv]
    try:
        return subprocess.run(
            command, check=False, env={**os.environ, "SFTPJAIL_JAIL": directory}
        ).returncode
    except OSError as error:
        raise SftpJailError(f"cannot run unshare: {error.strerror}") from error


# A copy of /run made of binds, since only a directory that is there can be mounted upon; with
# sshd's own directory beside. Everything else in /run stays to be seen: nslcd's socket, by which a
# member of a group is known as one.
WITH_SSHD = """
with_sshd() {
    mount -n -t tmpfs -o mode=755 sftpjail "$1" && mkdir -m 755 "$1/sshd" || return
    for path in /run/*; do
        name=$1/${path##*/}
        if [ -L "$path" ]; then cp -P "$path" "$name"; \
elif [ -d "$path" ]; then mkdir "$name"; else : >"$name"; fi
        [ -L "$path" ] || mount -n --rbind "$path" "$name"
    done
    mount -n --move "$1" /run
}
"""
_BESIDE = WITH_SSHD + 'with_sshd "$1" || exit 125; shift; exec "$@"'


_WITH = 'mount -n --bind "$1" "$2" && shift 2 && exec "$@"'


def with_file(argv: Sequence[str], own: str, path: str) -> list[str]:
    """Return how to run a program that sees another file in the place of one.

    Args:
        argv: the program and its arguments.
        own: what it sees.
        path: where.
    """
    space = ["unshare", "--mount", "--propagation", "private"]
    return [*space, "sh", "-c", _WITH, "sh", own, path, *argv]


def sshd_beside(argv: Sequence[str], directory: str) -> list[str]:
    """Return how to run an sshd where perhaps none runs, so that /run/sshd is missing.

    It gets one that only it sees.

    Args:
        argv: /usr/sbin/sshd and its arguments.
        directory: an empty directory for the mount.
    """
    if os.path.isdir("/run/sshd"):
        return list(argv)
    return [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        _BESIDE,
        "sh",
        directory,
        *argv,
    ]

"""Programs in their own mount namespace: an sshd, and a command in a jail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from ..errors import SftpJailError


def run_in_namespace(directory: str, step: Sequence[str], argv: Sequence[str]) -> int:
    """Run ARGV in DIRECTORY on our terminal, in its own mount namespace; return its exit code.

    Args:
        directory: the working directory.
        step: the program, with its arguments, that makes the mounts and then executes the command.
        argv: the command, which is searched in our PATH.

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


# Mount a copy of /run that is made of binds and also has a directory for sshd, because a mount
# needs an existing mount point. Everything else in /run must stay visible, such as nslcd's socket,
# through which the members of a group are known.
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
    """Return the command that runs a program with one file mounted over another.

    Args:
        argv: the program and its arguments.
        own: the file that it sees.
        path: the path at which it sees it.
    """
    space = ["unshare", "--mount", "--propagation", "private"]
    return [*space, "sh", "-c", _WITH, "sh", own, path, *argv]


def sshd_beside(argv: Sequence[str], directory: str) -> list[str]:
    """Return the command that runs sshd, with a private /run/sshd if the host has none.

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

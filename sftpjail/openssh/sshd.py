"""How sshd is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import SftpJailError
from ..formats.tagged_lines import small_keywords
from ..host import Host
from ..system.programs import Answer
from .match_blocks import DROPIN

# A local connection; see `spec`.
LOCAL = "host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22,rdomain=none"


def spec(user: str, connection: str = LOCAL) -> str:
    """Return the argument of `sshd -T -C`, with all fields.

    A Match line about a missing field is an error (servconf.c, match_test_missing_fatal).
    """
    return f"user={user},{connection}"


def ask_sshd(
    host: Host,
    *arguments: str,
    files: Mapping[str, bytes | None] | None = None,
    daemon: Sequence[str] = (),
    damaged: bool = False,
) -> Answer:
    """Return what sshd(8) says with these arguments, as if FILES already had the given content.

    Its settings (-T) come by keywords in small letters. A drop-in of ours that sshd refuses is
    taken for one that is missing, since `setup` writes it anew.

    Args:
        host: the facts.
        arguments: of sshd.
        files: path to content, None for a file that is not there.
        daemon: the program and the arguments of a certain sshd; see `daemons`.
        damaged: take our drop-in as it is.

    Raises:
        SftpJailError: there is no sshd, or no private mount namespace for the trial.
    """
    command = daemon or [host.which("sshd")]
    if not command[0]:
        raise SftpJailError("OpenSSH's server is not installed", "apt install openssh-server")
    answer = host.programs.preview([*command, *arguments], files)
    if answer.failed and not damaged and DROPIN in answer.err and DROPIN not in (files or {}):
        bare = {**(files or {}), DROPIN: None}
        without = host.programs.preview([*command, *arguments], bare)
        if without.code == 0:
            answer = without
    if "-T" in arguments:
        return answer._replace(out=small_keywords(answer.out))
    return answer

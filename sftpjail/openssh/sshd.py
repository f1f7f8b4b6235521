"""How sshd is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import SftpJailError
from ..formats.tagged_lines import small_keywords
from ..host import Host
from ..system.programs import Answer

# A local connection; see `spec`.
LOCAL = "host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22,rdomain=none"


def spec(user: str, connection: str = LOCAL) -> str:
    """Return the argument of `sshd -T -C`, with all fields.

    A Match line about a missing field is an error (servconf.c, match_test_missing_fatal).
    """
    return f"user={user},{connection}"


def ask_sshd(
    host: Host, *arguments: str, files: Mapping[str, bytes | None] | None = None
) -> Answer:
    """Return what sshd(8) says with these arguments, as if FILES already had the given content.

    Its settings (-T) come by keywords in small letters.

    Raises:
        SftpJailError: there is no sshd, or no private mount namespace for the trial.
    """
    sshd = host.which("sshd")
    if not sshd:
        raise SftpJailError("OpenSSH's server is not installed", "apt install openssh-server")
    answer = host.programs.preview([sshd, *arguments], files)
    return replace(answer, out=small_keywords(answer.out)) if "-T" in arguments else answer

"""The connection specification for `sshd -T -C`."""

from __future__ import annotations

# A local connection; see `spec`.
LOCAL = "host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22,rdomain=none"


def spec(user: str, connection: str = LOCAL) -> str:
    """Return the argument of `sshd -T -C`, with all fields.

    A Match line about a missing field is an error (servconf.c, match_test_missing_fatal).
    """
    return f"user={user},{connection}"

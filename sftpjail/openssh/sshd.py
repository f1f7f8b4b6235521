"""How sshd is asked about a connection."""

from __future__ import annotations

# A connection as `sshd -T -C` is asked about it; see `spec`.
LOCAL = "host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22,rdomain=none"


def spec(user: str, connection: str = LOCAL) -> str:
    """Return what `sshd -T -C` is asked about: all of its fields.

    A Match line on one that is missing is an error (servconf.c, match_test_missing_fatal).
    """
    return f"user={user},{connection}"

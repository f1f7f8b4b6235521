"""Who may come from which addresses: a line of access.conf(5) for each account."""

from __future__ import annotations

_EXCEPT = "ALL EXCEPT "


def access_line(name: str, addresses: tuple[str, ...]) -> str:
    """Return the line by which pam_access(8) refuses an account that comes from elsewhere.

    Args:
        name: the account.
        addresses: see `model.networks`; one at least.
    """
    return f"-:{name}:{_EXCEPT}{' '.join(addresses)}"


def addresses_of(line: str) -> tuple[str, ...]:
    """Return the addresses in such a line, as somebody may have edited it; none of any other."""
    origins = line.split(":", 2)[2:]
    if not origins or not origins[0].startswith(_EXCEPT):
        return ()
    return tuple(origins[0].removeprefix(_EXCEPT).split())

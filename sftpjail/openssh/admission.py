"""Whom sshd's lists let in: AllowUsers, DenyUsers, AllowGroups and DenyGroups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .match_blocks import ELSEWHERE
from .patterns import any_matches
from .settings import Settings


def way_in(found: Settings, *, key: bool, password: bool) -> bool:
    """Return whether sshd's methods let in an account with a key or a password, or with both.

    What PAM asks for in addition to a password is unknown.

    Args:
        found: what sshd says of the account.
        key: it has a key, a certificate or the like.
        password: it has a password.
    """
    by = {
        "publickey": key and found.get("pubkeyauthentication") != "no",
        "password": password and found.get("passwordauthentication") == "yes",
        "keyboard-interactive": password
        and found.get("kbdinteractiveauthentication") == "yes"
        and found.get("usepam") == "yes",
    }
    lists = [one.split(",") for one in found.words("authenticationmethods")]
    if lists in ([], [["any"]]):
        return any(by.values())
    return any(all(by.get(method.partition(":")[0], True) for method in one) for one in lists)


def admits(found: Settings, name: str, groups: Sequence[str]) -> bool:
    """Return whether sshd's lists let an account in from somewhere; see `denials`."""
    return next(denials(found, name, groups), None) is None


def denials(found: Settings, name: str, groups: Sequence[str]) -> Iterator[str]:
    """Yield the settings that keep an account out, with the pattern that denies (sshd_config(5)).

    The client's address is unknown, so that a pattern with @HOST counts if it allows, and not if it
    denies.

    Args:
        found: what sshd says of the account.
        name: the account.
        groups: the names of its groups.
    """
    for keyword, names in (("DenyUsers", (name,)), ("DenyGroups", groups)):
        for pattern in found.words(keyword.lower()):
            if pattern != ELSEWHERE and any_matches(names, [pattern]):
                yield f"{keyword} {pattern}"
    users = [word.partition("@")[0] for word in found.words("allowusers")]
    if users and not any_matches((name,), users):
        yield "AllowUsers without it"
    allowed = found.words("allowgroups")
    if allowed and not any_matches(groups, allowed):
        yield "AllowGroups without it"

"""The patterns of sshd: "*" and "?" stand for other characters, and nothing else does (PATTERNS).

The shell's brackets are ordinary characters to it (match.c, match_pattern).
"""

from __future__ import annotations

from collections.abc import Iterable


def matches(name: str, pattern: str) -> bool:
    """Return whether a pattern of ssh_config(5), PATTERNS, matches the whole of a name."""
    if "*" not in pattern and "?" not in pattern:
        return name == pattern
    at = here = 0
    star, after = -1, 0  # where the last "*" stands, and how far it reaches by now
    while at < len(name):
        if here < len(pattern) and pattern[here] == "*":
            star, after = here, at
            here += 1
        elif here < len(pattern) and pattern[here] in ("?", name[at]):
            at, here = at + 1, here + 1
        elif star >= 0:
            after += 1
            at, here = after, star + 1
        else:
            return False
    return not pattern[here:].strip("*")


def any_matches(names: Iterable[str], patterns: Iterable[str]) -> bool:
    """Return whether one of some patterns matches one of some names."""
    wanted = list(patterns)
    return any(matches(name, pattern) for name in names for pattern in wanted)


def listed(names: Iterable[str], patterns: str) -> bool:
    """Return whether a pattern list has one of some names; a negated match says no."""
    words, known = patterns.split(","), list(names)
    if any_matches(known, [word[1:] for word in words if word.startswith("!")]):
        return False
    return any_matches(known, [word for word in words if not word.startswith("!")])

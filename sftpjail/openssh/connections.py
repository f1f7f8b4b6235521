"""The kinds of connections that the Match lines of sshd's configuration tell apart."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from itertools import chain

from ..host import Host
from .settings import PROBE, effective
from .sshd import LOCAL

# What a Match line may ask of a connection (sshd_config(5)), and the field of -C that answers it.
_FIELDS = {
    "host": "host",
    "address": "addr",
    "localaddress": "laddr",
    "localport": "lport",
    "rdomain": "rdomain",
}

# A connection that no line means, but by accident.
_STRANGER = {"host": "stranger.invalid", "addr": "192.0.2.77", "laddr": "192.0.2.78"}
_STRANGER |= {"lport": "47022"}

# These stand in a Match line without a value.
_BARE = ("all", "canonical", "final", "invalid-user")


def conditions(criteria: str) -> Iterator[tuple[str, str]]:
    """Yield what a Match line asks: a kind, as "user" or "address", and a list of patterns."""
    words = iter(re.split(r"[\s=]+", criteria.replace('"', "").strip()))
    for kind in words:
        if kind.lower() not in _BARE:
            yield kind.lower(), next(words, "")


def connections(host: Host, user: str = PROBE) -> list[str]:
    """Return the kinds of connections that the present Match lines tell apart.

    A local one, one that none of them means, and one for each line on addresses, hosts or
    ports. Where there is no such line, all are alike. The lines are the same whichever
    user sshd is asked about.
    """
    found = [LOCAL]
    for criteria in effective(host, user).criteria:
        fields = {}
        for kind, patterns in conditions(criteria):
            example = _example(patterns) if kind in _FIELDS else ""
            if example:
                fields[_FIELDS[kind]] = example
        if fields:
            found.append(_but(fields))
    return [*found, _but(_STRANGER)] if len(found) > 1 else found


def _but(fields: Mapping[str, str]) -> str:
    pairs = (pair.split("=") for pair in LOCAL.split(","))
    return ",".join(f"{name}={fields.get(name, value)}" for name, value in pairs)


def peculiar(connection: str) -> str:
    """Return in words what is not as in a local connection, "" for that."""
    return ", ".join(
        pair.replace("=", " ") for pair in connection.split(",") if pair not in LOCAL.split(",")
    )


def _example(patterns: str) -> str:
    """Return something that a list of patterns matches, "" where none is found.

    The patterns are those of ssh_config(5), PATTERNS. Of 10.0.0.0/8 it is the first address or the
    last, whichever no pattern with a ! takes out again.
    """
    words = patterns.split(",")
    without = [word[1:] for word in words if word.startswith("!")]
    wanted = [word for word in words if not word.startswith("!")]
    for example in chain.from_iterable(map(_examples, wanted)):
        if not any(_matches(pattern, example) for pattern in without):
            return example
    return ""


def _examples(pattern: str) -> list[str]:
    """Return some of what a pattern matches.

    Of 192.168.* addresses, since sshd takes only a whole one for one.
    """
    with contextlib.suppress(ValueError):
        network = ip_network(pattern, strict=False)
        return [str(network[0]), str(network[-1])]
    if not re.fullmatch(r"[0-9.*?]*\.[0-9.*?]*", pattern):
        return [re.sub(r"[*?]", digit, pattern.replace(":*", f"::{digit}")) for digit in "17"]
    return [
        ".".join([*re.sub(r"[*?]", digit, pattern).split("."), *[digit] * 3][:4]) for digit in "17"
    ]


def _matches(pattern: str, example: str) -> bool:
    try:
        return ip_address(example) in ip_network(pattern, strict=False)
    except ValueError:
        return fnmatchcase(example, pattern)

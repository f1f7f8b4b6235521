"""The kinds of connections that the Match lines in sshd's configuration distinguish."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import chain

from ..host import Host
from .daemons import Daemon, primary
from .settings import PROBE, effective, reached
from .sshd import LOCAL

# Match criteria about connections (sshd_config(5)), and the corresponding fields of -C.
_FIELDS = {
    "host": "host",
    "address": "addr",
    "localaddress": "laddr",
    "localport": "lport",
    "rdomain": "rdomain",
}

# A connection that matches none of the lines, except by accident.
_STRANGER = {"host": "stranger.invalid", "addr": "192.0.2.77", "laddr": "192.0.2.78"}
_STRANGER |= {"lport": "47022"}

# Criteria that take no value.
_BARE = ("all", "canonical", "final", "invalid-user")


def conditions(criteria: str) -> Iterator[tuple[str, str]]:
    """Yield the criteria of a Match line: the kind, such as "user", and the pattern list."""
    words = iter(re.split(r"[\s=]+", criteria.replace('"', "").strip()))
    for kind in words:
        if kind.lower() not in _BARE:
            yield kind.lower(), next(words, "")


def connections(host: Host, user: str = PROBE, daemon: Daemon | None = None) -> list[str]:
    """Return the kinds of connections that the current Match lines distinguish.

    These are a local connection, one that matches no line, and one for each line about addresses,
    hosts or ports. Without such lines, all connections are alike. Where lines are about ports or
    addresses of this host, there is each of them for each place where the daemon is reached, and
    none for a port where nobody listens. USER makes no difference to the lines. Without DAEMON it
    is the primary one.
    """
    daemon = daemon or primary(host)
    told = effective(host, user, daemon=daemon)
    places: tuple[str, ...] = (daemon.local,)
    if told.tells_places_apart:
        places = reached(daemon, told)
    known = set()  # what the places say already
    if daemon.places:
        known.add("lport")
    if not daemon.listens_everywhere:
        known.add("laddr")
    found = list(places)
    for criteria in told.criteria:
        fields = {}
        for kind, patterns in conditions(criteria):
            example = ""
            if kind in _FIELDS:
                example = _example(patterns, kind)
            if example:
                fields[_FIELDS[kind]] = example
        found += _at(places, fields, known)
    if len(found) > 1:
        return list(dict.fromkeys([*found, *_at(places, _STRANGER, known)]))
    return found


def _at(places: Iterable[str], fields: Mapping[str, str], known: Container[str]) -> list[str]:
    """Return connections with some fields to places, but for the fields that are known of these."""
    others = {name: value for name, value in fields.items() if name not in known}
    if not others:
        return []
    return [_but(others, place) for place in places]


def from_address(address: str, there: str = LOCAL) -> str:
    """Return the connection of a client with an address.

    Args:
        address: of the client.
        there: a connection to the same place; see `usual_connection`.
    """
    return _but({"host": address, "addr": address}, there)


def _but(fields: Mapping[str, str], local: str) -> str:
    pairs = (pair.split("=") for pair in local.split(","))
    return ",".join(f"{name}={fields.get(name, value)}" for name, value in pairs)


def peculiar(connection: str) -> str:
    """Describe how a connection differs from a local one; "" if it does not."""
    return ", ".join(
        pair.replace("=", " ") for pair in connection.split(",") if pair not in LOCAL.split(",")
    )


# Of networks that nobody has (RFC 5737, RFC 3849).
_STRANGE = ("192.0.2.77", "198.51.100.77", "203.0.113.77", "2001:db8::77")


def _example(patterns: str, kind: str) -> str:
    """Return a string that matches a pattern list (ssh_config(5), PATTERNS), or "".

    For 10.0.0.0/8 it is the first or the last address, whichever is not negated. Where "*" stands
    among addresses, it is one that matches no other pattern.
    """
    words = patterns.split(",")
    without = [word[1:] for word in words if word.startswith("!")]
    wanted = [word for word in words if not word.startswith("!")]
    found = chain.from_iterable(map(_examples, wanted))
    if kind in ("address", "localaddress") and "*" in wanted:
        found = chain(_STRANGE)
    for example in found:
        if not any(_matches(pattern, example) for pattern in without):
            return example
    return ""


def _examples(pattern: str) -> list[str]:
    """Return some strings that match a pattern.

    For 192.168.* they are complete addresses, since sshd accepts no others.
    """
    from ipaddress import ip_network  # late: few hosts have such patterns

    with contextlib.suppress(ValueError):
        network = ip_network(pattern, strict=False)
        return [str(network[0]), str(network[-1])]
    if not re.fullmatch(r"[0-9.*?]*\.[0-9.*?]*", pattern):
        return [re.sub(r"[*?]", digit, pattern.replace(":*", f"::{digit}")) for digit in "17"]
    return [
        ".".join([*re.sub(r"[*?]", digit, pattern).split("."), *[digit] * 3][:4]) for digit in "17"
    ]


def _matches(pattern: str, example: str) -> bool:
    from ipaddress import ip_address, ip_network  # late, as in `_examples`

    from .patterns import matches  # late: only `setup` and `check` come here

    try:
        return ip_address(example) in ip_network(pattern, strict=False)
    except ValueError:
        return matches(example, pattern)

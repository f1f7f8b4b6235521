"""The PAM stack of a service (pam.conf(5)), as far as diagnosis needs it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..host import Host


@dataclass(frozen=True)
class Rule:
    """One module in a stack: its type, name, arguments, and FILE:LINE.

    The type is auth, account, password or session.
    """

    kind: str
    module: str
    arguments: tuple[str, ...]
    where: str


@lru_cache(maxsize=16)
def stack(host: Host, service: str) -> tuple[Rule, ...]:
    """Return the rules of a service in order.

    It follows `include`, `substack` and Debian's `@include`.

    Args:
        host: the facts.
        service: its name, such as sshd.
    """
    return tuple(_rules(host, service, 0))


def _rules(host: Host, service: str, depth: int) -> Iterator[Rule]:
    path = next(
        (p for p in (f"/etc/pam.d/{service}", f"/usr/lib/pam.d/{service}") if host.lstat(p)), ""
    )
    if not path or depth > 9 or "/" in service:
        return
    text = host.text(path).replace("\\\n", " ")
    for number, line in enumerate(text.split("\n"), 1):
        found = re.match(r"\s*(?:@include\s+(\S+)|-?(\w+)\s+(\[.*?\]|\S+)\s+(\S+)\s*(.*))", line)
        if not found or line.lstrip().startswith("#"):
            continue
        included, kind, control, module, rest = found.groups()
        if included:
            yield from _rules(host, included, depth + 1)
        elif control in ("include", "substack"):
            yield from (rule for rule in _rules(host, module, depth + 1) if rule.kind == kind)
        else:
            yield Rule(
                kind,
                module.rpartition("/")[2],
                tuple(rest.split("#")[0].split()),
                f"{path}:{number}",
            )

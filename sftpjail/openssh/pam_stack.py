"""The PAM stack of a service (pam.conf(5)), as far as diagnosis needs it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ..host import Host
from .settings import effective

SSHD = "/etc/pam.d/sshd"


class Rule(NamedTuple):
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
    return tuple(_rules(host, service, ()))


def _rules(host: Host, service: str, above: tuple[str, ...]) -> Iterator[Rule]:
    path = next(
        (p for p in (f"/etc/pam.d/{service}", f"/usr/lib/pam.d/{service}") if host.lstat(p)), ""
    )
    # PAM refuses a file that includes itself: there is no end to it.
    if not path or service in above or len(above) > 9 or "/" in service:
        return
    above += (service,)
    text = host.text(path).replace("\\\n", " ")
    for number, line in enumerate(text.split("\n"), 1):
        found = re.match(r"\s*(?:@include\s+(\S+)|-?(\w+)\s+(\[.*?\]|\S+)\s+(\S+)\s*(.*))", line)
        if not found or line.lstrip().startswith("#"):
            continue
        included, kind, control, module, rest = found.groups()
        if included:
            yield from _rules(host, included, above)
        elif control in ("include", "substack"):
            yield from (rule for rule in _rules(host, module, above) if rule.kind == kind)
        else:
            yield Rule(
                kind,
                module.rpartition("/")[2],
                tuple(rest.split("#")[0].split()),
                f"{path}:{number}",
            )


def is_asked(host: Host) -> bool:
    """Return whether sshd asks PAM's service sshd about an account of which nobody says otherwise.

    PAMServiceName in sshd_config(5) names another one, since OpenSSH 9.8.

    Raises:
        SftpJailError: sshd refuses its configuration.
    """
    found = effective(host, "root")
    return found.get("usepam") == "yes" and found.get("pamservicename") in ("", "sshd")


def user_environment(host: Host) -> str:
    """Return where sshd's stack lets users set the environment of what comes after it, or "".

    pam_exec(8) hands that on to programs that it runs as root. Only the rules that come before a
    session's are meant, and the first line of the file, which comes before ours there.
    """
    for rule in stack(host, "sshd"):
        by_users = rule.module == "pam_env.so" and "user_readenv=1" in rule.arguments
        if by_users and rule.kind in ("auth", "account"):
            return rule.where
    first = host.text(SSHD).partition("\n")[0]
    if "user_readenv" in first and not first.startswith("#"):
        return f"{SSHD}:1"
    return ""

"""What sshd makes of one account, in its own words.

`sshd -T`, and with -ddd the file and line of each setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from ..errors import SftpJailError
from ..host import Host
from .repair import broken_line
from .sshd import LOCAL, spec

PROBE = "sftpjail-probe"  # as no account is called

_SETTING = re.compile(r"debug3: (/.*):(\d+) setting (\S+)")
_MATCH = re.compile(r"debug3: checking match for '(.*)' user ")
# servconf.c, keywords[]: debug lines name a keyword as it was written,
# sshd -T as it is called today.
_ALIASES = {
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
}


@dataclass(frozen=True)
class Settings:
    """What sshd would do with one account.

    Args:
        values: what `sshd -T` prints, by keyword in small letters;
            some keywords have several lines.
        places: keyword to the (file, line) of each line that counts, the one that won first;
            none for a default.
        criteria: what stands behind every Match that sshd has looked at, as "User bob".
    """

    values: Mapping[str, tuple[str, ...]]
    places: Mapping[str, tuple[tuple[str, int], ...]]
    criteria: tuple[str, ...]

    def get(self, keyword: str) -> str:
        """Return the first value of a keyword, or ""."""
        return self.values.get(keyword, ("",))[0]

    def words(self, keyword: str) -> list[str]:
        """Return the words of all values of a keyword.

        sshd -T prints some lists on one line, some on several.
        """
        return [word for value in self.values.get(keyword, ()) for word in value.split()]

    @property
    def origins(self) -> Mapping[str, tuple[str, int]]:
        """Return keyword to (file, line) of the value that won; none where it is sshd's default."""
        return {keyword: places[0] for keyword, places in self.places.items()}

    def where(self, keyword: str) -> str:
        """Return FILE:LINE of the value in force, or "default"."""
        return "{}:{}".format(*self.origins[keyword]) if keyword in self.origins else "default"


@lru_cache(maxsize=256)
def effective(host: Host, user: str, connection: str = LOCAL) -> Settings:
    """Ask sshd about one account, and a connection of its own as `spec` wants it.

    The origin is what `-ddd` says: a line `FILE:LINE setting KEYWORD` for each line that counts,
    first of the global part, then, after "config reprocess", of the Match blocks that match. There
    the first value wins, and any of them beats a global one (servconf.c,
    parse_server_match_config).

    Raises:
        SftpJailError: sshd refuses its configuration, in its own words.
    """
    answer = host.ask_sshd("-T", "-ddd", "-C", spec(user, connection))
    if answer.code != 0:
        words = " / ".join(line for line in answer.err.splitlines() if not line.startswith("debug"))
        raise SftpJailError(
            f"sshd refuses its present configuration: {words}", broken_line(words, host)
        )
    values: dict[str, tuple[str, ...]] = {}
    for line in answer.out.splitlines():
        keyword, _, value = line.partition(" ")
        values[keyword] = (*values.get(keyword, ()), value)
    passes: list[dict[str, tuple[tuple[str, int], ...]]] = [{}, {}]
    criteria = []
    matching = 0
    for line in answer.err.splitlines():
        if "config reprocess" in line:
            matching = 1
        elif found := _SETTING.match(line):
            keyword = _ALIASES.get(found[3].lower(), found[3].lower())
            passes[matching][keyword] = (
                *passes[matching].get(keyword, ()),
                (found[1], int(found[2])),
            )
        elif found := _MATCH.match(line):
            criteria.append(found[1])
    return Settings(values, passes[0] | passes[1], tuple(criteria))

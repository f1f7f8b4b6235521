"""The settings that sshd applies to an account, and the file and line of each.

The settings come from `sshd -T`, the lines from its debug output (-ddd).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from ..errors import SftpJailError
from ..host import Host
from ..system.programs import Answer
from .daemons import Daemon, primary
from .repair import broken_line
from .sshd import LOCAL, ask_sshd, spec

PROBE = "sftpjail-probe"  # not the name of any account

# In the second pass sshd has no name for the file that it was started with.
_AGAIN = "reprocess config"
_SETTING = re.compile(rf"debug3: (/.*|{_AGAIN}):(\d+) setting (\S+)")
_READ = re.compile(r"debug2: (?:load_server_config: filename (/.*)|.* new include (/.*))")
_MATCH = re.compile(r"debug3: checking match for '(.*)' user ")
# Aliases in servconf.c, keywords[]: debug lines name a keyword as written, sshd -T by its
# current name.
_ALIASES = {
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
}


Staged = tuple[tuple[str, bytes | None], ...]


class Settings(NamedTuple):
    """The settings that sshd applies to an account.

    Args:
        values: the output of `sshd -T`, by lower-case keyword; some have several lines.
        places: the (file, line) of each applicable line, by keyword, the one in force first;
            none for a default.
        criteria: the arguments of each Match that sshd evaluated, such as "User bob".
        files: what sshd has read, and the directories of what Include lines name.
        given: the keywords that are set on sshd's command line, of which there is no place.
    """

    values: Mapping[str, tuple[str, ...]]
    places: Mapping[str, tuple[tuple[str, int], ...]]
    criteria: tuple[str, ...]
    files: tuple[str, ...] = ()
    given: tuple[str, ...] = ()

    def get(self, keyword: str) -> str:
        """Return the first value of a keyword, or ""."""
        return self.values.get(keyword, ("",))[0]

    def words(self, keyword: str) -> list[str]:
        """Return the words in all values of a keyword; sshd -T splits some lists over lines."""
        return [word for value in self.values.get(keyword, ()) for word in value.split()]

    @property
    def origins(self) -> Mapping[str, tuple[str, int]]:
        """Return the (file, line) of the value in force, by keyword; defaults are left out."""
        return {keyword: places[0] for keyword, places in self.places.items()}

    @property
    def tells_places_apart(self) -> bool:
        """Whether Match lines are about the ports or the addresses of this host."""
        return any(re.search(r"(?i)\blocal(port|address)\b", line) for line in self.criteria)

    def where(self, keyword: str) -> str:
        """Return FILE:LINE of the value in force, "command line", or "default"."""
        if keyword in self.origins:
            return "{}:{}".format(*self.origins[keyword])
        if keyword in self.given:
            return "command line"
        return "default"

    def is_set(self, keyword: str) -> bool:
        """Return whether somebody has set a keyword, in a file or on the command line."""
        return keyword in self.origins or keyword in self.given


def logging(
    host: Host, user: str, connection: str = LOCAL, daemon: Daemon | None = None
) -> tuple[str, str]:
    """Ask sshd for LogLevel and SyslogFacility of an account; "" where it does not say one.

    The arguments and errors are those of `effective`, which cannot tell: -ddd sets LogLevel.
    """
    asked = (daemon or primary(host)).command
    answer = ask_sshd(host, "-T", "-C", spec(user, connection), daemon=asked)
    if answer.failed:
        words = " / ".join(answer.err.splitlines())
        raise SftpJailError(f"sshd refuses its present configuration: {words}")
    values = dict(line.partition(" ")[::2] for line in answer.out.splitlines())
    return values.get("loglevel", ""), values.get("syslogfacility", "")


@lru_cache(maxsize=256)
def effective(
    host: Host,
    user: str,
    connection: str = LOCAL,
    daemon: Daemon | None = None,
    staged: Staged = (),
) -> Settings:
    """Ask sshd for the settings of an account in a kind of connection; see `spec`.

    Without DAEMON it is the primary one; see `daemons.primary`. STAGED are files
    and their content as they are to be, None for one that is not there. Where Match lines are about
    ports or addresses of this host, a connection to port 22 stands for one to a place where the
    daemon is reached.

    With -ddd, sshd logs "FILE:LINE setting KEYWORD" for each applicable line: first for the global
    part, then, after "config reprocess", for the Match blocks that apply. Among these the first
    value wins, and overrides a global one (servconf.c, parse_server_match_config).

    Raises:
        SftpJailError: sshd refuses its configuration, in its own words.
    """
    daemon = daemon or primary(host)
    question = ("-T", "-ddd", "-C", spec(user, connection))
    answer = ask_sshd(host, *question, files=dict(staged), daemon=daemon.command)
    if answer.failed:
        raise _refused(answer.err, host)
    told = _understood(answer, daemon)
    if connection == LOCAL and told.tells_places_apart:
        usual = _usual(daemon, told)
        if usual != LOCAL:
            return effective(host, user, usual, daemon, staged)
    return told


def _understood(answer: Answer, daemon: Daemon) -> Settings:
    """Return what `sshd -T -ddd` prints, and what it logs."""
    values: dict[str, list[str]] = {}
    for line in answer.out.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword, []).append(value)
    passes: list[dict[str, list[tuple[str, int]]]] = [{}, {}]
    criteria = []
    files = dict[str, None]()
    matching = 0
    for line in answer.err.splitlines():
        if "config reprocess" in line:
            matching = 1
        elif found := _SETTING.match(line):
            keyword = _ALIASES.get(found[3].lower(), found[3].lower())
            path = daemon.config if found[1] == _AGAIN else found[1]
            passes[matching].setdefault(keyword, []).append((path, int(found[2])))
        elif found := _MATCH.match(line):
            criteria.append(found[1])
        elif found := _READ.match(line):
            files[found[1] or posixpath.dirname(found[2])] = None
    places = {keyword: tuple(found) for keyword, found in (passes[0] | passes[1]).items()}
    told = {keyword: tuple(found) for keyword, found in values.items()}
    return Settings(told, places, tuple(criteria), tuple(files), _given(daemon.command))


def reached(daemon: Daemon, told: Settings) -> tuple[str, ...]:
    """Return a connection from this host to each place where a daemon can be reached.

    This is where it listens, or, while nobody does, each port of its configuration. Only Match
    lines about ports and addresses of this host tell them apart.

    Args:
        daemon: which sshd.
        told: what it says about anybody; see `effective`.
    """
    if daemon.places:
        return daemon.connections_to
    ports = told.values.get("port", ("22",))
    return tuple(LOCAL.replace("lport=22", f"lport={port}") for port in ports)


def usual_connection(host: Host) -> str:
    """Return the connection from this host by which accounts are compared: see `effective`.

    Raises:
        SftpJailError: sshd refuses its configuration.
    """
    told = effective(host, PROBE)
    if not told.tells_places_apart:
        return LOCAL
    return _usual(primary(host), told)


def _usual(daemon: Daemon, told: Settings) -> str:
    """Return the connection to port 22 if a daemon is reached there, else to its first place."""
    places = reached(daemon, told)
    if LOCAL in places:
        return LOCAL
    return places[0]


def _refused(said: str, host: Host) -> SftpJailError:
    """Return the error of an sshd that does not take its configuration, by what it has said."""
    words = " / ".join(line for line in said.splitlines() if not line.startswith("debug"))
    return SftpJailError(
        f"sshd refuses its present configuration: {words}", broken_line(words, host)
    )


def _given(command: Sequence[str]) -> tuple[str, ...]:
    """Return the keywords that are set on the command line of an sshd."""
    return tuple(
        re.split(r"[\s=]", value.strip())[0].lower()
        for option, value in zip(command[1::2], command[2::2], strict=True)
        if option == "-o"
    )

"""What sshd makes of one account, in its own words: `sshd -T`, and with -ddd the file and line of each setting."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address, ip_network
from shlex import quote

from .. import fixes
from ..errors import SftpJailError
from ..host import Host
from .match_blocks import LOCAL, spec

PROBE = "sftpjail-probe"  # as no account is called

_SETTING = re.compile(r"debug3: (/.*):(\d+) setting (\S+)")
_MATCH = re.compile(r"debug3: checking match for '(.*)' user ")
_ALIASES = {  # servconf.c, keywords[]: debug lines name a keyword as it was written, sshd -T as it is called today
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
}
_IS_MATCH = re.compile(r"(?i)\s*match\b")
_TOO_OPEN = re.compile(r"Permissions \d+ for '(/[^']+)' are too open")
_BROKEN = re.compile(r"(/[^\s:]+)(?:: | )line (\d+)\b")


@dataclass(frozen=True)
class Settings:
    """What sshd would do with one account.

    Args:
        values: what `sshd -T` prints, by keyword in small letters; some keywords have several lines.
        places: keyword to the (file, line) of each line that counts, the one that won first; none for a default.
        criteria: what stands behind every Match that sshd has looked at, as "User bob".
    """

    values: Mapping[str, tuple[str, ...]]
    places: Mapping[str, tuple[tuple[str, int], ...]]
    criteria: tuple[str, ...]

    def get(self, keyword: str) -> str:
        """Return the first value of a keyword, or ""."""
        return self.values.get(keyword, ("",))[0]

    def words(self, keyword: str) -> list[str]:
        """Return the words of all values of a keyword: sshd -T prints some lists on one line, some on several."""
        return [word for value in self.values.get(keyword, ()) for word in value.split()]

    @property
    def origins(self) -> Mapping[str, tuple[str, int]]:
        """Return keyword to (file, line) of the value that won; no entry where it is sshd's default."""
        return {keyword: places[0] for keyword, places in self.places.items()}

    def where(self, keyword: str) -> str:
        """Return FILE:LINE of the value in force, or "default"."""
        return "{}:{}".format(*self.origins[keyword]) if keyword in self.origins else "default"


@lru_cache(maxsize=256)
def effective(host: Host, user: str, connection: str = LOCAL) -> Settings:
    """Ask sshd about one account, and a connection of its own as `spec` wants it.

    The origin is what `-ddd` says: a line `FILE:LINE setting KEYWORD` for each line that counts, first of the global
    part, then, after "config reprocess", of the Match blocks that match. There the first value wins, and any of them
    beats a global one (servconf.c, parse_server_match_config).

    Raises:
        SftpJailError: sshd refuses its configuration, in its own words.
    """
    answer = host.ask_sshd("-T", "-ddd", "-C", spec(user, connection))
    if answer.code != 0:
        words = " / ".join(line for line in answer.err.splitlines() if not line.startswith("debug"))
        raise SftpJailError(f"sshd refuses its present configuration: {words}", broken_line(words, host))
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
            passes[matching][keyword] = (*passes[matching].get(keyword, ()), (found[1], int(found[2])))
        elif found := _MATCH.match(line):
            criteria.append(found[1])
    return Settings(values, passes[0] | passes[1], tuple(criteria))


# What a Match line may ask of a connection (sshd_config(5)), and the field of -C that answers it.
_FIELDS = {"host": "host", "address": "addr", "localaddress": "laddr", "localport": "lport", "rdomain": "rdomain"}

# These stand in a Match line without a value.
_BARE = ("all", "canonical", "final", "invalid-user")


def conditions(criteria: str) -> Iterator[tuple[str, str]]:
    """Yield what a Match line asks: a kind, as "user" or "address", and a list of patterns."""
    words = iter(re.split(r"[\s=]+", criteria.replace('"', "").strip()))
    for kind in words:
        if kind.lower() not in _BARE:
            yield kind.lower(), next(words, "")


def connections(host: Host, user: str = PROBE) -> list[str]:
    """Return the kinds of connections that the present Match lines tell apart: a local one, one that none of them
    means, and one for each line on addresses, hosts or ports. Where there is no such line, all are alike. The lines
    are the same whichever user sshd is asked about.
    """
    found = [LOCAL]
    for criteria in effective(host, user).criteria:
        asked = {_FIELDS[kind]: _example(patterns) for kind, patterns in conditions(criteria) if kind in _FIELDS}
        fields = {field: value for field, value in asked.items() if value}
        if fields:
            found.append(_but(fields))
    if len(found) > 1:
        found.append(_but({"host": "stranger.invalid", "addr": "192.0.2.77", "laddr": "192.0.2.78", "lport": "47022"}))
    return found


def _but(fields: Mapping[str, str]) -> str:
    pairs = (pair.split("=") for pair in LOCAL.split(","))
    return ",".join(f"{name}={fields.get(name, value)}" for name, value in pairs)


def peculiar(connection: str) -> str:
    """Return in words what is not as in a local connection, "" for that."""
    return ", ".join(pair.replace("=", " ") for pair in connection.split(",") if pair not in LOCAL.split(","))


def _example(patterns: str) -> str:
    """Return something that a list of patterns matches (ssh_config(5), PATTERNS), "" where none is found: of
    10.0.0.0/8 its first address or its last, whichever no pattern with a ! takes out again.
    """
    words = patterns.split(",")
    without = [word[1:] for word in words if word.startswith("!")]
    examples = (example for word in words if not word.startswith("!") for example in _examples(word))
    return next((one for one in examples if not any(_matches(pattern, one) for pattern in without)), "")


def _examples(pattern: str) -> list[str]:
    """Return some of what a pattern matches: of 192.168.* addresses, since sshd takes only a whole one for one."""
    with contextlib.suppress(ValueError):
        network = ip_network(pattern, strict=False)
        return [str(network[0]), str(network[-1])]
    if not re.fullmatch(r"[0-9.*?]*\.[0-9.*?]*", pattern):
        return [re.sub(r"[*?]", digit, pattern.replace(":*", f"::{digit}")) for digit in "17"]
    return [".".join([*re.sub(r"[*?]", digit, pattern).split("."), *[digit] * 3][:4]) for digit in "17"]


def _matches(pattern: str, example: str) -> bool:
    try:
        return ip_address(example) in ip_network(pattern, strict=False)
    except ValueError:
        return fnmatchcase(example, pattern)


def broken_line(words: str, host: Host) -> str:
    """Return the command that takes out the lines that sshd complains about, or the one that lets it complain.

    A Match line takes its block along, whose settings would otherwise be everybody's.
    """
    keys = _TOO_OPEN.findall(words)
    if keys:
        return " && ".join(fixes.on(key, host, "chmod 600 {}") for key in dict.fromkeys(keys))
    parts = (part for part in words.split(" / ") if not re.search("(Deprecated|Unsupported) option ", part))
    places = [(found[1], int(found[2])) for found in map(_BROKEN.search, parts) if found]
    whole = []
    for path, number in dict.fromkeys(places):
        lines = host.text(path).split("\n")[number - 1 :]
        last = number
        if lines and _IS_MATCH.match(lines[0]):
            below = next((at for at, line in enumerate(lines[1:], 1) if _IS_MATCH.match(line)), len(lines))
            last = number + below - 1
        whole += [(path, line) for line in range(number, last + 1) if lines[line - number : line - number + 1] != [""]]
    return comment_out(whole, host) if whole else "sshd -t"


def comment_out(places: list[tuple[str, int]], host: Host) -> str:
    """Return the command that turns lines of a configuration into comments, and lets sshd know."""
    files: dict[str, list[int]] = {}
    for path, line in places:
        files.setdefault(path, []).append(line)
    edits = [fixes.on(path, host, f"sed -i '{'; '.join(_ranges(lines))}' {{}}") for path, lines in files.items()]
    return " && ".join([*edits, reload_command(host)]) if all(edits) else ""


def _ranges(lines: list[int]) -> list[str]:
    """Return sed(1)'s commands for some lines, neighbours together."""
    spans: list[list[int]] = []
    for line in sorted(set(lines)):
        if spans and line == spans[-1][-1] + 1:
            spans[-1].append(line)
        else:
            spans.append([line])
    return [f"{span[0]}{f',{span[-1]}' if len(span) > 1 else ''}s/^/#/" for span in spans]


def basic(text: str) -> str:
    """Return TEXT escaped for a basic regular expression of sed(1)."""
    return re.sub(r"([][\\.*^$/])", r"\\\1", text)


def change_line(place: tuple[str, int], edit: str, host: Host) -> str:
    """Return the command that edits one line of a configuration with a command of sed(1), and lets sshd know."""
    change = fixes.on(place[0], host, f"sed -i {quote(f'{place[1]}{edit}')} {{}}")
    return change and f"{change} && {reload_command(host)}"


def unit(host: Host) -> str:
    """Return the name of sshd's unit: ssh on Debian, sshd elsewhere."""
    folders = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")
    return "ssh" if any(host.lstat(f"{folder}/ssh.service") for folder in folders) else "sshd"


def reload_command(host: Host) -> str:
    """Return the command that makes sshd read its configuration again."""
    if host.systemd:
        return f"systemctl reload-or-try-restart {unit(host)}"
    pid = host.running("sshd")
    return f"kill -HUP {pid}" if pid else "sshd -t"


def match_line(place: tuple[str, int], host: Host) -> str:
    """Return the Match line that a setting stands below, as it is written, or "" for the global part."""
    lines = host.text(place[0]).split("\n")[: place[1]]
    return next((line.strip() for line in reversed(lines) if _IS_MATCH.match(line)), "")

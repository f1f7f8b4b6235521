"""Commands that repair lines in sshd's configuration and reload it."""

from __future__ import annotations

import re
from shlex import quote

from .. import fixes
from ..host import Host

_IS_MATCH = re.compile(r"(?i)\s*match\b")
_TOO_OPEN = re.compile(r"Permissions \d+ for '(/[^']+)' are too open")
_BROKEN = re.compile(r"(/[^\s:]+)(?:: | )line (\d+)\b")


def broken_line(words: str, host: Host) -> str:
    """Return the command that comments out the lines that sshd rejects.

    If sshd names none, it is the command that shows the complaint. A Match line goes together with
    its block, whose settings would otherwise apply to everybody.
    """
    keys = _TOO_OPEN.findall(words)
    if keys:
        return " && ".join(fixes.on(key, host, "chmod 600 {}") for key in dict.fromkeys(keys))
    parts = (
        part
        for part in words.split(" / ")
        if not re.search("(Deprecated|Unsupported) option ", part)
    )
    places = [(found[1], int(found[2])) for found in map(_BROKEN.search, parts) if found]
    whole = []
    for path, number in dict.fromkeys(places):
        lines = host.text(path).split("\n")[number - 1 :]
        last = number
        if lines and _IS_MATCH.match(lines[0]):
            below = next(
                (at for at, line in enumerate(lines[1:], 1) if _IS_MATCH.match(line)), len(lines)
            )
            last = number + below - 1
        whole += [
            (path, line)
            for line in range(number, last + 1)
            if lines[line - number : line - number + 1] != [""]
        ]
    return comment_out(whole, host) if whole else "sshd -t"


def comment_out(places: list[tuple[str, int]], host: Host) -> str:
    """Return the command that comments out configuration lines and reloads sshd."""
    files: dict[str, list[int]] = {}
    for path, line in places:
        files.setdefault(path, []).append(line)
    edits = [
        fixes.on(path, host, f"sed -i '{'; '.join(_ranges(lines))}' {{}}")
        for path, lines in files.items()
    ]
    if not all(edits):
        return ""
    return " && ".join([*edits, reload_command(host)])


def _ranges(lines: list[int]) -> list[str]:
    """Return sed(1) commands for some lines, with adjacent ones as ranges."""
    spans: list[list[int]] = []
    for line in sorted(set(lines)):
        if spans and line == spans[-1][-1] + 1:
            spans[-1][1:] = [line]
        else:
            spans.append([line])
    return [f"{','.join(map(str, span))}s/^/#/" for span in spans]


def basic(text: str) -> str:
    """Return TEXT escaped for a basic regular expression of sed(1)."""
    return re.sub(r"([][\\.*^$/])", r"\\\1", text)


def change_line(place: tuple[str, int], edit: str, host: Host) -> str:
    """Return the command that applies a sed(1) command to a configuration line and reloads sshd."""
    change = fixes.on(place[0], host, f"sed -i {quote(f'{place[1]}{edit}')} {{}}")
    return change and f"{change} && {reload_command(host)}"


def unit(host: Host) -> str:
    """Return the name of sshd's unit: ssh on Debian, sshd elsewhere."""
    directories = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")
    return (
        "ssh"
        if any(host.lstat(f"{directory}/ssh.service") for directory in directories)
        else "sshd"
    )


def reload_command(host: Host) -> str:
    """Return the command that reloads sshd's configuration."""
    if host.systemd:
        return f"systemctl reload-or-try-restart {unit(host)}"
    pid = host.running("sshd")
    if pid:
        return f"kill -HUP {pid}"
    return "sshd -t"


def match_line(place: tuple[str, int], host: Host) -> str:
    """Return the Match line that a setting belongs to, as written, or "" in the global part."""
    lines = host.text(place[0]).split("\n")[: place[1]]
    return next((line.strip() for line in reversed(lines) if _IS_MATCH.match(line)), "")

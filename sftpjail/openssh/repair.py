"""Commands that repair lines in sshd's configuration and reload it."""

from __future__ import annotations

import re
from shlex import quote

from ..errors.escapes import Advice, look_at
from ..formats import fixes
from ..host import Host
from ..model import Account
from .daemons import Daemon, primary

_IS_MATCH = re.compile(r"(?i)\s*match\b")
_TOO_OPEN = re.compile(r"Permissions \d+ for '(/[^']+)' are too open")
_BROKEN = re.compile(r"(/[^\s:]+)(?:: | )line (\d+)\b")


def broken_line(words: str, host: Host) -> str:
    """Return the command that comments out the lines that sshd rejects.

    If sshd names none, it is the advice to look at the complaint. A Match line goes together with
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
    if whole:
        return comment_out(whole, host)
    return look_at("sshd -t")


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


def take_back(place: tuple[str, int] | None, host: Host) -> str:
    """Return the command that takes a setting back, or advice where it is in no file.

    Args:
        place: its file and line, None for sshd's command line.
        host: the facts.
    """
    if place is None:
        where = "its unit, or SSHD_OPTS in /etc/default/ssh, has it"
        return Advice(f"take it out of sshd's command line ({where}), and restart sshd")
    return comment_out([place], host)


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
    if has_unit("ssh.service", host):
        return "ssh"
    return "sshd"


def has_unit(name: str, host: Host) -> bool:
    """Return whether there is a file of a systemd unit."""
    directories = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")
    return any(host.lstat(f"{directory}/{name}") for directory in directories)


def reload_command(host: Host, daemon: Daemon | None = None) -> str:
    """Return the command that makes an sshd read its configuration; None is the primary one."""
    daemon = daemon or primary(host)
    usual = daemon.unit in ("", "ssh.service", "sshd.service")
    if host.systemd and usual:
        return f"systemctl reload-or-try-restart {unit(host)}"
    if host.systemd and daemon.unit.endswith(".service"):
        return f"systemctl kill -s HUP --kill-who=main {quote(daemon.unit)}"
    pid = daemon.pid or host.running("sshd")
    if not pid:
        return "sshd -t"
    return f"kill -HUP {pid}"


def match_line(place: tuple[str, int], host: Host) -> str:
    """Return the Match line that a setting belongs to, as written, or "" in the global part."""
    lines = host.text(place[0]).split("\n")[: place[1]]
    return next((line.strip() for line in reversed(lines) if _IS_MATCH.match(line)), "")


def except_for(places: list[tuple[str, int]], account: Account, host: Host) -> str:
    """Return the command that takes an account's jail out of foreign Match blocks, or "".

    A block about nobody but the account, or the members of its profile, loses the lines themselves.
    In any other they stay for all others: the Match line gets one more criterion, and all criteria
    of a line must hold (sshd_config(5)).

    Args:
        places: the file and line of each setting that takes effect in the jail.
        account: a member of the jail, with its profile.
        host: the facts.
    """
    edits: dict[str, dict[str, None]] = {}
    for path, number in places:
        edit = _exception(host.text(path).split("\n"), number, account)
        if not edit:
            return ""
        edits.setdefault(path, {})[edit] = None
    commands = [
        fixes.on(path, host, f"sed -i {quote('; '.join(those))} {{}}")
        for path, those in edits.items()
    ]
    if not all(commands):
        return ""
    return " && ".join([*commands, reload_command(host)])


def _exception(lines: list[str], number: int, account: Account) -> str:
    """Return the sed(1) command for `except_for`, or "" for a line in no Match block."""
    profile = account.profile
    assert profile is not None
    head = next((n for n in range(number, 0, -1) if _IS_MATCH.match(lines[n - 1])), 0)
    if not head:
        return ""
    words = [word.strip('"') for word in re.split(r"[\s=]+", lines[head - 1].split("#")[0].strip())]
    criteria = [(words[at].lower(), words[at + 1]) for at in range(1, len(words) - 1, 2)]
    if criteria in ([("user", account.name)], [("group", profile.group)]):
        return f"{number}s/^/#/"
    if profile.group:
        but = f"Group *,!{profile.group}"
    else:
        but = f"User *,!{account.name}"
    if [word.lower() for word in words[1:]] == ["all"]:  # which stands alone
        return f"{head}s/[Aa][Ll][Ll].*/{but}/"
    return f"{head}s/[[:space:]]*\\(#.*\\)\\?$/ {but}/"

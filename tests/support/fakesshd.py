"""An sshd that only answers, as sshd(8) of Debian 12 or 13 does. The real one is in tests/system."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from fakes import Programs, Tree

from sftpjail.system.programs import Answer

# A part of what `sshd -T` prints for a configuration that says nothing.
DEFAULTS = {
    "pidfile": "/run/sshd.pid",
    "usepam": "no",
    "pubkeyauthentication": "yes",
    "passwordauthentication": "yes",
    "kbdinteractiveauthentication": "yes",
    "x11forwarding": "no",
    "permittty": "yes",
    "permituserrc": "yes",
    "permittunnel": "no",
    "disableforwarding": "no",
    "allowtcpforwarding": "yes",
    "allowagentforwarding": "yes",
    "allowstreamlocalforwarding": "yes",
    "chrootdirectory": "none",
    "forcecommand": "none",
    "authorizedkeyscommand": "none",
    "trustedusercakeys": "none",
    "revokedkeys": "none",
    "authenticationmethods": "any",
    "authorizedkeysfile": ".ssh/authorized_keys .ssh/authorized_keys2",
    "pubkeyacceptedalgorithms": "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256",
}
# Keywords of which every line counts; sshd -T prints each word of the first four on a line of its
# own.
LISTS = ("allowusers", "denyusers", "allowgroups", "denygroups", "authenticationmethods")


class Line(NamedTuple):
    """A line that sets something, and what stands behind the Match above it, "" for none."""

    path: str
    number: int
    keyword: str
    value: str
    criteria: str


class Sshd:
    """Answers -V, -t, -T -C and -T -ddd -C, as far as Include, Match all, User and Group go.

    `version` is what -V says; `broken` what it says of its configuration in place of an answer;
    `refuses` a word that it does not accept anywhere.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.version = "OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15"
        self.broken = ""
        self.refuses = ""

    def __call__(self, argv: Sequence[str], files: Any) -> Answer:
        if "-V" in argv:
            return Answer(0, "", self.version)
        files = files or {}
        main = argv[argv.index("-f") + 1] if "-f" in argv else "/etc/ssh/sshd_config"
        lines = list(self._lines(main, files))
        given = [
            Line("", 0, *re.split(r"[\s=]", value, maxsplit=1), "")
            for option, value in itertools.pairwise(argv)
            if option == "-o"
        ]
        refused = self.refuses and any(self.refuses in line.keyword for line in lines)
        if self.broken or refused:
            return Answer(255, "", self.broken or "Bad configuration option: " + self.refuses)
        if "-t" in argv:
            return Answer(0, "", "")
        user = argv[argv.index("-C") + 1].split(",")[0].removeprefix("user=")
        matches = {
            criteria: self._matches(criteria, user, files)
            for criteria in {line.criteria for line in lines}
        }
        matches[""] = False
        globally = [line for line in lines if not line.criteria]
        locally = [line for line in lines if matches[line.criteria]]
        values: dict[str, str] = {}
        if "-ddd" in argv:  # which sets the level before any file does, and Match overrides it
            given.insert(0, Line("", 0, "loglevel", "DEBUG3", ""))
        for line in (*locally, *given, *globally):
            if line.keyword.lower() in LISTS and line.keyword.lower() in values:
                values[line.keyword.lower()] += f" {line.value}"
            values.setdefault(line.keyword.lower(), line.value)
        debug = self._debug(lines, globally, locally, matches, user) if "-ddd" in argv else ""
        return Answer(0, "".join(self._said(DEFAULTS | values)), debug)

    def _said(self, values: Mapping[str, str]) -> Iterator[str]:
        for keyword, value in values.items():
            for part in value.split() if keyword in LISTS[:4] else (value,):
                yield f"{keyword} {part}\n"

    def _debug(
        self,
        lines: list[Line],
        first: list[Line],
        second: list[Line],
        matches: Mapping[str, bool],
        user: str,
    ) -> str:
        said = [
            f"debug3: {line.path}:{line.number} setting {line.keyword} {line.value}"
            for line in first
        ]
        said.append("debug2: parse_server_config_depth: config reprocess config len 187")
        for criteria in dict.fromkeys(line.criteria for line in lines if line.criteria):
            about = f"user {user} host localhost addr 127.0.0.1 laddr (null) lport 0"
            said.append(f"debug3: checking match for '{criteria}' {about}")
            said.append(f"debug3: match {'' if matches[criteria] else 'not '}found")
        said += [
            f"debug3: {line.path}:{line.number} setting {line.keyword} {line.value}"
            for line in second
        ]
        return "\n".join(said) + "\n"

    def _read(self, path: str, files: Mapping[str, bytes | None]) -> str:
        if path in files:
            return (files[path] or b"").decode("utf-8", "surrogateescape")
        place = self.tree.root / path.lstrip("/")
        return place.read_text() if place.exists() else ""

    def _lines(self, path: str, files: Mapping[str, bytes | None]) -> Iterator[Line]:
        criteria = ""  # a Match in an included file does not leak out of it
        for number, text in enumerate(self._read(path, files).split("\n"), 1):
            keyword, _, value = text.strip().partition(" ")
            if keyword == "Include":
                directory = self.tree.root / "etc/ssh/sshd_config.d"
                names = {f"/etc/ssh/sshd_config.d/{p.name}" for p in directory.glob("*.conf")}
                names |= {name for name in files if name.startswith("/etc/ssh/sshd_config.d/")}
                for name in sorted(names):
                    yield from self._lines(name, files)
            elif keyword == "Match":
                criteria = value
            elif keyword and not keyword.startswith("#"):
                yield Line(path, number, keyword, value, criteria)

    def _matches(self, criteria: str, user: str, files: Mapping[str, bytes | None]) -> bool:
        kind, _, names = criteria.partition(" ")
        if kind == "all":
            return True
        if kind == "User":
            return user in names.split(",")
        groups = [
            line.split(":")
            for line in self._read("/etc/group", files).split("\n")
            if line.count(":") == 3
        ]
        people = [
            line.split(":")
            for line in self._read("/etc/passwd", files).split("\n")
            if line.count(":") == 6
        ]
        gid = next((person[3] for person in people if person[0] == user), "")
        return any(
            g[0] in names.split(",") and (user in g[3].split(",") or g[2] == gid) for g in groups
        )


@pytest.fixture
def sshd(tree: Tree, programs: Programs) -> Sshd:
    """An sshd that is installed in the tree, with Debian's configuration."""
    return installed(tree, programs)


def installed(tree: Tree, programs: Programs) -> Sshd:
    """Install an sshd in a tree, and let it answer."""
    tree.program("sshd")
    tree.directory("/etc/ssh/sshd_config.d")
    tree.write(
        "/etc/ssh/sshd_config",
        "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\nX11Forwarding yes\n"
        "Subsystem sftp /usr/lib/openssh/sftp-server\n",
    )
    sshd = Sshd(tree)
    programs.answer_by("sshd", sshd)
    return sshd

"""What golden plans are made with: the account ann, a way to fire one hook, and an sshd that only answers."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from fakes import FakeHost, Programs, Tree

from sftpjail.config import Config
from sftpjail.model import Account, Profile
from sftpjail.programs import Answer

BIND = Profile("sftponly")
INSIDE = Profile("sftponly", home="inside")
HOME = Profile("sftponly", chroot="%h")


def ann(profile: Profile = BIND, **changes: Any) -> Account:
    """Return the account of the golden plans."""
    return replace(Account("ann", 1001, 1001, "/home/ann", "/bin/bash", profile), **changes)


Fire = Callable[..., Any]


@pytest.fixture
def fire() -> Fire:
    """Calls one hook of one bundled plugin: fire("keys", "on_setup", host, config=…, account=…); never returns None."""

    def call(plugin: str, hook: str, host: FakeHost, config: Config | None = None, **arguments: Any) -> list[Any]:
        module = importlib.import_module(f"sftpjail.plugins.{plugin}")
        function = getattr(module, hook)
        given = {"host": host, "config": config or Config(), **arguments}
        return list(function(**{name: given[name] for name in inspect.signature(function).parameters}) or ())

    return call


class Sshd:
    """Answers as sshd(8) does, as far as Match blocks, Include and Subsystem go. The real one is in tests/system."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.version = "OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15"
        self.broken = ""
        self.refuses = ""

    def __call__(self, argv: Sequence[str], files: Any) -> Answer:
        if "-V" in argv:
            return Answer(0, "", self.version)
        files = files or {}
        lines = self._lines("/etc/ssh/sshd_config", files)
        text = "\n".join(lines)
        if self.broken or (self.refuses and self.refuses in text):
            return Answer(255, "", self.broken or "Bad configuration option: " + self.refuses)
        if "-t" in argv:
            return Answer(0, "", "")
        user = argv[argv.index("-C") + 1].split(",")[0].removeprefix("user=")
        said: dict[str, str] = {}
        holds = True
        for line in lines:
            keyword, _, value = line.strip().partition(" ")
            if keyword == "Match":
                holds = self._matches(value, user, files)
            elif holds and keyword and not keyword.startswith("#"):
                said.setdefault(keyword.lower(), value)
        said.setdefault("authorizedkeysfile", ".ssh/authorized_keys .ssh/authorized_keys2")
        return Answer(0, "".join(f"{keyword} {value}\n" for keyword, value in said.items()), "")

    def _read(self, path: str, files: Mapping[str, bytes | None]) -> str:
        if path in files:
            return (files[path] or b"").decode("utf-8", "surrogateescape")
        place = self.tree.root / path.lstrip("/")
        return place.read_text() if place.exists() else ""

    def _lines(self, path: str, files: Mapping[str, bytes | None]) -> list[str]:
        found = []
        for line in self._read(path, files).split("\n"):
            if line.startswith("Include "):
                folder = self.tree.root / "etc/ssh/sshd_config.d"
                names = {f"/etc/ssh/sshd_config.d/{p.name}" for p in folder.glob("*.conf")}
                names |= {name for name in files if name.startswith("/etc/ssh/sshd_config.d/")}
                for name in sorted(names):
                    found += [*self._read(name, files).split("\n"), "Match all"]
            else:
                found.append(line)
        return found

    def _matches(self, value: str, user: str, files: Mapping[str, bytes | None]) -> bool:
        kind, _, names = value.partition(" ")
        if kind == "all":
            return True
        if kind == "User":
            return user in names.split(",")
        groups = [line.split(":") for line in self._read("/etc/group", files).split("\n") if line.count(":") == 3]
        people = [line.split(":") for line in self._read("/etc/passwd", files).split("\n") if line.count(":") == 6]
        gid = next((person[3] for person in people if person[0] == user), "")
        return any(g[0] in names.split(",") and (user in g[3].split(",") or g[2] == gid) for g in groups)


@pytest.fixture
def sshd(tree: Tree, programs: Programs) -> Sshd:
    """An sshd that is installed in the tree, with Debian's configuration."""
    tree.program("sshd")
    tree.folder("/etc/ssh/sshd_config.d")
    tree.write(
        "/etc/ssh/sshd_config",
        "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\nX11Forwarding yes\n"
        "Subsystem sftp /usr/lib/openssh/sftp-server\n",
    )
    sshd = Sshd(tree)
    programs.answer_by("sshd", sshd)
    return sshd

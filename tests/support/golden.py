"""What golden plans and problems are made with: the account ann, and a way to fire one hook."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fakes import FakeHost, Tree
from fakesshd import Sshd, sshd

from sftpjail.config import Config
from sftpjail.model import Account, Bind, Profile

__all__ = ["BIND", "HOME", "INSIDE", "Fire", "Sshd", "ann", "fire", "sshd"]

JAIL = "/srv/sftp/ann"
WEB = Bind("/srv/web/example.com", f"{JAIL}/web")
MAIN, DROPIN = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/10-sftpjail.conf"
GOLDEN = """\
# Made by `sftpjail setup` from /etc/sftpjail/sftpjail.conf; changes here are lost.
Match Group sftponly
    ChrootDirectory /srv/sftp/%u
    ForceCommand internal-sftp -fAUTH -lVERBOSE
    AuthorizedKeysFile /etc/ssh/authorized_keys/%u
    DisableForwarding yes
    AllowTcpForwarding no
    AllowStreamLocalForwarding no
    AllowAgentForwarding no
    X11Forwarding no
    PermitTunnel no
    PermitTTY no
    PermitUserRC no
"""
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

    def call(
        plugin: str, hook: str, host: FakeHost, config: Config | None = None, **arguments: Any
    ) -> list[Any]:
        module = importlib.import_module(f"sftpjail.plugins.{plugin}")
        function = getattr(module, hook)
        given = {"host": host, "config": config or Config(), **arguments}
        return list(
            function(**{name: given[name] for name in inspect.signature(function).parameters}) or ()
        )

    return call


def known(tree: Tree, *binds: tuple[str, str]) -> None:
    tree.fstab(
        *(
            f"{source} {target} none bind,nosuid,nodev,private,nofail,x-sftpjail.user=ann 0 0"
            for source, target in binds
        )
    )

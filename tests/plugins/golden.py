"""What golden plans and problems are made with: the account ann, and a way to fire one hook."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fakes import FakeHost
from fakesshd import Sshd, sshd

from sftpjail.config import Config
from sftpjail.model import Account, Profile

__all__ = ["BIND", "HOME", "INSIDE", "Fire", "Sshd", "ann", "fire", "sshd"]

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

"""Chrooted SFTP accounts on stock OpenSSH.

This is the door for plugin authors; see sftpjail-plugins(7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pluggy import HookimplMarker

    from .actions import *
    from .config import Config
    from .engine.plan import Plan
    from .errors import SftpJailError
    from .errors.escapes import Choice
    from .formats.tagged_lines import Style
    from .host import Facts
    from .model import Account, Bind, Fact, Key, Problem, Profile, TransferEvent

    hookimpl: HookimplMarker

__version__ = "0.1.0"

__all__ = [
    "Account",
    "Action",
    "Bind",
    "Check",
    "Choice",
    "CloseAccount",
    "Config",
    "EndProcesses",
    "EndProcessesFirst",
    "Fact",
    "Facts",
    "GiveDir",
    "Key",
    "MakeDir",
    "Mount",
    "Notify",
    "OpenAccount",
    "Plan",
    "Problem",
    "Profile",
    "Remove",
    "Rename",
    "Run",
    "SetAccount",
    "SetGroup",
    "SetLines",
    "SetOwner",
    "SftpJailError",
    "Style",
    "TransferEvent",
    "Unmount",
    "WriteFile",
    "hookimpl",
]

_ROOMS = {
    "Choice": "errors.escapes",
    "Config": "config",
    "Facts": "host.facts",
    "Plan": "engine.plan",
    "SftpJailError": "errors",
    "Style": "formats.tagged_lines",
} | dict.fromkeys(
    ("Account", "Bind", "Fact", "Problem", "Key", "Profile", "TransferEvent"), "model"
)


def __getattr__(name: str) -> Any:
    # Late, so that `sftpjail --version` and the entry scripts do not pay for pluggy.
    if name not in __all__:
        raise AttributeError(f"module 'sftpjail' has no attribute {name!r}")
    if name == "hookimpl":
        import pluggy

        value: Any = pluggy.HookimplMarker("sftpjail")
    else:
        from importlib import import_module

        value = getattr(import_module(f"sftpjail.{_ROOMS.get(name, 'actions')}"), name)
    globals()[name] = value
    return value

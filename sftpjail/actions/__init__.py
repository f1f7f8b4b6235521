"""The vocabulary of change. Hooks return these; the engine merges, shows, applies and undoes them.

Each action is a frozen value that knows what it is about (`key`), whether that already holds
(`pending`), how a dry run shows it (`diff`) and what it takes from the host that must be remembered
(`origin`). It changes nothing itself: `system/` does, and records the undo first. Plugins compose
actions and never invent new ones.
"""

from __future__ import annotations

from .accounts import CloseAccount, OpenAccount, SetAccount, SetGroup
from .base import Action, Phase
from .files import GiveDir, MakeDir, Remove, Rename, SetLines, SetOwner, WriteFile, text
from .mounts import MOUNT_OPTIONS, Mount, Unmount
from .programs import Check, EndProcesses, EndProcessesFirst, Notify, Run
from .view import View

__all__ = [
    "MOUNT_OPTIONS",
    "Action",
    "Check",
    "CloseAccount",
    "EndProcesses",
    "EndProcessesFirst",
    "GiveDir",
    "MakeDir",
    "Mount",
    "Notify",
    "OpenAccount",
    "Phase",
    "Remove",
    "Rename",
    "Run",
    "SetAccount",
    "SetGroup",
    "SetLines",
    "SetOwner",
    "Unmount",
    "View",
    "WriteFile",
    "text",
]

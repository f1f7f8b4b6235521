"""What a plugin's tests need: a made host, one plugin alone on it, and whether it keeps the rules.

Nothing but tests imports this. See sftpjail-plugins(7), TESTING.
"""

from __future__ import annotations

from ..engine.plan import (
    Event,
    OnDetach,
    OnKeyAdd,
    OnKeyMigrate,
    OnKeyRemove,
    OnMount,
    OnSetup,
    OnTeardown,
    OnUnmount,
    OnUserClose,
    OnUserConfine,
    OnUserConnections,
    OnUserCreate,
    OnUserDisable,
    OnUserEnable,
    OnUserExpire,
    OnUserKeep,
    OnUserLimit,
    OnUserQuota,
    OnUserRemove,
    OnUserRename,
    OnUserRetention,
    Plan,
)
from .conformance import Report, judge, standard
from .made import MadeHost, Tree
from .play import apply, engine, fire, hand, play, text

__all__ = [
    "Event",
    "MadeHost",
    "OnDetach",
    "OnKeyAdd",
    "OnKeyMigrate",
    "OnKeyRemove",
    "OnMount",
    "OnSetup",
    "OnTeardown",
    "OnUnmount",
    "OnUserClose",
    "OnUserConfine",
    "OnUserConnections",
    "OnUserCreate",
    "OnUserDisable",
    "OnUserEnable",
    "OnUserExpire",
    "OnUserKeep",
    "OnUserLimit",
    "OnUserQuota",
    "OnUserRemove",
    "OnUserRename",
    "OnUserRetention",
    "Plan",
    "Report",
    "Tree",
    "apply",
    "engine",
    "fire",
    "hand",
    "judge",
    "play",
    "standard",
    "text",
]

"""The kinds of actions: one class for each, with its undo record, step, undo and origin record.

The modules are split by subject as in `actions/`. Every action needs a class here.
"""

from __future__ import annotations

from . import accounts as accounts
from . import files as files
from . import mounts as mounts
from . import programs as programs
from .base import Draft, Kind, Undo, drop, is_undo, kind_of, revert, with_earlier
from .files import OLD_VERSIONS, first_versions

__all__ = [
    "OLD_VERSIONS",
    "Draft",
    "Kind",
    "Undo",
    "drop",
    "first_versions",
    "is_undo",
    "kind_of",
    "revert",
    "with_earlier",
]

"""The kinds of actions: each one's record, deed, undo and memory in one class.

As in `actions/`, a module is a subject. An action that has no class here cannot be carried out.
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

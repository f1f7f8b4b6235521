"""The kinds of actions: one class for each, with its undo record, step, undo and origin record.

The modules are split by subject as in `actions/`. Every action needs a class here.
"""

from __future__ import annotations

from . import accounts as accounts
from . import files as files
from . import mounts as mounts
from . import programs as programs
from . import sharing as sharing
from .base import (
    Kind,
    OriginDraft,
    Undo,
    drop,
    is_undo,
    joint_op,
    kind_of,
    ops_of,
    revert,
    revert_together,
    with_earlier,
)
from .files import OLD_VERSIONS, first_versions

# The undo records of what changes passwd(5) and its kin. Its programs sync a file and not its
# name, and leave a lock and half a file where they die.
OF_ACCOUNTS = ops_of(accounts.__name__)

__all__ = [
    "OF_ACCOUNTS",
    "OLD_VERSIONS",
    "Kind",
    "OriginDraft",
    "Undo",
    "drop",
    "first_versions",
    "is_undo",
    "joint_op",
    "kind_of",
    "revert",
    "revert_together",
    "with_earlier",
]

"""The vocabulary of change. Hooks return these; the engine merges, shows, applies and undoes them.

Each action is a frozen value that knows what it is about (`key`), whether that already holds
(`pending`), how a dry run shows it (`diff`) and what it takes from the host that must be remembered
(`origin`). It changes nothing itself: `system/` does, and records the undo first. Plugins compose
actions and never invent new ones.
"""

from __future__ import annotations

from . import accounts, base, files, mounts, programs, sharing, view
from .accounts import *
from .base import *
from .files import *
from .mounts import *
from .programs import *
from .sharing import *
from .view import *

__all__ = []
__all__ += accounts.__all__
__all__ += base.__all__
__all__ += files.__all__
__all__ += mounts.__all__
__all__ += programs.__all__
__all__ += sharing.__all__
__all__ += view.__all__

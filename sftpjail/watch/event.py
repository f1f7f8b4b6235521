"""What happened in a jail, as hooks and scripts get it: data, and nothing that can be run."""

from __future__ import annotations

from ..model import EVENT_KINDS as KINDS
from ..model import EventKind as Kind
from ..model import TransferEvent

__all__ = ["KINDS", "Kind", "TransferEvent"]

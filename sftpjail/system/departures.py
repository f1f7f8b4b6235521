"""Accounts that userdel(8) has begun to delete. If it fails, their mounts are to be restored.

userdel's first hook unmounts, and its last hook runs when the account is deleted. If userdel dies
or refuses in between, no hook runs. So the first hook leaves a file with the account's name in
LEAVING. A boot removes that file and mounts fstab(5) again.
"""

from __future__ import annotations

import contextlib
import os

from ..paths import RUN_DIR
from .processes import being_deleted

LEAVING = f"{RUN_DIR}/leaving"


def begin(name: str, uid: int) -> None:
    """Record that userdel is about to delete an account with this uid."""
    os.makedirs(LEAVING, mode=0o700, exist_ok=True)
    with open(f"{LEAVING}/{name}", "w", encoding="ascii") as handle:
        handle.write(str(uid))


def uid_of(name: str) -> str:
    """Return the uid that `begin` has recorded, or ""."""
    with contextlib.suppress(OSError), open(f"{LEAVING}/{name}", encoding="ascii") as handle:
        return handle.read()
    return ""


def end(name: str) -> None:
    """Forget the account: it has been deleted, or it stays."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{LEAVING}/{name}")
    with contextlib.suppress(OSError):  # others are leaving
        os.rmdir(LEAVING)


def stopped() -> list[str]:
    """Return the accounts that were to be deleted and whose userdel no longer runs."""
    with contextlib.suppress(FileNotFoundError):
        names = sorted(os.listdir(LEAVING))
        if not names:
            return []
        return [*set(names).difference(being_deleted())]
    return []

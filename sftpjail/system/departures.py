"""Accounts that userdel(8) has begun to delete: what is unmounted for it comes back if it stops.

userdel's first hook unmounts, and its last one hears that the account is gone. Should userdel die
between the two, or refuse, nobody tells us. So the first hook leaves a file of the account's name
in LEAVING. A boot takes that away, and makes the mounts of fstab(5) anew.
"""

from __future__ import annotations

import contextlib
import os

from ..paths import RUN_DIR
from .processes import being_deleted

LEAVING = f"{RUN_DIR}/leaving"


def begin(name: str, uid: int) -> None:
    """Note that userdel is about to delete an account of that uid."""
    os.makedirs(LEAVING, mode=0o700, exist_ok=True)
    with open(f"{LEAVING}/{name}", "w", encoding="ascii") as handle:
        handle.write(str(uid))


def uid_of(name: str) -> str:
    """Return the uid that `begin` has noted, or ""."""
    with contextlib.suppress(OSError), open(f"{LEAVING}/{name}", encoding="ascii") as handle:
        return handle.read()
    return ""


def end(name: str) -> None:
    """Forget it: the account is gone, or stays."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{LEAVING}/{name}")
    with contextlib.suppress(OSError):  # others are leaving
        os.rmdir(LEAVING)


def stopped() -> list[str]:
    """Return the accounts that were to be deleted, and for which no userdel runs any more."""
    with contextlib.suppress(FileNotFoundError):
        names = sorted(os.listdir(LEAVING))
        return [*set(names).difference(being_deleted())] if names else []
    return []

"""What a program of shadow leaves in /etc when it dies: its locks, and new versions of its files.

A lock names the pid of its program. Where another process has that pid after a boot, every
useradd(8) from then on fails: "cannot lock /etc/passwd".
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from . import files
from .locks import accounts_still

ETC = "/etc"
BOOT_ID = "/proc/sys/kernel/random/boot_id"  # random(4)
# See commonio.c: the lock, the lock before it has its name, the new version.
_NAMES = re.compile(r"(?:passwd|shadow|group|gshadow|subuid|subgid)(?:\.lock|\.([0-9]+)|\+)")


def boot_id() -> str:
    """Return what is another one after each boot; "" where nobody can say."""
    try:
        with open(BOOT_ID, encoding="ascii") as handle:
            return handle.read().strip()
    except OSError:
        return ""


def present() -> list[str]:
    """Return the names of what may be a leftover, of a program that runs too."""
    return sorted(name for name in os.listdir(ETC) if _NAMES.fullmatch(name))


def clear(before: Collection[str], boot: str) -> None:
    """Remove what programs that have died have left since a moment.

    Args:
        before: what was `present` then.
        boot: the `boot_id` of then. After a boot none of those programs runs any more.
    """
    if not set(present()) - set(before):
        return
    with accounts_still() as still:  # no other program of shadow is at work
        for name in present() if still else ():
            if name not in before and (boot_id() != boot or not _runs(name)):
                files.unlink(f"{ETC}/{name}")


def _runs(name: str) -> bool:
    """Return whether the process that a leftover names runs; a new version names none."""
    match = _NAMES.fullmatch(name)
    pid = match[1] if match else None
    if name.endswith(".lock"):
        pid = (files.read_file(f"{ETC}/{name}") or b"").decode("ascii", "replace").strip("\0\n ")
    return bool(pid) and str(pid).isdigit() and os.path.exists(f"/proc/{pid}")

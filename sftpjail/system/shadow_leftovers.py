"""The lock files and new versions of files that a program of shadow leaves in /etc if it is killed.

A lock file names the pid of its program. If another process has that pid after a reboot, every
useradd(8) fails with "cannot lock /etc/passwd".
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from . import files
from .locks import passwd_locked

ETC = "/etc"
BOOT_ID = "/proc/sys/kernel/random/boot_id"  # random(4)
# See commonio.c: the lock file, its temporary name, and the new version.
_NAMES = re.compile(r"(?:passwd|shadow|group|gshadow|subuid|subgid)(?:\.lock|\.([0-9]+)|\+)")


def boot_id() -> str:
    """Return an identifier that changes at each boot, or "" if there is none."""
    try:
        with open(BOOT_ID, encoding="ascii") as handle:
            return handle.read().strip()
    except OSError:
        return ""


def present() -> list[str]:
    """Return the names of possible leftovers, including files of running programs."""
    return sorted(name for name in os.listdir(ETC) if _NAMES.fullmatch(name))


def clear(before: Collection[str], boot: str) -> None:
    """Remove the leftovers of killed programs that are newer than a given moment.

    Args:
        before: the result of `present` at that moment.
        boot: the result of `boot_id` at that moment. After a reboot, none of those programs runs.
    """
    if not set(present()) - set(before):
        return
    with passwd_locked() as still:  # no other program of shadow is running
        for name in present() if still else ():
            if name not in before and (boot_id() != boot or not _runs(name)):
                files.unlink(f"{ETC}/{name}")


def _runs(name: str) -> bool:
    """Return whether the process that a leftover names is running. A new version names none."""
    match = _NAMES.fullmatch(name)
    pid = None
    if match:
        pid = match[1]
    if name.endswith(".lock"):
        pid = (files.read_file(f"{ETC}/{name}") or b"").decode("ascii", "replace").strip("\0\n ")
    return bool(pid) and str(pid).isdigit() and os.path.exists(f"/proc/{pid}")

"""An account's lines in our file of tmpfiles.d(5): which directories lose their old files.

A comment says what is set, in the words of the jail: the paths are those that sessions see. The
line below it has the path on the host, which may change, and is left out where nothing may be
deleted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SETTING = re.compile(r"# (/.*): ([0-9]{1,5})d\Z")
# safe_glob() of systemd knows braces too, and a backslash begins an escape (tmpfiles.d(5), "Path").
_SPECIAL = re.compile(r"""[][*?{}\\"']""")


def ages_of(lines: Iterable[str]) -> dict[str, int]:
    """Return the ages in days that an account's lines set, by directory as its sessions see it."""
    found = filter(None, map(_SETTING.match, lines))
    return {setting[1]: int(setting[2]) for setting in found}


def setting(directory: str, days: int) -> str:
    """Return the comment that `ages_of` reads."""
    return f"# {directory}: {days}d"


def is_writable(path: str) -> bool:
    """Return whether `line` can write a path so that systemd-tmpfiles reads nothing else."""
    return path.isprintable() and not _SPECIAL.search(path)


def line(path: str, days: int) -> str:
    """Return the line that has files deleted by the time they were last written at.

    Any other time changes when a backup reads them. Type e makes nothing, and directories have no
    age, so that they stay (tmpfiles.d(5), "Age").

    Args:
        path: on the host; `is_writable` must hold.
        days: the age.
    """
    escaped = path.replace("%", "%%")
    quoted = f'"{escaped}"' if " " in escaped else escaped
    return f"e {quoted} - - - m:{days}d"

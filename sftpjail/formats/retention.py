"""An account's lines in our file of tmpfiles.d(5): which directories lose their old files.

A comment says what is set, in the words of the jail: the paths are those that sessions see. The
line below it has the path on the host, which may change, and is left out where nothing may be
deleted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import UsageError
from ..model import days, normal

_SETTING = re.compile(r"# (/.*): ([0-9]{1,5})d\Z")
# safe_glob() of systemd knows braces too, and a backslash begins an escape (tmpfiles.d(5), "Path").
_SPECIAL = re.compile(r"""[][*?{}\\"']""")


def ages_of(lines: Iterable[str]) -> dict[str, int]:
    """Return the ages in days that an account's lines set, by directory as its sessions see it."""
    found = filter(None, map(_SETTING.match, lines))
    return {setting[1]: int(setting[2]) for setting in found}


def age_of(text: str) -> tuple[str, int]:
    """Return the directory and the days of DIRECTORY=AGE; 0 for never.

    Raises:
        UsageError: it has another form.
    """
    directory, equals, age = text.rpartition("=")
    if not equals or not directory.startswith("/") or ".." in directory.split("/"):
        raise UsageError(
            f"{text!r} is not DIRECTORY=AGE, where DIRECTORY begins with / and has no .., "
            "as sessions see it"
        )
    if not directory.isprintable():
        raise UsageError(f"{directory!r} has a character that cannot be printed")
    return normal(directory), 0 if age == "never" else days(age, least=1)


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
    quoted = escaped
    if " " in escaped:
        quoted = f'"{escaped}"'
    return f"e {quoted} - - - m:{days}d"

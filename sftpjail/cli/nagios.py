"""What `check` says to Nagios and its like, by the guidelines of the Monitoring Plugins.

One line has a word for the service's state, and figures behind a bar; the exit code is that state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..escapes import one_line, some
from ..model import SEVERITIES, Problem
from .context import counted

_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")  # in the order of their exit codes
OK, WARNING, CRITICAL, UNKNOWN = range(4)
_SHOWN = 3  # problems that are named


def service(jails: int, problems: Sequence[Problem]) -> tuple[int, str]:
    """Return the exit code and the line: what is open or broken is critical, advice a warning.

    Args:
        jails: how many were looked at.
        problems: what is wrong with them and the host.
    """
    counts = Counter(problem.severity for problem in problems)
    bad = [
        problem for severity in SEVERITIES for problem in problems if problem.severity == severity
    ]
    state = WARNING if counts["advice"] else OK
    if counts["open"] or counts["broken"]:
        state = CRITICAL
    words = some((f"{problem.about}: {problem.what}" for problem in bad), _SHOWN, "; ")
    figures = " ".join(f"{name}={counts[name]}" for name in SEVERITIES)
    said = words or f"{counted(jails, 'jail')} checked, no problems"
    return state, f"{_line(state, said)} | jails={jails} {figures}"


def unknown(why: str) -> str:
    """Return the line where nothing could be judged; the exit code is UNKNOWN."""
    return _line(UNKNOWN, why)


def _line(state: int, words: str) -> str:
    """Return the line without figures; a bar would begin these."""
    return f"SFTPJAIL {_WORDS[state]} - {one_line(words).replace('|', '/')}"

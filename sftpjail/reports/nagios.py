"""The output of `check` for Nagios and similar, by the guidelines of the Monitoring Plugins.

It is one line with the service's state and, after a bar, performance data. The exit code is the
state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..errors.escapes import counted, one_line, some
from ..model import SEVERITIES, Problem

_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")  # in the order of their exit codes
OK, WARNING, CRITICAL, UNKNOWN = range(4)
_SHOWN = 3  # problems that are named


def service(jails: int, problems: Sequence[Problem]) -> tuple[int, str]:
    """Return the exit code and the line: open and broken are critical, advice is a warning.

    Args:
        jails: the number of jails checked.
        problems: the problems of these jails and the host.
    """
    counts = Counter(problem.severity for problem in problems)
    bad = [
        problem for severity in SEVERITIES for problem in problems if problem.severity == severity
    ]
    state = OK
    if counts["advice"]:
        state = WARNING
    if counts["open"] or counts["broken"]:
        state = CRITICAL
    words = some((f"{problem.about}: {problem.what}" for problem in bad), _SHOWN, "; ")
    figures = " ".join(f"{name}={counts[name]}" for name in SEVERITIES)
    said = words or f"{counted(jails, 'jail')} checked, no problems"
    return state, f"{_line(state, said)} | jails={jails} {figures}"


def unknown(why: str) -> str:
    """Return the line for a check that failed; the exit code is UNKNOWN."""
    return _line(UNKNOWN, why)


def _line(state: int, words: str) -> str:
    """Return the line before the performance data, which a bar would begin.

    Nagios turns semicolons into colons.
    """
    words = one_line(words).replace("|", "/").replace(";", ",")
    return f"SFTPJAIL {_WORDS[state]} - {words}"

"""The safety suites: attacks by jailed users and by their processes, each judged by what it must not have changed.

`tests/run safety` runs a sample, `tests/run safety --all` every attack; the figures stand in
SECURITY.md. A test that is too long for the sample is marked `whole`; others take `thorough` for
how many rounds they go.
"""

from __future__ import annotations

import pytest
from figures import FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in FIGURES:
        terminalreporter.write_line(line)

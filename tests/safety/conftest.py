"""The safety suites: attacks by jailed users and by their processes, each judged by what it must not have changed.

`tests/run safety` runs a sample, `tests/run safety --all` every attack; the figures stand in
SECURITY.md. A test that is too long for the sample is marked `whole`; others take `thorough` for
how many rounds they go.
"""

from __future__ import annotations

import pytest
from figures import FIGURES, SEED, Results


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Results:
    """What is known already: `tests/run safety --all --resume FILE` goes on from there."""
    plugins = request.config.pluginmanager
    reporter = plugins.getplugin("terminalreporter")

    def say(line: str) -> None:
        with plugins.getplugin("capturemanager").global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(line)
            reporter.flush()

    return Results(say)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.write_line(
            f"samples of the seed {SEED}; SFTPJAIL_SEED={SEED} repeats them"
        )
    for line in FIGURES:
        terminalreporter.write_line(line)
